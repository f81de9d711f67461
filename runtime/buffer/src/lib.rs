//! Effects of modules to SQLite, one commit; rows and publications out again. The only gateway crate that knows sqlx.
//!
//! **What is acknowledged is on disk.** Each [`Applied`] is committed as a whole: rows, publications, state, seen ids and
//! dead letters of a call, together with those of the calls that wait beside it (group commit). WAL and
//! `synchronous=FULL` make a commit one `fdatasync`; only after it has returned are the acks fired. A failed commit is
//! never tried again, because after a failed fsync the kernel may have dropped the pages: the writer ends with the
//! error, everything that it holds stays unacknowledged, and a restart begins from what is on disk.
//!
//! **An identity is never used twice.** Each opening of the database is a new [`Epoch`] with a random part, and `seq`
//! counts within it, so that not even a restored backup can give a number out again.
//!
//! One writer connection, owned by [`Writer::run`]; short reads on a second one. Row bodies are CBOR
//! (`record::StoredRow`), so that the schema does not grow with the vocabulary.
//!
//! # Layout
//! - [`open`]: opening, schema, the new epoch, what a module needs to start.
//! - [`writer`]: the loop that groups and commits. [`commit`]: one transaction.
//! - [`sequence`]: positions and marks of all streams. [`outbox`]: reading them out again.
//! - [`latency`]: how long it took from receipt to disk.
//!
//! [`Applied`]: tidegate_record::Applied
//! [`Epoch`]: tidegate_record::Epoch

mod commit;
mod error;
mod latency;
mod open;
mod outbox;
mod schema;
mod sequence;
mod writer;

pub use error::Error;
pub use latency::Latency;
pub use open::{Buffer, Config, Opened, Profile, Restored};
pub use outbox::BufferHandle;
pub use writer::{BufferCounters, Writer};
