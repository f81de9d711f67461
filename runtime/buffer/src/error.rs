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
        known: usize,
    },
    /// Written by an older version, and not brought up to date yet.
    #[error(
        "the database has schema {found}, this version reads {known}: start the gateway once, which brings it up to date"
    )]
    Older {
        /// Schema of the database.
        found: i64,
        /// Schema of this version.
        known: usize,
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
    /// Found while reading.
    #[error("the database is damaged: {0}")]
    Damaged(String),
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

impl Error {
    /// Whether the file is not what SQLite once wrote: no retry helps, and no other program.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Open { source, .. } | Self::Read(source) | Self::Commit(source) => {
                let extended = extended_code(source);
                extended == Some(SQLITE_IOERR_SHORT_READ)
                    // Text that is not UTF-8, or a number where there was text.
                    || matches!(source, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_))
                    || matches!(code(source), Some(SQLITE_CORRUPT | SQLITE_NOTADB))
            }
            Self::Impossible { .. } | Self::Damaged(_) => true,
            _ => false,
        }
    }

    /// Whether there was no room: of the quota's pages, or on the disk. Nothing is broken, and it can be tried again.
    pub(crate) fn is_full(&self) -> bool {
        match self {
            Self::Open { source, .. } | Self::Commit(source) => code(source) == Some(SQLITE_FULL),
            _ => false,
        }
    }
}

// https://www.sqlite.org/rescode.html
const SQLITE_CORRUPT: i32 = 11;
const SQLITE_FULL: i32 = 13;
const SQLITE_NOTADB: i32 = 26;
const SQLITE_IOERR_SHORT_READ: i32 = 522;

/// SQLite's primary result code.
fn code(error: &sqlx::Error) -> Option<i32> {
    extended_code(error).map(|extended| extended & 0xff)
}

fn extended_code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error()?.code()?.parse().ok()
}

/// A number that cannot be negative.
pub(crate) fn unsigned(what: &'static str, value: i64) -> Result<u64, Error> {
    u64::try_from(value).map_err(|_| Error::Impossible { what, value })
}
