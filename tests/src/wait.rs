//! Waiting for something outside this process, with a deadline: the one place of the rig that sleeps.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is asked: at first, and in the end, where asking may cost what is asked some of its time.
const INTERVALS: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));

/// Asks `condition` until it gives a value.
///
/// # Errors
/// When it fails, or gives none within `limit`; `what` says what was waited for.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    let mut interval = INTERVALS.0;
    loop {
        if let Some(value) = condition()? {
            return Ok(value);
        }
        if start.elapsed() > limit {
            bail!("waited {} s for {what}", limit.as_secs_f64());
        }
        std::thread::sleep(interval);
        interval = (interval * 2).min(INTERVALS.1);
    }
}

/// Asks `condition` until it is true.
///
/// # Errors
/// As [`wait_for`].
pub fn wait_until(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Result<bool>,
) -> Result<()> {
    wait_for(what, limit, || Ok(condition()?.then_some(())))
}

/// Sleeps until `moment`: for a load that has a rate.
pub fn pace(moment: Instant) {
    let rest = moment.saturating_duration_since(Instant::now());
    if !rest.is_zero() {
        std::thread::sleep(rest);
    }
}
