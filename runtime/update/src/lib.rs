//! The update client: what the gateway should run; from documents and blobs to confirmed or rolled back.
//!
//! ```text
//! source (stick, parcel of the centre) -> bundle::Trust -> policy -> store -> machine -> commands for the gateway
//!                                           +-- state, audit --+             ^-- what became of them
//! ```
//!
//! It runs no module and knows no other stage: it says what is to be tried and activated, loads that, and is told how it
//! went. Everything here is behind one thread of its own, because it waits for disks and hashes megabytes. It never waits for a link.
//!
//! # Invariants
//!
//! - Only what [`tidegate_bundle::Trust`] has verified and the site's [`Rules`] permit ever becomes a candidate.
//! - The confirmed set is complete in the store and never overwritten; a newer one takes its place by being confirmed.
//! - Each trial takes an attempt that is on disk before it begins; a deployment that fails is denied for good,
//!   and the module to blame as it was deployed there. One that the site hinders is not.
//! - A state that cannot be read is never begun anew: what runs runs on, and nothing is taken.
//! - Code is hashed each time it is loaded, in memory that nothing else can change.
//!
//! # Layout
//! - `source`: where documents and blobs come from; `parcel`: one of documents that were fetched already
//! - `stick`: a stick as a source; its format is `bundle`'s, so that `tide` can write one
//! - `client`: drives everything below
//!   - `open`: what the folder holds; `take`: what a source has; `deliver`: what a courier brings; `code`: what can be run;
//!     `fresh`: whether anything newer is kept back; `report`: what is said of it; `frozen`: when nothing is taken
//! - `machine`: the update machine, pure
//!   - `event`: what it hears and says; `candidate`: a deployment on its way; `set`: what a deployment is made of
//! - `policy`: what the site permits, and how permissions differ; `read`: the policy file
//! - `state`: what lasts, in two generations
//! - `store`: blobs by their digest; `unfinished`: those that come in pieces
//! - `audit`: the hash-chained log
//! - `folder`: files in one folder, whole or not at all
//! - `error`: every reason
//! - `faults`: a promise that is broken on purpose, for a negative control; not compiled into anything that is shipped

pub mod audit;
mod client;
mod error;
#[cfg(feature = "faults")]
mod faults;
#[cfg(test)]
mod fixture;
mod folder;
mod machine;
mod parcel;
mod policy;
mod source;
pub mod state;
pub mod stick;
pub mod store;

pub use audit::Audit;
pub use client::{
    Client, Found, Fresh, FrozenClient, Generation, Newest, Piece, Site, Taken, Wants,
};
pub use error::Error;
pub use machine::{Command, Event, GivenUp, Machine, Module, Set, Trial, Why};
pub use parcel::Parcel;
pub use policy::{Change, Denial, Permission, Policy, Rules, changes, permissions};
pub use source::Source;
pub use store::{Blob, STORE_BYTES_DEFAULT};
