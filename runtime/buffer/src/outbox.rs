//! The way out: rows for the centre, publications for the brokers.
//!
//! Reads are short, on a connection of their own, and see only what is committed. What must be written (marks, delivered
//! publications) goes to the writer, which is the only one that writes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use sqlx::{Row, SqliteConnection};
use tidegate_record::{
    Delivery, Epoch, Mark, Name, Outbox, Postbox, Publication, StoredRow, StreamEpoch, Topic,
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::error::Error;
use crate::open::unsigned;
use crate::sequence::{Extent, Place, Sequence};
use crate::writer::{BufferCounters, Request};

/// What the writer and the handles share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) epoch: Epoch,
    pub(crate) sequence: Mutex<Sequence>,
    pub(crate) reader: tokio::sync::Mutex<SqliteConnection>,
    /// Changed after each commit that added rows.
    pub(crate) rows: watch::Sender<()>,
    /// Changed after each commit that added publications.
    pub(crate) posted: watch::Sender<()>,
    pub(crate) counters: BufferCounters,
}

impl Shared {
    pub(crate) fn sequence(&self) -> MutexGuard<'_, Sequence> {
        self.sequence.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way out of the buffer: its [`Outbox`], its [`Postbox`] and its counters.
#[derive(Debug)]
pub struct BufferHandle {
    shared: Arc<Shared>,
    requests: mpsc::Sender<Request>,
    // Behind a lock that only its own `changed` takes: each clone hears every change.
    rows: tokio::sync::Mutex<watch::Receiver<()>>,
    posted: tokio::sync::Mutex<watch::Receiver<()>>,
}

impl Clone for BufferHandle {
    fn clone(&self) -> Self {
        Self::new(self.shared.clone(), self.requests.clone())
    }
}

impl BufferHandle {
    pub(crate) fn new(shared: Arc<Shared>, requests: mpsc::Sender<Request>) -> Self {
        let (rows, posted) = (
            shared.rows.subscribe().into(),
            shared.posted.subscribe().into(),
        );
        Self {
            shared,
            requests,
            rows,
            posted,
        }
    }

    /// This opening of the database.
    pub fn epoch(&self) -> Epoch {
        self.shared.epoch
    }

    /// What the buffer has done since it was opened.
    pub fn counters(&self) -> &BufferCounters {
        &self.shared.counters
    }

    /// Rows that wait for the centre.
    pub fn rows_waiting(&self) -> u64 {
        self.shared.sequence().rows_waiting()
    }

    /// Resolves when everything that was sent to the writer before is on disk.
    ///
    /// # Errors
    /// When the writer has ended.
    pub async fn flushed(&self) -> Result<(), Error> {
        self.request(|done| Request::Marks(Vec::new(), done)).await
    }

    async fn request(
        &self,
        request: impl FnOnce(oneshot::Sender<()>) -> Request,
    ) -> Result<(), Error> {
        let (done, committed) = oneshot::channel();
        self.requests
            .send(request(done))
            .await
            .map_err(|_| Error::Closed)?;
        committed.await.map_err(|_| Error::Closed)
    }
}

impl Outbox for BufferHandle {
    type Error = Error;

    async fn next(&self, rows_max: usize) -> Result<Vec<(StreamEpoch, Vec<StoredRow>)>, Error> {
        let mut waiting = self.shared.sequence().waiting();
        // Short streams first: what they leave of their share goes to the long ones.
        waiting.sort_by_key(|(_, extent)| extent.last - extent.mark);
        let mut reader = self.shared.reader.lock().await;
        let (mut rows, mut left, mut places) = (Vec::new(), rows_max, waiting.len());
        for (place, extent) in waiting {
            // Each stream gets an equal share of what is left, so that a long one does not hold up the others.
            let share = left.div_ceil(places.max(1));
            let read = read(&mut reader, place, &extent, share).await?;
            left -= read.len().min(left);
            places -= 1;
            if !read.is_empty() {
                rows.push((extent.of, read));
            }
        }
        Ok(rows)
    }

    async fn acknowledged(&self, marks: &[Mark]) -> Result<(), Error> {
        self.request(|done| Request::Marks(marks.to_vec(), done))
            .await
    }

    async fn changed(&self) {
        wait(&self.rows).await;
    }
}

impl Postbox for BufferHandle {
    type Error = Error;

    async fn next(
        &self,
        broker: &Name,
        after: u64,
        publications_max: usize,
    ) -> Result<Vec<(u64, Publication)>, Error> {
        let mut reader = self.shared.reader.lock().await;
        let rows = sqlx::query(
            "SELECT id, topic, payload, content_type, retain FROM publication WHERE broker = ? AND id > ? ORDER BY id LIMIT ?",
        )
        .bind(broker.as_str())
        .bind(after.cast_signed())
        .bind(i64::try_from(publications_max).unwrap_or(i64::MAX))
        .fetch_all(&mut *reader)
        .await
        .map_err(Error::Read)?;
        rows.iter().map(|row| publication(row, broker)).collect()
    }

    async fn delivered(&self, ids: &[u64]) -> Result<(), Error> {
        self.request(|done| Request::Delivered(ids.to_vec(), done))
            .await
    }

    async fn posted(&self) {
        wait(&self.posted).await;
    }
}

/// The sender lives as long as the handle, so that an error cannot come; it would mean that nothing changes any more.
async fn wait(receiver: &tokio::sync::Mutex<watch::Receiver<()>>) {
    if receiver.lock().await.changed().await.is_err() {
        std::future::pending().await
    }
}

async fn read(
    reader: &mut SqliteConnection,
    place: Place,
    extent: &Extent,
    rows_max: usize,
) -> Result<Vec<StoredRow>, Error> {
    let found = sqlx::query(
        "SELECT body, seq FROM row WHERE stream = ? AND epoch = ? AND seq > ? ORDER BY seq LIMIT ?",
    )
    .bind(place.0)
    .bind(place.1.cast_signed())
    .bind(extent.mark.cast_signed())
    .bind(i64::try_from(rows_max).unwrap_or(i64::MAX))
    .fetch_all(reader)
    .await
    .map_err(Error::Read)?;
    let mut rows = Vec::with_capacity(found.len());
    for row in found {
        let body: &[u8] = row.try_get(0).map_err(Error::Read)?;
        let seq = unsigned("seq", row.try_get(1).map_err(Error::Read)?)?;
        let damaged = |source| Error::Damaged {
            stream: extent.of.stream.to_string(),
            seq,
            source,
        };
        rows.push(minicbor::decode(body).map_err(damaged)?);
    }
    Ok(rows)
}

fn publication(row: &sqlx::sqlite::SqliteRow, broker: &Name) -> Result<(u64, Publication), Error> {
    let id: i64 = row.try_get(0).map_err(Error::Read)?;
    let topic: &str = row.try_get(1).map_err(Error::Read)?;
    let payload: Vec<u8> = row.try_get(2).map_err(Error::Read)?;
    let content_type: Option<&str> = row.try_get(3).map_err(Error::Read)?;
    let publication = Publication {
        broker: broker.clone(),
        topic: Topic::new(topic).map_err(|_| Error::Impossible {
            what: "a publication with number",
            value: id,
        })?,
        payload: Bytes::from(payload),
        content_type: content_type.map(Into::into),
        retain: row.try_get(4).map_err(Error::Read)?,
        delivery: Delivery::Durable,
    };
    Ok((unsigned("publication", id)?, publication))
}
