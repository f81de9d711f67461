//! The way out: rows for the centre, publications for the brokers.
//!
//! Reads are short, on a connection of their own, and see only what is committed. What must be written (marks, delivered
//! publications) goes to the writer, which is the only one that writes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use sqlx::{Row, SqliteConnection};
use tidegate_record::{
    Class, Clock, Delivery, Epoch, Mark, Name, Outbox, Postbox, Publication, Reason, StoredRow,
    StreamEpoch, Topic, WallTime,
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::error::{Error, unsigned};

use crate::inbox::Inboxes;
use crate::restamp::restamp;
use crate::rows::{self, Bound};
use crate::sequence::{Destination, Place, Sequence};
use crate::tally::{Tallies, Tally};
use crate::writer::{BufferCounters, Request};

/// Rows that are read without letting go of the thread on which messages flow: less than a millisecond's work.
const ROWS_PER_READ: usize = 200;

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
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tallies: Mutex<Tallies>,
    /// Changed after each commit that changed what waits for a module.
    pub(crate) inboxes: watch::Sender<Inboxes>,
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
    pub(crate) shared: Arc<Shared>,
    /// Whose marks it moves.
    destination: Destination,
    requests: mpsc::Sender<Request>,
    // Behind a lock that only its own `changed` takes: each clone hears every change.
    rows: tokio::sync::Mutex<watch::Receiver<()>>,
    posted: tokio::sync::Mutex<watch::Receiver<()>>,
}

