//! Times as text: RFC 3339 in UTC with as many of 0, 3, 6 or 9 decimals as they need, `2026-03-01T08:00:00.250Z`.
//!
//! The module SDK has the same two functions; it is a workspace of its own and shares no code with this one.

use tidegate_record::WallTime;

const NS_PER_SECOND: u64 = 1_000_000_000;
const SECONDS_PER_DAY: u64 = 86_400;
/// From the first of March of year 0, where eras of 400 years begin, to 1970.
const DAYS_TO_1970: u64 = 719_468;
const DAYS_PER_ERA: u64 = 146_097;

pub(crate) fn format(time: WallTime) -> String {
    let seconds = time.0 / NS_PER_SECOND;
    let (year, month, day) = date(seconds / SECONDS_PER_DAY);
    let of_day = seconds % SECONDS_PER_DAY;
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let decimals = match time.0 % NS_PER_SECOND {
        0 => String::new(),
        ns if ns % 1_000_000 == 0 => format!(".{:03}", ns / 1_000_000),
        ns if ns % 1000 == 0 => format!(".{:06}", ns / 1000),
        ns => format!(".{ns:09}"),
    };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{decimals}Z")
}

/// None for what is no time in UTC, or lies before 1970 or after 2554.
pub(crate) fn parse(text: &str) -> Option<WallTime> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let (time, decimals) = time.split_once('.').unwrap_or((time, "0"));
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let are_decimals =
        (1..=9).contains(&decimals.len()) && decimals.bytes().all(|byte| byte.is_ascii_digit());
    if !are_decimals || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds =
        days_since_1970(year, month, day)? * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second;
    let ns: u64 = format!("{decimals:0<9}").parse().ok()?;
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
        let is_number =
            |part: &&str| part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
        *number = parts.next().filter(is_number)?.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

/// The inverse of [`date`]; none for a date that does not exist.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    let shifted_year = year.checked_sub(u64::from(month <= 2))?;
    let year_of_era = shifted_year % 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day.checked_sub(1)?;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = (shifted_year / 400 * DAYS_PER_ERA + day_of_era).checked_sub(DAYS_TO_1970)?;
    (date(days) == (year, month, day)).then_some(days)
}

/// Year, month and day of a number of days since 1970: the civil calendar in eras of 400 years, starting in March.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + DAYS_TO_1970;
    let (era, day_of_era) = (days / DAYS_PER_ERA, days % DAYS_PER_ERA);
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
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_reads_back_from_its_text() {
        for (ns, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400 * NS_PER_SECOND, "2000-02-29T00:00:00Z"),
            (1_772_352_000_250_000_000, "2026-03-01T08:00:00.250Z"),
            (1_772_352_000_000_250_000, "2026-03-01T08:00:00.000250Z"),
            (1_772_352_000_000_000_001, "2026-03-01T08:00:00.000000001Z"),
            (4_102_444_799 * NS_PER_SECOND, "2099-12-31T23:59:59Z"),
        ] {
            assert_eq!(format(WallTime(ns)), text);
            assert_eq!(parse(text), Some(WallTime(ns)));
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2026-03-01",
            "2026-03-01T08:00:00",
            "2026-03-01T08:00:00+01:00",
            "2026-02-29T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "2026-03-01T24:00:00Z",
            "2026-03-01T08:00:00.Z",
            "2026-03-01T08:00:00.1234567890Z",
            "9999-12-31T23:59:59Z",
            "2026-3-1T8:0:0Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
