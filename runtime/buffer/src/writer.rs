//! The loop that groups what is to be committed, commits it, and then fires the acks.
//!
//! Ends when the modules and the handles have gone and the queues are empty, or at the first failed commit, with its
//! error: what it holds stays unacknowledged and comes again after a restart. Only a commit that found no room is tried
//! again, because it failed before anything was written.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidegate_record::{Applied, Limits, Mark, Pulse, StreamEpoch};
use tokio::sync::{mpsc, oneshot};

use crate::commit::{Commits, Group};
use crate::error::Error;
use crate::latency::Latency;
use crate::lock::Lock;
use crate::open::{Config, Profile};
use crate::outbox::Shared;
use crate::roster::Roster;
use crate::sequence::{Destination, Place};
use crate::space::LOG_BYTES_MAX;
use crate::{quarantine, tally};

/// Longest that the flash profile lets an outcome wait for others.
const FLASH_WAIT: Duration = Duration::from_secs(1);
/// Messages that the flash profile waits for.
const FLASH_MESSAGES: usize = 100;
/// A centre that takes so many rows at once drains a backlog: its marks do not wait.
const FLASH_ROWS_AT_ONCE: u64 = 1000;
/// Wait before a commit that found no room is tried again.
const FULL_WAIT: Duration = Duration::from_secs(1);
/// Wait for whoever holds the database open, before the write-ahead log is looked at again.
const LOG_WAIT: Duration = Duration::from_millis(200);

/// What the handles ask of the writer; answered after the commit.
#[derive(Debug)]
pub(crate) enum Request {
    /// This centre holds these; answered with whether one went back.
    Marks(Destination, Vec<Mark>, oneshot::Sender<bool>),
    /// The broker acknowledged these publications.
    Delivered(Vec<u64>, oneshot::Sender<()>),
    /// Answered when everything that was sent to the writer before is on disk.
    Flush(oneshot::Sender<()>),
    /// So many rows of these places are about to be sent.
    Sending(Vec<(Place, usize)>, oneshot::Sender<()>),
    /// A reader found the database damaged.
    Damaged(String),
    /// These dead letters are to be given to their modules again; answered with those that were there.
    Replay(Vec<u64>, oneshot::Sender<Vec<u64>>),
    /// Rows are to be numbered in a new epoch.
    Epoch(oneshot::Sender<()>),
    /// What waits for the centre is about to be exported.
    Export(oneshot::Sender<()>),
    /// A file has these, and is on disk.
    Exported(HashMap<StreamEpoch, u64>, oneshot::Sender<()>),
}

/// What the buffer has done since it was opened.
#[derive(Debug, Default)]
pub struct BufferCounters {
    /// Transactions.
    pub commits: AtomicU64,
    /// Rows written.
    pub rows: AtomicU64,
    /// Messages set aside.
    pub dead_letters: AtomicU64,
    /// Commits that found no room, in the quota or on the disk, and were tried again.
    pub full: AtomicU64,
    /// Bytes on disk: database, write-ahead log and ballast.
    pub bytes_used: AtomicU64,
    /// From the receipt of the first message of a call to the return of its commit.
    pub in_to_durable: Latency,
    /// The writer's: it waits for modules and handles, and commits.
    pub pulse: Pulse,
}

/// The only writer of the database.
#[derive(Debug)]
pub struct Writer {
    pub(crate) commits: Commits,
    pub(crate) shared: Arc<Shared>,
    pub(crate) queue: mpsc::Receiver<Applied>,
    pub(crate) waiting: mpsc::Receiver<Request>,
    pub(crate) config: Config,
    pub(crate) limits: Arc<Limits>,
    pub(crate) roster: Roster,
    /// Keeps a second process out for as long as this one writes.
    pub(crate) lock: Lock,
}

