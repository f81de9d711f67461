//! The promise to the source of a record: "everything that this led to is on disk".
//!
//! An [`Ack`] rides with its record and is cloned when the record goes to several modules. The source hears
//! [`AckSink::acknowledge`] when every clone was committed, and [`AckSink::abandon`] when one was dropped instead: a
//! crash, a bug or a refused commit can only withhold an acknowledgement, never send one. Nothing else points upstream.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Where acknowledgements go: the connection (and its generation) that delivered the record.
pub trait AckSink: Send + Sync {
    /// Everything that delivery `token` led to is committed.
    fn acknowledge(&self, token: u64);
    /// Delivery `token` will never be acknowledged by this process; the source may deliver it again.
    fn abandon(&self, token: u64);
}

/// One share in the acknowledgement of a record. Must be passed to [`Ack::committed`]; dropping it withholds the ack.
#[derive(Clone)]
pub struct Ack(Option<Arc<Shared>>);

impl Ack {
    /// An ack that calls `sink` with `token` once.
    pub fn new(sink: Arc<dyn AckSink>, token: u64) -> Self {
        Self(Some(Arc::new(Shared {
            sink,
            token,
            abandoned: AtomicBool::new(false),
        })))
    }

    /// For a source that wants no acknowledgement, such as QoS 0 or a sensor.
    pub const fn none() -> Self {
        Self(None)
    }

    /// Whether a source waits for it.
    pub const fn is_wanted(&self) -> bool {
        self.0.is_some()
    }

    /// This share's effects are on disk. The source hears of it when the last share says so.
    pub fn committed(mut self) {
        // Taken out, so that `drop` below does not see a share that was never committed.
        drop(self.0.take());
    }
}

impl Drop for Ack {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            shared.abandoned.store(true, Ordering::Release);
        }
    }
}

impl std::fmt::Debug for Ack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(shared) => write!(f, "Ack({})", shared.token),
            None => write!(f, "Ack(none)"),
        }
    }
}

struct Shared {
    sink: Arc<dyn AckSink>,
    token: u64,
    abandoned: AtomicBool,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.abandoned.load(Ordering::Acquire) {
            self.sink.abandon(self.token);
        } else {
            self.sink.acknowledge(self.token);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Heard(Mutex<Vec<(&'static str, u64)>>);

    impl AckSink for Heard {
        fn acknowledge(&self, token: u64) {
            self.0.lock().unwrap().push(("ack", token));
        }
        fn abandon(&self, token: u64) {
            self.0.lock().unwrap().push(("abandon", token));
        }
    }

    fn heard(act: impl FnOnce(Ack)) -> Vec<(&'static str, u64)> {
        let sink = Arc::new(Heard::default());
        act(Ack::new(sink.clone(), 7));
        std::mem::take(&mut *sink.0.lock().unwrap())
    }

    #[test]
    fn one_share_committed_acknowledges_once() {
        assert_eq!(heard(Ack::committed), [("ack", 7)]);
    }

    #[test]
    fn the_last_share_decides_when() {
        let calls = heard(|ack| {
            let other = ack.clone();
            ack.committed();
            other.committed();
        });
        assert_eq!(calls, [("ack", 7)]);
    }

    #[test]
    fn a_dropped_share_withholds_the_acknowledgement_whatever_the_order() {
        let dropped_first = heard(|ack| {
            drop(ack.clone());
            ack.committed();
        });
        let dropped_last = heard(|ack| {
            ack.clone().committed();
            drop(ack);
        });
        assert_eq!(dropped_first, [("abandon", 7)]);
        assert_eq!(dropped_last, [("abandon", 7)]);
    }

    #[test]
    fn a_panic_withholds_the_acknowledgement() {
        let sink = Arc::new(Heard::default());
        let ack = Ack::new(sink.clone(), 7);
        let panicked = std::thread::spawn(move || {
            let _held = ack;
            panic!("stage failed");
        });
        assert!(panicked.join().is_err());
        assert_eq!(*sink.0.lock().unwrap(), [("abandon", 7)]);
    }
}
