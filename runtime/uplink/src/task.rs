//! The loop: take rows, send them, move the marks, wait.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tidegate_record::{Backoff, Clock, Limits, Name, Outbox, StoredRow, StreamEpoch};
use tidegate_wire::{GatewayStatus, StreamRows, SyncReply, SyncRequest};
use tokio::sync::watch;

use crate::budget::{Grant, Meter};
use crate::counters::UplinkCounters;
use crate::course::{Course, Turn};
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::failover::{Duty, Role};

/// Sends what waits in an outbox.
pub struct Uplink<O> {
    /// How to reach the centre.
    pub endpoint: Endpoint,
    /// Whose rows.
    pub gateway: Name,
    /// The rows.
    pub outbox: O,
    /// What the gateway says of itself.
    pub status: Arc<dyn Fn() -> GatewayStatus + Send + Sync>,
    /// What it has done.
    pub counters: Arc<UplinkCounters>,
    /// What it is for, where there are two centres.
    pub role: Role,
    /// What may be spent; none for a link that is not metered.
    pub meter: Option<Arc<Meter>>,
    /// Bounds.
    pub limits: Arc<Limits>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

impl<O> std::fmt::Debug for Uplink<O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uplink")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// Streams and epochs that one request asks for: the centre's bound (docs/formats/wire.md). Older ones are not asked for,
/// and their rows are sent from where the gateway thinks that the centre stands.
const KNOWN_MAX: usize = 2000;

/// Before a longer wait than this the connection is closed, so that a quiet gateway holds none.
const IDLE_CONNECTION: Duration = Duration::from_secs(90);

/// What waits in the outbox.
type Waiting = Vec<(StreamEpoch, Vec<StoredRow>)>;

/// Whether the centre's marks are known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Marks {
    Unknown,
    Known,
}

/// What came of one round.
enum Round {
    /// The centre's marks were asked for.
    Greeted,
    /// The centre answered; so many rows were sent.
    Answered(usize),
    /// The centre holds less than before: it was restored from a backup, and all its marks are asked for again.
    Restored,
    /// Nothing may go, or nothing is there.
    Quiet,
}

impl Round {
    /// What is known of the marks after it, and was before.
    const fn marks(&self, before: Marks) -> Marks {
        match self {
            Self::Greeted | Self::Answered(_) => Marks::Known,
            Self::Restored => Marks::Unknown,
            Self::Quiet => before,
        }
    }
}

/// A request that may go.
struct Request {
    message: Arc<SyncRequest>,
    /// About what it takes on the wire.
    bytes: usize,
    /// Rows in it, and whether there may be more.
    sent: usize,
    full: bool,
}

