//! How long to wait before the next attempt to connect.

use std::time::Duration;

/// Full jitter: anything from zero to `min`, doubled with each failed attempt up to `max`. `random` decides; it is
/// uniform over all of `u32`. Without the jitter every gateway of a site would come back in the same moment.
pub(crate) fn delay(failed_attempts: u32, random: u32, min: Duration, max: Duration) -> Duration {
    let doubled = 1_u32
        .checked_shl(failed_attempts.saturating_sub(1))
        .unwrap_or(u32::MAX);
    let ceiling = min.saturating_mul(doubled).min(max);
    ceiling.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

/// A random number for [`delay`]. A system without randomness waits half of the longest time: no jitter, still bounded.
pub(crate) fn random() -> u32 {
    getrandom::u32().unwrap_or(u32::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIN: Duration = Duration::from_millis(100);
    const MAX: Duration = Duration::from_secs(60);

    #[test]
    fn the_longest_wait_doubles_up_to_the_maximum() {
        let longest = |attempts| delay(attempts, u32::MAX, MIN, MAX).as_millis();
        let all: Vec<_> = [1, 2, 3, 9, 10, 11, 33, 1000].map(longest).into();
        assert_eq!(all, [100, 200, 400, 25_600, 51_200, 60_000, 60_000, 60_000]);
    }

    #[test]
    fn the_shortest_wait_is_none() {
        assert_eq!(delay(7, 0, MIN, MAX), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn a_wait_is_never_longer_than_the_maximum(attempts: u32, random: u32) {
            prop_assert!(delay(attempts, random, MIN, MAX) <= MAX);
        }
    }
}
