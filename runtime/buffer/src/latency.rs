//! How long it took from receipt to disk: a histogram with a fixed number of buckets.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets per doubling: a value is known to within 9 %.
const PER_OCTAVE: u32 = 8;
/// From 1 us to about 18 minutes.
const OCTAVES: u32 = 30;

/// A histogram of durations.
#[derive(Debug)]
pub struct Latency {
    buckets: Vec<AtomicU64>,
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            buckets: (0..OCTAVES * PER_OCTAVE)
                .map(|_| AtomicU64::new(0))
                .collect(),
        }
    }
}

impl Latency {
    /// Counts one duration.
    pub fn record(&self, duration: Duration) {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to the buckets below"
        )]
        let index = {
            let octaves = (duration.as_secs_f64() * 1e6).max(1.0).log2();
            (octaves * f64::from(PER_OCTAVE)) as usize
        };
        if let Some(bucket) = self.buckets.get(index.min(self.buckets.len() - 1)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The duration that the share `quantile` (0 to 1) of all is not above; none before the first.
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        let counts: Vec<_> = self
            .buckets
            .iter()
            .map(|bucket| bucket.load(Ordering::Relaxed))
            .collect();
        let total: u64 = counts.iter().sum();
        if total == 0 {
            return None;
        }
        #[allow(
            clippy::cast_precision_loss,
            reason = "a rank needs no more than 53 bits"
        )]
        let wanted = total as f64 * quantile;
        let mut below = 0.0;
        for (index, count) in (1_u32..).zip(counts) {
            #[allow(clippy::cast_precision_loss, reason = "as above")]
            let count = count as f64;
            below += count;
            if below >= wanted {
                return Some(Duration::from_secs_f64(
                    2_f64.powf(f64::from(index) / f64::from(PER_OCTAVE)) / 1e6,
                ));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_tenth() {
        let latency = Latency::default();
        assert_eq!(latency.quantile(0.5), None);
        for milliseconds in 1..=100 {
            latency.record(Duration::from_millis(milliseconds));
        }
        for (quantile, expected) in [(0.5, 50.0), (0.99, 99.0)] {
            let found = latency.quantile(quantile).unwrap().as_secs_f64() * 1e3;
            assert!(
                (found / expected - 1.0).abs() < 0.1,
                "{quantile}: {found} ms"
            );
        }
    }

    #[test]
    fn durations_beyond_the_range_are_counted_at_its_ends() {
        let latency = Latency::default();
        latency.record(Duration::ZERO);
        latency.record(Duration::from_secs(1 << 40));
        assert!(latency.quantile(1.0).is_some());
    }
}
