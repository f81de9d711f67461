//! Why the buffer cannot be opened, read or written.

use std::path::PathBuf;

use thiserror::Error;

/// Why the buffer cannot be opened, read or written.
#[derive(Debug, Error)]
pub enum Error {
    /// The folder or the lock cannot be made.
    #[error("cannot open the buffer at {path}")]
    Folder {
        /// The database file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
    /// Another process has it open.
    #[error("the buffer at {path} is in use by another process")]
    InUse {
        /// The database file.
        path: PathBuf,
    },
    /// The database cannot be opened.
    #[error("cannot open the database at {path}")]
    Open {
        /// The database file.
        path: PathBuf,
        /// SQLite's reason.
        #[source]
        source: sqlx::Error,
    },
    /// Written by a newer version of the gateway.
    #[error(
        "the database has schema {found}, this version knows up to {known}: install the newer version again"
    )]
    Newer {
        /// Schema of the database.
        found: i64,
        /// Newest schema that this version knows.
        known: i64,
    },
    /// SQLite is too old to be trusted with two connections.
    #[error("SQLite {found} has a known fault that loses data, {needed} or newer is needed")]
    SqliteVersion {
        /// What is linked.
        found: String,
        /// What is needed.
        needed: &'static str,
    },
    /// The database cannot be read.
    #[error("cannot read the database")]
    Read(#[source] sqlx::Error),
    /// A commit failed: nothing of it is acknowledged.
    #[error("cannot commit to the database")]
    Commit(#[source] sqlx::Error),
    /// A stored row does not decode: the file was changed by something else.
    #[error("row {seq} of stream {stream} is damaged")]
    Damaged {
        /// Its stream.
        stream: String,
        /// Its position.
        seq: u64,
        /// The decoder's reason.
        #[source]
        source: minicbor::decode::Error,
    },
    /// A number in the database does not fit its type: the file was changed by something else.
    #[error("the database holds {what} {value}, which cannot be")]
    Impossible {
        /// What it should be.
        what: &'static str,
        /// What it is.
        value: i64,
    },
    /// The writer has ended.
    #[error("the buffer's writer has ended")]
    Closed,
}