impl Writer {
    /// Commits until the modules and the handles have gone.
    ///
    /// # Errors
    /// When a commit fails. Nothing of it is acknowledged; the process should end and start again.
    pub async fn run(mut self) -> Result<(), Error> {
        let mut group = Group::default();
        while self.gather(&mut group).await {
            #[cfg(feature = "faults")]
            crate::faults::acknowledge_too_early(&mut group);
            if let Err(error) = self.commit(&mut group).await {
                if error.is_damage() {
                    quarantine::note(&self.config.path, &error);
                }
                return Err(error);
            }
            self.report(&mut group);
        }
        let closed = self.commits.close(&self.shared).await;
        self.shared.counters.pulse.end();
        closed
    }

    /// Commits. A quota or disk without room is waited out: nothing is acknowledged meanwhile, and so the brokers keep
    /// what comes.
    async fn commit(&mut self, group: &mut Group) -> Result<(), Error> {
        for request in &group.requests {
            if let Request::Damaged(what) = request {
                return Err(Error::Damaged(what.clone()));
            }
        }
        let mut full = false;
        loop {
            match self.commits.commit(group, &self.shared).await {
                Ok(()) => break,
                Err(error) if error.is_full() => self.wait_for_room(&error, full, group).await?,
                Err(error) => return Err(error),
            }
            full = true;
        }
        if full {
            tracing::info!("there is room for commits again");
            self.commits.space.lay_ballast();
        }
        self.bound_log().await
    }

