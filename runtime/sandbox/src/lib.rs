//! Runs modules: a batch of records and the module's state in, all effects out as one [`Applied`]. The only crate that
//! knows wasmtime.
//!
//! **An instance is disposable.** State lives beside it, in [`module::Module`], and the instance works on it through
//! `wasi:keyvalue`. A call that ends well merges its writes; a trap, a fault or a breach of a limit leaves the state as
//! it was, drops the instance, and the next call starts a new one. So a module's fault never ends the process, and
//! nothing of a failed call is applied.
//!
//! **A poison message is found by halving.** When a call with several messages fails, its halves are tried on their own;
//! a message that fails alone is rejected with the reason, the others stand. A module that keeps failing is parked.
//!
//! # Layout
//! - [`engine`]: wasmtime's settings, the epoch ticker, loading.
//! - [`spec`]: what a module is, may do and may use.
//! - [`module`]: one module: its instance, state, and a call.
//! - [`task`]: the loop that feeds a module and passes its effects on, with one generation after the other. [`busy`]: how much of the time it takes.
//! - [`order`]: what the update client asks of that task. [`companion`]: the generation beside the active one. [`trial`]: how it
//!   does. [`compare`]: its outputs. [`stopwatch`]: what it takes.
//! - [`intake`]: where its messages come from, straight or by way of the disk. [`load`]: some of them.
//! - [`host`]: what a guest can call. [`wasi`]: the empty WASI baseline. [`guest_log`]: its log lines.
//! - [`convert`]: records to a batch, an outcome to effects.
//! - [`budget`]: memory and tables of one instance.
//! - [`cache`]: compiled code on disk, under a MAC.
//!
//! [`Applied`]: tidegate_record::Applied

mod bindings;
mod budget;
mod busy;
mod cache;
mod companion;
mod compare;
mod convert;
mod engine;
mod error;
mod guest_log;
mod host;
mod intake;
mod load;
mod module;
mod order;
mod spec;
mod stopwatch;
mod task;
mod trial;
mod wasi;

pub use cache::CodeCache;
pub use compare::Check;
pub use engine::Sandbox;
pub use error::{Error, Failure};
pub use module::{Called, Cost, Failed, Module, Now};
pub use order::{News, Order, Report};
pub use spec::{Grants, ModuleSpec, StreamSpec};
pub use task::{ModuleCounters, ModuleState, Outlets, Seat, Standing, run};
pub use trial::{Length, Terms};
