//! Picks one value out of a JSON payload without building the rest.

use std::fmt;

use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::message::Body;
use crate::payload::excerpt;

/// The dotted path of a value inside a JSON payload, such as `motor.temperature` or `readings.0.v`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field(Vec<String>);

impl Field {
    /// Reads a dotted path.
    ///
    /// # Errors
    /// A name in it is empty.
    pub fn parse(path: &str) -> Result<Self, String> {
        let names: Vec<String> = path.split('.').map(str::to_owned).collect();
        if names.iter().any(String::is_empty) {
            return Err(format!("field {path:?} has an empty name"));
        }
        Ok(Self(names))
    }

    /// The number, boolean or text at this path, as a body. A text becomes a payload.
    ///
    /// # Errors
    /// The body is no JSON, or has no such value at this path.
    pub fn pick(&self, body: &Body) -> Result<Body, String> {
        let Body::Payload(payload) = body else {
            return Err(format!("a scalar, which has no field {self}"));
        };
        let mut json = serde_json::Deserializer::from_slice(payload);
        let found = Path(&self.0)
            .deserialize(&mut json)
            .and_then(|found| json.end().map(|()| found));
        match found {
            Ok(Some(body)) => Ok(body),
            Ok(None) => Err(format!("field {self} is missing or null")),
            Err(error) => Err(format!("field {self}: {error}")),
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&excerpt(&self.0.join(".")))
    }
}

/// What is left of the path. Finds none for `null` and where the path leads nowhere.
struct Path<'a>(&'a [String]);

impl<'de> DeserializeSeed<'de> for Path<'_> {
    type Value = Option<Body>;

    fn deserialize<D: serde::Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Path<'_> {
    fn leaf<E: Error>(&self, body: Body) -> Result<Option<Body>, E> {
        Ok(self.0.is_empty().then_some(body))
    }
}

impl<'de> Visitor<'de> for Path<'_> {
    type Value = Option<Body>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, a boolean or a text")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        self.leaf(Body::Boolean(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        self.leaf(Body::Integer(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        #[allow(
            clippy::cast_precision_loss,
            reason = "beyond i64 only a number is left to say it"
        )]
        self.leaf(i64::try_from(value).map_or(Body::Number(value as f64), Body::Integer))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        self.leaf(Body::Number(value))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        self.leaf(Body::from(text))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let Some((first, rest)) = self.0.split_first() else {
            return Err(A::Error::custom(
                "an object, not a number, a boolean or a text",
            ));
        };
        let mut found = None;
        while let Some(matches) = members.next_key_seed(Name(first))? {
            if matches {
                found = members.next_value_seed(Path(rest))?;
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let Some((first, rest)) = self.0.split_first() else {
            return Err(A::Error::custom(
                "an array, not a number, a boolean or a text",
            ));
        };
        let wanted: Option<usize> = first.parse().ok();
        let mut found = None;
        for position in 0.. {
            if wanted == Some(position) {
                match elements.next_element_seed(Path(rest))? {
                    Some(element) => found = element,
                    None => break,
                }
            } else if elements.next_element::<IgnoredAny>()?.is_none() {
                break;
            }
        }
        Ok(found)
    }
}

/// Compares a member's name without keeping it.
struct Name<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = bool;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick(path: &str, json: &str) -> Result<Body, String> {
        Field::parse(path).unwrap().pick(&Body::from(json))
    }

    #[test]
    fn a_field_is_picked_by_its_path() {
        let json = r#"{"seq": 9, "motor": {"t": 21.5, "on": true, "name": "m\u00e9"}, "list": [{"v": -1}, 2]}"#;
        assert_eq!(pick("seq", json), Ok(Body::Integer(9)));
        assert_eq!(pick("motor.t", json), Ok(Body::Number(21.5)));
        assert_eq!(pick("motor.on", json), Ok(Body::Boolean(true)));
        assert_eq!(pick("motor.name", json), Ok(Body::from("mé")));
        assert_eq!(pick("list.0.v", json), Ok(Body::Integer(-1)));
        assert_eq!(pick("list.1", json), Ok(Body::Integer(2)));
    }

    #[test]
    fn a_payload_without_the_field_is_refused_with_a_reason() {
        for (path, json) in [
            ("t", r#"{"u": 1}"#),
            ("t", r#"{"t": null}"#),
            ("t", r#"{"t": {"v": 1}}"#),
            ("t", r#"{"t": [1]}"#),
            ("t.v", r#"{"t": 1}"#),
            ("t.2", r#"{"t": [1]}"#),
            ("t.x", r#"{"t": [1]}"#),
            ("t", r#"{"t": 1"#),
            ("t", r#"{"t": 1} trailing"#),
            ("t", "5"),
            ("t", ""),
            ("t", "\u{0}"),
        ] {
            let reason = pick(path, json).unwrap_err();
            assert!(reason.contains("field"), "{json}: {reason}");
        }
        assert!(Field::parse("t").unwrap().pick(&Body::Number(1.0)).is_err());
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(pick("0", &deep).is_err());
    }

    #[test]
    fn a_path_with_an_empty_name_is_refused() {
        for path in ["", ".", "a..b", "a."] {
            assert!(Field::parse(path).is_err(), "{path}");
        }
    }
}
