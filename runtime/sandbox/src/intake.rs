//! Where a module's messages come from: straight from the field, or from disk while the module is behind.
//!
//! A module that takes too much of the time is *detached*: what arrives for it goes to disk at once and is acknowledged
//! with that commit, also while the module works, and it takes its messages from there. **While something of it is on
//! disk, everything goes by way of the disk**, so that the order stays; when little is left and the module is quick, the
//! rest waits in memory until the disk is empty, and it is attached again. What was left on disk at the last stop comes
//! before anything new.
//!
//! Where the disk has no room for more, what arrives stays in memory, and in the end the broker waits.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tidegate_record::inbox::stored_bytes_max;
use tidegate_record::{Ack, Applied, Inbox, Limits, Record};
use tokio::sync::mpsc;

use crate::load::Load;
use crate::task::ModuleCounters;

/// Wait before the disk is read again after an error.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Where a module's messages come from.
pub(crate) struct Intake<I> {
    inbox: Arc<I>,
    arrivals: Arrivals<I>,
    /// Messages from disk that were handed out since the start, and the number of the last one.
    handed: u64,
    last: u64,
}

/// What arrives from the field.
struct Arrivals<I> {
    live: mpsc::Receiver<Record>,
    /// Arrived, and neither handed out nor spilled.
    here: Vec<Record>,
    /// Whether it goes to disk.
    spilling: bool,
    inbox: Arc<I>,
    applied: mpsc::Sender<Applied>,
    /// Makes an outcome of the module without effects.
    blank: Box<dyn Fn() -> Applied + Send>,
    counters: Arc<ModuleCounters>,
    limits: Arc<Limits>,
}

/// The field has gone, and there is nothing left.
struct Ended;

impl<I: Inbox> Intake<I> {
    pub(crate) fn new(
        live: mpsc::Receiver<Record>,
        inbox: I,
        applied: mpsc::Sender<Applied>,
        blank: Box<dyn Fn() -> Applied + Send>,
        counters: Arc<ModuleCounters>,
        limits: Arc<Limits>,
    ) -> Self {
        let inbox = Arc::new(inbox);
        Self {
            arrivals: Arrivals {
                live,
                here: Vec::new(),
                spilling: false,
                inbox: inbox.clone(),
                applied,
                blank,
                counters,
                limits,
            },
            inbox,
            handed: 0,
            last: 0,
        }
    }

    /// The next messages, in order; none when the field has gone. What is on disk then stays there. May be dropped at any
    /// time without losing a message.
    pub(crate) async fn next(&mut self) -> Option<Load> {
        let batch = u64::try_from(self.arrivals.limits.batch_records_max).unwrap_or(u64::MAX);
        loop {
            let (unread, coming) = self.on_disk();
            self.arrivals.show(unread + coming > 0);
            if self.is_closing() && (self.arrivals.spilling || unread + coming > 0) {
                self.arrivals.spill_rest().await;
                return None;
            }
            if unread > batch {
                // More than a moment's work: what arrives must not wait for it in memory.
                self.arrivals.spilling = true;
            }
            if unread > 0 {
                if let Some(load) = self.read().await {
                    return Some(load);
                }
            } else if coming > 0 {
                let (inbox, handed) = (self.inbox.clone(), self.handed);
                let arrived = inbox.until(|backlog| backlog.added > handed || backlog.coming == 0);
                self.arrivals.beside(arrived).await;
            } else if !self.arrivals.spill_now().await {
                match self.receive().await {
                    Ok(None) => {}
                    Ok(load) => return load,
                    Err(Ended) => return None,
                }
            }
        }
    }

    /// Does `work` while what arrives goes to disk, if it does.
    pub(crate) async fn beside<T>(&mut self, work: impl Future<Output = T>) -> T {
        self.arrivals.beside(work).await
    }

    /// The module is behind: from now on what arrives goes to disk. `todo` is what is left of the load in work, the first
    /// of it last; it goes there as well if its order allows and there is room, else it stays.
    pub(crate) fn detach(&mut self, todo: &mut Vec<Load>) {
        self.arrivals.spilling = true;
        let is_live = todo.iter().all(|load| load.place.is_none());
        // Else the module would be given all of it again and again, and never get to its end.
        let has_room = || {
            let records = todo.iter().flat_map(|load| &load.records);
            let bytes: usize = records.map(stored_bytes_max).sum();
            u64::try_from(bytes).is_ok_and(|bytes| bytes <= self.inbox.backlog().room)
        };
        if is_live && self.on_disk() == (0, 0) && has_room() {
            let later = std::mem::take(&mut self.arrivals.here);
            let earlier = todo.drain(..).rev().flat_map(|load| load.records);
            self.arrivals.here = earlier.chain(later).collect();
        }
    }

    /// A load of so many messages from disk took the module so long: attaches it when the rest will not take it long.
    pub(crate) fn worked(&mut self, messages: usize, spent: Duration) {
        let (unread, coming) = self.on_disk();
        let here = self.arrivals.here.len() + self.arrivals.live.len();
        let rest = usize::try_from(unread + coming).map_or(usize::MAX, |rest| rest + here);
        if rest <= messages && spent <= self.arrivals.limits.busy_max / 2 {
            self.arrivals.spilling = false;
        }
    }

