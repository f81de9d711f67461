//! The section `[updates]`: how often the centre is asked.

use std::ops::RangeInclusive;
use std::time::Duration;

use tidegate_settings::{Section, duration};

/// Unless said otherwise.
pub(super) const INTERVAL: Duration = Duration::from_secs(60);
/// A second is for a look; once a day is for a link that is paid by the byte.
const INTERVALS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);

/// From one question to the next.
pub(super) fn read(mut section: Section<'_>) -> Option<Duration> {
    let interval = section.optional_as("interval", |text| {
        let interval = duration(text)?;
        match INTERVALS.contains(&interval) {
            true => Ok(interval),
            false => Err(format!("{text} is not between 1s and 24h")),
        }
    });
    section.end();
    interval
}
