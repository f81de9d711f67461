//! Wrong tokens: how many are looked at one by one, and what becomes of the rest.
//!
//! No number of guesses finds 256 bits. What has to be bounded is what each costs: an answer that says why, and a line
//! in the log. So a burst of wrong ones is told one by one, and those beyond it are only counted. A right one is never
//! refused for what others do.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tidegate_record::BootTime;

/// Wrong tokens that are told one by one, ...
const BURST: u32 = 20;

/// ... and one more after each of these.
pub(super) const REFILL: Duration = Duration::from_secs(10);

/// The account of wrong tokens.
#[derive(Debug)]
pub(super) struct Attempts(Mutex<Account>);

#[derive(Debug)]
struct Account {
    left: u32,
    /// Up to when `left` was made up.
    since: BootTime,
    /// Not told since the last that was.
    untold: u64,
}

impl Attempts {
    pub(super) fn new(now: BootTime) -> Self {
        Self(Mutex::new(Account {
            left: BURST,
            since: now,
            untold: 0,
        }))
    }

    /// One more was wrong. If it is to be told: how many before it were not.
    pub(super) fn wrong(&self, now: BootTime) -> Option<u64> {
        let mut account = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let refills = now.since(account.since).as_secs() / REFILL.as_secs();
        if refills > 0 {
            let more = u32::try_from(refills).unwrap_or(BURST);
            account.left = account.left.saturating_add(more).min(BURST);
            account.since = now;
        }
        let Some(left) = account.left.checked_sub(1) else {
            account.untold = account.untold.saturating_add(1);
            return None;
        };
        account.left = left;
        Some(std::mem::take(&mut account.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> BootTime {
        BootTime(seconds * 1_000_000_000)
    }

    #[test]
    fn a_burst_is_told_and_then_one_in_ten_seconds_with_the_number_of_the_others() {
        let attempts = Attempts::new(at(0));
        for _ in 0..BURST {
            assert_eq!(attempts.wrong(at(1)), Some(0));
        }
        for _ in 0..7 {
            assert_eq!(attempts.wrong(at(9)), None);
        }
        assert_eq!(attempts.wrong(at(10)), Some(7));
        assert_eq!(attempts.wrong(at(11)), None);
        assert_eq!(attempts.wrong(at(3600)), Some(1));
        for _ in 1..BURST {
            assert_eq!(attempts.wrong(at(3600)), Some(0));
        }
        assert_eq!(
            attempts.wrong(at(3600)),
            None,
            "no more than a burst is saved up"
        );
    }
}
