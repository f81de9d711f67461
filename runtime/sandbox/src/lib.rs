//! Runs modules: a batch of records and the module's state in, all effects out as one [`Applied`]. The only crate that
//! knows wasmtime.
//!
//! **An instance is disposable.** State lives beside it, in [`module::Module`], and the instance works on a copy through
//! `wasi:keyvalue`. A call that ends well merges its writes; a trap, a fault or a breach of a limit leaves the state as
//! it was, drops the instance, and the next call starts a new one. So a module's fault never ends the process, and
//! nothing of a failed call is applied.
//!
//! **A poison message is found by halving.** When a call with several messages fails, its halves are tried on their own;
//! a message that fails alone is rejected with the reason, the others stand. A module that keeps failing is parked.
//!
//! **A guest runs behind two walls.** The first is WebAssembly; the second is the process of a worker, which has nothing
//! to give away. What comes back over it is checked in the gateway's process, as the word of an enemy.
//!
//! # Layout
//! - [`sandbox`]: loads modules. [`spec`]: what a module is, may do and may use.
//! - [`module`]: one module, as the gateway knows it: its state, a call, and what is taken of the answer. [`home`]: where its
//!   guest runs.
//! - [`worker`]: guests in a process of their own. [`seal`]: what such a process gives up.
//! - [`guest`]: the guest itself: its instance, and a call. [`engine`]: wasmtime's settings, the epoch ticker, linking.
//! - [`task`]: the loop that feeds a module and passes its effects on, with one generation after the other. [`busy`]: how much of the time it takes.
//! - [`order`]: what the update client asks of that task. [`companion`]: the generation beside the active one. [`trial`]: how it
//!   does. [`compare`]: its outputs. [`stopwatch`]: what it takes.
//! - [`intake`]: where its messages come from, straight or by way of the disk. [`load`]: some of them.
//! - [`host`]: what a guest can call. [`wasi`]: the empty WASI baseline. [`guest_log`]: its log lines.
//! - [`convert`]: records to a batch, an outcome to effects.
//! - [`budget`]: memory and tables of one instance.
//! - [`compile`]: compiled in a child. [`cache`]: compiled code on disk, under a MAC. [`code`]: the same in memory, on its way
//!   to a guest.
//!
//! [`Applied`]: tidegate_record::Applied

mod bindings;
mod budget;
mod busy;
mod cache;
mod code;
mod companion;
mod compare;
pub mod compile;
mod convert;
mod engine;
mod error;
mod guest;
mod guest_log;
mod home;
mod host;
mod intake;
mod load;
mod module;
mod order;
mod sandbox;
mod seal;
mod spec;
mod stopwatch;
mod task;
mod trial;
mod wasi;
pub mod worker;

pub use cache::CodeCache;
pub use compare::Check;
pub use error::{Error, Failure};
pub use module::{Called, Cost, Failed, Module, Now};
pub use order::{News, Order, Report};
pub use sandbox::{Crew, Guests, Sandbox};
pub use seal::Layer;
pub use spec::{Grants, ModuleSpec, StreamSpec};
pub use task::{ModuleCounters, ModuleState, Outlets, Seat, Standing, run};
pub use trial::{Length, Terms};
