//! Typed payloads: what a body can be decoded to, and what a result can be encoded as.
//!
//! A body is hostile input. Decoding answers with the reason why it does not fit, never with a panic, and never with a
//! number that no sensor gave: what is not finite is refused.

use std::str::FromStr;

use serde::Serialize;
use serde::de::value::Error as ScalarError;
use serde::de::{DeserializeOwned, IntoDeserializer};
use serde_json::Value;

use crate::message::Body;
use crate::outcome::{Content, Values};

/// More named values than this are kept as one opaque document instead.
pub const VALUES_MAX: usize = 64;

/// A type that a body can be decoded to.
pub trait Decode: Sized {
    /// The body as this type.
    ///
    /// # Errors
    /// Why it is none, as the reason of a rejection.
    fn decode(body: &Body) -> Result<Self, String>;
}

/// A type that a result can have: what is published and what is kept of it.
pub trait Encode {
    /// MQTT content type of the payload.
    const CONTENT_TYPE: Option<&'static str>;

    /// The payload to publish.
    ///
    /// # Errors
    /// Why it cannot be written, as the reason of a rejection.
    fn payload(&self) -> Result<Vec<u8>, String>;

    /// What a kept row says: named values where possible.
    ///
    /// # Errors
    /// Why it cannot be written, as the reason of a rejection.
    fn content(&self) -> Result<Content, String>;
}

/// JSON, in and out. Reads a scalar as well, as if it were written in JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Json<T>(pub T);

/// Bytes as they came. A scalar is read as its text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Raw(pub Vec<u8>);

impl<T: DeserializeOwned> Decode for Json<T> {
    fn decode(body: &Body) -> Result<Self, String> {
        let from_scalar = |error: ScalarError| format!("not the expected JSON: {error}");
        match body {
            Body::Payload(payload) => serde_json::from_slice(payload)
                .map_err(|error| format!("not the expected JSON: {error}")),
            Body::Boolean(value) => T::deserialize(value.into_deserializer()).map_err(from_scalar),
            Body::Integer(value) => T::deserialize(value.into_deserializer()).map_err(from_scalar),
            Body::Number(value) => T::deserialize(value.into_deserializer()).map_err(from_scalar),
        }
        .map(Self)
    }
}

impl<T: Serialize> Encode for Json<T> {
    const CONTENT_TYPE: Option<&'static str> = Some("application/json");

    fn payload(&self) -> Result<Vec<u8>, String> {
        serde_json::to_vec(&self.0).map_err(|error| format!("the result is no JSON: {error}"))
    }

    fn content(&self) -> Result<Content, String> {
        serde_json::to_value(&self.0)
            .map(json_content)
            .map_err(|error| format!("the result is no JSON: {error}"))
    }
}

impl Decode for Raw {
    fn decode(body: &Body) -> Result<Self, String> {
        Ok(Self(match body {
            Body::Payload(payload) => payload.clone(),
            Body::Boolean(value) => value.to_string().into_bytes(),
            Body::Integer(value) => value.to_string().into_bytes(),
            Body::Number(value) => value.to_string().into_bytes(),
        }))
    }
}

impl Encode for Raw {
    const CONTENT_TYPE: Option<&'static str> = None;

    fn payload(&self) -> Result<Vec<u8>, String> {
        Ok(self.0.clone())
    }

    fn content(&self) -> Result<Content, String> {
        Ok(Content::Document {
            content_type: "application/octet-stream".to_owned(),
            bytes: self.0.clone(),
        })
    }
}

/// Anything: for functions and aggregates that do not look at the body.
impl Decode for () {
    fn decode(_: &Body) -> Result<Self, String> {
        Ok(())
    }
}

/// The body itself.
impl Decode for Body {
    fn decode(body: &Body) -> Result<Self, String> {
        Ok(body.clone())
    }
}

