//! What a module needs to go on where it was, checked against its checksums.

use std::collections::BTreeMap;

use bytes::Bytes;
use sqlx::{Connection, Row, SqliteConnection};
use tidegate_record::{MessageId, Seen};

use crate::error::Error;

/// What a module needs to go on where it was.
#[derive(Debug)]
pub struct Restored {
    /// Its committed state.
    pub state: BTreeMap<String, Bytes>,
    /// Version of the release that wrote it last; none without state.
    pub state_written_by: Option<String>,
    /// Ids of messages that it has taken.
    pub seen: Seen,
}

/// State and seen ids of the module with this number, of at most `seen_ids_max` messages.
///
/// State of which an entry is damaged is given up as a whole, on disk as well: what is left of it would be a state in
/// which the module never was.
pub(crate) async fn restore(
    connection: &mut SqliteConnection,
    module: i64,
    seen_ids_max: usize,
) -> Result<Restored, Error> {
    let state = match state(connection, module).await.map_err(Error::Read)? {
        Ok(state) => state,
        Err(Damaged { key, entries }) => {
            tracing::error!(
                "a module's state is damaged on disk (entry {key:?} of {entries}): it starts without any"
            );
            give_up(connection, module).await.map_err(Error::Commit)?;
            BTreeMap::new()
        }
    };
    Ok(Restored {
        state,
        state_written_by: written_by(connection, module).await.map_err(Error::Read)?,
        seen: Seen::new(
            seen_ids_max,
            seen(connection, module).await.map_err(Error::Read)?,
        ),
    })
}

/// An entry of a module's state is not what was written.
struct Damaged {
    key: String,
    entries: usize,
}

async fn state(
    connection: &mut SqliteConnection,
    module: i64,
) -> Result<Result<BTreeMap<String, Bytes>, Damaged>, sqlx::Error> {
    let rows = sqlx::query("SELECT key, value, sum FROM state WHERE module = ?")
        .bind(module)
        .fetch_all(connection)
        .await?;
    let mut state = BTreeMap::new();
    for row in &rows {
        let (key, value): (String, Vec<u8>) = (row.try_get(0)?, row.try_get(1)?);
        let sum: Option<i64> = row.try_get(2)?;
        if sum.is_some_and(|sum| sum != checksum(module, &key, &value)) {
            let entries = rows.len();
            return Ok(Err(Damaged { key, entries }));
        }
        state.insert(key, Bytes::from(value));
    }
    Ok(Ok(state))
}

async fn give_up(connection: &mut SqliteConnection, module: i64) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    for statement in [
        "DELETE FROM state WHERE module = ?",
        "DELETE FROM writer WHERE module = ?",
    ] {
        let query = sqlx::query(statement).bind(module);
        query.execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

/// Of an entry of a module's state and of where it stands: SQLite does not notice a flipped bit.
pub(crate) fn checksum(module: i64, key: &str, value: &[u8]) -> i64 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&module.to_le_bytes());
    hasher.update(key.as_bytes());
    // No text has this byte: it says where the key ends.
    hasher.update(&[0xff]);
    hasher.update(value);
    hasher.finalize().into()
}

async fn seen(
    connection: &mut SqliteConnection,
    module: i64,
) -> Result<Vec<MessageId>, sqlx::Error> {
    let chunks = sqlx::query("SELECT ids FROM seen WHERE module = ? ORDER BY chunk")
        .bind(module)
        .fetch_all(connection)
        .await?;
    let mut ids = Vec::new();
    for chunk in chunks {
        let bytes: Vec<u8> = chunk.try_get(0)?;
        let (whole, _) = bytes.as_chunks::<8>();
        ids.extend(
            whole
                .iter()
                .map(|bytes| MessageId(u64::from_le_bytes(*bytes))),
        );
    }
    Ok(ids)
}

async fn written_by(
    connection: &mut SqliteConnection,
    module: i64,
) -> Result<Option<String>, sqlx::Error> {
    let written = sqlx::query("SELECT version FROM writer WHERE module = ?")
        .bind(module)
        .fetch_optional(connection)
        .await?;
    written.map(|row| row.try_get(0)).transpose()
}
