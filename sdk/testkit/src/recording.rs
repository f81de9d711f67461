//! Messages as lines of JSON.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use tidegate_record::{
    Ack, Body, BootTime, Channel, ClockQuality, DeliveryFlags, Name, Quality, Record, TopicFilter,
    WallTime,
};

use crate::clock::BOOT;
use crate::{LineError, time};

/// The source of a message whose line names none; also the broker of all publications.
pub(crate) const SOURCE: &str = "test";

/// Recorded messages, in order of receipt.
#[derive(Debug)]
pub struct Recording {
    pub(crate) records: Vec<Record>,
    /// Where each stands in the file, counted from 1.
    pub(crate) lines: Vec<usize>,
    /// When the first of them was received.
    pub(crate) start: WallTime,
}

impl Recording {
    /// Reads a recording. An empty line says nothing.
    ///
    /// # Errors
    /// What is wrong in which line.
    pub fn read(text: &str) -> Result<Self, LineError> {
        let mut recording = Self {
            records: Vec::new(),
            lines: Vec::new(),
            start: WallTime(0),
        };
        let mut channels = HashMap::new();
        let mut clock = WallTime(0);
        for (line, number) in text.lines().zip(1..) {
            if line.trim().is_empty() {
                continue;
            }
            let refuse = |problem| LineError {
                line: number,
                problem,
            };
            let line: Line =
                serde_json::from_str(line).map_err(|error| refuse(error.to_string()))?;
            let (record, received) = line.record(&mut channels).map_err(refuse)?;
            // Nothing is received before what stands above it.
            clock = received.max(clock);
            if recording.records.is_empty() {
                recording.start = clock;
            }
            let since_start = clock.0.saturating_sub(recording.start.0);
            let received = BootTime(BOOT.0.saturating_add(since_start));
            recording.records.push(Record { received, ..record });
            recording.lines.push(number);
        }
        Ok(recording)
    }