/// A wire scalar, or a payload that is a number in text. Must be finite.
impl Decode for f64 {
    fn decode(body: &Body) -> Result<Self, String> {
        let number = match body {
            Body::Payload(payload) => parse(payload, "a number")?,
            Body::Boolean(_) => return Err("a boolean, not a number".to_owned()),
            #[allow(
                clippy::cast_precision_loss,
                reason = "a count beyond 2^53 is still the nearest number"
            )]
            Body::Integer(value) => *value as f64,
            Body::Number(value) => *value,
        };
        if number.is_finite() {
            Ok(number)
        } else {
            Err(format!("not a finite number: {number}"))
        }
    }
}

/// A wire scalar, or a payload that is a whole number in text.
impl Decode for i64 {
    fn decode(body: &Body) -> Result<Self, String> {
        match body {
            Body::Payload(payload) => parse(payload, "a whole number"),
            Body::Boolean(_) => Err("a boolean, not a whole number".to_owned()),
            Body::Integer(value) => Ok(*value),
            Body::Number(value) => {
                whole(*value).ok_or_else(|| format!("not a whole number: {value}"))
            }
        }
    }
}

/// A wire scalar, `true` or `false` in text, or 1 or 0.
impl Decode for bool {
    fn decode(body: &Body) -> Result<Self, String> {
        match body {
            Body::Boolean(value) => Ok(*value),
            Body::Payload(payload) if payload == b"0" => Ok(false),
            Body::Payload(payload) if payload == b"1" => Ok(true),
            Body::Payload(payload) => parse(payload, "a boolean"),
            Body::Integer(0) => Ok(false),
            Body::Integer(1) => Ok(true),
            Body::Integer(value) => Err(format!("not a boolean: {value}")),
            Body::Number(value) => Err(format!("not a boolean: {value}")),
        }
    }
}

/// A payload that is text. A scalar is read as its text.
impl Decode for String {
    fn decode(body: &Body) -> Result<Self, String> {
        let Raw(bytes) = Raw::decode(body)?;
        Self::from_utf8(bytes).map_err(|_| "not text in UTF-8".to_owned())
    }
}

macro_rules! encode_as_json {
    ($($scalar:ty),*) => {$(
        impl Encode for $scalar {
            const CONTENT_TYPE: Option<&'static str> = Some("application/json");

            fn payload(&self) -> Result<Vec<u8>, String> {
                Json(finite(self)?).payload()
            }

            fn content(&self) -> Result<Content, String> {
                Json(finite(self)?).content()
            }
        }
    )*};
}

encode_as_json!(f64, i64, bool);

impl Encode for String {
    const CONTENT_TYPE: Option<&'static str> = Some("text/plain");

    fn payload(&self) -> Result<Vec<u8>, String> {
        Ok(self.as_bytes().to_vec())
    }

    fn content(&self) -> Result<Content, String> {
        Ok(Values::new().with("value", self.as_str()).into())
    }
}

/// Refuses what JSON would write as `null`.
fn finite<T: Serialize>(scalar: &T) -> Result<Value, String> {
    match serde_json::to_value(scalar) {
        Ok(Value::Null) | Err(_) => Err("the result is not a finite number".to_owned()),
        Ok(value) => Ok(value),
    }
}

fn parse<T: FromStr>(payload: &[u8], expected: &str) -> Result<T, String> {
    let text = std::str::from_utf8(payload)
        .map_err(|_| format!("not {expected}: no text in UTF-8"))?
        .trim();
    text.parse()
        .map_err(|_| format!("not {expected}: {}", excerpt(text)))
}

/// A text that may be long, for a reason.
pub(crate) fn excerpt(text: &str) -> String {
    let mut excerpt: String = text.chars().take(40).collect();
    if excerpt.len() < text.len() {
        excerpt.push('…');
    }
    format!("{excerpt:?}")
}

fn whole(number: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[allow(
        clippy::cast_possible_truncation,
        reason = "checked: whole and within 2^53"
    )]
    (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i64)
}

