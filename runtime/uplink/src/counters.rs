//! What an uplink has done, for whoever asks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidegate_record::{BootTime, Pulse};

use crate::drain::{Drain, Forecast};

/// What an uplink has done since the start.
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
    /// That of its loop: it waits for rows, for the centre and for the buffer.
    pub pulse: Pulse,
    silence_ms: AtomicU64,
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    error: Option<String>,
    drain: Drain,
}

impl UplinkCounters {
    /// Why the last exchange failed; none when it succeeded.
    pub fn error(&self) -> Option<String> {
        self.told().error.clone()
    }

    /// Of `waiting` rows at `now`: how fast they become fewer.
    pub fn forecast(&self, now: BootTime, waiting: u64) -> Forecast {
        let sent = self.rows_sent.load(Ordering::Relaxed);
        self.told().drain.look(now, waiting, sent)
    }

    /// Within which time the centre hears of the gateway again, if all goes well.
    pub fn silence(&self) -> Duration {
        Duration::from_millis(self.silence_ms.load(Ordering::Relaxed))
    }

    pub(crate) fn expect_silence(&self, silence: Duration) {
        let milliseconds = u64::try_from(silence.as_millis()).unwrap_or(u64::MAX);
        self.silence_ms.store(milliseconds, Ordering::Relaxed);
    }

    pub(crate) fn outcome(&self, error: Option<String>) {
        self.connected.store(error.is_none(), Ordering::Relaxed);
        self.told().error = error;
    }

    pub(crate) fn count(&self, rows: usize, bytes: usize) {
        let add = |counter: &AtomicU64, number: usize| {
            counter.fetch_add(u64::try_from(number).unwrap_or(u64::MAX), Ordering::Relaxed);
        };
        add(&self.syncs, 1);
        add(&self.rows_sent, rows);
        add(&self.bytes_up, bytes);
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
