//! Guests in a process of their own, which has nothing to give away: no network, no keys, no files.
//!
//! The gateway starts `tidegate worker`, tells it on its standard input which guests to load ([`opening`]), and then to
//! seal itself ([`crate::seal`]); what is loaded later is loaded into another worker. Each guest has a stream of its own
//! to its module ([`remote`], [`serve`]), on which one call after the other goes one way and one reply the other
//! ([`message`], in [`frame`]s).
//!
//! Whatever comes from a worker is taken for the word of an enemy: it is bounded, read with care, and checked against what
//! the module may do. A worker that ends, answers nonsense or does not answer in time is killed, and its modules go on in
//! others: from the states that the gateway has, with the batches that were in flight, of which nothing was acknowledged.

mod frame;
mod message;
mod opening;
mod remote;
mod serve;

pub(crate) use opening::{Opening, PROGRAM};
pub(crate) use remote::Remote;
pub use serve::main;
