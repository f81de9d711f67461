//! The loop: take rows, send them, move the marks, wait.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidegate_record::{Backoff, Clock, Limits, Name, Outbox, StoredRow, StreamEpoch};
use tidegate_wire::{GatewayStatus, StreamRows, SyncReply, SyncRequest};
use tokio::sync::watch;

use crate::client::Client;
use crate::error::Error;

/// What the uplink has done since the start.
#[derive(Debug, Default)]
pub struct UplinkCounters {
    /// Whether the last exchange succeeded.
    pub connected: AtomicBool,
    /// Exchanges that succeeded.
    pub syncs: AtomicU64,
    /// Rows sent, those sent again included.
    pub rows_sent: AtomicU64,
    /// Bytes of request bodies sent.
    pub bytes_up: AtomicU64,
    error: Mutex<Option<String>>,
}

impl UplinkCounters {
    /// Why the last exchange failed; none when it succeeded.
    pub fn error(&self) -> Option<String> {
        self.error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn outcome(&self, error: Option<String>) {
        self.connected.store(error.is_none(), Ordering::Relaxed);
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }
}

/// Sends what waits in an outbox.
pub struct Uplink<O> {
    /// How to reach the centre.
    pub client: Client,
    /// Whose rows.
    pub gateway: Name,
    /// The rows.
    pub outbox: O,
    /// What the gateway says of itself.
    pub status: Arc<dyn Fn() -> GatewayStatus + Send + Sync>,
    /// What it has done.
    pub counters: Arc<UplinkCounters>,
    /// Bounds.
    pub limits: Arc<Limits>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

impl<O> std::fmt::Debug for Uplink<O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uplink")
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

/// Streams and epochs that one request asks for: the centre's bound (docs/formats/wire.md). Older ones are not asked for,
/// and their rows are sent from where the gateway thinks that the centre stands.
const KNOWN_MAX: usize = 2000;

/// What waits in the outbox.
type Waiting = Vec<(StreamEpoch, Vec<StoredRow>)>;

/// An exchange that succeeded.
struct Exchanged {
    /// Rows that were sent.
    sent: usize,
    /// When the centre wants to hear again.
    poll: Duration,
    /// Whether it holds less than before: it was restored from a backup, and all its marks are asked for again.
    restored: bool,
}

/// Whether the centre's marks are known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Marks {
    Unknown,
    Known,
}

impl<O: Outbox> Uplink<O> {
    /// Syncs until `stop` is true; then sends what still waits, as long as the centre takes it, and ends.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut backoff = Backoff::new(self.limits.backoff_min, self.limits.backoff_max);
        let mut marks = Marks::Unknown;
        let mut rows_max = self.limits.sync_rows_max;
        loop {
            let last = *stop.borrow_and_update();
            let exchanged = self.exchange(marks, rows_max).await;
            match exchanged {
                Ok(Exchanged {
                    sent,
                    poll,
                    restored,
                }) => {
                    self.counters.outcome(None);
                    // To hear where the centre stands is no progress yet: what follows may fail as before.
                    if sent > 0 || self.outbox.is_empty() {
                        backoff.reset();
                    }
                    let now = if restored {
                        Marks::Unknown
                    } else {
                        Marks::Known
                    };
                    let first = std::mem::replace(&mut marks, now) == Marks::Unknown || restored;
                    let backlog = sent >= rows_max;
                    rows_max = self.limits.sync_rows_max;
                    if last && !first && sent == 0 {
                        return;
                    }
                    if !(first || backlog || last) {
                        self.wait(poll, &mut stop).await;
                    }
                }
                Err(_) if last => return,
                Err(Error::Message(tidegate_wire::codec::Error::TooLarge { .. }))
                    if rows_max > 1 =>
                {
                    rows_max /= 2;
                }
                Err(error) => {
                    marks = Marks::Unknown;
                    let pause = self.failed(&error, &mut backoff);
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        _ = stop.changed() => {}
                    }
                }
            }
        }
    }

    /// Waits until rows wait, but for at least the shortest interval, or until the centre wants to hear again.
    async fn wait(&self, poll: Duration, stop: &mut watch::Receiver<bool>) {
        let rows = async {
            tokio::time::sleep(self.limits.sync_interval_min).await;
            while self.outbox.is_empty() {
                self.outbox.changed().await;
            }
        };
        tokio::select! {
            () = rows => {}
            () = tokio::time::sleep(poll.max(self.limits.sync_interval_min)) => {}
            _ = stop.changed() => {}
        }
    }

    /// One exchange. While the centre's marks are not known it sends no rows, and asks for all marks; a request without
    /// rows asks for those of the present, to notice a centre that was restored from a backup.
    async fn exchange(&self, marks: Marks, rows_max: usize) -> Result<Exchanged, Error> {
        let waiting = match marks {
            Marks::Unknown => Vec::new(),
            Marks::Known => self.outbox.next(rows_max).await.map_err(outbox)?,
        };
        let sent = waiting.iter().map(|(_, rows)| rows.len()).sum();
        let known = match marks {
            Marks::Unknown => self.outbox.known(false),
            Marks::Known if waiting.is_empty() => self.outbox.known(true),
            Marks::Known => Vec::new(),
        };
        let request = self.request(waiting, known);
        let (reply, bytes) = self.client.sync(&request).await?;
        self.count(sent, bytes);
        let poll = Duration::from_millis(reply.next_poll_ms.into());
        let restored = self.settle(reply, &request, sent).await?;
        if marks == Marks::Unknown {
            self.outbox.connected().await.map_err(outbox)?;
        }
        Ok(Exchanged {
            sent,
            poll,
            restored,
        })
    }

    fn request(&self, waiting: Waiting, mut known: Vec<StreamEpoch>) -> SyncRequest {
        known.truncate(KNOWN_MAX);
        let rows = waiting
            .into_iter()
            .map(|(of, rows)| StreamRows { of, rows });
        SyncRequest {
            version: tidegate_wire::VERSION,
            gateway: self.gateway.clone(),
            epoch: self.outbox.epoch(),
            sent: self.clock.wall_time(),
            known,
            rows: rows.collect(),
            status: (self.status)(),
        }
    }

    /// Moves the marks. A centre that takes nothing is not asked again at once. Answers whether a mark went back.
    async fn settle(
        &self,
        reply: SyncReply,
        request: &SyncRequest,
        sent: usize,
    ) -> Result<bool, Error> {
        let moved = request.rows.iter().any(|rows| {
            let first = rows.rows.first().map_or(0, StoredRow::first);
            let mut marks = reply.marks.iter();
            marks.any(|mark| mark.of == rows.of && mark.seq >= first)
        });
        let mut restored = false;
        if !reply.marks.is_empty() {
            let outcome = self.outbox.acknowledged(&reply.marks).await;
            restored = outcome.map_err(outbox)?;
        }
        match sent > 0 && !moved && !restored {
            true => Err(Error::NoProgress(sent)),
            false => Ok(restored),
        }
    }

    fn failed(&self, error: &Error, backoff: &mut Backoff) -> Duration {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(source) = cause {
            text.push_str(": ");
            text.push_str(&source.to_string());
            cause = source.source();
        }
        if self.counters.connected.load(Ordering::Relaxed) || self.counters.error().is_none() {
            tracing::warn!("{text}");
        } else {
            tracing::debug!("{text}");
        }
        self.counters.outcome(Some(text));
        let wait = backoff.jittered();
        match error {
            Error::Refused {
                retry_after: Some(seconds),
                ..
            } => wait.max(Duration::from_secs(*seconds)),
            _ => wait,
        }
    }

    fn count(&self, rows: usize, bytes: usize) {
        let counters = &self.counters;
        counters.syncs.fetch_add(1, Ordering::Relaxed);
        counters
            .rows_sent
            .fetch_add(u64::try_from(rows).unwrap_or(u64::MAX), Ordering::Relaxed);
        counters
            .bytes_up
            .fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

fn outbox(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Outbox(Box::new(error))
}
