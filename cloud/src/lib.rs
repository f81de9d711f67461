//! The centre: takes rows from gateways exactly once, and shows them.
//!
//! A request arrives, is checked, committed and only then answered; the answer says how far each stream is held. So a
//! request may be lost, repeated or reordered at will, and the gateway may forget what the answer names. The process
//! itself keeps nothing but counters: stop it, move it, or run it beside another on the same database.
//!
//! # Layout
//! - [`config`]: the command line, checked as a whole before anything is opened.
//! - [`access`]: who may do what: roles and secrets.
//! - [`tokens`]: the commands that give and take tokens, and the first token of a new centre.
//! - [`audit`]: the commands that read and verify the audit log.
//! - [`gateways`]: the command that gives tokens to gateways.
//! - [`blobs`]: files of releases, by their digest.
//! - [`checked`]: a request whose shape is sound; the only kind that a store takes.
//! - [`store`]: what is kept, behind one trait; SQLite.
//! - [`rollout`]: how a deployment reaches a group; pure.
//! - [`conductor`]: lets rollouts go on, and knows what each gateway is to run.
//! - [`lag`]: how far the centre is behind with each stream.
//! - `faults`: checks left out on purpose, for negative controls.
//! - [`http`]: connections, the sync endpoint, the read API, live events.
//! - [`page`]: the pages that people look at.
//! - [`run()`]: all of it together, from the settings to the last connection.

pub mod access;
pub mod audit;
pub mod blobs;
pub mod checked;
pub mod conductor;
pub mod config;
mod faults;
pub mod gateways;
pub mod http;
pub mod lag;
pub mod page;
pub mod rollout;
mod run;
pub mod store;
pub mod tokens;

#[cfg(test)]
#[path = "../tests/centre/samples.rs"]
mod samples;

pub use checked::{Checked, Flaw};
pub use config::{Command, RunArguments, Settings};
pub use run::{Error, run};
