//! Where an operator's results go.

use serde::{Serialize, Serializer};

use crate::config::{self, FromConfig};
use crate::message::Message;
use crate::outcome::{Class, Content, Delivery, Fault, Outcome, Publication, Row, Values};
use crate::template::Template;
use crate::time::WallTime;

/// Where an operator's results go: a local topic, a stream of kept rows, or both.
#[derive(Clone, Debug, PartialEq)]
pub struct Destination {
    topic: Option<Template>,
    delivery: Delivery,
    retain: bool,
    stream: Option<String>,
    key: Template,
}

/// What is published of a result.
pub(crate) struct Payload {
    pub(crate) bytes: Vec<u8>,
    pub(crate) content_type: Option<&'static str>,
}

/// What is kept of a window, and published as JSON.
#[derive(Serialize)]
pub(crate) struct Summary<'a> {
    pub(crate) key: &'a str,
    #[serde(serialize_with = "as_text")]
    pub(crate) start: WallTime,
    #[serde(serialize_with = "as_text")]
    pub(crate) end: WallTime,
    pub(crate) values: Values,
    /// Whether it had closed before. In a row: `true` among its values.
    #[serde(skip_serializing_if = "is_first")]
    pub(crate) correction: bool,
}

impl Destination {
    /// As configured; see [`operators`](crate::operators).
    ///
    /// # Errors
    /// A value is malformed, or neither `output.topic` nor `output.stream` is there.
    pub fn from_config() -> Result<Self, Fault> {
        let destination = Self {
            topic: config::optional("output.topic")?,
            delivery: config::get_or("output.delivery", Delivery::Durable)?,
            retain: config::get_or("output.retain", false)?,
            stream: config::optional("output.stream")?,
            key: config::get_or("output.key", Template::topic())?,
        };
        if destination.topic.is_none() && destination.stream.is_none() {
            return Err(Fault::permanent(
                "results go nowhere: configure output.topic, output.stream or both",
            ));
        }
        Ok(destination)
    }

    /// Sends the result of one message. Each form of it is only made where it is wanted.
    pub(crate) fn send(
        &self,
        message: &Message<()>,
        payload: impl FnOnce() -> Result<Payload, String>,
        content: impl FnOnce() -> Result<Content, String>,
        outcome: &mut Outcome,
    ) -> Result<(), String> {
        let published = self
            .topic
            .as_ref()
            .map(|topic| payload().map(|payload| (topic, payload)))
            .transpose()?;
        let kept = self
            .stream
            .as_ref()
            .map(|stream| content().map(|content| (stream, content)))
            .transpose()?;
        if let Some((topic, payload)) = published {
            outcome.publish(
                message.cause(),
                self.publication(topic.render(&message.channel), payload),
            );
        }
        if let Some((stream, content)) = kept {
            let key = self.key.render(&message.channel);
            outcome.keep(
                message.cause(),
                Row::new(stream, Class::Raw, key, message.time, content),
            );
        }
        Ok(())
    }

    /// Sends what is kept of a window. Placeholders take their parts from its key, as if that were the topic.
    pub(crate) fn send_summary(
        &self,
        cause: Option<u32>,
        summary: Summary<'_>,
        outcome: &mut Outcome,
    ) {
        if let Some(topic) = &self.topic {
            let payload = Payload {
                bytes: serde_json::to_vec(&summary).unwrap_or_default(),
                content_type: Some("application/json"),
            };
            outcome.publish(
                cause,
                self.publication(topic.render_key(summary.key), payload),
            );
        }
        if let Some(stream) = &self.stream {
            let key = self.key.render_key(summary.key);
            let mut values = summary.values;
            if summary.correction {
                values.push("correction", true);
            }
            let row = Row::new(stream, Class::Summary, key, summary.start, values);
            outcome.keep(cause, row.lasting(summary.end.since(summary.start)));
        }
    }

    fn publication(&self, topic: String, payload: Payload) -> Publication {
        Publication {
            topic,
            payload: payload.bytes,
            content_type: payload.content_type.map(str::to_owned),
            retain: self.retain,
            delivery: self.delivery,
        }
    }
}

fn as_text<S: Serializer>(time: &WallTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

fn is_first(correction: &bool) -> bool {
    !correction
}

impl FromConfig for Delivery {
    const EXPECTED: &'static str = "durable or at-once";

    fn from_config(text: &str) -> Result<Self, String> {
        match text {
            "durable" => Ok(Self::Durable),
            "at-once" => Ok(Self::AtOnce),
            _ => Err(String::new()),
        }
    }
}
