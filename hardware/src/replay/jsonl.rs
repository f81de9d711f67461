//! One recorded message a line, as docs/formats/recording.md has it.

use bytes::Bytes;
use serde_json::{Map, Value};
use tidegate_record::{Body, Quality, Topic, WallTime};

use super::time::parse_date_time;
use crate::Reading;

/// Reads one line: all of it, or the reason why not.
pub(super) fn parse(line: &str) -> Result<Reading, String> {
    let value: Value =
        serde_json::from_str(line).map_err(|error| format!("the line is no JSON: {error}"))?;
    let Value::Object(mut message) = value else {
        return Err("the line is no JSON object".to_owned());
    };
    let topic = text(&mut message, "topic")?.ok_or("the message has no \"topic\"")?;
    let topic = Topic::new(&topic).map_err(|error| error.to_string())?;
    let time = message
        .remove("time")
        .map(|time| parse_time(&time))
        .transpose()?;
    let unit = text(&mut message, "unit")?;
    let quality = quality(text(&mut message, "quality")?.as_deref())?;
    let body = body(&mut message)?;
    // Who delivered it and when is the driver's to say, not the recording's.
    text(&mut message, "source")?;
    message
        .remove("received")
        .map(|received| parse_time(&received))
        .transpose()?;
    if let Some(name) = message.keys().next() {
        return Err(format!("a message has no {name:?}"));
    }
    Ok(Reading {
        point: topic.as_str().into(),
        unit: unit.map(Into::into),
        body,
        quality,
        time,
    })
}

fn text(message: &mut Map<String, Value>, name: &str) -> Result<Option<String>, String> {
    match message.remove(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("{name:?} is no text")),
    }
}

fn quality(text: Option<&str>) -> Result<Quality, String> {
    match text {
        None | Some("good") => Ok(Quality::Good),
        Some("uncertain") => Ok(Quality::Uncertain),
        Some("bad") => Ok(Quality::Bad),
        Some(other) => Err(format!(
            "\"quality\" is good, uncertain or bad, not {other:?}"
        )),
    }
}

/// RFC 3339, or nanoseconds since 1970.
fn parse_time(value: &Value) -> Result<WallTime, String> {
    let time = match value {
        Value::String(text) => parse_date_time(text),
        other => other.as_u64().map(WallTime),
    };
    time.ok_or_else(|| "a time is neither RFC 3339 nor nanoseconds since 1970".to_owned())
}

/// The one of `payload`, `text`, `number`, `integer` and `boolean` that the message has.
fn body(message: &mut Map<String, Value>) -> Result<Body, String> {
    let mut bodies = Vec::new();
    for kind in ["payload", "text", "number", "integer", "boolean"] {
        if let Some(value) = message.remove(kind) {
            bodies.push((kind, value));
        }
    }
    let (Some((kind, value)), None) = (bodies.pop(), bodies.pop()) else {
        return Err(
            "a message has one of \"payload\", \"text\", \"number\", \"integer\" and \"boolean\""
                .to_owned(),
        );
    };
    let body = match (kind, &value) {
        ("payload", value) => serde_json::to_vec(value)
            .ok()
            .map(|payload| Body::Payload(Bytes::from(payload))),
        ("text", Value::String(text)) => Some(Body::Payload(Bytes::from(text.clone()))),
        ("number", value) => value.as_f64().map(Body::Number),
        ("integer", value) => value.as_i64().map(Body::Integer),
        ("boolean", value) => value.as_bool().map(Body::Boolean),
        _ => None,
    };
    body.ok_or_else(|| format!("the message's {kind:?} is none"))
}
