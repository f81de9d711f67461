//! Recordings: messages and expected outputs as lines of JSON. docs/formats/recording.md is the format's description.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::message::{Body, ClockQuality, Message, Quality};
use crate::outcome::{Class, Content, Delivery, Effect, Publication, Row};
use crate::time::{BootTime, WallTime, nanoseconds};

/// A line of a recording.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    topic: String,
    time: Time,
    received: Option<Time>,
    payload: Option<Value>,
    text: Option<String>,
    number: Option<f64>,
    integer: Option<i64>,
    boolean: Option<bool>,
    source: Option<String>,
    unit: Option<String>,
    quality: Option<QualityWord>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Time {
    Nanoseconds(u64),
    Text(String),
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum QualityWord {
    Good,
    Uncertain,
    Bad,
}

/// Reads the messages of a recording. Their times of receipt are on a boot clock that stands at `boot` when the wall
/// clock stands at `now`; none lies before the message above it.
///
/// # Errors
/// What is wrong in which line.
pub fn read(text: &str, now: WallTime, boot: BootTime) -> Result<Vec<Message>, String> {
    let mut messages = Vec::new();
    let mut clock = now;
    for (line, number) in text.lines().zip(1..) {
        if line.trim().is_empty() {
            continue;
        }
        let message =
            read_line(line, &mut clock).map_err(|error| format!("line {number}: {error}"))?;
        messages.push(Message {
            received: boot.plus(clock.since(now)),
            ..message
        });
    }
    Ok(messages)
}

/// When the first message of a recording was received: where its clock starts.
///
/// # Errors
/// What is wrong in which line.
pub fn starts_at(text: &str) -> Result<WallTime, String> {
    let Some((line, number)) = text
        .lines()
        .zip(1..)
        .find(|(line, _)| !line.trim().is_empty())
    else {
        return Ok(super::START);
    };
    let mut clock = WallTime::default();
    read_line(line, &mut clock).map_err(|error| format!("line {number}: {error}"))?;
    Ok(clock)
}

fn read_line(line: &str, clock: &mut WallTime) -> Result<Message, String> {
    let line: Line = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let time = line.time.read()?;
    // A time of its own beside that of receipt is the device's.
    let (received, given_by) = match line.received {
        Some(received) => (received.read()?, ClockQuality::Device),
        None => (time, ClockQuality::Synced),
    };
    *clock = received.max(*clock);
    let mut bodies = [
        line.payload.map(Body::from),
        line.text.map(|text| Body::Payload(text.into_bytes())),
        line.number.map(Body::Number),
        line.integer.map(Body::Integer),
        line.boolean.map(Body::Boolean),
    ]
    .into_iter()
    .flatten();
    let (Some(body), None) = (bodies.next(), bodies.next()) else {
        return Err(
            "exactly one of payload, text, number, integer and boolean is needed".to_owned(),
        );
    };
    let mut message = Message::new(line.topic, body).at(time);
    let mut channel = (*message.channel).clone();
    channel.source = line.source.unwrap_or(channel.source);
    channel.unit = line.unit;
    message.channel = channel.into();
    message.clock = given_by;
    message.quality = match line.quality {
        None | Some(QualityWord::Good) => Quality::Good,
        Some(QualityWord::Uncertain) => Quality::Uncertain,
        Some(QualityWord::Bad) => Quality::Bad,
    };
    Ok(message)
}

impl Time {
    fn read(&self) -> Result<WallTime, String> {
        match self {
            Self::Nanoseconds(ns) => Ok(WallTime(*ns)),
            Self::Text(text) => text.parse(),
        }
    }
}

/// An output as a line of an expectation.
pub fn output(effect: &Effect) -> Value {
    match effect {
        Effect::Publish(publication) => json!({ "publish": published(publication) }),
        Effect::Keep(row) => json!({ "keep": kept(row) }),
        Effect::Actuate(command) => json!({ "actuate": {
            "point": command.point,
            "value": command.value,
            "valid-for": nanoseconds(command.valid_for),
        } }),
    }
}

fn published(publication: &Publication) -> Map<String, Value> {
    let mut line = Map::new();
    line.insert("topic".to_owned(), json!(publication.topic));
    match serde_json::from_slice::<Value>(&publication.payload) {
        Ok(payload) => line.insert("payload".to_owned(), payload),
        Err(_) => line.insert("text".to_owned(), text(&publication.payload)),
    };
    if publication.retain {
        line.insert("retain".to_owned(), json!(true));
    }
    if publication.delivery == Delivery::AtOnce {
        line.insert("delivery".to_owned(), json!("at-once"));
    }
    line
}

fn kept(row: &Row) -> Map<String, Value> {
    let class = match row.class {
        Class::Alarm => "alarm",
        Class::Summary => "summary",
        Class::Raw => "raw",
    };
    let mut line = Map::new();
    line.insert("stream".to_owned(), json!(row.stream));
    line.insert("class".to_owned(), json!(class));
    line.insert("key".to_owned(), json!(row.key));
    line.insert("time".to_owned(), json!(row.time.to_string()));
    line.insert("duration".to_owned(), json!(nanoseconds(row.duration)));
    match &row.content {
        Content::Values(values) => {
            let values = values
                .0
                .iter()
                .map(|(name, value)| (name.clone(), json!(value)));
            line.insert("values".to_owned(), Value::Object(values.collect()))
        }
        Content::Document {
            content_type,
            bytes,
        } => {
            let document = json!({ "content-type": content_type, "text": text(bytes) });
            line.insert("document".to_owned(), document)
        }
    };
    line
}

fn text(bytes: &[u8]) -> Value {
    json!(String::from_utf8_lossy(bytes))
}

/// Which outputs a line is ordered among: the host sends publications at once, with the commit, keeps rows, writes to devices
/// and dead-letters each in their own order.
pub(crate) fn kind(line: &Value) -> usize {
    let delivery = line.pointer("/publish/delivery");
    match ["publish", "keep", "actuate", "rejected"]
        .iter()
        .position(|kind| line.get(kind).is_some())
    {
        Some(0) if delivery.is_some_and(|delivery| delivery == "at-once") => usize::MAX,
        Some(kind) => kind,
        None => usize::MAX - 1,
    }
}

/// A rejection as a line of an expectation.
pub fn rejection(reason: &str) -> Value {
    json!({ "rejected": { "reason": reason } })
}

/// Whether an output is what a line expects: every member that the line has, and numbers within 1e-9 of it.
pub fn matches(expected: &Value, actual: &Value) -> bool {
    match (expected, actual) {
        (Value::Object(expected), Value::Object(actual)) => expected.iter().all(|(name, value)| {
            actual
                .get(name)
                .is_some_and(|actual| matches(value, actual))
        }),
        (Value::Array(expected), Value::Array(actual)) => {
            expected.len() == actual.len()
                && expected
                    .iter()
                    .zip(actual)
                    .all(|(expected, actual)| matches(expected, actual))
        }
        (Value::Number(_), Value::Number(_)) if expected != actual => {
            match (expected.as_f64(), actual.as_f64()) {
                (Some(expected), Some(actual)) => {
                    (expected - actual).abs() <= 1e-9 * expected.abs().max(actual.abs())
                }
                _ => false,
            }
        }
        _ => expected == actual,
    }
}
