//! Schema and settings of the database.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row, SqliteConnection};

use crate::error::Error;
use crate::space::PAGE_BYTES;

/// 3.51.3 is the first without the WAL-reset fault that loses data when two connections write and checkpoint at once.
pub(crate) const SQLITE_VERSION_MIN: &str = "3.51.3";

/// What stays of the write-ahead log after it was reset.
const LOG_BYTES_KEPT: &str = "4194304";

/// Longest wait for the other connection's short lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Version of the schema, kept in `user_version`: each entry of [`STEPS`] makes the next one.
pub(crate) const VERSION: usize = STEPS.len();

/// How the schema came to be. A new database goes through all of it, an older one through what it lacks.
///
/// Names are interned: an integer costs 1 to 2 bytes in each row, a name up to 64.
///
/// `row` has no index besides its key: rows of a stream lie in order, inserts go to the end of a stream's range, and a
/// random-key index would write 10 kB of flash a row.
pub(crate) const STEPS: [&[&str]; 5] = [
    &[
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
    ],
    &[
        // The first number that a row covers, where that is not its own.
        "ALTER TABLE row ADD COLUMN covers_from INTEGER",
        // How far rows may have been sent, and the bytes of rows by class as far as they were counted.
        "ALTER TABLE mark ADD COLUMN sent INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE mark ADD COLUMN counted INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE mark ADD COLUMN alarm INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE mark ADD COLUMN summary INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE mark ADD COLUMN raw INTEGER NOT NULL DEFAULT 0",
        "UPDATE mark SET sent = max(seq, coalesce((SELECT max(seq) FROM row r WHERE r.stream = mark.stream AND r.epoch = mark.epoch), 0))",
        // Messages that were taken and led to nothing; counts only grow.
        "CREATE TABLE tally (name INTEGER NOT NULL, reason TEXT NOT NULL, messages INTEGER NOT NULL, bytes INTEGER NOT NULL, \
         last INTEGER NOT NULL, PRIMARY KEY (name, reason)) WITHOUT ROWID",
    ],
    &[
        // Messages that wait for a module that has fallen behind, in the order in which it takes them.
        "CREATE TABLE inbox (module INTEGER NOT NULL, id INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (module, id)) \
         WITHOUT ROWID",
        // The message without its payload: what it needs to be given to its module again.
        "ALTER TABLE dead_letter ADD COLUMN envelope BLOB",
        // How far a second centre holds a place, and up to where its rows are deleted.
        "ALTER TABLE mark ADD COLUMN second INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE mark ADD COLUMN trimmed INTEGER NOT NULL DEFAULT 0",
        // When boots began, by a clock that was set; and up to where rows were sent before it was.
        "CREATE TABLE clock (id INTEGER PRIMARY KEY AUTOINCREMENT, boot INTEGER NOT NULL UNIQUE, booted INTEGER NOT NULL)",
        "ALTER TABLE mark ADD COLUMN plain INTEGER NOT NULL DEFAULT 0",
        // Up to where rows are in a file that is complete: they go first where room is needed.
        "ALTER TABLE mark ADD COLUMN exported INTEGER NOT NULL DEFAULT 0",
        "UPDATE mark SET trimmed = coalesce((SELECT coalesce(covers_from, seq) - 1 FROM row r \
         WHERE r.stream = mark.stream AND r.epoch = mark.epoch ORDER BY r.seq LIMIT 1), seq)",
    ],
    &[
        // Checksum of an entry of a module's state; none for what was written before there were any.
        "ALTER TABLE state ADD COLUMN sum INTEGER",
    ],
    &[
        // The active generation of a module, and the one that stands by, with the release that wrote its state last.
        "CREATE TABLE generation (module INTEGER PRIMARY KEY, active INTEGER NOT NULL, standby INTEGER, writer TEXT)",
        // The state of the one that stands by, as `state` is that of the active one.
        "CREATE TABLE standby (module INTEGER NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, sum INTEGER, \
         PRIMARY KEY (module, key)) WITHOUT ROWID",
        // Streams whose rows may not go to a destination: 0 for the first, 1 for the second.
        "CREATE TABLE withheld (stream INTEGER NOT NULL, destination INTEGER NOT NULL, PRIMARY KEY (stream, destination)) \
         WITHOUT ROWID",
    ],
];

/// Brings the database to [`VERSION`], one committed step after the other.
///
/// # Errors
/// When SQLite is too old, or the database was written by a newer version.
pub(crate) async fn bring_up_to_date(connection: &mut SqliteConnection) -> Result<(), Error> {
    check_sqlite(connection).await?;
    let (found, missing) = missing(connection).await?;
    for (version, step) in (found + 1..).zip(missing) {
        take(connection, version, step)
            .await
            .map_err(Error::Commit)?;
    }
    check_tables(connection).await
}

/// Holds that the tables are those of [`STEPS`]: a page of nothing is a sound database without tables, and a flipped bit in
/// a column's name shows only when that column is used.
async fn check_tables(connection: &mut SqliteConnection) -> Result<(), Error> {
    let mut sound = SqliteConnectOptions::new()
        .in_memory(true)
        .connect()
        .await
        .map_err(Error::Read)?;
    for (version, step) in (1..).zip(STEPS) {
        take(&mut sound, version, step).await.map_err(Error::Read)?;
    }
    let (expected, found) = (tables(&mut sound).await?, tables(connection).await?);
    match found == expected {
        true => Ok(()),
        false => Err(Error::Damaged(
            "its tables are not those that were made".to_owned(),
        )),
    }
}

