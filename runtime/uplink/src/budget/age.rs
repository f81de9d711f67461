//! For how long a budget has been counted: the only time that it knows.
//!
//! Within one boot the kernel's clock that only grows says how much time has passed; the wall clock may jump as it likes.
//! Time for which the gateway was off counts only where a time daemon vouched for the wall clock before and after: at
//! most once a boot, and at most a month. Where it did not, the budget comes back later than it might, and never sooner.

use std::time::Duration;

use minicbor::{Decode, Encode};
use tidegate_record::{BootId, BootTime, ClockQuality, Stamp, WallTime};

use super::window::Span;

/// The time that has passed while a budget was counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub(super) struct Age {
    /// Nanoseconds.
    #[n(0)]
    counted: u64,
    #[n(1)]
    boot: Option<BootId>,
    /// In that boot.
    #[n(2)]
    boot_time: BootTime,
    #[n(3)]
    vouched: Option<Vouched>,
}

/// A wall time that could be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
struct Vouched {
    #[n(0)]
    wall: WallTime,
    /// The age then.
    #[n(1)]
    counted: u64,
    #[n(2)]
    boot: BootId,
}

impl Age {
    pub(super) const fn get(&self) -> Duration {
        Duration::from_nanos(self.counted)
    }

    /// Counts the time until `now`.
    pub(super) fn advance(&mut self, now: &Stamp) {
        if self.boot == Some(now.boot) {
            let passed = now.boot_time.0.saturating_sub(self.boot_time.0);
            self.counted = self.counted.saturating_add(passed);
        }
        self.boot = Some(now.boot);
        self.boot_time = now.boot_time;
        if now.clock != ClockQuality::Synced {
            return;
        }
        if let Some(before) = self.vouched
            && before.boot != now.boot
        {
            let passed = now.wall_time.0.saturating_sub(before.wall.0);
            let counted = self.counted.saturating_sub(before.counted);
            let longest = u64::try_from(Span::Month.length().as_nanos()).unwrap_or(u64::MAX);
            let off = passed.saturating_sub(counted).min(longest);
            self.counted = self.counted.saturating_add(off);
        }
        self.vouched = Some(Vouched {
            wall: now.wall_time,
            counted: self.counted,
            boot: now.boot,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const DAY: u64 = 86_400 * SECOND;
    const FIFTY_YEARS: u64 = 50 * 365 * DAY;
    const NOW: u64 = 56 * 365 * DAY;

    fn stamp(boot: u64, boot_time: u64, wall: u64, clock: ClockQuality) -> Stamp {
        Stamp {
            boot: BootId(boot),
            boot_time: BootTime(boot_time),
            wall_time: WallTime(wall),
            clock,
        }
    }

    fn days(age: &Age) -> f64 {
        age.get().as_secs_f64() / 86_400.0
    }

    #[test]
    fn within_a_boot_no_jump_of_the_wall_clock_counts() {
        for clock in [ClockQuality::Unset, ClockQuality::Synced] {
            let mut age = Age::default();
            for (day, wall) in [NOW, NOW + FIFTY_YEARS, 0, u64::MAX, NOW - FIFTY_YEARS]
                .into_iter()
                .enumerate()
            {
                let boot_time = u64::try_from(day).unwrap() * DAY;
                age.advance(&stamp(1, boot_time, wall, clock));
            }
            assert!((days(&age) - 4.0).abs() < 1e-9, "{age:?}");
        }
    }

    #[test]
    fn a_restart_of_the_process_counts_the_time_between() {
        let mut age = Age::default();
        age.advance(&stamp(1, DAY, 0, ClockQuality::Unset));
        let mut restored: Age = minicbor::decode(&minicbor::to_vec(&age).unwrap()).unwrap();
        restored.advance(&stamp(1, 3 * DAY, 0, ClockQuality::Unset));
        assert!((days(&restored) - 2.0).abs() < 1e-9);
    }

    #[test]
    fn time_off_counts_once_the_clock_is_known_before_and_after() {
        let mut age = Age::default();
        age.advance(&stamp(1, 0, NOW, ClockQuality::Synced));
        age.advance(&stamp(1, DAY, NOW + DAY, ClockQuality::Synced));
        // Off for ten days; for an hour the time is not known.
        age.advance(&stamp(2, 0, 0, ClockQuality::Unset));
        age.advance(&stamp(2, DAY, 0, ClockQuality::Unset));
        assert!((days(&age) - 2.0).abs() < 1e-9);
        age.advance(&stamp(2, DAY, NOW + 12 * DAY, ClockQuality::Synced));
        assert!((days(&age) - 12.0).abs() < 1e-9);
        age.advance(&stamp(2, DAY, NOW + 12 * DAY, ClockQuality::Synced));
        assert!((days(&age) - 12.0).abs() < 1e-9);
    }

    #[test]
    fn time_off_with_an_unknown_clock_does_not_count() {
        let mut age = Age::default();
        age.advance(&stamp(1, 0, NOW, ClockQuality::Synced));
        for boot in 2..50 {
            age.advance(&stamp(boot, DAY, NOW + FIFTY_YEARS, ClockQuality::Unset));
        }
        assert_eq!(age.get(), Duration::ZERO);
    }

    /// Even a clock that a time daemon vouches for frees at most one month, once a boot; and what it said can neither
    /// stop the count nor turn it back.
    #[test]
    fn a_jump_of_fifty_years_counts_for_a_month_once_and_stalls_nothing() {
        let mut age = Age::default();
        age.advance(&stamp(1, 0, NOW, ClockQuality::Synced));
        age.advance(&stamp(2, 0, NOW + FIFTY_YEARS, ClockQuality::Synced));
        assert!((days(&age) - 31.0).abs() < 1e-9);
        age.advance(&stamp(3, 0, NOW, ClockQuality::Synced));
        age.advance(&stamp(3, DAY, NOW + DAY, ClockQuality::Synced));
        age.advance(&stamp(4, 0, NOW + 3 * DAY, ClockQuality::Synced));
        assert!((days(&age) - 34.0).abs() < 1e-9);
    }
}