/// Named values of a JSON value: nested ones by dotted names, elements by their number, `null` left out, a bare scalar as
/// `value`. Beyond [`VALUES_MAX`] the whole as a document, so that nothing is lost.
pub(crate) fn json_content(value: Value) -> Content {
    let mut values = Values::new();
    flatten("", &value, &mut values);
    if values.0.len() <= VALUES_MAX {
        return values.into();
    }
    Content::Document {
        content_type: "application/json".to_owned(),
        bytes: value.to_string().into_bytes(),
    }
}

fn flatten(name: &str, value: &Value, values: &mut Values) {
    let inner = |key: &str| {
        if name.is_empty() {
            key.to_owned()
        } else {
            format!("{name}.{key}")
        }
    };
    let own = || {
        if name.is_empty() {
            "value".to_owned()
        } else {
            name.to_owned()
        }
    };
    match value {
        _ if values.0.len() > VALUES_MAX => {}
        Value::Null => {}
        Value::Bool(value) => values.push(own(), *value),
        Value::String(text) => values.push(own(), text.as_str()),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => values.push(own(), integer),
            None => values.push(own(), number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                flatten(&inner(&index.to_string()), element, values);
            }
        }
        Value::Object(members) => {
            for (key, member) in members {
                flatten(&inner(key), member, values);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::outcome::Scalar;

    fn payload(text: &str) -> Body {
        Body::from(text)
    }

    #[test]
    fn a_number_comes_as_a_scalar_or_as_text() {
        for body in [
            Body::Number(21.5),
            payload("21.5"),
            payload(" 21.5\n"),
            payload("2.15e1"),
        ] {
            assert_eq!(f64::decode(&body), Ok(21.5));
        }
        assert_eq!(f64::decode(&Body::Integer(-3)), Ok(-3.0));
        assert_eq!(i64::decode(&Body::Number(7.0)), Ok(7));
        assert_eq!(bool::decode(&payload("1")), Ok(true));
        assert_eq!(Json::<f64>::decode(&Body::Number(2.5)), Ok(Json(2.5)));
    }

    #[test]
    fn a_number_that_no_sensor_gave_is_refused() {
        for body in [
            Body::Number(f64::NAN),
            Body::Number(f64::INFINITY),
            payload("NaN"),
            payload("1e999"),
        ] {
            assert!(
                f64::decode(&body)
                    .unwrap_err()
                    .starts_with("not a finite number"),
                "{body:?}"
            );
        }
        for body in [
            payload(""),
            payload("21.5 Cel"),
            Body::Boolean(true),
            Body::Payload(vec![0xff]),
        ] {
            assert!(f64::decode(&body).is_err(), "{body:?}");
        }
        for body in [
            Body::Number(0.5),
            Body::Number(1e300),
            payload("99999999999999999999"),
        ] {
            assert!(i64::decode(&body).is_err(), "{body:?}");
        }
        assert!(f64::NAN.payload().is_err());
    }

    #[test]
    fn a_refused_payload_is_quoted_in_part_only() {
        let reason = f64::decode(&payload(&"x".repeat(10_000))).unwrap_err();
        assert!(reason.len() < 100, "{reason}");
    }

    #[test]
    fn a_json_result_is_kept_as_named_values() {
        let content = json_content(
            json!({"seq": 7, "t": 1.5, "ok": true, "a": {"b": "x"}, "l": [1, 2], "n": null}),
        );
        let expected = [
            ("a.b", Scalar::from("x")),
            ("l.0", Scalar::Integer(1)),
            ("l.1", Scalar::Integer(2)),
            ("ok", Scalar::Boolean(true)),
            ("seq", Scalar::Integer(7)),
            ("t", Scalar::Number(1.5)),
        ];
        let expected = expected
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        assert_eq!(content, Content::Values(Values(expected)));
        assert_eq!(
            json_content(json!(2.5)),
            Values::new().with("value", 2.5).into()
        );
    }

    #[test]
    fn a_result_of_too_many_values_is_kept_whole_as_a_document() {
        let value = json!((0..100).collect::<Vec<_>>());
        let Content::Document {
            content_type,
            bytes,
        } = json_content(value.clone())
        else {
            panic!("values")
        };
        assert_eq!(content_type, "application/json");
        assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), value);
    }
}
