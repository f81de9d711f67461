//! The two clocks of the contract, and the texts for times and durations.
//!
//! They are two types so that they cannot be mixed: the wall clock names an instant and may step, the boot clock
//! measures and may not. No function here fails on overflow: times saturate.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(crate) const NS_PER_SECOND: u64 = 1_000_000_000;

/// Nanoseconds since 1970 UTC by some wall clock. May step either way: never order or measure by it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct WallTime(pub u64);

/// Nanoseconds since the gateway booted, sleep included. Starts again when [`Batch::boot`](crate::Batch::boot) changes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct BootTime(pub u64);

/// A duration in nanoseconds, as the contract carries it; one of more than 584 years is cut to that.
pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

macro_rules! arithmetic {
    ($time:ident) => {
        impl $time {
            /// This much later.
            #[must_use]
            pub fn plus(self, duration: Duration) -> Self {
                Self(self.0.saturating_add(nanoseconds(duration)))
            }

            /// This much earlier.
            #[must_use]
            pub fn minus(self, duration: Duration) -> Self {
                Self(self.0.saturating_sub(nanoseconds(duration)))
            }

            /// How long after `earlier` this is; zero if it is before.
            #[must_use]
            pub fn since(self, earlier: Self) -> Duration {
                Duration::from_nanos(self.0.saturating_sub(earlier.0))
            }
        }
    };
}

arithmetic!(WallTime);
arithmetic!(BootTime);

/// A duration as people say it: `12 ms`, `3.2 s`, `5.0 h`.
pub(crate) struct Span(pub(crate) Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        match seconds {
            ..1.0 => write!(f, "{:.0} ms", seconds * 1e3),
            1.0..3600.0 => write!(f, "{seconds:.1} s"),
            _ => write!(f, "{:.1} h", seconds / 3600.0),
        }
    }
}

/// RFC 3339 in UTC with as many of 0, 3, 6 or 9 decimals as the time needs: `2026-03-01T08:00:00.250Z`.
impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / NS_PER_SECOND;
        let (year, month, day) = date(seconds / 86_400);
        let of_day = seconds % 86_400;
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
        )?;
        match self.0 % NS_PER_SECOND {
            0 => {}
            ns if ns % 1_000_000 == 0 => write!(f, ".{:03}", ns / 1_000_000)?,
            ns if ns % 1000 == 0 => write!(f, ".{:06}", ns / 1000)?,
            ns => write!(f, ".{ns:09}")?,
        }
        f.write_str("Z")
    }
}

/// Reads RFC 3339 in UTC: `2026-03-01T08:00:00Z`, with up to nine decimals.
impl FromStr for WallTime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse_rfc_3339(text)
            .ok_or_else(|| format!("{text:?} is not a time such as 2026-03-01T08:00:00.000Z"))
    }
}

fn parse_rfc_3339(text: &str) -> Option<WallTime> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let is_fraction =
        (1..=9).contains(&fraction.len()) && fraction.bytes().all(|byte| byte.is_ascii_digit());
    if !is_fraction || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = days_since_1970(year, month, day)? * 86_400 + hour * 3600 + minute * 60 + second;
    let ns: u64 = format!("{fraction:0<9}").parse().ok()?;
    seconds
        .checked_mul(NS_PER_SECOND)?
        .checked_add(ns)
        .map(WallTime)
}

/// Three numbers of so many digits each.
fn numbers(text: &str, separator: char, digits: [usize; 3]) -> Option<[u64; 3]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; 3];
    for (number, digits) in numbers.iter_mut().zip(digits) {
        let part = parts.next().filter(|part| {
            part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit())
        })?;
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

/// The inverse of [`date`]; none for a date that does not exist or lies before 1970.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    let shifted_year = year.checked_sub(u64::from(month <= 2))?;
    let shifted_month = (month + 9) % 12;
    let year_of_era = shifted_year % 400;
    let day_of_year = (153 * shifted_month + 2) / 5 + day.checked_sub(1)?;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = (shifted_year / 400 * 146_097 + day_of_era).checked_sub(719_468)?;
    (date(days) == (year, month, day)).then_some(days)
}

/// Year, month and day of a number of days since 1970 (the civil calendar in eras of 400 years, starting in March).
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

/// The nanoseconds of a text like `250ms`, `10s`, `5m`, `1h` or `1d`: a whole number and one unit. A `const fn`, so that a
/// window's length is checked when the module is compiled.
pub const fn parse_duration_ns(text: &str) -> Option<u64> {
    let mut bytes = text.as_bytes();
    if !matches!(bytes, [b'0'..=b'9', ..]) {
        return None;
    }
    let mut number: u64 = 0;
    while let [digit @ b'0'..=b'9', rest @ ..] = bytes {
        number = match number.checked_mul(10) {
            Some(number) => number,
            None => return None,
        };
        number = match number.checked_add((*digit - b'0') as u64) {
            Some(number) => number,
            None => return None,
        };
        bytes = rest;
    }
    let unit = match bytes {
        b"ms" => 1_000_000,
        b"s" => NS_PER_SECOND,
        b"m" => 60 * NS_PER_SECOND,
        b"h" => 3600 * NS_PER_SECOND,
        b"d" => 86_400 * NS_PER_SECOND,
        _ => return None,
    };
    number.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_rfc_3339_with_the_decimals_it_needs() {
        for (ns, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400 * NS_PER_SECOND, "2000-02-29T00:00:00Z"),
            (1_772_352_000_250_000_000, "2026-03-01T08:00:00.250Z"),
            (1_772_352_000_000_250_000, "2026-03-01T08:00:00.000250Z"),
            (1_772_352_000_000_000_001, "2026-03-01T08:00:00.000000001Z"),
            (4_102_444_799 * NS_PER_SECOND, "2099-12-31T23:59:59Z"),
        ] {
            assert_eq!(WallTime(ns).to_string(), text);
            assert_eq!(text.parse(), Ok(WallTime(ns)));
        }
    }

    #[test]
    fn a_text_that_is_no_time_is_refused() {
        for text in [
            "",
            "2026-03-01",
            "2026-03-01T08:00:00",
            "2026-03-01T08:00:00+01:00",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "2026-03-01T24:00:00Z",
            "2026-03-01T08:00:60Z",
            "2026-03-01T08:00:00.Z",
            "2026-03-01T08:00:00.1234567890Z",
            "2026-03-01T08:00:00.-1Z",
            "9999-12-31T23:59:59Z",
            "2026-3-1T8:0:0Z",
            "2026-03-01-01T08:00:00Z",
        ] {
            assert!(text.parse::<WallTime>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_duration_is_a_whole_number_and_one_unit() {
        for (text, ns) in [
            ("250ms", Some(250_000_000)),
            ("10s", Some(10 * NS_PER_SECOND)),
            ("2m", Some(120 * NS_PER_SECOND)),
            ("1h", Some(3600 * NS_PER_SECOND)),
            ("1d", Some(86_400 * NS_PER_SECOND)),
            ("0s", Some(0)),
            ("10", None),
            ("s", None),
            ("", None),
            ("1.5s", None),
            ("-1s", None),
            ("10 s", None),
            ("99999999999999999999s", None),
            ("18446744073709551615d", None),
        ] {
            assert_eq!(parse_duration_ns(text), ns, "{text}");
        }
    }
}
