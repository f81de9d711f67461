//! What a module is given: batches of messages and where each came from.

use std::rc::Rc;

use crate::payload::Decode;
use crate::time::{BootTime, WallTime};

/// The messages of one call, and the host's clocks. The cut between batches means nothing: the same messages in other
/// cuts must lead to the same outputs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// The host's wall clock at this call.
    pub now: WallTime,
    /// How far to trust `now`.
    pub clock: ClockQuality,
    /// The host's boot clock at this call.
    pub now_boot: BootTime,
    /// Differs for each boot of the gateway.
    pub boot: u64,
    /// Every channel that a message of this batch may name.
    pub channels: Vec<Rc<Channel>>,
    /// In order of receipt per channel. Empty when the time that the module asked to be woken at has come.
    pub messages: Vec<Message>,
    /// MQTT 5 properties of some of the messages.
    pub properties: Vec<Property>,
}

/// Where messages come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Channel {
    /// Broker or driver, by its name in gateway.toml.
    pub source: String,
    /// MQTT topic or point name.
    pub topic: String,
    /// UCUM code of a scalar; none where the payload says it.
    pub unit: Option<String>,
}

/// One reading or message. `T` is the body: [`Body`] as it came, or what a function asked it to be decoded to.
#[derive(Clone, Debug, PartialEq)]
pub struct Message<T = Body> {
    /// Where it came from.
    pub channel: Rc<Channel>,
    /// Its content.
    pub body: T,
    /// Event time: the device's where the source knows it, else that of receipt.
    pub time: WallTime,
    /// How far to trust `time`.
    pub clock: ClockQuality,
    /// How far to trust the body.
    pub quality: Quality,
    /// Kept by the broker from before the gateway subscribed: not live.
    pub retained: bool,
    /// May have been delivered before.
    pub redelivered: bool,
    /// When the gateway got it. For rates and gaps: survives a step of the wall clock.
    pub received: BootTime,
    /// Position in the batch.
    pub index: u32,
}

impl<T> Message<T> {
    /// A good live message with this body, for tests.
    pub fn new(topic: impl Into<String>, body: T) -> Self {
        let channel = Channel {
            source: "test".to_owned(),
            topic: topic.into(),
            unit: None,
        };
        Self {
            channel: Rc::new(channel),
            body,
            time: WallTime::default(),
            clock: ClockQuality::Synced,
            quality: Quality::Good,
            retained: false,
            redelivered: false,
            received: BootTime::default(),
            index: 0,
        }
    }

    /// The same message with another event time.
    #[must_use]
    pub fn at(mut self, time: WallTime) -> Self {
        self.time = time;
        self
    }

    /// MQTT topic or point name.
    pub fn topic(&self) -> &str {
        &self.channel.topic
    }

    /// Names this message as the cause of an output: its trace goes with the output, all the way to the centre.
    pub fn cause(&self) -> Option<u32> {
        Some(self.index)
    }

    /// The same message with another body.
    pub fn with_body<U>(&self, body: U) -> Message<U> {
        Message {
            channel: Rc::clone(&self.channel),
            body,
            time: self.time,
            clock: self.clock,
            quality: self.quality,
            retained: self.retained,
            redelivered: self.redelivered,
            received: self.received,
            index: self.index,
        }
    }
}

impl Message {
    /// The body as a `T`, such as `Json<Reading>` or `f64`.
    ///
    /// # Errors
    /// Why it is none, as the reason of a rejection.
    pub fn decode<T: Decode>(&self) -> Result<T, String> {
        T::decode(&self.body)
    }
}

/// What a message carries: a payload, or a scalar that needs no encoding.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// Bytes as they came.
    Payload(Vec<u8>),
    /// On or off.
    Boolean(bool),
    /// A count or code.
    Integer(i64),
    /// A measured value.
    Number(f64),
}

impl From<serde_json::Value> for Body {
    fn from(value: serde_json::Value) -> Self {
        Self::Payload(value.to_string().into_bytes())
    }
}

impl From<&str> for Body {
    fn from(text: &str) -> Self {
        Self::Payload(text.as_bytes().to_vec())
    }
}

impl From<Vec<u8>> for Body {
    fn from(payload: Vec<u8>) -> Self {
        Self::Payload(payload)
    }
}

impl From<f64> for Body {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<i64> for Body {
    fn from(integer: i64) -> Self {
        Self::Integer(integer)
    }
}

impl From<bool> for Body {
    fn from(boolean: bool) -> Self {
        Self::Boolean(boolean)
    }
}

/// An MQTT 5 content type, user property or `traceparent`. Few messages carry any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// Index into [`Batch::messages`].
    pub message: u32,
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// How far a wall time can be trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ClockQuality {
    /// Not set since boot; kept rows are restamped when it is.
    Unset,
    /// Was set, has lost its source.
    HeldOver,
    /// In step with its source.
    #[default]
    Synced,
    /// The device gave the time with the reading.
    Device,
}

/// How far a reading can be trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Quality {
    /// As it should be.
    #[default]
    Good,
    /// The source has doubts.
    Uncertain,
    /// No reading: the body means nothing.
    Bad,
}