async fn tables(connection: &mut SqliteConnection) -> Result<Vec<(String, String)>, Error> {
    sqlx::query_as("SELECT name, coalesce(sql, '') FROM sqlite_schema ORDER BY name")
        .fetch_all(connection)
        .await
        .map_err(Error::Read)
}

/// Holds that the database is of this version.
///
/// # Errors
/// When it is older or newer: whoever only reads cannot change that.
pub(crate) async fn check(connection: &mut SqliteConnection) -> Result<(), Error> {
    match missing(connection).await? {
        (_, []) => Ok(()),
        (found, _) => Err(Error::Older {
            found,
            known: VERSION,
        }),
    }
}

/// Its version, and the steps that it lacks.
async fn missing(
    connection: &mut SqliteConnection,
) -> Result<(i64, &'static [&'static [&'static str]]), Error> {
    static ALL: [&[&str]; VERSION] = STEPS;
    let found: i64 = scalar(connection, "PRAGMA user_version").await?;
    let missing = usize::try_from(found)
        .ok()
        .and_then(|found| ALL.get(found..));
    let known = VERSION;
    Ok((found, missing.ok_or(Error::Newer { found, known })?))
}

async fn take(
    connection: &mut SqliteConnection,
    version: i64,
    step: &[&'static str],
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    for statement in step {
        sqlx::query(*statement).execute(&mut *transaction).await?;
    }
    let number = format!("PRAGMA user_version = {version}");
    sqlx::query(AssertSqlSafe(number))
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await
}

async fn check_sqlite(connection: &mut SqliteConnection) -> Result<(), Error> {
    let found: String = scalar(connection, "SELECT sqlite_version()").await?;
    let number = |version: &str| {
        version
            .split('.')
            .filter_map(|part| part.parse().ok())
            .collect::<Vec<u32>>()
    };
    if number(&found) < number(SQLITE_VERSION_MIN) {
        return Err(Error::SqliteVersion {
            found,
            needed: SQLITE_VERSION_MIN,
        });
    }
    Ok(())
}

async fn scalar<T>(connection: &mut SqliteConnection, sql: &'static str) -> Result<T, Error>
where
    T: for<'r> sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    sqlx::query(sql)
        .fetch_one(connection)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(Error::Read)
}

/// The writer's settings, for a database of at most so many pages.
pub(crate) fn writer(path: &Path, pages_max: u64) -> SqliteConnectOptions {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .busy_timeout(BUSY_TIMEOUT)
        .page_size(u32::try_from(PAGE_BYTES).unwrap_or(u32::MAX))
        .auto_vacuum(SqliteAutoVacuum::Incremental)
        .journal_mode(SqliteJournalMode::Wal)
        // One fdatasync per commit. NORMAL has none: after a power cut its last commits are gone.
        .synchronous(SqliteSynchronous::Full)
        .pragma("max_page_count", pages_max.to_string())
        .pragma("journal_size_limit", LOG_BYTES_KEPT)
        // What a statement needs to undo itself does not go to a file elsewhere.
        .pragma("temp_store", "MEMORY")
        .pragma("cache_size", "-2048");
    #[cfg(feature = "faults")]
    let options = crate::faults::synchronous(options);
    options
}

/// The reader's settings.
pub(crate) fn reader(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("query_only", "ON")
        .pragma("cache_size", "-512")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn open(folder: &tempfile::TempDir) -> SqliteConnection {
        let path = folder.path().join("buffer.db");
        writer(&path, 10_000).connect().await.unwrap()
    }

    #[tokio::test]
    async fn a_database_of_each_earlier_version_is_brought_up_to_date_with_its_rows() {
        for version in 1..=VERSION {
            let folder = tempfile::tempdir().unwrap();
            let mut connection = open(&folder).await;
            for (number, step) in (1..).zip(&STEPS[..version]) {
                take(&mut connection, number, step).await.unwrap();
            }
            sqlx::query(
                "INSERT INTO row (stream, epoch, seq, class, body) VALUES (1, 1, 1, 2, x'80')",
            )
            .execute(&mut connection)
            .await
            .unwrap();
            bring_up_to_date(&mut connection).await.unwrap();
            bring_up_to_date(&mut connection).await.unwrap();
            let found: i64 = scalar(&mut connection, "PRAGMA user_version")
                .await
                .unwrap();
            assert_eq!(usize::try_from(found), Ok(VERSION));
            let rows: i64 = scalar(
                &mut connection,
                "SELECT count(*) FROM row WHERE covers_from IS NULL",
            )
            .await
            .unwrap();
            assert_eq!(rows, 1);
        }
    }

    #[tokio::test]
    async fn a_schema_that_is_not_ours_is_damage() {
        let folder = tempfile::tempdir().unwrap();
        let mut connection = open(&folder).await;
        bring_up_to_date(&mut connection).await.unwrap();
        sqlx::query("ALTER TABLE epoch RENAME COLUMN boot TO boos")
            .execute(&mut connection)
            .await
            .unwrap();
        let refused = bring_up_to_date(&mut connection).await.unwrap_err();
        assert!(refused.is_damage(), "{refused}");
    }

    #[tokio::test]
    async fn a_newer_database_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut connection = open(&folder).await;
        sqlx::query("PRAGMA user_version = 99")
            .execute(&mut connection)
            .await
            .unwrap();
        let refused = bring_up_to_date(&mut connection).await;
        assert!(
            matches!(refused, Err(Error::Newer { found: 99, .. })),
            "{refused:?}"
        );
    }
}
