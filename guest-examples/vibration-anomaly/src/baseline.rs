//! The baseline of one channel. Values in, score and change out.

use serde::{Deserialize, Serialize};

/// Deviations to which a spike is cut before it is learnt.
const SPIKE: f64 = 4.0;

/// How much slower a channel in alarm learns.
const SLOW_DOWN: f64 = 0.1;

/// Part of the baseline that a usual distance is at least, so that a channel that never moved is not over-sensitive.
const DISTANCE_MIN: f64 = 1e-3;

/// How quickly a baseline is learnt and when it is left. The numbers of messages suit a steady rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tuning {
    /// Messages that the level follows within.
    pub(crate) fast: u32,
    /// Messages that the baseline follows within.
    pub(crate) slow: u32,
    /// Messages before anything is reported.
    pub(crate) warm_up: u64,
    /// Score above which a channel is in alarm.
    pub(crate) limit: f64,
    /// Score below which it is normal again.
    pub(crate) clear: f64,
}

/// What became of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Its level left the baseline.
    Anomaly,
    /// Its level is back.
    Normal,
}

/// The level of a channel and what is usual for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Baseline {
    count: u64,
    level: f64,
    baseline: f64,
    /// Usual square of a value's distance from the baseline.
    variance: f64,
    /// Usual square of the level's distance from the baseline.
    distance: f64,
    in_alarm: bool,
}

impl Baseline {
    /// Learns a value. The score is the level's distance from the baseline, 1 being usual; 0 while warming up.
    pub(crate) fn learn(&mut self, value: f64, tuning: &Tuning) -> (f64, Option<Change>) {
        self.count += 1;
        if self.count == 1 {
            (self.level, self.baseline) = (value, value);
            return (0.0, None);
        }
        let is_warm = self.count > tuning.warm_up;
        let value = if is_warm {
            self.without_spike(value)
        } else {
            value
        };
        self.level += rate(tuning.fast, self.count) * (value - self.level);
        let score = if is_warm { self.score() } else { 0.0 };
        let was_in_alarm = self.in_alarm;
        self.in_alarm = if was_in_alarm {
            score >= tuning.clear
        } else {
            score > tuning.limit
        };

        let slow_down = if self.in_alarm { SLOW_DOWN } else { 1.0 };
        let rate = rate(tuning.slow, self.count) * slow_down;
        let from_baseline = value - self.baseline;
        self.baseline += rate * from_baseline;
        self.variance += rate * (from_baseline.powi(2) - self.variance);
        self.distance += rate * ((self.level - self.baseline).powi(2) - self.distance);
        let change = match (was_in_alarm, self.in_alarm) {
            (false, true) => Some(Change::Anomaly),
            (true, false) => Some(Change::Normal),
            _ => None,
        };
        (score, change)
    }

    /// The level that the channel has now.
    pub(crate) fn level(&self) -> f64 {
        self.level
    }

    /// The level that is usual for the channel.
    pub(crate) fn baseline(&self) -> f64 {
        self.baseline
    }

    fn score(&self) -> f64 {
        let usual = self
            .distance
            .sqrt()
            .max(DISTANCE_MIN * self.baseline.abs())
            .max(f64::MIN_POSITIVE);
        (self.level - self.baseline).abs() / usual
    }

    fn without_spike(&self, value: f64) -> f64 {
        let spike = SPIKE * self.variance.sqrt();
        if spike > 0.0 {
            value.clamp(self.baseline - spike, self.baseline + spike)
        } else {
            value
        }
    }
}

/// The weight of one value in a mean over `messages`; more while there are fewer.
fn rate(messages: u32, count: u64) -> f64 {
    #[allow(
        clippy::cast_precision_loss,
        reason = "a count of messages stays below 2^53"
    )]
    let count = count as f64;
    (2.0 / (f64::from(messages) + 1.0)).max(1.0 / count)
}
