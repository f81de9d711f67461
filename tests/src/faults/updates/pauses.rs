//! How long a stream pauses when one generation takes over from another.
//!
//! The pause is what lies between the last commit of the one and the first of the other, without what is no part of the
//! switch:
//!
//! - The call in which a generation fails when it is active. It may last as long as the module's limits let it, and the one
//!   before takes over when it has ended.
//! - What lies between any two commits of the same run: the commit itself, and the wait for the next message. Of both
//!   the longest hundredth is compared, so that a disk on which one `fsync` in a hundred is slow does not look like a switch
//!   that is.
//!
//! Only one run of the gateway is looked at: that of a killed one is followed by a start, which is no switch.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::tally::{Account, Switch, longest_hundredth};

/// Longest pause beyond a commit.
const PAUSE_MAX: Duration = Duration::from_millis(10);
/// Switches from which on the longest hundredth says something.
const SWITCHES_MIN: usize = 100;

/// The pauses of a run.
#[derive(Debug)]
pub(super) struct Pauses {
    updates: usize,
    falls: usize,
    /// In the longest hundredth, without the calls that failed.
    longest: Duration,
    /// From one commit to the next of the same generation, in the longest hundredth.
    commit: Duration,
}

impl Pauses {
    /// Those of a drill, where the failing call of a generation lasts so long.
    pub(super) fn of(found: &Account, lasts: &BTreeMap<u64, Duration>) -> Self {
        let falls = found.switches.iter().filter(|switch| is_fall(switch));
        let falls = falls.count();
        let pauses = found.switches.iter().map(|switch| {
            let failed = lasts.get(&switch.from).filter(|_| is_fall(switch));
            switch
                .gap
                .saturating_sub(failed.copied().unwrap_or_default())
        });
        Self {
            updates: found.switches.len() - falls,
            falls,
            longest: longest_hundredth(pauses.collect()),
            commit: found.commit,
        }
    }

    /// Whether there are enough to say, and switching is what takes the time.
    pub(super) fn are_long(&self) -> bool {
        self.updates + self.falls >= SWITCHES_MIN && self.longest > self.commit + PAUSE_MAX
    }

    pub(super) fn words(&self) -> String {
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        format!(
            "{} switches to a new generation and {} back, with a pause of {:.1} ms in the longest hundredth, between commits \
             of one generation {:.1} ms",
            self.updates,
            self.falls,
            ms(self.longest),
            ms(self.commit)
        )
    }
}

/// Whether a generation failed, and the one before it took over again.
const fn is_fall(switch: &Switch) -> bool {
    switch.to < switch.from
}

#[cfg(test)]
mod tests {
    use super::*;

    const HANGS: u64 = 7;

    /// A run with so many milliseconds between commits, at a switch to a new generation, and at one back from another.
    fn pauses(commit: u64, update: u64, fall: u64, from: u64) -> Pauses {
        let switch = |from, to, gap| Switch {
            from,
            to,
            gap: Duration::from_millis(gap),
        };
        let found = Account {
            messages: 1_000,
            lost: 0,
            doubled: 0,
            miscounted: 0,
            switches: [switch(1, from, update), switch(from, 1, fall)].repeat(100),
            commit: Duration::from_millis(commit),
        };
        let lasts = BTreeMap::from([(HANGS, Duration::from_millis(60))]);
        Pauses::of(&found, &lasts)
    }

    #[test]
    fn a_switch_that_takes_more_than_a_commit_and_ten_milliseconds_is_found() {
        assert!(!pauses(2, 12, 12, 3).are_long());
        assert!(pauses(2, 13, 2, 3).are_long(), "to a new generation");
        assert!(pauses(2, 2, 13, 3).are_long(), "back");
    }

    #[test]
    fn neither_a_slow_disk_nor_the_call_that_failed_is_held_against_a_switch() {
        assert!(!pauses(30, 32, 32, 3).are_long());
        assert!(!pauses(2, 2, 64, HANGS).are_long());
        // What lasts beyond the call is; and in another generation, all of it is.
        assert!(pauses(2, 2, 73, HANGS).are_long());
        assert!(pauses(2, 64, 2, HANGS).are_long());
        assert!(pauses(2, 2, 64, 3).are_long());
    }

    #[test]
    fn one_in_a_hundred_may_be_longer() {
        let durations = |long| {
            let short = std::iter::repeat_n(Duration::from_millis(2), 200 - long);
            let long = std::iter::repeat_n(Duration::from_millis(90), long);
            short.chain(long).collect()
        };
        assert_eq!(longest_hundredth(durations(1)), Duration::from_millis(2));
        assert_eq!(longest_hundredth(durations(2)), Duration::from_millis(90));
        assert_eq!(longest_hundredth(Vec::new()), Duration::ZERO);
    }
}