impl Clone for BufferHandle {
    fn clone(&self) -> Self {
        self.outbox(self.destination)
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
            destination: Destination::First,
            requests,
            rows,
            posted,
        }
    }

    /// The outbox for this destination. [`Buffer::start`](crate::Buffer::start) gives that for the first.
    pub fn outbox(&self, destination: Destination) -> Self {
        Self {
            destination,
            ..Self::new(self.shared.clone(), self.requests.clone())
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

    /// Rows that wait for this destination.
    pub fn rows_waiting(&self) -> u64 {
        self.shared.sequence().rows_waiting(self.destination)
    }

    /// Resolves when everything that was sent to the writer before is on disk.
    ///
    /// # Errors
    /// When the writer has ended.
    pub async fn flushed(&self) -> Result<(), Error> {
        self.request(Request::Flush).await
    }

    pub(crate) async fn request<T>(
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

/// Rows of one place, as they are read.
struct Found {
    place: Place,
    of: StreamEpoch,
    /// The number before the first.
    after: u64,
    rows: Vec<StoredRow>,
    /// How far rows had been about to be sent before these were read.
    sent: u64,
    /// Why the numbers from the mark to `after` do not come.
    skipped: Option<(u64, Reason)>,
}

impl Found {
    /// Rows follow the mark and each other. A flipped bit in a key moves a row to where it was never put.
    fn check(&self) -> Result<(), Error> {
        let mut next = self.after.saturating_add(1);
        for row in &self.rows {
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

    /// Only those that had been about to be sent before.
    fn keep_sent(&mut self) {
        self.rows.retain(|row| row.seq <= self.sent);
    }

    fn last(&self) -> u64 {
        self.rows.last().map_or(self.after, |row| row.seq)
    }

    /// With an entry in place of what is skipped.
    fn into_rows(self, now: WallTime) -> (StreamEpoch, Vec<StoredRow>) {
        let entry = self.skipped.map(|(mark, reason)| {
            let (from, rows) = (mark.saturating_add(1), self.after.saturating_sub(mark));
            let entry = rows::lost(
                self.after,
                (rows > 1).then_some(from),
                Class::Raw,
                reason,
                rows,
            );
            StoredRow { time: now, ..entry }
        });
        (self.of, entry.into_iter().chain(self.rows).collect())
    }
}

/// Rows of a place, a few at a time: messages flow in between.
async fn read_rows(
    reader: &mut SqliteConnection,
    place: Place,
    mut from: u64,
    bound: &mut Bound,
) -> Result<Vec<StoredRow>, sqlx::Error> {
    let mut all = Vec::new();
    while !bound.is_reached() {
        let mut few = Bound {
            rows: bound.rows.min(ROWS_PER_READ),
            ..*bound
        };
        let read = rows::read(reader, place, from, &mut few).await?;
        let Some(last) = read.last() else {
            break;
        };
        from = last.seq.saturating_add(1);
        bound.rows = bound.rows.saturating_sub(read.len());
        bound.bytes = few.bytes;
        all.extend(read);
        if !few.is_reached() {
            break;
        }
        tokio::task::yield_now().await;
    }
    Ok(all)
}

impl BufferHandle {
    /// Each stream gets an equal share of what is left, so that a long one does not hold up the others; what a short one
    /// leaves of its share goes to those after it. The present has all of it before the backlog.
    async fn read(&self, rows_max: usize, least: Class) -> Result<Vec<Found>, Error> {
        let (waiting, now, second, boots) = {
            let sequence = self.shared.sequence();
            let waiting = sequence.waiting(self.destination, least);
            let now = sequence.epoch().ordinal;
            (waiting, now, sequence.second(), sequence.boots())
        };
        let mut reader = self.shared.reader.lock().await;
        let (mut found, mut left, mut places) = (Vec::new(), Bound::rows(rows_max), waiting.len());
        for (place, extent) in waiting {
            if left.is_reached() {
                break;
            }
            let present = place.1 == now;
            let share = if present {
                left.rows
            } else {
                left.rows.div_ceil(places.max(1))
            };
            let mark = extent.mark_of(self.destination);
            let skipped = extent.skipped(self.destination, second);
            let after = skipped.map_or(mark, |(to, _)| to);
            let entries = usize::from(skipped.is_some());
            let from = after.saturating_add(1);
            let mut bound = Bound {
                rows: share - entries,
                ..left
            };
            let rows = read_rows(&mut reader, place, from, &mut bound).await;
            let mut rows = rows.map_err(|error| self.failed(Error::Read(error)))?;
            let later = rows.iter_mut().filter(|row| row.seq > extent.plain);
            later.for_each(|row| restamp(row, &boots));
            left.rows = left.rows.saturating_sub(rows.len() + entries);
            left.bytes = bound.bytes;
            places = places.saturating_sub(1);
            if rows.len() + entries > 0 {
                found.push(Found {
                    place,
                    of: extent.of,
                    after,
                    rows,
                    sent: extent.sent,
                    skipped: skipped.map(|(_, reason)| (mark, reason)),
                });
            }
        }
        Ok(found)
    }

    /// Damage that a reader finds is the writer's to deal with.
    pub(crate) fn failed(&self, error: Error) -> Error {
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
        if self.shared.sequence().rows_waiting_now(self.destination) < BACKLOG_ROWS_MIN {
            return Ok(());
        }
        self.request(Request::Epoch).await
    }

    fn is_empty(&self) -> bool {
        self.rows_waiting() == 0
    }

    async fn next(
        &self,
        rows_max: usize,
        least: Class,
    ) -> Result<Vec<(StreamEpoch, Vec<StoredRow>)>, Error> {
        let mut again = false;
        loop {
            let before = self.shared.sequence().rewrites();
            let mut found = self.read(rows_max, least).await?;
            // From here on they are not rewritten. Those that are being rewritten this moment are read again after that.
            let (unchanged, unnoted) = {
                let mut sequence = self.shared.sequence();
                let mut unnoted = Vec::new();
                for found in &found {
                    if sequence.send(found.place, found.last()) {
                        unnoted.push((found.place, found.rows.len()));
                    }
                }
                (sequence.rewrites().none_since(before), unnoted)
            };
            if !unnoted.is_empty() || !unchanged {
                self.request(|done| Request::Sending(unnoted, done)).await?;
            }
            if unchanged {
                for found in &found {
                    found.check().map_err(|error| self.failed(error))?;
                }
            } else {
                // What was read before as well has stayed, whatever is rewritten beside it; unless it was deleted.
                found.iter_mut().for_each(Found::keep_sent);
                found.retain(|found| found.skipped.is_some() || !found.rows.is_empty());
                let gaps = found.iter().any(|found| found.check().is_err());
                if !again || gaps || found.is_empty() {
                    again = true;
                    continue;
                }
            }
            let now = self.shared.clock.wall_time();
            let found = found.into_iter();
            return Ok(found.map(|found| found.into_rows(now)).collect());
        }
    }

    async fn acknowledged(&self, marks: &[Mark]) -> Result<bool, Error> {
        self.request(|done| Request::Marks(self.destination, marks.to_vec(), done))
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
