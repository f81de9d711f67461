//! How long to wait after a failure: exponential, with full jitter.
//!
//! A thousand gateways that lost the same link come back spread over the whole wait, not all at its end.

use std::time::Duration;

/// Waits after successive failures.
#[derive(Debug, Clone)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// Waits of up to `min` after the first failure, doubled with each further one, and never more than `max`.
    pub const fn new(min: Duration, max: Duration) -> Self {
        Self {
            min,
            max,
            failures: 0,
        }
    }

    /// The wait after one more failure: the share `random` (0 to 1) of the bound that it has reached.
    pub fn next(&mut self, random: f64) -> Duration {
        let bound = self
            .min
            .saturating_mul(2_u32.saturating_pow(self.failures))
            .min(self.max);
        self.failures = self.failures.saturating_add(1);
        bound.mul_f64(random.clamp(0.0, 1.0))
    }

    /// As [`Backoff::next`], with a share of chance.
    pub fn jittered(&mut self) -> Duration {
        // Without a source of randomness every gateway waits for the whole bound, which is safe.
        let random = getrandom::u32().unwrap_or(u32::MAX);
        self.next(f64::from(random) / f64::from(u32::MAX))
    }

    /// It worked: the next failure is the first again.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_up_to_the_longest_wait_and_starts_again_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        let bounds: Vec<_> = (0..8).map(|_| backoff.next(1.0).as_secs()).collect();
        assert_eq!(bounds, [1, 2, 4, 8, 16, 32, 60, 60]);
        backoff.reset();
        assert_eq!(backoff.next(1.0).as_secs(), 1);
    }

    #[test]
    fn the_wait_is_a_random_share_of_the_bound() {
        let mut backoff = Backoff::new(Duration::from_secs(8), Duration::from_secs(60));
        assert_eq!(backoff.next(0.25), Duration::from_secs(2));
        assert_eq!(backoff.next(0.0), Duration::ZERO);
    }

    #[test]
    fn chance_stays_within_the_bound() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        assert!((0..1000).all(|_| backoff.jittered() <= Duration::from_secs(60)));
    }

    #[test]
    fn years_of_failures_do_not_overflow() {
        let mut backoff = Backoff {
            min: Duration::from_secs(1),
            max: Duration::from_secs(60),
            failures: u32::MAX,
        };
        assert_eq!(backoff.next(1.0).as_secs(), 60);
    }
}
