//! Schema and settings of the database.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};

/// Version of the schema below, kept in `user_version`.
pub(crate) const VERSION: i64 = 1;

/// 3.51.3 is the first without the WAL-reset fault that loses data when two connections write and checkpoint at once.
pub(crate) const SQLITE_VERSION_MIN: &str = "3.51.3";

/// Longest wait for the other connection's short lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Names are interned: an integer costs 1 to 2 bytes in each row, a name up to 64.
///
/// `row` has no index besides its key: rows of a stream lie in order, inserts go to the end of a stream's range, and a
/// random-key index would write 10 kB of flash a row.
pub(crate) const SCHEMA: [&str; 10] = [
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE epoch (ordinal INTEGER PRIMARY KEY, random INTEGER NOT NULL, boot INTEGER NOT NULL, opened INTEGER NOT NULL)",
    "CREATE TABLE name (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE)",
    "CREATE TABLE row (stream INTEGER NOT NULL, epoch INTEGER NOT NULL, seq INTEGER NOT NULL, class INTEGER NOT NULL, \
     body BLOB NOT NULL, PRIMARY KEY (stream, epoch, seq)) WITHOUT ROWID",
    // One row per stream and epoch that has rows; `seq` is how far the centre holds it.
    "CREATE TABLE mark (stream INTEGER NOT NULL, epoch INTEGER NOT NULL, seq INTEGER NOT NULL, \
     PRIMARY KEY (stream, epoch)) WITHOUT ROWID",
    "CREATE TABLE state (module INTEGER NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (module, key)) \
     WITHOUT ROWID",
    // Which release wrote a module's state last, so that a newer one can migrate it.
    "CREATE TABLE writer (module INTEGER PRIMARY KEY, version TEXT NOT NULL)",
    "CREATE TABLE publication (id INTEGER PRIMARY KEY AUTOINCREMENT, broker TEXT NOT NULL, topic TEXT NOT NULL, \
     payload BLOB NOT NULL, content_type TEXT, retain INTEGER NOT NULL)",
    "CREATE TABLE dead_letter (id INTEGER PRIMARY KEY AUTOINCREMENT, module INTEGER NOT NULL, source TEXT NOT NULL, \
     topic TEXT NOT NULL, payload BLOB NOT NULL, time INTEGER NOT NULL, reason TEXT NOT NULL)",
    // Append-only: the ids of one module in one commit, 8 bytes each.
    "CREATE TABLE seen (chunk INTEGER PRIMARY KEY AUTOINCREMENT, module INTEGER NOT NULL, ids BLOB NOT NULL)",
];

/// The writer's settings.
pub(crate) fn writer(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .busy_timeout(BUSY_TIMEOUT)
        .page_size(4096)
        .auto_vacuum(SqliteAutoVacuum::Incremental)
        .journal_mode(SqliteJournalMode::Wal)
        // One fdatasync per commit. NORMAL has none: after a power cut its last commits are gone.
        .synchronous(SqliteSynchronous::Full)
        .pragma("journal_size_limit", "4194304")
        .pragma("cache_size", "-2048")
}

/// The reader's settings.
pub(crate) fn reader(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("query_only", "ON")
        .pragma("cache_size", "-512")
}
