//! What names, topic filters and other texts in documents may be.
//!
//! A problem is said in words to be read after the place where the text stands. Tools that write documents use the
//! same checks, to say it where the author can still see the line.

/// Longest name of a module, stream or fleet.
const NAME_BYTES_MAX: usize = 64;
/// Longest text on one line: descriptions, points, targets.
const LINE_BYTES_MAX: usize = 1024;
/// Longest sentence: a reason, for people.
const SENTENCE_BYTES_MAX: usize = 500;
/// Longest topic filter; MQTT would allow 64 KiB.
const FILTER_BYTES_MAX: usize = 1024;

/// A module reads its flags as configuration whose keys begin so.
pub(crate) const FLAG_PREFIX: &str = "flag.";

/// Names become file names, table keys and words in logs: `[a-z0-9-]`, 1 to 64 of them.
///
/// # Errors
///
/// What is wrong with the text.
pub fn check_name(text: &str) -> Result<(), &'static str> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed) {
        return Ok(());
    }
    Err("must be 1 to 64 characters of a-z, 0-9 and -")
}

/// A name, or the beginning of names followed by `*`.
///
/// # Errors
///
/// What is wrong with the text.
pub fn check_pattern(text: &str) -> Result<(), &'static str> {
    match text.strip_suffix('*') {
        Some("") => Ok(()),
        Some(start) => check_name(start),
        None => check_name(text),
    }
    .map_err(|_| "must be a module name, or the beginning of one followed by *")
}

/// Whether a pattern that passed [`check_pattern`] covers a name.
#[must_use]
pub fn pattern_covers(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => pattern == name,
    }
}

/// One line of text that cannot disturb a terminal or a log.
///
/// # Errors
///
/// What is wrong with the text.
pub fn check_line(text: &str) -> Result<(), &'static str> {
    if text.is_empty() || text.len() > LINE_BYTES_MAX {
        return Err("must be 1 to 1024 bytes long");
    }
    if text.chars().any(char::is_control) {
        return Err("must not contain control characters");
    }
    Ok(())
}

/// A line that says a reason to people.
///
/// # Errors
///
/// What is wrong with the text.
pub fn check_sentence(text: &str) -> Result<(), &'static str> {
    if text.len() > SENTENCE_BYTES_MAX {
        return Err("must be 1 to 500 bytes long");
    }
    check_line(text)
}

/// Any text as one that passes [`check_sentence`]: on one line, and cut where it is too long.
#[must_use]
pub fn sentence(text: &str) -> String {
    let visible = |sign: char| if sign.is_control() { ' ' } else { sign };
    let mut sentence: String = text.trim().chars().map(visible).collect();
    if sentence.is_empty() {
        sentence.push_str("no reason is said");
    }
    if sentence.len() > SENTENCE_BYTES_MAX {
        let cut = "…";
        sentence.truncate(sentence.floor_char_boundary(SENTENCE_BYTES_MAX - cut.len()));
        sentence.push_str(cut);
    }
    sentence
}

/// A key of a deployment's configuration: a line that is no flag's.
///
/// # Errors
///
/// What is wrong with the text.
pub fn check_config_key(text: &str) -> Result<(), &'static str> {
    check_line(text)?;
    if text.starts_with(FLAG_PREFIX) {
        return Err("begins with flag., as only flags do");
    }
    Ok(())
}

/// An MQTT topic filter: `+` alone in a level, `#` alone in the last.
///
/// # Errors
///
/// What is wrong with the text.
pub fn check_filter(text: &str) -> Result<(), &'static str> {
    if text.len() > FILTER_BYTES_MAX {
        return Err("must be 1 to 1024 bytes long");
    }
    check_line(text)?;
    let mut levels = text.split('/').peekable();
    while let Some(level) = levels.next() {
        let wild = level.contains(['+', '#']);
        if wild && level.len() != 1 || level == "#" && levels.peek().is_some() {
            return Err(
                "is no topic filter: + must stand alone in its level, # alone in the last one",
            );
        }
    }
    Ok(())
}

/// Whether every topic that matches `narrow` also matches `wide`; both passed [`check_filter`].
///
/// Topics that begin with `$` are the broker's own, and no wildcard in the first level reaches them.
#[must_use]
pub fn filter_covers(wide: &str, narrow: &str) -> bool {
    if narrow.starts_with('$') && wide.starts_with(['+', '#']) {
        return false;
    }
    let mut theirs = narrow.split('/');
    for level in wide.split('/') {
        match (level, theirs.next()) {
            ("#", _) => return true,
            ("+", Some(their)) if their != "#" => {}
            (ours, Some(their)) if ours == their => {}
            _ => return false,
        }
    }
    theirs.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_never_a_path() {
        assert!(check_name("threshold-alarm-2").is_ok());
        let long = "a".repeat(65);
        for wrong in [
            "", ".", "..", "../a", "a/b", "/a", "a\0", "A", "a_b", "a b", "ä", &long,
        ] {
            assert!(check_name(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_pattern_covers_what_it_says() {
        for (pattern, name, covered) in [
            ("*", "a", true),
            ("vibration-*", "vibration-a", true),
            ("vibration-*", "vibrations", false),
            ("a", "a", true),
            ("a", "ab", false),
        ] {
            check_pattern(pattern).unwrap();
            assert_eq!(pattern_covers(pattern, name), covered, "{pattern} {name}");
        }
        for wrong in ["", "*a", "a*b", "**", "A*"] {
            assert!(check_pattern(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_filter_has_its_wildcards_where_mqtt_wants_them() {
        for right in ["a", "a/b", "+", "#", "a/+/b", "a/#", "/a"] {
            assert!(check_filter(right).is_ok(), "{right:?}");
        }
        for wrong in ["", "a#", "#/a", "a/b+", "a\n", "a\0"] {
            assert!(check_filter(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_filter_covers_what_is_inside_of_it_and_nothing_else() {
        for (wide, narrow, covered) in [
            ("alarms/#", "alarms/pump", true),
            ("alarms/#", "alarms", true),
            ("alarms/#", "alarms/+/high", true),
            ("alarms/+", "alarms/pump", true),
            ("alarms/+", "alarms/#", false),
            ("alarms/+", "alarms/pump/high", false),
            ("alarms/pump", "alarms/+", false),
            ("a", "a", true),
            ("#", "a/b", true),
            ("#", "$SYS/a", false),
            ("+/a", "$SYS/a", false),
            ("$SYS/#", "$SYS/a", true),
        ] {
            assert_eq!(filter_covers(wide, narrow), covered, "{wide} {narrow}");
        }
    }
}
