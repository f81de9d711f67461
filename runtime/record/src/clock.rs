//! Wall time, boot time, and how far to trust them.
//!
//! Wall time may step either way and is never used to order or to measure. Boot time only ever grows within one boot,
//! sleep included, and a new boot has a new [`BootId`]. Everything that needs a time takes a [`Clock`], so that tests
//! and replays can turn it.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use minicbor::{Decode, Encode};

/// Nanoseconds since 1970 UTC by some wall clock. May step either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
#[cbor(transparent)]
pub struct WallTime(#[n(0)] pub u64);

/// Nanoseconds since the gateway booted, sleep included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
#[cbor(transparent)]
pub struct BootTime(#[n(0)] pub u64);

impl BootTime {
    /// Time from `earlier` to this; zero when that is later.
    pub const fn since(self, earlier: Self) -> std::time::Duration {
        std::time::Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Differs for each boot of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct BootId(#[n(0)] pub u64);

/// How far a wall time can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum ClockQuality {
    /// Not set since boot.
    #[n(0)]
    Unset,
    /// Was set, has lost its source.
    #[n(1)]
    HeldOver,
    /// Disciplined by a time source.
    #[n(2)]
    Synced,
    /// The device gave the time with the reading.
    #[n(3)]
    Device,
    /// Was not set yet; worked out from the time since boot once it was. Only of rows.
    #[n(4)]
    Restamped,
}

/// The only way to the time.
pub trait Clock: Send + Sync + Debug {
    /// The wall clock.
    fn wall_time(&self) -> WallTime;
    /// How far to trust [`Clock::wall_time`].
    fn quality(&self) -> ClockQuality;
    /// Time since boot.
    fn boot_time(&self) -> BootTime;
    /// Which boot.
    fn boot(&self) -> BootId;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    boot: BootId,
    /// Whether the wall clock was synced when that was last looked at, and when it is looked at again.
    synced: AtomicBool,
    look_again: AtomicU64,
}

/// How long an answer about the wall clock's quality is good for: it is asked for with each batch, and costs a look at a
/// file.
const QUALITY_LASTS_NS: u64 = 1_000_000_000;

/// Made by systemd-timesyncd when it has set the clock.
const SYNCED_MARK: &str = "/run/systemd/timesync/synchronized";

impl SystemClock {
    /// Reads the kernel's boot id. Where there is none, the first 8 bytes of a random number stand for it: rows are
    /// then of a boot of their own, which is safe, only less precise.
    pub fn new() -> Self {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .ok()
            .and_then(|text| text.trim().replace('-', "").get(..16).map(str::to_owned))
            .and_then(|hex| u64::from_str_radix(&hex, 16).ok());
        let boot = kernel
            .or_else(|| getrandom::u64().ok())
            .unwrap_or(std::process::id().into());
        Self {
            boot: BootId(boot),
            synced: AtomicBool::new(false),
            look_again: AtomicU64::new(0),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn wall_time(&self) -> WallTime {
        WallTime(nanoseconds(rustix::time::clock_gettime(
            rustix::time::ClockId::Realtime,
        )))
    }

    /// As systemd-timesyncd says. Under another time daemon the clock counts as unset, the weaker word: nothing is ordered
    /// or dropped by it.
    fn quality(&self) -> ClockQuality {
        let now = self.boot_time().0;
        if now >= self.look_again.load(Ordering::Relaxed) {
            let synced = std::path::Path::new(SYNCED_MARK).exists();
            self.synced.store(synced, Ordering::Relaxed);
            self.look_again
                .store(now + QUALITY_LASTS_NS, Ordering::Relaxed);
        }
        match self.synced.load(Ordering::Relaxed) {
            true => ClockQuality::Synced,
            false => ClockQuality::Unset,
        }
    }

    fn boot_time(&self) -> BootTime {
        BootTime(nanoseconds(rustix::time::clock_gettime(
            rustix::time::ClockId::Boottime,
        )))
    }

    fn boot(&self) -> BootId {
        self.boot
    }
}

/// A time before the clock's zero (a wall clock set before 1970) is zero.
fn nanoseconds(time: rustix::time::Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let fraction = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_time_grows_and_the_boot_id_stays() {
        let clock = SystemClock::new();
        let first = clock.boot_time();
        assert!(clock.boot_time() >= first);
        assert_eq!(clock.boot(), SystemClock::new().boot());
    }

    #[test]
    fn the_time_since_a_later_moment_is_zero() {
        assert_eq!(BootTime(5).since(BootTime(9)).as_nanos(), 0);
        assert_eq!(BootTime(9).since(BootTime(5)).as_nanos(), 4);
    }
}