    /// Whether the field has gone.
    pub(crate) fn is_closing(&self) -> bool {
        self.arrivals.live.is_closed()
    }

    /// Messages on disk that were not handed out yet, and those on their way there.
    fn on_disk(&self) -> (u64, u64) {
        let backlog = self.inbox.backlog();
        (backlog.added.saturating_sub(self.handed), backlog.coming)
    }

    async fn read(&mut self) -> Option<Load> {
        let (inbox, limits) = (self.inbox.clone(), self.arrivals.limits.clone());
        let reading = inbox.next(self.last, limits.batch_records_max, limits.batch_bytes_max);
        match self.arrivals.beside(reading).await {
            Ok(rows) => {
                self.last = rows.last()?.id;
                self.handed += u64::try_from(rows.len()).unwrap_or(u64::MAX);
                Some(Load::stored(&(self.arrivals.blank)().module, rows))
            }
            Err(error) => {
                tracing::error!("cannot read the messages that wait on disk: {error}");
                self.arrivals
                    .beside(tokio::time::sleep(READ_AGAIN_AFTER))
                    .await;
                None
            }
        }
    }

    /// Straight from the field, unless something comes onto the disk by another way first: then nothing.
    async fn receive(&mut self) -> Result<Option<Load>, Ended> {
        let Arrivals {
            live, here, limits, ..
        } = &mut self.arrivals;
        if here.is_empty() {
            let handed = self.handed;
            tokio::select! {
                biased;
                received = live.recv_many(here, limits.batch_records_max) => {
                    if received == 0 {
                        return Err(Ended);
                    }
                }
                () = self.inbox.until(|backlog| backlog.added > handed) => return Ok(None),
            }
        }
        Ok(Some(Load::live(std::mem::take(here))))
    }
}

impl<I: Inbox> Arrivals<I> {
    async fn beside<T>(&mut self, work: impl Future<Output = T>) -> T {
        if !self.spilling {
            return work.await;
        }
        let mut work = std::pin::pin!(work);
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = self.spill() => {}
        }
        work.await
    }

    /// Spills what arrives until the field has gone, or the buffer.
    async fn spill(&mut self) {
        loop {
            if self.here.is_empty() {
                let most = self.limits.batch_records_max;
                if self.live.recv_many(&mut self.here, most).await == 0 {
                    return;
                }
            }
            let (_, bytes) = self.portion();
            if self.inbox.backlog().room < bytes {
                self.counters.held_up.store(true, Ordering::Relaxed);
                self.inbox.until(|backlog| backlog.room >= bytes).await;
                self.counters.held_up.store(false, Ordering::Relaxed);
            }
            if self.spill_portion().await.is_err() {
                return;
            }
        }
    }

    /// Spills what is here, if it is to be spilled and there is room. Else false: there is nothing to spill, and so the
    /// module is attached; or there is no room.
    async fn spill_now(&mut self) -> bool {
        if !self.spilling {
            return false;
        }
        while self.here.len() < self.limits.batch_records_max
            && let Ok(record) = self.live.try_recv()
        {
            self.here.push(record);
        }
        if self.here.is_empty() {
            self.spilling = false;
            return false;
        }
        matches!(self.spill_portion().await, Ok(true))
    }

    /// The field has gone: what it left is spilled as far as there is room. The rest is not acknowledged and comes again.
    async fn spill_rest(&mut self) {
        self.spilling = true;
        while self.spill_now().await {}
    }

    /// How many of the records here are spilled at once, and their bytes.
    fn portion(&self) -> (usize, u64) {
        let bytes_max = self.limits.batch_bytes_max;
        let (mut records, mut bytes) = (0, 0);
        for record in &self.here {
            let size = stored_bytes_max(record);
            if records > 0 && bytes + size > bytes_max {
                break;
            }
            records += 1;
            bytes += size;
        }
        (records, u64::try_from(bytes).unwrap_or(u64::MAX))
    }

    /// Spills a portion of what is here; false when there is no room for it.
    async fn spill_portion(&mut self) -> Result<bool, mpsc::error::SendError<()>> {
        let permit = self.applied.reserve().await?;
        // From here on nothing waits: what is taken out of memory is on its way to disk.
        let (records, bytes) = self.portion();
        let reserved = u64::try_from(records).unwrap_or(u64::MAX);
        if !self.inbox.reserve(reserved, bytes) {
            return Ok(false);
        }
        let rest = self.here.split_off(records);
        let mut spilled = std::mem::replace(&mut self.here, rest);
        let acks = spilled.iter_mut();
        let acks = acks.map(|record| std::mem::replace(&mut record.ack, Ack::none()));
        let (acks, received) = (acks.collect(), spilled.first().map(|first| first.received));
        permit.send(Applied {
            spilled,
            acks,
            received,
            ..(self.blank)()
        });
        self.show(true);
        Ok(true)
    }

    /// Shows whether the module is detached: something of it is on disk, or on its way there.
    fn show(&self, detached: bool) {
        let was = self.counters.detached.swap(detached, Ordering::Relaxed);
        let module = || (self.blank)().module;
        match (was, detached) {
            (false, true) => {
                tracing::warn!("module {} is behind: its messages wait on disk", module())
            }
            (true, false) => tracing::info!("module {} has caught up", module()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
