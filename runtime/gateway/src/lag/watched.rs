//! One stream under watch: since when its oldest row waits, whether its objective is met, and how it was in the last day.
//! Pure.

use std::collections::VecDeque;
use std::time::Duration;

use tidegate_buffer::Oldest;
use tidegate_record::{ClockQuality, Stamp};
use tidegate_wire::Measured;

/// Minutes that the history goes back: a day.
const MINUTES_MAX: usize = 24 * 60;
/// A clock that says an earlier time than 2020 was never set.
const CLOCK_SET_NS: u64 = 1_577_836_800_000_000_000;

/// How long ago something was committed, and how that was measured.
pub(super) fn age(committed: &Stamp, now: &Stamp) -> (Duration, Measured) {
    if committed.boot == now.boot {
        let age = now.boot_time.since(committed.boot_time);
        return (age, Measured::BootTime);
    }
    // It was before this boot, whatever the clocks say.
    let least = Duration::from_nanos(now.boot_time.0);
    let told = Duration::from_nanos(now.wall_time.0.saturating_sub(committed.wall_time.0));
    let both = [committed, now];
    let trusted = [ClockQuality::Synced, ClockQuality::Restamped];
    if both.iter().all(|stamp| trusted.contains(&stamp.clock)) {
        (told.max(least), Measured::WallClock)
    } else if both.iter().all(|stamp| stamp.wall_time.0 >= CLOCK_SET_NS) {
        (told.max(least), Measured::Doubtful)
    } else {
        (least, Measured::Doubtful)
    }
}

/// A stream under watch.
#[derive(Debug, Default)]
pub(super) struct Watched {
    /// How long a row may wait.
    pub(super) objective: Option<Duration>,
    /// The oldest row that waits, and when it was committed.
    pub(super) oldest: Option<(Oldest, Stamp)>,
    /// Whether the objective is missed.
    pub(super) missed: bool,
    /// Whether the last alarm row says that it is.
    pub(super) alarmed: bool,
    /// Times that it was missed since the start.
    pub(super) misses: u64,
    pub(super) history: History,
}

/// What became of an objective.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It is missed now.
    Missed,
    /// It is met again.
    Met,
}

impl Watched {
    /// Time since the commit of the oldest row that waits; zero when none does.
    pub(super) fn lag(&self, now: &Stamp) -> (Duration, Measured) {
        match &self.oldest {
            Some((_, committed)) => age(committed, now),
            None => (Duration::ZERO, Measured::BootTime),
        }
    }

    /// Notes how it is now. An objective is missed when the lag is above it, and met again at half of it, so that a lag
    /// which hovers there raises one alarm and not hundreds.
    pub(super) fn judge(&mut self, now: &Stamp) -> Option<Change> {
        let (lag, _) = self.lag(now);
        self.history.note(now.boot_time.0 / 60_000_000_000, lag);
        let before = self.missed;
        self.missed = match self.objective {
            Some(objective) if before => lag > objective / 2,
            Some(objective) => lag > objective,
            None => false,
        };
        match (before, self.missed) {
            (false, true) => {
                self.misses = self.misses.saturating_add(1);
                Some(Change::Missed)
            }
            (true, false) => Some(Change::Met),
            _ => None,
        }
    }
}

/// The greatest lag of each minute, in seconds, the newest minute first.
#[derive(Debug, Default)]
pub(super) struct History {
    newest: u64,
    worst: VecDeque<u32>,
}

impl History {
    fn note(&mut self, minute: u64, lag: Duration) {
        let seconds = u32::try_from(lag.as_secs()).unwrap_or(u32::MAX);
        let missing = match self.worst.is_empty() {
            true => 1,
            false => minute.saturating_sub(self.newest),
        };
        self.newest = self.newest.max(minute);
        let missing = usize::try_from(missing).unwrap_or(MINUTES_MAX);
        // In minutes that nobody looked at, the row that waits now waited already.
        for before in (0..missing.min(MINUTES_MAX)).rev() {
            let before = u32::try_from(before * 60).unwrap_or(u32::MAX);
            self.worst.push_front(seconds.saturating_sub(before));
        }
        self.worst.truncate(MINUTES_MAX);
        if let Some(newest) = self.worst.front_mut() {
            *newest = seconds.max(*newest);
        }
    }

    /// The greatest of so many minutes.
    pub(super) fn worst(&self, minutes: usize) -> Duration {
        let worst = self.worst.iter().take(minutes).max();
        Duration::from_secs(worst.copied().unwrap_or(0).into())
    }

