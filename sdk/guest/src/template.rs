//! Texts with placeholders for parts of a topic, so that configuration can say where results go.

use crate::message::Channel;

/// A text with placeholders: `{topic}` for the whole topic, `{0}`, `{1}` … for a level of it counted from the start,
/// `{-1}`, `{-2}` … counted from the end, `{source}` for the broker or driver. A level that a topic does not have
/// is empty.
///
/// With the topic `plant/press-7/temperature` the text `alarms/{1}` becomes `alarms/press-7`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Topic,
    Source,
    FromStart(usize),
    FromEnd(usize),
}

impl Template {
    /// Reads a text with placeholders.
    ///
    /// # Errors
    /// Which placeholder is unknown or not closed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, after)) = after.split_once('}') else {
                return Err(format!("placeholder {{{after} is not closed"));
            };
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(placeholder(name)?);
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    /// The whole topic.
    pub(crate) fn topic() -> Self {
        Self(vec![Part::Topic])
    }

    /// The text for messages of this channel.
    pub fn render(&self, channel: &Channel) -> String {
        self.render_parts(&channel.source, &channel.topic)
    }

    /// The text for a series that is named like a topic.
    pub(crate) fn render_key(&self, key: &str) -> String {
        self.render_parts("", key)
    }

    fn render_parts(&self, source: &str, topic: &str) -> String {
        let parts = self.0.iter().map(|part| match part {
            Part::Text(text) => text,
            Part::Topic => topic,
            Part::Source => source,
            Part::FromStart(level) => topic.split('/').nth(*level).unwrap_or(""),
            Part::FromEnd(level) => topic.rsplit('/').nth(*level).unwrap_or(""),
        });
        parts.collect()
    }
}

fn placeholder(name: &str) -> Result<Part, String> {
    let unknown = || {
        format!("unknown placeholder {{{name}}}: known are {{topic}}, {{source}}, {{0}}, {{-1}}")
    };
    match name {
        "topic" => Ok(Part::Topic),
        "source" => Ok(Part::Source),
        _ => match name.strip_prefix('-') {
            Some(level) => match level.parse::<usize>() {
                Ok(level @ 1..) => Ok(Part::FromEnd(level - 1)),
                _ => Err(unknown()),
            },
            None => name.parse().map(Part::FromStart).map_err(|_| unknown()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_takes_parts_of_the_topic() {
        let channel = Channel {
            source: "hall".to_owned(),
            topic: "plant/press-7/temperature".to_owned(),
            unit: None,
        };
        for (text, rendered) in [
            ("alarms", "alarms"),
            ("imperial/{topic}", "imperial/plant/press-7/temperature"),
            ("alarms/{1}/{-1}", "alarms/press-7/temperature"),
            ("{0}{-3}", "plantplant"),
            ("{source}/x", "hall/x"),
            ("a/{9}/b", "a//b"),
            ("", ""),
        ] {
            assert_eq!(Template::parse(text).unwrap().render(&channel), rendered);
        }
    }

    #[test]
    fn an_unknown_placeholder_is_named() {
        for text in ["{machine}", "{-0}", "{}", "{1.5}", "a/{", "{topic"] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
        assert!(
            Template::parse("x/{machine}")
                .unwrap_err()
                .contains("{machine}")
        );
    }
}