    /// How many messages there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Where the messages come from, as a module's inputs.
    pub(crate) fn inputs(&self) -> Vec<(Name, TopicFilter)> {
        let mut inputs: Vec<(Name, TopicFilter)> = Vec::new();
        for record in &self.records {
            let Ok(filter) = TopicFilter::new(&record.channel.topic) else {
                continue;
            };
            let input = (record.channel.source.clone(), filter);
            if !inputs.contains(&input) {
                inputs.push(input);
            }
        }
        inputs
    }
}

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
    #[serde(default)]
    quality: QualityWord,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Time {
    Nanoseconds(u64),
    Text(String),
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum QualityWord {
    #[default]
    Good,
    Uncertain,
    Bad,
}

/// Messages of one topic share their channel, as they do on a gateway.
type Channels = HashMap<(String, String, Option<String>), Arc<Channel>>;

impl Line {
    /// The record, and when it was received.
    fn record(self, channels: &mut Channels) -> Result<(Record, WallTime), String> {
        let time = self.time.read()?;
        let received = self.received.as_ref().map_or(Ok(time), Time::read)?;
        let mut bodies = [
            self.payload
                .map(|payload| Body::Payload(payload.to_string().into())),
            self.text.map(|text| Body::Payload(Bytes::from(text))),
            self.number.map(Body::Number),
            self.integer.map(Body::Integer),
            self.boolean.map(Body::Boolean),
        ]
        .into_iter()
        .flatten();
        let (Some(body), None) = (bodies.next(), bodies.next()) else {
            return Err(
                "exactly one of payload, text, number, integer and boolean is needed".to_owned(),
            );
        };
        // A time of its own beside that of receipt is the device's.
        let clock = match self.received {
            Some(_) => ClockQuality::Device,
            None => ClockQuality::Synced,
        };
        let source = self.source.unwrap_or_else(|| SOURCE.to_owned());
        let record = Record {
            channel: channel(channels, source, self.topic, self.unit)?,
            body,
            time,
            clock,
            quality: match self.quality {
                QualityWord::Good => Quality::Good,
                QualityWord::Uncertain => Quality::Uncertain,
                QualityWord::Bad => Quality::Bad,
            },
            delivery: DeliveryFlags::default(),
            received: BOOT,
            properties: Vec::new(),
            id: None,
            ack: Ack::none(),
        };
        Ok((record, received))
    }
}

impl Time {
    fn read(&self) -> Result<WallTime, String> {
        match self {
            Self::Nanoseconds(ns) => Ok(WallTime(*ns)),
            Self::Text(text) => time::parse(text)
                .ok_or_else(|| format!("{text:?} is not a time such as 2026-03-01T08:00:00.000Z")),
        }
    }
}

fn channel(
    channels: &mut Channels,
    source: String,
    topic: String,
    unit: Option<String>,
) -> Result<Arc<Channel>, String> {
    let key = (source, topic, unit);
    if let Some(channel) = channels.get(&key) {
        return Ok(Arc::clone(channel));
    }
    let (source, topic, unit) = &key;
    let channel = Arc::new(Channel {
        source: Name::new(source).map_err(|error| format!("source {source:?}: {error}"))?,
        topic: topic.as_str().into(),
        unit: unit.as_deref().map(Arc::from),
    });
    channels.insert(key, Arc::clone(&channel));
    Ok(channel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_keeps_order_times_and_channels() {
        let recording = Recording::read(
            "{\"topic\":\"a\",\"time\":\"2026-03-01T08:00:00Z\",\"payload\":{\"v\":1}}\n\
             \n\
             {\"topic\":\"a\",\"time\":1772352001000000000,\"number\":2.5,\"quality\":\"bad\"}\n\
             {\"topic\":\"b\",\"time\":0,\"received\":\"2026-03-01T08:00:00.5Z\",\"text\":\"x\",\"source\":\"plc-1\"}\n",
        )
        .unwrap();
        let [first, second, third] = &recording.records[..] else {
            panic!("{recording:?}")
        };
        assert_eq!(recording.lines, [1, 3, 4]);
        assert_eq!(first.body, Body::Payload(Bytes::from_static(b"{\"v\":1}")));
        assert!(Arc::ptr_eq(&first.channel, &second.channel));
        assert_eq!(second.quality, Quality::Bad);
        let since_first = |record: &Record| record.received.since(first.received).as_millis();
        // The third was received before the second, which cannot be in this order.
        assert_eq!(
            [since_first(first), since_first(second), since_first(third)],
            [0, 1000, 1000]
        );
        assert_eq!(third.time, WallTime(0));
        assert_eq!(third.channel.source.as_str(), "plc-1");
        assert_eq!(recording.inputs().len(), 2);
    }

    #[test]
    fn a_line_that_is_no_message_is_named() {
        for (line, words) in [
            ("not json", "expected"),
            ("{}", "missing field `topic`"),
            ("{\"topic\":\"a\",\"time\":0}", "exactly one of"),
            (
                "{\"topic\":\"a\",\"time\":0,\"text\":\"x\",\"number\":1}",
                "exactly one of",
            ),
            (
                "{\"topic\":\"a\",\"time\":\"noon\",\"text\":\"x\"}",
                "is not a time",
            ),
            (
                "{\"topic\":\"a\",\"time\":0,\"text\":\"x\",\"source\":\"A B\"}",
                "source",
            ),
            (
                "{\"topic\":\"a\",\"time\":0,\"text\":\"x\",\"qos\":1}",
                "unknown field `qos`",
            ),
        ] {
            let good = "{\"topic\":\"a\",\"time\":0,\"integer\":1}";
            let error = Recording::read(&format!("{good}\n{line}\n")).unwrap_err();
            assert_eq!(error.line, 2);
            assert!(error.problem.contains(words), "{line}: {error}");
        }
    }
}
