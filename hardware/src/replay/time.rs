//! Times in recordings: RFC 3339 and what is near it, and counts since 1970.

use tidegate_record::WallTime;

const NANOSECONDS: u64 = 1_000_000_000;

/// `2026-11-21T07:30:00.5Z`, with any offset; also with a space for the `T`, and without a zone, which then is UTC.
pub(super) fn parse_date_time(text: &str) -> Option<WallTime> {
    let mut rest = text.trim();
    let year = number(&mut rest, 4)?;
    let month = after(&mut rest, &['-'], 2)?;
    let day = after(&mut rest, &['-'], 2)?;
    let hour = after(&mut rest, &['T', 't', ' '], 2)?;
    let minute = after(&mut rest, &[':'], 2)?;
    let second = after(&mut rest, &[':'], 2)?;
    let nanosecond = fraction(&mut rest)?;
    let offset_minutes = offset(rest)?;
    let days = days_since_1970(year, month, day)?;
    // Second 60 is a leap second: for a clock that has none, the first of the next minute.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds =
        days * 86_400 + i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second);
    let seconds = u64::try_from(seconds - offset_minutes * 60).ok()?;
    seconds
        .checked_mul(NANOSECONDS)?
        .checked_add(nanosecond)
        .map(WallTime)
}

/// A count since 1970 in the unit that puts it between the years 1973 and 5138: seconds, or thousandths, millionths or
/// thousand-millionths of one.
pub(super) fn parse_count(text: &str) -> Option<WallTime> {
    let (whole, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let count: u64 = whole.parse().ok()?;
    let unit = match count {
        0..100_000_000_000 => NANOSECONDS,
        100_000_000_000..100_000_000_000_000 => 1_000_000,
        100_000_000_000_000..100_000_000_000_000_000 => 1000,
        _ => 1,
    };
    let mut time = count.checked_mul(unit)?;
    let mut digit_unit = unit;
    for digit in fraction.chars() {
        digit_unit /= 10;
        time = time.checked_add(u64::from(digit.to_digit(10)?) * digit_unit)?;
    }
    Some(WallTime(time))
}

/// Takes exactly `digits` digits off the front.
fn number(rest: &mut &str, digits: usize) -> Option<u32> {
    let (head, tail) = rest.split_at_checked(digits)?;
    *rest = tail;
    match head.bytes().all(|byte| byte.is_ascii_digit()) {
        true => head.parse().ok(),
        false => None,
    }
}

/// Takes one of `separators` and then a number off the front.
fn after(rest: &mut &str, separators: &[char], digits: usize) -> Option<u32> {
    *rest = rest.strip_prefix(separators)?;
    number(rest, digits)
}

/// Takes `.digits` off the front, if it is there, as nanoseconds; digits beyond the ninth are dropped.
fn fraction(rest: &mut &str) -> Option<u64> {
    let Some(tail) = rest.strip_prefix('.') else {
        return Some(0);
    };
    let end = tail
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(tail.len());
    let (digits, tail) = tail.split_at_checked(end)?;
    *rest = tail;
    if digits.is_empty() {
        return None;
    }
    let mut unit = NANOSECONDS;
    let mut nanoseconds = 0;
    for digit in digits.chars() {
        unit /= 10;
        nanoseconds += u64::from(digit.to_digit(10)?) * unit;
    }
    Some(nanoseconds)
}

/// `Z`, `+01:00` or nothing, in minutes east of UTC.
fn offset(text: &str) -> Option<i64> {
    if matches!(text, "" | "Z" | "z") {
        return Some(0);
    }
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+')?),
    };
    let hours = number(&mut rest, 2)?;
    let minutes = after(&mut rest, &[':'], 2)?;
    match rest.is_empty() && hours < 24 && minutes < 60 {
        true => Some(sign * i64::from(hours * 60 + minutes)),
        false => None,
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar; none when there is no such date.
fn days_since_1970(year: u32, month: u32, day: u32) -> Option<i64> {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let length = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => return None,
    };
    if day == 0 || day > length {
        return None;
    }
    // Years begin in March here, so that the leap day is the last of its year.
    let year = i64::from(year) - i64::from(month < 3);
    let month_from_march = i64::from((month + 9) % 12);
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    Some(year * 365 + leap_days + day_of_year - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn date_times_are_read_as_rfc_3339_has_them() {
        for (text, seconds, nanoseconds) in [
            ("1970-01-01T00:00:00Z", 0, 0),
            ("2020-03-09 10:14:33", 1_583_748_873, 0),
            ("2020-03-09T10:14:33.5+01:00", 1_583_745_273, 500_000_000),
            ("2000-02-29T23:59:60-00:30", 951_870_600, 0),
            (
                "2026-11-21t07:30:00.1234567891z",
                1_795_246_200,
                123_456_789,
            ),
        ] {
            assert_eq!(
                parse_date_time(text),
                Some(WallTime(seconds * NANOSECONDS + nanoseconds)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_date_time_is_refused() {
        for bad in [
            "",
            "2020-03-09",
            "2020-02-30T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2020-13-01T00:00:00Z",
            "2020-03-09T24:00:00Z",
            "2020-03-09T10:14:33.Z",
            "2020-03-09T10:14:33+1:00",
            "2020-03-09T10:14:33 UTC",
            "1969-12-31T23:59:59Z",
            "+020-03-09T10:14:33Z",
            "2020-03-0\u{fc}T10:14:33Z",
        ] {
            assert_eq!(parse_date_time(bad), None, "{bad}");
        }
    }

    #[test]
    fn counts_are_read_in_the_unit_that_makes_sense() {
        let expected = Some(WallTime(1_422_748_800_000_000_000));
        for text in [
            "1422748800",
            "1422748800000",
            "1422748800000000",
            "1422748800000000000",
        ] {
            assert_eq!(parse_count(text), expected, "{text}");
        }
        assert_eq!(
            parse_count("1422748800.25"),
            Some(WallTime(1_422_748_800_250_000_000))
        );
        for bad in ["", "-1", "1e9", "1.x", "99999999999999999999"] {
            assert_eq!(parse_count(bad), None, "{bad}");
        }
    }
}
