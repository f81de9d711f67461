//! The virtual clock.

use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_record::{BootId, BootTime, Clock, ClockQuality, WallTime};

/// Where the boot clock stands when a recording starts: a minute after the boot, so that nothing is at zero by chance.
pub(crate) const BOOT: BootTime = BootTime(60_000_000_000);

/// A clock that only moves when it is told to.
#[derive(Debug)]
pub(crate) struct VirtualClock {
    /// Wall time at [`BOOT`], in nanoseconds.
    start: AtomicU64,
    /// Since the boot, in nanoseconds.
    boot_time: AtomicU64,
}

impl VirtualClock {
    pub(crate) fn new() -> Self {
        Self {
            start: AtomicU64::new(0),
            boot_time: AtomicU64::new(BOOT.0),
        }
    }

    /// Starts again at a wall time.
    pub(crate) fn restart(&self, start: WallTime) {
        self.start.store(start.0, Ordering::Relaxed);
        self.boot_time.store(BOOT.0, Ordering::Relaxed);
    }

    /// Goes forward; a time that has passed already changes nothing.
    pub(crate) fn pass_to(&self, time: BootTime) {
        self.boot_time.fetch_max(time.0, Ordering::Relaxed);
    }
}

impl Clock for VirtualClock {
    fn wall_time(&self) -> WallTime {
        let passed = self.boot_time().0.saturating_sub(BOOT.0);
        WallTime(self.start.load(Ordering::Relaxed).saturating_add(passed))
    }

    fn quality(&self) -> ClockQuality {
        ClockQuality::Synced
    }

    fn boot_time(&self) -> BootTime {
        BootTime(self.boot_time.load(Ordering::Relaxed))
    }

    fn boot(&self) -> BootId {
        BootId(1)
    }
}
