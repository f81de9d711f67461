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
//! **Nothing is given up silently.** Near the quota raw rows become summaries, and what has to go leaves an entry of the
//! loss ledger in its place. A damaged database is set aside, with such an entry for each of its streams.
//!
//! One writer connection, owned by [`Writer::run`]; short reads on a second one. Row bodies are CBOR
//! (`record::StoredRow`), so that the schema does not grow with the vocabulary.
//!
//! # Layout
//! - [`open`]: opening, the new epoch. `lock`: one process at a time. `schema`: tables, settings, older versions.
//!   `quarantine`: a damaged database. `roster`: how far rows were numbered, beside it.
//!   `restore`: what a module needs to start.
//! - [`writer`]: the loop that groups and commits. `commit`: one transaction. `rows`: rows as they stand on disk.
//!   `effects`: publications, seen ids, dead letters. `state`: the states of modules.
//! - [`Generations`]: which generation of a module is active, and which stands by.
//! - `sequence`: positions and marks of all streams, in memory; [`Destination`]: whose marks. `extents`: the same, read from disk.
//! - `space`: quota and pressure. [`Policy`]: what a stream does near the quota. `prune`: what gives way next. `thin`: many
//!   rows into few. `evict`: doing it.
//! - [`ModuleInbox`]: messages that wait for a module that has fallen behind. `replay`: dead letters back to their modules.
//! - `tally`: messages that led to nothing. `restamp`: rows from before the clock was set.
//! - [`outbox`]: rows and publications out again.
//! - [`Inspection`]: looking into it from outside. `stat`: how much is in it. [`Export`]: rows for a file.
//! - [`Residency`]: which streams may not go where.
//! - [`latency`]: how long it took from receipt to disk. [`StreamBacklog`]: what of each stream waits, and since when.
//!
//! [`Applied`]: tidegate_record::Applied
//! [`Epoch`]: tidegate_record::Epoch

mod commit;
mod effects;
mod error;
mod evict;
mod export;
mod extents;
#[cfg(feature = "faults")]
mod faults;
mod generation;
mod inbox;
mod inspect;
mod lag;
mod latency;
mod lock;
mod names;
mod open;
mod outbox;
mod policy;
mod prune;
mod quarantine;
mod replay;
mod residency;
mod restamp;
mod restore;
mod roster;
mod rows;
mod schema;
mod sequence;
mod space;
mod stat;
mod state;
mod tally;
mod thin;
mod writer;

pub use error::Error;
pub use export::Export;
pub use generation::Generations;
pub use inbox::ModuleInbox;
pub use inspect::{Account, DeadLetter, Entry, Inspection};
pub use lag::{Oldest, StreamBacklog};
pub use latency::Latency;
pub use open::{Buffer, Config, Opened, Profile};
pub use outbox::BufferHandle;
pub use policy::Policy;
pub use residency::Residency;
pub use restore::{ModuleState, Restored};
pub use sequence::{Destination, Second};
pub use space::{QUOTA_BYTES_DEFAULT, QUOTA_BYTES_MIN};
pub use stat::{Stat, StreamStat};
pub use tally::Tally;
pub use writer::{BufferCounters, Writer};
