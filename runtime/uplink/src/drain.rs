//! How fast the backlog shrinks, and when it will be gone. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use tidegate_record::BootTime;

/// Over how long the rate is taken.
const OVER: Duration = Duration::from_secs(300);
/// A look is remembered so seldom.
const APART: Duration = Duration::from_secs(5);
/// A rate over less than this says nothing.
const LEAST: Duration = Duration::from_secs(10);

/// What waited when.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    looks: VecDeque<Look>,
}

#[derive(Debug, Clone, Copy)]
struct Look {
    at: BootTime,
    waiting: u64,
    sent: u64,
}

/// What the last minutes promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Forecast {
    /// Rows sent a minute.
    pub rows_per_minute: u64,
    /// Until none waits, at the rate at which they became fewer; none when they did not.
    pub drain: Option<Duration>,
}

impl Drain {
    /// `waiting` rows wait now, and `sent` were sent since the start.
    pub(crate) fn look(&mut self, at: BootTime, waiting: u64, sent: u64) -> Forecast {
        // The oldest look is the last one from before the minutes that count.
        while self
            .looks
            .get(1)
            .is_some_and(|next| at.since(next.at) >= OVER)
        {
            self.looks.pop_front();
        }
        if self
            .looks
            .back()
            .is_none_or(|last| at.since(last.at) >= APART)
        {
            self.looks.push_back(Look { at, waiting, sent });
        }
        let Some(then) = self.looks.front().filter(|then| at.since(then.at) >= LEAST) else {
            return Forecast {
                rows_per_minute: 0,
                drain: (waiting == 0).then_some(Duration::ZERO),
            };
        };
        let passed = at.since(then.at).as_millis();
        let per_minute = u128::from(sent.saturating_sub(then.sent)) * 60_000 / passed.max(1);
        Forecast {
            rows_per_minute: u64::try_from(per_minute).unwrap_or(u64::MAX),
            drain: drain(waiting, then.waiting.saturating_sub(waiting), passed),
        }
    }
}

/// `waiting` rows, at a rate of `fewer` in `passed` milliseconds.
fn drain(waiting: u64, fewer: u64, passed: u128) -> Option<Duration> {
    match (waiting, fewer) {
        (0, _) => Some(Duration::ZERO),
        (_, 0) => None,
        _ => {
            let milliseconds = u128::from(waiting) * passed / u128::from(fewer);
            let milliseconds = u64::try_from(milliseconds).unwrap_or(u64::MAX);
            Some(Duration::from_millis(milliseconds))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> BootTime {
        BootTime(seconds * 1_000_000_000)
    }

    #[test]
    fn a_backlog_that_shrinks_says_when_it_is_gone() {
        let mut drain = Drain::default();
        assert_eq!(drain.look(at(0), 100_000, 0), Forecast::default());
        let mut forecast = Forecast::default();
        for seconds in 1..=600 {
            forecast = drain.look(at(seconds), 100_000 - seconds * 100, seconds * 150);
        }
        assert_eq!(forecast.rows_per_minute, 9_000);
        assert_eq!(forecast.drain, Some(Duration::from_secs(400)));
        assert!(drain.looks.len() < 64);
    }

    #[test]
    fn one_that_does_not_shrink_has_no_end_and_none_has_ended() {
        let mut drain = Drain::default();
        drain.look(at(0), 50, 0);
        assert_eq!(drain.look(at(60), 50, 60).drain, None);
        assert_eq!(drain.look(at(61), 900, 61).drain, None);
        assert_eq!(drain.look(at(62), 0, 61).drain, Some(Duration::ZERO));
        assert_eq!(
            Drain::default().look(at(1), 0, 0).drain,
            Some(Duration::ZERO)
        );
    }

    #[test]
    fn the_rate_is_that_of_the_last_minutes() {
        let mut drain = Drain::default();
        for seconds in 0..1000 {
            drain.look(at(seconds), 1_000_000, 0);
        }
        let mut forecast = Forecast::default();
        for seconds in 1000..=1305 {
            forecast = drain.look(at(seconds), 1_000_000 - (seconds - 1000) * 1000, 0);
        }
        let whole = forecast.drain.unwrap().as_secs();
        assert!((690..=720).contains(&whole), "{whole}");
    }
}
