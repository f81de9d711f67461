//! Where an operator's results go.

use crate::config::{self, FromConfig};
use crate::message::Message;
use crate::outcome::{Class, Content, Delivery, Fault, Outcome, Publication, Row};
use crate::template::Template;

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
            key: match config::optional("output.key")? {
                Some(key) => key,
                None => Template::topic(),
            },
        };
        if destination.topic.is_none() && destination.stream.is_none() {
            return Err(Fault::permanent("results go nowhere: configure output.topic, output.stream or both"));
        }
        Ok(destination)
    }

    /// Sends the result of one message. Each form of it is only made where it is wanted.
    pub(crate) fn send(
        &self,
        message: &Message,
        payload: impl FnOnce() -> Result<Payload, String>,
        content: impl FnOnce() -> Result<Content, String>,
        outcome: &mut Outcome,
    ) -> Result<(), String> {
        let payload = self.topic.as_ref().map(|topic| payload().map(|payload| (topic, payload))).transpose()?;
        let content = self.stream.as_ref().map(|stream| content().map(|content| (stream, content))).transpose()?;
        if let Some((topic, payload)) = payload {
            outcome.publish(message.cause(), self.publication(topic.render(&message.channel), payload));
        }
        if let Some((stream, content)) = content {
            let key = self.key.render(&message.channel);
            outcome.keep(message.cause(), Row::new(stream, Class::Raw, key, message.time, content));
        }
        Ok(())
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
