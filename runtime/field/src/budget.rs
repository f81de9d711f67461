//! How much of QoS 0 may be in memory.
//!
//! Messages of QoS 1 are bounded by the broker's window. Those of QoS 0 come whether we are ready or not, so each takes
//! room from a budget, and gives it back when the last stage has let go of its record.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidegate_record::{Ack, AckSink};

/// Bytes that messages without acknowledgement may have in all stages together.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes_max: usize,
    bytes: AtomicUsize,
}

impl Budget {
    pub(crate) fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes_max,
            bytes: AtomicUsize::new(0),
        })
    }

    /// Room for `bytes` bytes until the ack is gone; none when there is not so much.
    pub(crate) fn take(self: &Arc<Self>, bytes: usize) -> Option<Ack> {
        let token = u64::try_from(bytes).ok()?;
        // Only the session takes, so nobody can come between these two.
        if self.bytes.load(Ordering::Relaxed).saturating_add(bytes) > self.bytes_max {
            return None;
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Some(Ack::new(self.clone(), token))
    }

    fn give_back(&self, token: u64) {
        let bytes = usize::try_from(token).unwrap_or(usize::MAX);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl AckSink for Budget {
    fn acknowledge(&self, token: u64) {
        self.give_back(token);
    }

    fn abandon(&self, token: u64) {
        self.give_back(token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_comes_back_however_the_record_ends() {
        let budget = Budget::new(100);
        let (one, two) = (budget.take(60).unwrap(), budget.take(40).unwrap());
        assert!(budget.take(1).is_none());
        one.committed();
        assert!(budget.take(61).is_none());
        let three = budget.take(60).unwrap();
        drop((two, three));
        assert!(budget.take(100).is_some());
    }
}
