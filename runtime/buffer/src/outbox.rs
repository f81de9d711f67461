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

use crate::error::{Error, unsigned};

use crate::rows;
use crate::sequence::{Extent, Place, Sequence};
use crate::tally::{Tallies, Tally};
use crate::writer::{BufferCounters, Request};

/// Rows that wait when the link comes back, from which on they are a backlog: what is kept from then on overtakes it.
const BACKLOG_ROWS_MIN: u64 = 10_000;

/// What the writer and the handles share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) sequence: Mutex<Sequence>,
    pub(crate) reader: tokio::sync::Mutex<SqliteConnection>,
    /// Changed after each commit that added rows.
    pub(crate) rows: watch::Sender<()>,
    /// Changed after each commit that added publications.
    pub(crate) posted: watch::Sender<()>,
    pub(crate) counters: BufferCounters,
    /// The database's own number: a new one means that everything before was set aside.
    pub(crate) database: u64,
    pub(crate) tallies: Mutex<Tallies>,
}

impl Shared {
    pub(crate) fn sequence(&self) -> MutexGuard<'_, Sequence> {
        self.sequence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tallies(&self) -> MutexGuard<'_, Tallies> {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// The epoch in which rows are numbered now.
    pub fn epoch(&self) -> Epoch {
        self.shared.sequence().epoch()
    }

    /// What the buffer has done since it was opened.
    pub fn counters(&self) -> &BufferCounters {
        &self.shared.counters
    }

    /// The database's own number: another one means that an earlier one was set aside.
    pub fn database(&self) -> u64 {
        self.shared.database
    }

    /// Messages that were taken and led to nothing.
    pub fn tallies(&self) -> Vec<Tally> {
        self.shared.tallies().values().cloned().collect()
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
        self.request(Request::Flush).await
    }

    async fn request<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, Error> {
        let (done, committed) = oneshot::channel();
        self.requests
            .send(request(done))
            .await
            .map_err(|_| Error::Closed)?;
        committed.await.map_err(|_| Error::Closed)
    }
}

/// Rows follow the mark and each other. A flipped bit in a key moves a row to where it was never put.
fn check_order(extent: &Extent, rows: &[StoredRow]) -> Result<(), Error> {
    let mut next = extent.mark.saturating_add(1);
    for row in rows {
        if row.first() > next || row.seq < next {
            return Err(Error::Impossible {
                what: "a row out of its order, with number",
                value: row.seq.cast_signed(),
            });
        }
        next = row.seq.saturating_add(1);
    }
    Ok(())
}

type Found = Vec<(Place, StreamEpoch, Vec<StoredRow>)>;

impl BufferHandle {
    /// Each stream gets an equal share of what is left, so that a long one does not hold up the others; what a short one
    /// leaves of its share goes to those after it. The present has all of it before the backlog.
    async fn read(&self, rows_max: usize) -> Result<Found, Error> {
        let (waiting, now) = {
            let sequence = self.shared.sequence();
            (sequence.waiting(), sequence.epoch().ordinal)
        };
        let mut reader = self.shared.reader.lock().await;
        let (mut found, mut left, mut places) = (Vec::new(), rows_max, waiting.len());
        for (place, extent) in waiting {
            if left == 0 {
                break;
            }
            let present = place.1 == now;
            let share = if present {
                left
            } else {
                left.div_ceil(places.max(1))
            };
            let from = extent.mark.saturating_add(1);
            let read = rows::read(&mut reader, place, from, share).await;
            let read = read.map_err(|error| self.failed(Error::Read(error)))?;
            check_order(&extent, &read).map_err(|error| self.failed(error))?;
            left -= read.len().min(left);
            places = places.saturating_sub(1);
            if !read.is_empty() {
                found.push((place, extent.of, read));
            }
        }
        Ok(found)
    }

    /// Damage that a reader finds is the writer's to deal with.
    fn failed(&self, error: Error) -> Error {
        if error.is_damage() {
            let cause = std::error::Error::source(&error)
                .map_or_else(|| error.to_string(), ToString::to_string);
            let told = self.requests.try_send(Request::Damaged(cause));
            if told.is_err() {
                tracing::warn!("the buffer's writer is busy and hears of the damage later");
            }
        }
        error
    }
}

impl Outbox for BufferHandle {
    type Error = Error;

    fn epoch(&self) -> Epoch {
        Self::epoch(self)
    }

    fn known(&self, current: bool) -> Vec<StreamEpoch> {
        self.shared.sequence().known(current)
    }

    async fn connected(&self) -> Result<(), Error> {
        if self.shared.sequence().rows_waiting_now() < BACKLOG_ROWS_MIN {
            return Ok(());
        }
        self.request(Request::Epoch).await
    }

    fn is_empty(&self) -> bool {
        self.rows_waiting() == 0
    }

    async fn next(&self, rows_max: usize) -> Result<Vec<(StreamEpoch, Vec<StoredRow>)>, Error> {
        loop {
            let before = self.shared.sequence().rewrites();
            let found = self.read(rows_max).await?;
            // From here on they are not rewritten. Those that are being rewritten this moment are read again after that.
            let (unchanged, unnoted) = {
                let mut sequence = self.shared.sequence();
                let mut unnoted = Vec::new();
                for (place, _, rows) in &found {
                    let last = rows.last().map_or(0, |row| row.seq);
                    if sequence.send(*place, last) {
                        unnoted.push(*place);
                    }
                }
                (sequence.rewrites().none_since(before), unnoted)
            };
            if !unnoted.is_empty() || !unchanged {
                self.request(|done| Request::Sending(unnoted, done)).await?;
            }
            if unchanged {
                return Ok(found.into_iter().map(|(_, of, rows)| (of, rows)).collect());
            }
        }
    }

    async fn acknowledged(&self, marks: &[Mark]) -> Result<bool, Error> {
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
        .map_err(|error| self.failed(Error::Read(error)))?;
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
