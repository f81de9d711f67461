//! What a module needs to go on where it was.

use std::collections::BTreeMap;

use bytes::Bytes;
use sqlx::{Row, SqliteConnection};
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
pub(crate) async fn restore(
    connection: &mut SqliteConnection,
    module: i64,
    seen_ids_max: usize,
) -> Result<Restored, Error> {
    Ok(Restored {
        state: state(connection, module).await.map_err(Error::Read)?,
        state_written_by: written_by(connection, module).await.map_err(Error::Read)?,
        seen: Seen::new(
            seen_ids_max,
            seen(connection, module).await.map_err(Error::Read)?,
        ),
    })
}

async fn state(
    connection: &mut SqliteConnection,
    module: i64,
) -> Result<BTreeMap<String, Bytes>, sqlx::Error> {
    let rows = sqlx::query("SELECT key, value FROM state WHERE module = ?")
        .bind(module)
        .fetch_all(connection)
        .await?;
    let entry = |row: &sqlx::sqlite::SqliteRow| {
        let value: Vec<u8> = row.try_get(1)?;
        Ok((row.try_get(0)?, Bytes::from(value)))
    };
    rows.iter().map(entry).collect()
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