impl<O: Outbox> Uplink<O> {
    /// Syncs until `stop` is true; then sends what still waits, as long as the centre takes it, and ends.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let (role, counters) = (self.role.clone(), self.counters.clone());
        let pulse = &counters.pulse;
        let mut backoff = Backoff::new(self.limits.backoff_min, self.limits.backoff_max);
        let mut course = Course::new(&self.limits);
        let mut marks = Marks::Unknown;
        loop {
            let last = *stop.borrow_and_update();
            let turn = match pulse.during(role.duty()).await {
                Duty::Rows(turn) => turn,
                Duty::Probe | Duty::Off if last => break,
                Duty::Probe => {
                    marks = Marks::Unknown;
                    None
                }
                Duty::Off => {
                    marks = Marks::Unknown;
                    self.endpoint.rest();
                    let called = async {
                        tokio::select! {
                            () = role.called() => {}
                            _ = stop.changed() => {}
                        }
                    };
                    pulse.during(called).await;
                    continue;
                }
            };
            let outcome = self.round(&mut course, marks, last).await;
            drop(turn);
            let pause = match outcome {
                Ok(Round::Quiet | Round::Answered(0)) if last => break,
                Err(_) if last => break,
                Ok(round) => {
                    marks = round.marks(marks);
                    self.heard(&round, &mut backoff)
                }
                Err(error) => {
                    marks = Marks::Unknown;
                    Some(self.failed(&error, &mut backoff))
                }
            };
            match pause {
                Some(pause) => {
                    let paused = tokio::time::timeout(pause, stop.changed());
                    let _stopped = pulse.during(paused).await;
                }
                None if last => {}
                None => pulse.during(self.wait(&course, &mut stop)).await,
            }
            self.keep_account(false).await;
        }
        self.keep_account(true).await;
        pulse.end();
    }

    /// Sends what may go now, and moves the marks.
    async fn round(
        &mut self,
        course: &mut Course,
        marks: Marks,
        last: bool,
    ) -> Result<Round, Error> {
        let begun = self.clock.boot_time();
        let waiting = (self.status)().rows_waiting;
        let Some(turn) = course.turn(begun, self.grant(), waiting, last) else {
            return Ok(Round::Quiet);
        };
        let Some(request) = self.request(marks, &turn).await? else {
            course.quiet();
            return Ok(Round::Quiet);
        };
        let reply = self.exchange(&request).await?;
        let restored = self.settle(&reply, &request).await;
        let now = self.clock.boot_time();
        course.answered((begun, now), request.sent, request.full, &reply);
        self.counters.expect_silence(course.silence(self.grant()));
        let restored = restored?;
        if marks == Marks::Unknown {
            let connected = self.counters.pulse.during(self.outbox.connected());
            connected.await.map_err(outbox)?;
        }
        Ok(match (restored, marks) {
            (true, _) => Round::Restored,
            (false, Marks::Unknown) => Round::Greeted,
            (false, Marks::Known) => Round::Answered(request.sent),
        })
    }

    /// The largest request that may go. While the centre's marks are not known it has no rows, and asks for all marks;
    /// one without rows asks for those of the present, to notice a centre that was restored from a backup.
    async fn request(&mut self, marks: Marks, turn: &Turn) -> Result<Option<Request>, Error> {
        let mut rows_max = turn.rows_max;
        loop {
            let waiting = match marks {
                Marks::Unknown => Vec::new(),
                Marks::Known => {
                    let next = self.outbox.next(rows_max, turn.least);
                    let next = self.counters.pulse.during(next);
                    next.await.map_err(outbox)?
                }
            };
            let sent: usize = waiting.iter().map(|(_, rows)| rows.len()).sum();
            let known = match marks {
                Marks::Unknown => self.outbox.known(false),
                Marks::Known if sent == 0 && !turn.poll => return Ok(None),
                Marks::Known if sent == 0 => self.outbox.known(true),
                Marks::Known => Vec::new(),
            };
            let message = Arc::new(self.message(waiting, known));
            let bytes_max = self.bytes_max(turn);
            match self.endpoint.pack(&message).await {
                Ok(bytes) if sent > 1 && bytes > bytes_max => {
                    // About as many as the budget has left.
                    let fit = sent.saturating_mul(bytes_max) / bytes;
                    rows_max = fit.clamp(1, sent - 1);
                }
                Ok(bytes) => {
                    return Ok(Some(Request {
                        message,
                        bytes,
                        sent,
                        full: sent >= rows_max || marks == Marks::Unknown,
                    }));
                }
                Err(Error::Message(tidegate_wire::Error::TooLarge { .. })) if sent > 1 => {
                    rows_max = sent / 2;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn message(&self, waiting: Waiting, mut known: Vec<StreamEpoch>) -> SyncRequest {
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

    async fn exchange(&mut self, request: &Request) -> Result<SyncReply, Error> {
        let bytes = request.bytes;
        let before = self.meter.as_ref().map(|meter| meter.carried());
        let sending = self.endpoint.send(&request.message);
        let reply = self.counters.pulse.during(sending).await?;
        self.counters.count(request.sent, bytes);
        if let Some((meter, before)) = self.meter.as_ref().zip(before) {
            let rows = if request.sent > 0 { bytes } else { 0 };
            meter.exchanged(before, rows);
        }
        Ok(reply)
    }

    /// Moves the marks. A centre that takes nothing is not asked again at once. Answers whether a mark went back.
    async fn settle(&self, reply: &SyncReply, request: &Request) -> Result<bool, Error> {
        let moved = request.message.rows.iter().any(|rows| {
            let first = rows.rows.first().map_or(0, StoredRow::first);
            let mut marks = reply.marks.iter();
            marks.any(|mark| mark.of == rows.of && mark.seq >= first)
        });
        let mut restored = false;
        if !reply.marks.is_empty() {
            let outcome = self.outbox.acknowledged(&reply.marks);
            let outcome = self.counters.pulse.during(outcome);
            restored = outcome.await.map_err(outbox)?;
        }
        match request.sent > 0 && !moved && !restored {
            true => Err(Error::NoProgress(request.sent)),
            false => Ok(restored),
        }
    }

    /// Waits until rows wait and may go, or until the centre wants to hear again.
    async fn wait(&mut self, course: &Course, stop: &mut watch::Receiver<bool>) {
        let (rest, poll) = course.pauses(self.clock.boot_time(), self.grant());
        if rest > IDLE_CONNECTION || (poll > IDLE_CONNECTION && self.outbox.is_empty()) {
            self.endpoint.rest();
        }
        let rows = async {
            tokio::time::sleep(rest).await;
            while self.outbox.is_empty() {
                self.outbox.changed().await;
            }
        };
        tokio::select! {
            () = rows => {}
            () = tokio::time::sleep(poll) => {}
            _ = stop.changed() => {}
        }
    }

    /// Notes what the centre did. Answers how long to wait before it is asked again, where that does not depend on rows.
    fn heard(&self, round: &Round, backoff: &mut Backoff) -> Option<Duration> {
        if !matches!(round, Round::Quiet) {
            self.counters.outcome(None);
            self.role.answered(self.clock.boot_time());
        }
        if self.role.is_probing() || matches!(round, Round::Restored) {
            return Some(backoff.jittered());
        }
        // To hear where the centre stands is no progress yet: what follows may fail as before.
        if matches!(round, Round::Answered(1..)) || self.outbox.is_empty() {
            backoff.reset();
            self.role.progressed();
        }
        None
    }

    /// Tells what failed, once, and answers how long to wait.
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
        self.role.failed(self.clock.boot_time());
        let wait = backoff.jittered();
        match error {
            Error::Refused {
                retry_after: Some(seconds),
                ..
            } => wait.max(Duration::from_secs(*seconds).min(self.limits.sync_poll_max)),
            _ => wait,
        }
    }

    fn grant(&self) -> Grant {
        self.meter
            .as_ref()
            .map_or(Grant::UNMETERED, |meter| meter.grant())
    }

    /// What the budget leaves for a request's body.
    fn bytes_max(&self, turn: &Turn) -> usize {
        let overhead = self.meter.as_ref().map_or(0, |meter| meter.overhead());
        usize::try_from(turn.bytes_max.saturating_sub(overhead)).unwrap_or(usize::MAX)
    }

    async fn keep_account(&self, end: bool) {
        if let Some(meter) = &self.meter {
            meter.keep(end).await;
        }
    }
}

fn outbox(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Outbox(Box::new(error))
}
