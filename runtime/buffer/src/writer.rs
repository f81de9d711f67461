//! The loop that groups what is to be committed, commits it, and then fires the acks.
//!
//! Ends when the modules and the handles have gone and the queues are empty, or at the first failed commit, with its error: what it holds
//! stays unacknowledged and comes again after a restart.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidegate_record::{Applied, Limits, Mark};
use tokio::sync::{mpsc, oneshot};

use crate::commit::{Commits, Group};
use crate::error::Error;
use crate::latency::Latency;
use crate::open::Profile;
use crate::outbox::Shared;

/// Longest that the flash profile lets an outcome wait for others.
const FLASH_WAIT: Duration = Duration::from_secs(1);
/// Messages that the flash profile waits for.
const FLASH_MESSAGES: usize = 100;
/// Rows deleted per commit: a large delete would hold up the commits behind it.
const TRIM_ROWS_MAX: u64 = 500;

/// What the handles ask of the writer; answered after the commit.
#[derive(Debug)]
pub(crate) enum Request {
    /// The centre holds these.
    Marks(Vec<Mark>, oneshot::Sender<()>),
    /// The broker acknowledged these publications.
    Delivered(Vec<u64>, oneshot::Sender<()>),
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
    /// From the receipt of the first message of a call to the return of its commit.
    pub in_to_durable: Latency,
}

/// The only writer of the database.
#[derive(Debug)]
pub struct Writer {
    pub(crate) commits: Commits,
    pub(crate) shared: Arc<Shared>,
    pub(crate) queue: mpsc::Receiver<Applied>,
    pub(crate) waiting: mpsc::Receiver<Request>,
    pub(crate) profile: Profile,
    pub(crate) limits: Arc<Limits>,
    /// Keeps a second process out for as long as this one writes.
    pub(crate) _lock: File,
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
            acknowledge_too_early(&mut group);
            let trim = self.shared.sequence().trim(TRIM_ROWS_MAX);
            self.commits.commit(&mut group, trim, &self.shared).await?;
            self.report(&mut group);
        }
        self.commits.close().await
    }

    /// Waits for work and takes what there is; false when there will be none: the modules have gone, and so has everyone
    /// who could ask for something.
    async fn gather(&mut self, group: &mut Group) -> bool {
        let trim_waits = self.shared.sequence().trim_waits();
        tokio::select! {
            biased;
            Some(applied) = self.queue.recv() => group.applied.push(applied),
            Some(request) = self.waiting.recv() => group.requests.push(request),
            // Nothing else to do: go on deleting what the centre holds.
            () = std::future::ready(()), if trim_waits => {}
            else => return false,
        }
        while group.applied.len() < self.limits.commit_applied_max
            && let Ok(applied) = self.queue.try_recv()
        {
            group.applied.push(applied);
        }
        if self.profile == Profile::Flash && group.requests.is_empty() && !group.applied.is_empty()
        {
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
        {
            tokio::select! {
                () = &mut deadline => return,
                applied = self.queue.recv() => match applied {
                    Some(applied) => group.applied.push(applied),
                    None => return,
                },
            }
        }
    }

    /// It is on disk: says so to the sources, the readers and the counters.
    fn report(&self, group: &mut Group) {
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
        count(&counters.rows, rows);
        count(&counters.dead_letters, rejections);
        if rows > 0 {
            self.shared.rows.send_replace(());
        }
        if publications > 0 {
            self.shared.posted.send_replace(());
        }
        for request in group.requests.drain(..) {
            let (Request::Marks(_, done) | Request::Delivered(_, done)) = request;
            // Nobody waits any more: the answer was for nobody else.
            let _gone = done.send(());
        }
    }
}

fn count(counter: &AtomicU64, more: usize) {
    counter.fetch_add(u64::try_from(more).unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// The negative control of the durability tests: the promise is broken on purpose, and they must notice.
#[cfg(feature = "faults")]
fn acknowledge_too_early(group: &mut Group) {
    if std::env::var_os("TIDEGATE_FAULT").is_some_and(|fault| fault == "ack-before-commit") {
        for ack in group
            .applied
            .iter_mut()
            .flat_map(|applied| applied.acks.drain(..))
        {
            ack.committed();
        }
    }
}
