//! What a module needs to go on where it was, checked against its checksums.

use std::collections::BTreeMap;

use bytes::Bytes;
use sqlx::{Connection, Row, SqliteConnection};
use tidegate_record::{MessageId, Seen};

use crate::error::Error;
use crate::generation::{self, Generations};

/// What a module needs to go on where it was.
#[derive(Debug)]
pub struct Restored {
    /// Which of its generations is active, and which stands by.
    pub generations: Generations,
    /// State of the active one.
    pub active: ModuleState,
    /// State of the one that stands by.
    pub standby: ModuleState,
    /// Ids of messages that it has taken.
    pub seen: Seen,
}

/// The committed state of a generation.
#[derive(Debug, Default)]
pub struct ModuleState {
    /// Its entries.
    pub entries: BTreeMap<String, Bytes>,
    /// Version of the release that wrote it last; none without state.
    pub written_by: Option<String>,
}

/// State and seen ids of the module with this number, of at most `seen_ids_max` messages.
///
/// State of which an entry is damaged is given up as a whole, on disk as well: what is left of it would be a state in
/// which the module never was. A generation that stands by without its state does not stand by any more.
pub(crate) async fn restore(
    connection: &mut SqliteConnection,
    module: i64,
    seen_ids_max: usize,
) -> Result<Restored, Error> {
    let active = match state(connection, module, ACTIVE)
        .await
        .map_err(Error::Read)?
    {
        Ok(state) => state,
        Err(Damaged { key, entries }) => {
            tracing::error!(
                "a module's state is damaged on disk (entry {key:?} of {entries}): it starts without any"
            );
            give_up(connection, module, false).await?;
            ModuleState::default()
        }
    };
    let standby = match state(connection, module, STANDBY)
        .await
        .map_err(Error::Read)?
    {
        Ok(state) => state,
        Err(Damaged { key, entries }) => {
            tracing::error!(
                "the state of a module's generation that stands by is damaged on disk (entry {key:?} of {entries}): it \
                 does not stand by any more"
            );
            give_up(connection, module, true).await?;
            ModuleState::default()
        }
    };
    Ok(Restored {
        generations: generation::read(connection, module)
            .await
            .map_err(Error::Read)?,
        active,
        standby,
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

/// Entries and writer of a state, by where they stand.
type Statements = [&'static str; 2];
const ACTIVE: Statements = [
    "SELECT key, value, sum FROM state WHERE module = ?",
    "SELECT version FROM writer WHERE module = ?",
];
const STANDBY: Statements = [
    "SELECT key, value, sum FROM standby WHERE module = ?",
    "SELECT writer FROM generation WHERE module = ? AND writer IS NOT NULL",
];

async fn state(
    connection: &mut SqliteConnection,
    module: i64,
    [entries, writer]: Statements,
) -> Result<Result<ModuleState, Damaged>, sqlx::Error> {
    let rows = sqlx::query(entries)
        .bind(module)
        .fetch_all(&mut *connection)
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
    let written = sqlx::query(writer)
        .bind(module)
        .fetch_optional(connection)
        .await?;
    Ok(Ok(ModuleState {
        entries: state,
        written_by: written.map(|row| row.try_get(0)).transpose()?,
    }))
}

/// Gives up a damaged state: that of the generation that stands by, or else of the active one.
async fn give_up(
    connection: &mut SqliteConnection,
    module: i64,
    standby: bool,
) -> Result<(), Error> {
    let given_up = async {
        let mut transaction = connection.begin().await?;
        match standby {
            true => generation::settle(&mut transaction, module).await?,
            false => generation::clear(&mut transaction, module).await?,
        }
        transaction.commit().await
    };
    given_up.await.map_err(Error::Commit)
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
