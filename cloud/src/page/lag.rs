//! How far the centre is behind into what is shown: words, and a small chart of the last three days; pure.

use std::fmt::Write;
use std::time::Duration;

use tidegate_wire::{Measured, WallTime};

use super::text::{grouped, length};
use super::view::{Moment, Now};
use crate::lag::{Lag, Step, history};

/// Hours that the chart goes back, and so its width.
pub(super) const HOURS: u64 = 72;
/// Its height, in the same units.
const HEIGHT: u64 = 20;
/// While rows trickle, some seconds are nothing to show.
const CALM: Duration = Duration::from_secs(10);

/// One stream.
#[derive(Debug)]
pub(super) struct LagView {
    pub(super) stream: String,
    pub(super) rows_text: String,
    pub(super) lag: String,
    pub(super) seconds: u64,
    /// Measured by a clock that may have been wrong.
    pub(super) doubtful: bool,
    pub(super) objective: Option<String>,
    pub(super) missed: Option<Moment>,
    pub(super) chart: Option<Chart>,
}

/// A bar for each hour, as a path within 72 x 20, and where the objective is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chart {
    pub(super) bars: String,
    pub(super) objective: Option<u64>,
    pub(super) worst: String,
}

/// A stream as it is shown, with what is kept of its last days.
pub(super) fn view(now: Now, lag: &Lag, known: &[(WallTime, Duration)]) -> LagView {
    let known = known.iter().copied().chain([(now.0, lag.lag)]);
    LagView {
        stream: lag.stream.to_string(),
        rows_text: grouped(lag.rows_waiting),
        lag: match is_calm(lag.lag, lag.objective) {
            true => "up to date".to_owned(),
            false => length(lag.lag),
        },
        seconds: lag.lag.as_secs(),
        doubtful: lag.measured == Measured::Doubtful && lag.rows_waiting > 0,
        objective: lag.objective.map(length),
        missed: lag.missed().map(|missed| {
            let nanoseconds = u64::try_from(missed.as_nanos()).unwrap_or(u64::MAX);
            now.moment(WallTime(now.0.0.saturating_sub(nanoseconds)))
        }),
        chart: chart(&history(Step::Hour, HOURS, now.0, known), lag.objective),
    }
}

/// Nothing to show: rows are on their way, and there is time.
fn is_calm(lag: Duration, objective: Option<Duration>) -> bool {
    lag < CALM && objective.is_none_or(|objective| lag <= objective)
}

/// The highest bar, or the objective where that is higher, fills the height. None where nothing was ever behind.
fn chart(worst: &[Duration], objective: Option<Duration>) -> Option<Chart> {
    let most = worst.iter().max().copied();
    let most = most.filter(|most| !is_calm(*most, objective))?;
    let top = most.max(objective.unwrap_or_default()).as_millis().max(1);
    let height = |length: Duration| {
        let height = length.as_millis() * u128::from(HEIGHT) / top;
        u64::try_from(height).unwrap_or(HEIGHT)
    };
    let mut bars = String::new();
    for (column, length) in worst
        .iter()
        .enumerate()
        .filter(|(_, one)| !is_calm(**one, objective))
    {
        // Writing to a string cannot fail.
        let _written = write!(
            bars,
            "M{column} {HEIGHT}v-{}h1V{HEIGHT}z",
            height(*length).max(1)
        );
    }
    Some(Chart {
        bars,
        objective: objective.map(|objective| HEIGHT - height(objective)),
        worst: length(most),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{START_NS, name};

    fn stream(seconds: u64, objective: Option<u64>) -> Lag {
        Lag {
            stream: name("readings"),
            rows_waiting: 3600,
            lag: Duration::from_secs(seconds),
            measured: Measured::Doubtful,
            objective: objective.map(Duration::from_secs),
        }
    }

    #[test]
    fn a_stream_says_how_far_behind_and_since_when_that_is_too_much() {
        let now = Now(WallTime(START_NS));
        let missed = view(now, &stream(7200, Some(600)), &[]);
        assert_eq!(
            (missed.lag.as_str(), missed.rows_text.as_str()),
            ("2 h", "3\u{202F}600")
        );
        assert_eq!(missed.objective.as_deref(), Some("10 min"));
        assert_eq!(missed.missed.unwrap().ago, "1 h ago");
        assert!(missed.doubtful);
        let calm = view(now, &stream(3, Some(600)), &[]);
        assert_eq!(
            (calm.lag.as_str(), calm.missed.is_none()),
            ("up to date", true)
        );
        assert_eq!(calm.chart, None);
    }

    #[test]
    fn a_chart_has_a_bar_for_each_hour_that_was_behind() {
        let seconds = [0, 30, 9, 60].map(Duration::from_secs);
        let drawn = chart(&seconds, Some(Duration::from_secs(120))).unwrap();
        assert_eq!(drawn.bars, "M1 20v-5h1V20zM3 20v-10h1V20z");
        assert_eq!((drawn.objective, drawn.worst.as_str()), (Some(0), "1 min"));
        let small = chart(&seconds, Some(Duration::from_secs(u64::MAX))).unwrap();
        assert_eq!(small.bars, "M1 20v-1h1V20zM3 20v-1h1V20z");
    }
}
