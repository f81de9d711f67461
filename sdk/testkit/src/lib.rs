//! Runs a module on recorded data: the real component in the gateway's engine, with a virtual clock.
//!
//! A call of a module is a function of state, configuration and batch, and the cut between batches means nothing. So
//! one recording is run in several [`Cut`]s, and every one of them must give the same outputs. Files are the formats of
//! `docs/formats/recording.md`, which the module SDK's native tests read as well.
//!
//! Two things differ from a gateway. Time is virtual: it stands still during a call and jumps to the next message or
//! wake-up between calls. And a message that makes the module fail ends the run instead of being set aside, because it
//! is what the author wants to know.
//!
//! # Layout
//!
//! - `rig`: a module in the engine, fed with a recording
//! - `recording`: messages as lines of JSON
//! - `expectation`: outputs as lines of JSON, and whether they are the expected ones
//! - `clock`: the virtual clock
//! - `time`: times as text

mod clock;
mod expectation;
mod recording;
mod rig;
mod time;

pub use expectation::{Difference, Expectation, Outputs};
pub use recording::Recording;
pub use rig::{CUTS, Cut, Error, Rig, Subject};
pub use tidegate_record::Class;

/// A line of a file that is not what it must be.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct LineError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: String,
}