    /// By minute, in seconds, the newest first.
    pub(super) fn minutes(&self) -> Vec<u32> {
        self.worst.iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use tidegate_record::{BootId, BootTime, WallTime};

    use super::*;

    const SECOND: u64 = 1_000_000_000;
    /// 2026-11-21.
    const TODAY: u64 = 1_795_246_200 * SECOND;

    fn stamp(boot: u64, boot_s: u64, wall: u64, clock: ClockQuality) -> Stamp {
        Stamp {
            boot: BootId(boot),
            boot_time: BootTime(boot_s * SECOND),
            wall_time: WallTime(wall),
            clock,
        }
    }

    fn seconds(committed: Stamp, now: Stamp) -> (u64, Measured) {
        let (age, measured) = age(&committed, &now);
        (age.as_secs(), measured)
    }

    #[test]
    fn within_a_boot_no_wall_clock_changes_the_lag() {
        use ClockQuality::{Synced, Unset};
        for (before, after) in [(TODAY, TODAY), (TODAY, 0), (0, TODAY), (u64::MAX, 7)] {
            let committed = stamp(1, 100, before, Unset);
            let found = seconds(committed, stamp(1, 160, after, Synced));
            assert_eq!(found, (60, Measured::BootTime));
        }
        let later = seconds(stamp(1, 160, 0, Unset), stamp(1, 100, 0, Unset));
        assert_eq!(later, (0, Measured::BootTime));
    }

    #[test]
    fn over_a_boot_the_wall_clocks_tell_the_lag_and_their_quality_is_said() {
        use ClockQuality::{Synced, Unset};
        let now = |wall, clock| stamp(2, 30, wall, clock);
        let hour = TODAY + 3600 * SECOND;
        let told = seconds(stamp(1, 9, TODAY, Synced), now(hour, Synced));
        assert_eq!(told, (3600, Measured::WallClock));
        let doubtful = seconds(stamp(1, 9, TODAY, Unset), now(hour, Synced));
        assert_eq!(doubtful, (3600, Measured::Doubtful));
        // Not set then, not set now, set back: it is as long as this boot lasts, at least.
        for (before, after) in [(0, TODAY), (TODAY, 60 * SECOND), (hour, TODAY)] {
            let least = seconds(stamp(1, 9, before, Unset), now(after, Unset));
            assert_eq!(least, (30, Measured::Doubtful));
        }
    }

    /// A row waits since second 100 of the boot.
    fn waiting(oldest: Oldest, objective: Option<u64>) -> Watched {
        Watched {
            oldest: Some((oldest, stamp(1, 100, 0, ClockQuality::Unset))),
            objective: objective.map(Duration::from_secs),
            ..Watched::default()
        }
    }

    fn at(seconds: u64) -> Stamp {
        stamp(1, seconds, 0, ClockQuality::Unset)
    }

    #[test]
    fn an_objective_is_missed_once_and_met_again_at_half_of_it() {
        let mut stream = waiting(Oldest::default(), Some(600));
        assert_eq!(stream.judge(&at(700)), None);
        assert_eq!(stream.judge(&at(701)), Some(Change::Missed));
        assert_eq!(stream.judge(&at(800)), None);
        // The centre takes rows: the oldest of those left is younger.
        stream.oldest = Some((Oldest::default(), at(400)));
        assert_eq!(stream.judge(&at(801)), None);
        stream.oldest = Some((Oldest::default(), at(501)));
        assert_eq!(stream.judge(&at(801)), Some(Change::Met));
        assert_eq!(stream.judge(&at(1101)), None);
        assert_eq!(stream.judge(&at(1102)), Some(Change::Missed));
        stream.oldest = None;
        assert_eq!(stream.judge(&at(1103)), Some(Change::Met));
        assert_eq!((stream.missed, stream.misses), (false, 2));
    }

    #[test]
    fn without_an_objective_nothing_is_missed_however_long_rows_wait() {
        let mut stream = waiting(Oldest::default(), None);
        assert_eq!(stream.judge(&at(u64::MAX / SECOND)), None);
        assert!(!stream.missed);
    }

    #[test]
    fn the_history_has_the_worst_of_each_minute_of_a_day() {
        let mut history = History::default();
        let note =
            |history: &mut History, minute, lag| history.note(minute, Duration::from_secs(lag));
        note(&mut history, 10, 5);
        note(&mut history, 10, 59);
        note(&mut history, 10, 2);
        note(&mut history, 11, 0);
        assert_eq!(history.minutes(), [0, 59]);
        // Nobody looked for four minutes, and a row waits since the first of them.
        note(&mut history, 15, 200);
        assert_eq!(history.minutes(), [200, 140, 80, 20, 0, 59]);
        assert_eq!(history.worst(1).as_secs(), 200);
        note(&mut history, 10_000, 0);
        assert_eq!(history.minutes().len(), MINUTES_MAX);
        assert_eq!(history.worst(MINUTES_MAX).as_secs(), 0);
        note(&mut history, u64::MAX, u64::MAX);
        assert_eq!(history.minutes().len(), MINUTES_MAX);
    }
}
