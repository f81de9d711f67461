//! Numbers for operators. Few names and no labels; not undone by a fault, ignored in a replay.

use crate::host;

/// Adds to a counter.
pub fn add(counter: &str, delta: u64) {
    host::metric_add(counter, delta);
}

/// Sets a gauge.
pub fn set(gauge: &str, value: f64) {
    host::metric_set(gauge, value);
}

/// Adds an observation to a histogram.
pub fn observe(histogram: &str, value: f64) {
    host::metric_observe(histogram, value);
}
