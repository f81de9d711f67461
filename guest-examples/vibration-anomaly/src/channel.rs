//! One channel. Values in, scores out.
//!
//! A fast mean follows the level, a slow one the baseline, and the score is their distance in units of the
//! distance that is usual. Spikes are cut first. A channel in alarm learns more slowly, so that a fault does not soon
//! become the new normal.

use serde::{Deserialize, Serialize};

/// Messages that level and baseline follow within. Numbers of messages, so they suit a steady rate.
const FAST: f64 = 20.0;
const SLOW: f64 = 800.0;
/// Messages of a channel before anything is reported.
const WARM_UP: f64 = 300.0;
/// Deviations to which a spike is cut before it is learnt.
const SPIKE: f64 = 4.0;
/// How much of its usual speed a channel in alarm learns with.
const ALARM_SPEED: f64 = 0.1;

/// What was learnt of a channel.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Channel {
    count: f64,
    pub(crate) level: f64,
    pub(crate) baseline: f64,
    /// Usual square of a value's distance from the baseline.
    variance: f64,
    /// Usual square of the level's distance from the baseline.
    distance: f64,
    pub(crate) in_alarm: bool,
}

impl Channel {
    /// Learns a value. Answers with the score before it: the level's distance from the baseline, 1 being usual.
    pub(crate) fn learn(&mut self, value: f64) -> f64 {
        self.count += 1.0;
        let is_warm = self.count > WARM_UP;
        let spike = match SPIKE * self.variance.sqrt() {
            spike if is_warm && spike > 0.0 => spike,
            _ => f64::INFINITY,
        };
        let value = value.max(self.baseline - spike).min(self.baseline + spike);
        self.level += rate(FAST, self.count) * (value - self.level);
        // A channel that never moved is not sensitive to its thousandth part.
        let usual = self
            .distance
            .sqrt()
            .max(self.baseline.abs() / 1000.0)
            .max(f64::MIN_POSITIVE);
        let score = if is_warm {
            (self.level - self.baseline).abs() / usual
        } else {
            0.0
        };

        let speed = if self.in_alarm { ALARM_SPEED } else { 1.0 };
        let rate = rate(SLOW, self.count) * speed;
        let deviation = value - self.baseline;
        self.baseline += rate * deviation;
        self.variance += rate * (deviation.powi(2) - self.variance);
        self.distance += rate * ((self.level - self.baseline).powi(2) - self.distance);
        score
    }
}

/// The weight of one value in a mean over so many messages; more while there are fewer.
fn rate(messages: f64, count: f64) -> f64 {
    (2.0 / (messages + 1.0)).max(1.0 / count)
}
