//! Numbers, lengths and text from outside as short words; pure.

use std::time::Duration;

/// Longest text shown in a cell, in characters.
const TEXT_MAX: usize = 80;

/// Six significant digits, without trailing zeros.
pub(super) fn short(number: f64) -> String {
    let size = number.abs();
    if !number.is_finite() || number == 0.0 {
        return number.to_string();
    }
    if !(1e-4..1e9).contains(&size) {
        return format!("{number:.4e}");
    }
    let decimals = [1e5, 1e4, 1e3, 1e2, 1e1, 1.0]
        .iter()
        .take_while(|bound| size < **bound)
        .count();
    let text = format!("{number:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// Digits in groups of three.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202F}');
        }
        text.push(digit);
    }
    text
}

/// In its largest fitting unit.
pub(super) fn bytes(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let (mut tenths, mut unit) = (u128::from(bytes) * 10, "B");
    for larger in units {
        if tenths < 10_240 {
            break;
        }
        (tenths, unit) = (tenths / 1024, larger);
    }
    match tenths % 10 {
        tenth if tenths < 1000 && tenth > 0 => format!("{}.{tenth} {unit}", tenths / 10),
        _ => format!("{} {unit}", tenths / 10),
    }
}

/// In its largest fitting unit.
pub(super) fn length(length: Duration) -> String {
    match length.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// Text from outside: what would move or hide other text is shown as a replacement character.
pub(super) fn plain(text: &str) -> String {
    let hides = |c: char| {
        c.is_control()
            || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
    };
    let characters = text.chars();
    characters
        .map(|c| if hides(c) { '\u{FFFD}' } else { c })
        .collect()
}

/// The same, as one short line.
pub(super) fn clean(text: &str) -> String {
    let text = plain(text);
    let mut characters = text.chars();
    let mut short: String = characters.by_ref().take(TEXT_MAX).collect();
    if characters.next().is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_honest() {
        for (number, expected) in [
            (91.5, "91.5"),
            (0.1 + 0.2, "0.3"),
            (1e-7, "1.0000e-7"),
            (123_456.789, "123457"),
            (-20.0, "-20"),
            (100.0, "100"),
            (0.0, "0"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "inf"),
            (1e300, "1.0000e300"),
            (0.000_123_456_789, "0.000123"),
        ] {
            assert_eq!(short(number), expected);
        }
        assert_eq!(grouped(1_234_567), "1\u{202F}234\u{202F}567");
    }

    #[test]
    fn bytes_are_told_in_their_largest_unit() {
        for (number, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (200 << 20, "200 MiB"),
            ((1 << 30) - 1, "1023 MiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(bytes(number), expected);
        }
    }

    #[test]
    fn text_from_outside_stays_one_short_line() {
        assert_eq!(clean("press-7"), "press-7");
        assert_eq!(
            clean("a\nb\u{1b}[31m\u{202E}c"),
            "a\u{FFFD}b\u{FFFD}[31m\u{FFFD}c"
        );
        assert_eq!(clean(&"x".repeat(81)), format!("{}…", "x".repeat(80)));
    }
}
