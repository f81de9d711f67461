//! Messages that lead to nothing, on their way into the ledger: counted together, committed, and acknowledged then.
//!
//! What a source waits for is committed at once, with whatever else has come; what nobody waits for, after a second at
//! most. Bounded by what sources may have unacknowledged: of the rest there are only counts.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tidegate_record::{Ack, Applied, Name, Skip, SkipReason, SkipSink};
use tokio::sync::{Notify, mpsc};

/// Longest that a count which nobody waits for stays in memory.
const DELAY: Duration = Duration::from_secs(1);

/// Messages that lead to nothing, until they are on disk.
#[derive(Debug, Default)]
pub(crate) struct Skips {
    waiting: Mutex<Waiting>,
    /// There is something.
    arrived: Notify,
    /// A source waits for it.
    urgent: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    counts: BTreeMap<(Name, SkipReason), (u64, u64)>,
    acks: Vec<Ack>,
}

impl SkipSink for Skips {
    fn skipped(&self, of: &Name, reason: SkipReason, bytes: u64, ack: Ack) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.counts.is_empty() {
            self.arrived.notify_one();
        }
        let count = waiting.counts.entry((of.clone(), reason)).or_default();
        count.0 = count.0.saturating_add(1);
        count.1 = count.1.saturating_add(bytes);
        if ack.is_wanted() {
            if waiting.acks.is_empty() {
                self.urgent.notify_one();
            }
            waiting.acks.push(ack);
        }
    }
}

impl Skips {
    /// Sends counts to the buffer until that has gone.
    pub(crate) async fn run(&self, applied: &mpsc::Sender<Applied>) {
        loop {
            self.arrived.notified().await;
            tokio::select! {
                () = self.urgent.notified() => {}
                () = tokio::time::sleep(DELAY) => {}
            }
            // Before anything is taken, so that nothing is lost when this is dropped.
            let Ok(permit) = applied.reserve().await else {
                return;
            };
            if let Some(counted) = self.take() {
                permit.send(counted);
            }
        }
    }

    /// Sends what is left.
    pub(crate) async fn finish(&self, applied: &mpsc::Sender<Applied>) {
        if let Some(counted) = self.take() {
            // When the buffer has gone, nothing is acknowledged, and it comes again.
            let _sent = applied.send(counted).await;
        }
    }

    fn take(&self) -> Option<Applied> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let Waiting { counts, acks } = std::mem::take(&mut *waiting);
        if counts.is_empty() {
            return None;
        }
        let skipped = counts
            .into_iter()
            .map(|((of, reason), (messages, bytes))| Skip {
                of,
                reason,
                messages,
                bytes,
            });
        Some(Applied {
            skipped: skipped.collect(),
            acks,
            ..Applied::new(Name::host(), 0, "".into())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tidegate_record::AckSink;

    struct Nobody;

    impl AckSink for Nobody {
        fn acknowledge(&self, _: u64) {}
        fn abandon(&self, _: u64) {}
    }

    fn plant() -> Name {
        Name::new("plant").unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_source_waits_for_is_sent_at_once_and_the_rest_within_a_second() {
        let skips = Skips::default();
        let (applied, mut writer) = mpsc::channel(1);
        let watching = async {
            let begin = tokio::time::Instant::now();
            skips.skipped(&plant(), SkipReason::Overflow, 5, Ack::none());
            skips.skipped(&plant(), SkipReason::Overflow, 6, Ack::none());
            let late: Applied = writer.recv().await.unwrap();
            assert_eq!(begin.elapsed(), DELAY);
            let [skip] = &late.skipped[..] else {
                panic!("{late:?}")
            };
            assert_eq!((skip.messages, skip.bytes), (2, 11));
            skips.skipped(&plant(), SkipReason::Overflow, 7, Ack::none());
            let ack = Ack::new(Arc::new(Nobody), 1);
            skips.skipped(&plant(), SkipReason::Oversized, 8, ack);
            let at_once = writer.recv().await.unwrap();
            assert_eq!(begin.elapsed(), DELAY);
            assert_eq!((at_once.skipped.len(), at_once.acks.len()), (2, 1));
        };
        tokio::select! {
            () = skips.run(&applied) => panic!("the buffer has not gone"),
            () = watching => {}
        }
    }
}
