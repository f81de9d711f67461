//! MQTT topic names and filters, by the rules of MQTT 5 section 4.7.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// Longest topic or filter, in bytes: the length field of the protocol has two bytes.
const LENGTH_MAX: usize = 65_535;

/// A topic that can be published to: not empty, no wildcard, no NUL.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

impl Topic {
    /// Checks `text`.
    ///
    /// # Errors
    /// When it is empty or too long, or has a wildcard or a NUL.
    pub fn new(text: &str) -> Result<Self, TopicError> {
        check(text)?;
        match text.contains(['+', '#']) {
            true => Err(TopicError::Wildcard(text.to_owned())),
            false => Ok(Self(text.into())),
        }
    }

    /// The topic as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A topic filter: levels, `+` for any one level, a final `#` for all that follow.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicFilter(Arc<str>);

impl TopicFilter {
    /// Checks `text`.
    ///
    /// # Errors
    /// When it is empty or too long, has a NUL, or a wildcard that does not stand for whole levels.
    pub fn new(text: &str) -> Result<Self, TopicError> {
        check(text)?;
        let mut levels = text.split('/').peekable();
        while let Some(level) = levels.next() {
            let whole = !level.contains(['+', '#'])
                || level == "+"
                || (level == "#" && levels.peek().is_none());
            if !whole {
                return Err(TopicError::Filter(text.to_owned()));
            }
        }
        Ok(Self(text.into()))
    }

    /// The filter as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `topic` matches. A filter that begins with a wildcard does not match topics of the broker's own (`$SYS/…`).
    pub fn matches(&self, topic: &str) -> bool {
        if topic.starts_with('$') && self.0.starts_with(['+', '#']) {
            return false;
        }
        let mut topic_levels = topic.split('/');
        for level in self.0.split('/') {
            match (level, topic_levels.next()) {
                ("#", _) => return true,
                ("+", Some(_)) => {}
                (wanted, Some(found)) if wanted == found => {}
                _ => return false,
            }
        }
        topic_levels.next().is_none()
    }

    /// Whether every topic that matches `narrower` also matches this filter.
    pub fn covers(&self, narrower: &Self) -> bool {
        if narrower.0.starts_with('$') && self.0.starts_with(['+', '#']) {
            return false;
        }
        let mut theirs = narrower.0.split('/');
        for level in self.0.split('/') {
            match (level, theirs.next()) {
                ("#", _) => return true,
                ("+", Some(their)) if their != "#" => {}
                (ours, Some(their)) if ours == their => {}
                _ => return false,
            }
        }
        theirs.next().is_none()
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check(text: &str) -> Result<(), TopicError> {
    if text.is_empty() || text.len() > LENGTH_MAX {
        return Err(TopicError::Length(text.len()));
    }
    if text.contains('\0') {
        return Err(TopicError::Nul);
    }
    Ok(())
}

/// Why a text is not a topic or filter.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TopicError {
    /// Empty or too long.
    #[error("a topic has 1 to 65535 bytes, this has {0}")]
    Length(usize),
    /// Has a NUL character.
    #[error("a topic has no NUL character")]
    Nul,
    /// A topic to publish to has a wildcard.
    #[error("topic {0:?} has a wildcard, and one can only publish to a single topic")]
    Wildcard(String),
    /// A wildcard does not stand for whole levels.
    #[error("in topic filter {0:?} a '+' must be a whole level and a '#' the last one")]
    Filter(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> TopicFilter {
        TopicFilter::new(text).unwrap()
    }

    #[test]
    fn filters_match_as_the_protocol_says() {
        for (text, topic, expected) in [
            ("a/b", "a/b", true),
            ("a/b", "a/b/c", false),
            ("a/+", "a/b", true),
            ("a/+", "a", false),
            ("a/+", "a/", true),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("#", "a/b", true),
            ("#", "$SYS/uptime", false),
            ("+/uptime", "$SYS/uptime", false),
            ("$SYS/#", "$SYS/uptime", true),
            ("+/+", "/finance", true),
        ] {
            assert_eq!(filter(text).matches(topic), expected, "{text} on {topic}");
        }
    }

    #[test]
    fn malformed_filters_and_topics_are_refused() {
        for bad in ["", "a#", "a/#/b", "a+/b", "a\0"] {
            assert!(TopicFilter::new(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "a/+", "a/#", "a\0"] {
            assert!(Topic::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_filter_covers_another_only_if_it_matches_all_of_its_topics() {
        for (wide, narrow, expected) in [
            ("alarms/#", "alarms/#", true),
            ("alarms/#", "alarms/press/+", true),
            ("alarms/+", "alarms/#", false),
            ("alarms/+", "alarms/+", true),
            ("+/x", "a/x", true),
            ("a/x", "+/x", false),
            ("#", "a/b", true),
            ("#", "$SYS/x", false),
            ("a/b", "a", false),
        ] {
            assert_eq!(
                filter(wide).covers(&filter(narrow)),
                expected,
                "{wide} over {narrow}"
            );
        }
    }
}
