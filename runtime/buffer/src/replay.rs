//! Dead letters back to their modules: each leaves the dead letters in the commit that puts it into its module's inbox.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use tidegate_record::inbox::{Decoder, encode};
use tidegate_record::{
    Ack, Body, BootId, Channel, Clock, ClockQuality, DeliveryFlags, Name, Quality, Record, WallTime,
};

use crate::commit::Commits;
use crate::error::{Error, unsigned};
use crate::inbox::Changes;
use crate::outbox::{BufferHandle, Shared};
use crate::writer::Request;

/// Letters of one commit: with the largest payloads they take as much as a batch.
const LETTERS_PER_COMMIT: usize = 16;

/// Letters that were moved, by request.
pub(crate) type Letters = VecDeque<Vec<u64>>;

impl BufferHandle {
    /// All dead letters by number, with their modules.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn letters(&self) -> Result<Vec<(u64, String)>, Error> {
        let mut reader = self.shared.reader.lock().await;
        let rows: Vec<(i64, String)> = sqlx::query_as(
            "SELECT d.id, n.text FROM dead_letter d JOIN name n ON n.id = d.module ORDER BY d.id",
        )
        .fetch_all(&mut *reader)
        .await
        .map_err(|error| self.failed(Error::Read(error)))?;
        rows.into_iter()
            .map(|(id, module)| Ok((unsigned("dead letter", id)?, module)))
            .collect()
    }

    /// Gives these letters to their modules again; answers with those that were there.
    ///
    /// # Errors
    /// When the writer has ended.
    pub async fn replay(&self, letters: &[u64]) -> Result<Vec<u64>, Error> {
        let mut moved = Vec::new();
        for some in letters.chunks(LETTERS_PER_COMMIT) {
            moved.extend(
                self.request(|done| Request::Replay(some.to_vec(), done))
                    .await?,
            );
        }
        Ok(moved)
    }
}

impl Commits {
    pub(crate) async fn replay(
        &mut self,
        letters: &[u64],
        changes: &mut Changes,
        shared: &Shared,
    ) -> Result<Vec<u64>, sqlx::Error> {
        let mut moved = Vec::new();
        for letter in letters {
            let found = sqlx::query(
                "SELECT n.text, d.source, d.topic, d.payload, d.time, d.envelope FROM dead_letter d \
                 JOIN name n ON n.id = d.module WHERE d.id = ?",
            )
            .bind(letter.cast_signed())
            .fetch_optional(&mut self.connection)
            .await?;
            let Some(row) = found else {
                continue;
            };
            let module: String = row.try_get(0)?;
            let record = record(&row, &*self.clock)?;
            let (Ok(module), Some(record)) = (Name::new(&module), record) else {
                tracing::error!("message {letter} that was set aside is damaged");
                continue;
            };
            let query = sqlx::query("DELETE FROM dead_letter WHERE id = ?");
            self.execute(query.bind(letter.cast_signed())).await?;
            self.put(&module, &[record], changes, shared).await?;
            moved.push(*letter);
        }
        Ok(moved)
    }
}

/// What a dead letter has besides the payload, so that it can be given to its module as it was.
pub(crate) fn envelope(record: &Record, boot: BootId) -> Result<Vec<u8>, sqlx::Error> {
    let mut record = record.without_ack();
    if let Body::Payload(payload) = &mut record.body {
        *payload = Bytes::new();
    }
    encode(&record, boot).map_err(|error| sqlx::Error::Encode(error.into()))
}

/// The message in a letter. It has no id: its module has seen that id, and would take the message for a repetition.
fn record(row: &SqliteRow, clock: &dyn Clock) -> Result<Option<Record>, sqlx::Error> {
    let payload = Bytes::from(row.try_get::<Vec<u8>, _>(3)?);
    let mut record = match row.try_get::<Option<Vec<u8>>, _>(5)? {
        Some(envelope) => match Decoder::new(clock).decode(&envelope) {
            Some(record) => record,
            None => return Ok(None),
        },
        // Set aside by an older version.
        None => {
            let Ok(source) = Name::new(row.try_get::<&str, _>(1)?) else {
                return Ok(None);
            };
            Record {
                channel: Arc::new(Channel {
                    source,
                    topic: row.try_get::<&str, _>(2)?.into(),
                    unit: None,
                }),
                body: Body::Payload(Bytes::new()),
                time: WallTime(row.try_get::<i64, _>(4)?.cast_unsigned()),
                clock: ClockQuality::Unset,
                quality: Quality::Good,
                delivery: DeliveryFlags::default(),
                received: clock.boot_time(),
                properties: Vec::new(),
                id: None,
                ack: Ack::none(),
            }
        }
    };
    if let Body::Payload(bytes) = &mut record.body {
        *bytes = payload;
    }
    record.id = None;
    record.delivery.redelivered = true;
    Ok(Some(record))
}