    async fn wait_for_room(
        &mut self,
        error: &Error,
        again: bool,
        group: &mut Group,
    ) -> Result<(), Error> {
        if !again {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            tracing::error!(
                "no room for a commit, nothing is acknowledged until there is: {}",
                cause.unwrap_or_default()
            );
        }
        self.shared.counters.full.fetch_add(1, Ordering::Relaxed);
        self.shared.counters.pulse.beat();
        self.commits.space.drop_ballast();
        match self.commits.make_room(&self.shared).await {
            Ok(true) => Ok(()),
            Ok(false) => self.wait_for_marks(group).await,
            // On a full disk not even a delete may succeed.
            Err(error) if error.is_full() => {
                tokio::time::sleep(FULL_WAIT).await;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Nothing can give way: only the centre, by taking rows, or someone who frees the disk can help.
    async fn wait_for_marks(&mut self, held: &mut Group) -> Result<(), Error> {
        let mut group = Group::default();
        tokio::select! {
            Some(request) = self.waiting.recv() => match request {
                Request::Flush(_) => held.requests.push(request),
                Request::Damaged(what) => return Err(Error::Damaged(what)),
                other => group.requests.push(other),
            },
            () = tokio::time::sleep(FULL_WAIT) => {}
        }
        if group.requests.is_empty() {
            return Ok(());
        }
        match self.commits.commit(&mut group, &self.shared).await {
            Ok(()) => self.report(&mut group),
            // The request is not answered: whoever asked learns that nothing was written.
            Err(error) if error.is_full() => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Keeps the write-ahead log within its bound. Our own reader is made to wait; while someone else holds the database
    /// open, nothing is acknowledged.
    async fn bound_log(&mut self) -> Result<(), Error> {
        let mut told = false;
        while self.commits.space.log_bytes() > LOG_BYTES_MAX {
            let _idle = self.shared.reader.lock().await;
            if self.commits.reset_log().await? {
                break;
            }
            if !std::mem::replace(&mut told, true) {
                tracing::error!(
                    "another program holds {} open: nothing is acknowledged until it lets go, because the write-ahead log has \
                     {} bytes",
                    self.config.path.display(),
                    self.commits.space.log_bytes()
                );
            }
            self.shared.counters.pulse.beat();
            tokio::time::sleep(LOG_WAIT).await;
        }
        Ok(())
    }

    /// Waits for work and takes what there is; false when there will be none: the modules have gone, and so has everyone
    /// who could ask for something.
    async fn gather(&mut self, group: &mut Group) -> bool {
        let filling = self.commits.is_filling(&self.shared);
        let work = async {
            tokio::select! {
                biased;
                Some(applied) = self.queue.recv() => group.applied.push(applied),
                Some(request) = self.waiting.recv() => group.requests.push(request),
                // Nothing else to do: go on making room, in no hurry where there is some.
                () = tokio::time::sleep(self.commits.rest()), if filling => {}
                else => return false,
            }
            true
        };
        if !self.shared.counters.pulse.during(work).await {
            return false;
        }
        while group.applied.len() < self.limits.commit_applied_max
            && let Ok(applied) = self.queue.try_recv()
        {
            group.applied.push(applied);
        }
        if self.config.profile == Profile::Flash && !group.is_empty() {
            self.wait_for_more(group).await;
        }
        while group.requests.len() < self.limits.applied_queue_max
            && let Ok(request) = self.waiting.try_recv()
        {
            group.requests.push(request);
        }
        true
    }

    async fn wait_for_more(&mut self, group: &mut Group) {
        let deadline = tokio::time::sleep(FLASH_WAIT);
        tokio::pin!(deadline);
        while group.messages() < FLASH_MESSAGES
            && group.applied.len() < self.limits.commit_applied_max
            && group.requests.iter().all(|request| self.can_wait(request))
        {
            tokio::select! {
                () = &mut deadline => return,
                applied = self.queue.recv() => match applied {
                    Some(applied) => group.applied.push(applied),
                    None => return,
                },
                Some(request) = self.waiting.recv() => group.requests.push(request),
            }
        }
    }

    /// Whether a request is worth no commit of its own: what a crash loses of it is said again.
    fn can_wait(&self, request: &Request) -> bool {
        let messages = match request {
            Request::Marks(by, marks, _) => self.shared.sequence().moves(*by, marks),
            Request::Delivered(ids, _) => u64::try_from(ids.len()).unwrap_or(u64::MAX),
            _ => return false,
        };
        messages < FLASH_ROWS_AT_ONCE
    }

    /// It is on disk: says so to the sources, the readers and the counters.
    fn report(&mut self, group: &mut Group) {
        if let Some(epoch) = group.epoch.take() {
            self.lock.remember(epoch.ordinal);
        }
        self.shared.report_inboxes(&group.inboxes);
        let inboxes = self.shared.inboxes.borrow().waiting();
        self.roster.write(&self.shared.sequence(), inboxes);
        let counters = &self.shared.counters;
        counters.commits.fetch_add(1, Ordering::Relaxed);
        let now = self.commits.clock.boot_time();
        let (mut rows, mut rejections, mut publications) = (0, 0, 0);
        for applied in group.applied.drain(..) {
            rows += applied.rows.len();
            rejections += applied.rejections.len();
            publications += applied.publications.len();
            if let Some(received) = applied.received {
                counters.in_to_durable.record(now.since(received));
            }
            for ack in applied.acks {
                ack.committed();
            }
        }
        let used = self.commits.space.bytes_used();
        counters.bytes_used.store(used, Ordering::Relaxed);
        for (_, tally) in std::mem::take(&mut group.tallies) {
            tally::add(&mut self.shared.tallies(), tally);
        }
        count(&counters.rows, rows);
        count(&counters.dead_letters, rejections);
        if rows > 0 {
            self.shared.rows.send_replace(());
        }
        if publications > 0 {
            self.shared.posted.send_replace(());
        }
        for request in group.requests.drain(..) {
            // An error means that nobody waits any more: the answer was for nobody else.
            let _gone = match request {
                Request::Marks(_, _, done) => done.send(group.went_back).is_err(),
                Request::Delivered(_, done)
                | Request::Sending(_, done)
                | Request::Flush(done)
                | Request::Epoch(done)
                | Request::Export(done)
                | Request::Exported(_, done) => done.send(()).is_err(),
                Request::Replay(_, done) => {
                    let moved = group.inboxes.replayed.pop_front();
                    done.send(moved.unwrap_or_default()).is_err()
                }
                Request::Damaged(_) => false,
            };
        }
    }
}

fn count(counter: &AtomicU64, more: usize) {
    counter.fetch_add(u64::try_from(more).unwrap_or(u64::MAX), Ordering::Relaxed);
}
