//! What a module answers: outputs, rejections and a wish to be woken, or a fault.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::message::Message;
use crate::time::{BootTime, WallTime};

const REASON_BYTES_MAX: usize = 500;

/// The answer to one batch. Applied as a whole, with the state changes, or not at all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// In the order in which they are to happen.
    pub outputs: Vec<Output>,
    /// Messages that this module cannot use. The others' outputs stand.
    pub rejected: Vec<Rejection>,
    /// Call with an empty batch then, if not before. Replaces the last wish.
    pub wake_at: Option<BootTime>,
}

impl Outcome {
    /// Sends a message to a local broker. `cause` is [`Message::cause`], or none.
    pub fn publish(&mut self, cause: Option<u32>, publication: Publication) {
        self.outputs.push(Output {
            cause,
            effect: Effect::Publish(publication),
        });
    }

    /// Keeps a row for the centre.
    pub fn keep(&mut self, cause: Option<u32>, row: Row) {
        self.outputs.push(Output {
            cause,
            effect: Effect::Keep(row),
        });
    }

    /// Writes to a device point.
    pub fn actuate(&mut self, cause: Option<u32>, command: Command) {
        self.outputs.push(Output {
            cause,
            effect: Effect::Actuate(command),
        });
    }

    /// Hands one message to the dead letters. A reason of more than 500 bytes is cut: it may quote a hostile payload.
    pub fn reject<T>(&mut self, message: &Message<T>, reason: impl Into<String>) {
        let mut reason = reason.into();
        if reason.len() > REASON_BYTES_MAX {
            let end = (0..=REASON_BYTES_MAX)
                .rev()
                .find(|end| reason.is_char_boundary(*end));
            reason.truncate(end.unwrap_or(0));
            reason.push('…');
        }
        self.rejected.push(Rejection {
            message: message.index,
            reason,
        });
    }
}

/// One effect and the message that led to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// Index of the message that led to it: its trace goes with the output.
    pub cause: Option<u32>,
    /// What is to happen.
    pub effect: Effect,
}

/// What a module can ask for.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// A message to a local broker.
    Publish(Publication),
    /// A row for the centre.
    Keep(Row),
    /// A write to a device point.
    Actuate(Command),
}

/// A message to a local broker. Its topic must be granted and must not match the module's own input.
#[derive(Clone, Debug, PartialEq)]
pub struct Publication {
    /// Where to.
    pub topic: String,
    /// What.
    pub payload: Vec<u8>,
    /// MQTT 5 content type.
    pub content_type: Option<String>,
    /// Whether the broker keeps it for later subscribers.
    pub retain: bool,
    /// When it is sent, and for how long it is tried.
    pub delivery: Delivery,
}

impl Publication {
    /// Durable, not retained, of no declared type.
    pub fn new(topic: impl Into<String>, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            topic: topic.into(),
            payload: payload.into(),
            content_type: None,
            retain: false,
            delivery: Delivery::Durable,
        }
    }

    /// A publication of `value` as JSON.
    ///
    /// # Errors
    /// `value` cannot be JSON, such as a map whose keys are no strings.
    pub fn json(topic: impl Into<String>, value: &impl Serialize) -> Result<Self, Fault> {
        let payload = serde_json::to_vec(value)
            .map_err(|error| Fault::permanent(format!("no JSON: {error}")))?;
        Ok(Self {
            content_type: Some("application/json".to_owned()),
            ..Self::new(topic, payload)
        })
    }

    /// The same, sent right after the call instead of with the commit.
    #[must_use]
    pub fn at_once(mut self) -> Self {
        self.delivery = Delivery::AtOnce;
        self
    }

    /// The same, kept by the broker for later subscribers.
    #[must_use]
    pub fn retained(mut self) -> Self {
        self.retain = true;
        self
    }
}

/// When a publication is sent, and for how long it is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Right after the call: actuation. After a crash the input comes again, and so does this.
    AtOnce,
    /// Stored in the commit, sent until the broker acknowledges it.
    Durable,
}

/// Kept, then synced to the centre exactly once. A later row with the same stream, key, time and duration corrects it.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Declared in `tide.toml`, with its unit.
    pub stream: String,
    /// What becomes of it near the quota.
    pub class: Class,
    /// Series within the stream, such as the machine; may be empty.
    pub key: String,
    /// Start of what it describes.
    pub time: WallTime,
    /// Its length, zero for an instant.
    pub duration: Duration,
    /// What it says.
    pub content: Content,
}

impl Row {
    /// A row about an instant.
    pub fn new(
        stream: impl Into<String>,
        class: Class,
        key: impl Into<String>,
        time: WallTime,
        content: impl Into<Content>,
    ) -> Self {
        Self {
            stream: stream.into(),
            class,
            key: key.into(),
            time,
            duration: Duration::ZERO,
            content: content.into(),
        }
    }

    /// The same, about the time from its start on.
    #[must_use]
    pub fn lasting(mut self, duration: Duration) -> Self {
        self.duration = duration;
        self
    }
}

/// What becomes of a row near the quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Never given up.
    Alarm,
    /// Thinned out after `Raw`.
    Summary,
    /// Thinned out first.
    Raw,
}

/// What a row says.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Named values, which the gateway can thin out and the centre can chart.
    Values(Values),
    /// Opaque: kept whole, or dropped with a ledger entry.
    Document {
        /// MIME type.
        content_type: String,
        /// The document.
        bytes: Vec<u8>,
    },
}

impl From<Values> for Content {
    fn from(values: Values) -> Self {
        Self::Values(values)
    }
}

/// The named values of a row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Values(pub Vec<(String, Scalar)>);

impl Values {
    /// No values.
    pub fn new() -> Self {
        Self::default()
    }

    /// With one value more. A number that is not finite is left out: no sum or chart could hold it.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Scalar>) -> Self {
        self.push(name, value);
        self
    }

    /// Adds a value, as [`Values::with`] does.
    pub fn push(&mut self, name: impl Into<String>, value: impl Into<Scalar>) {
        let value = value.into();
        if !matches!(value, Scalar::Number(number) if !number.is_finite()) {
            self.0.push((name.into(), value));
        }
    }
}

/// As a map.
impl Serialize for Values {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// A single value.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Scalar {
    /// On or off.
    Boolean(bool),
    /// A count or code.
    Integer(i64),
    /// A measured value.
    Number(f64),
    /// A word.
    Text(String),
}

impl From<bool> for Scalar {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<i64> for Scalar {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

/// A count; one beyond `i64::MAX` is cut to that.
impl From<u64> for Scalar {
    fn from(value: u64) -> Self {
        Self::Integer(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<f64> for Scalar {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

impl From<&str> for Scalar {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Scalar {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

/// A write to a granted device point.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// The point's name.
    pub point: String,
    /// What to write.
    pub value: Scalar,
    /// Dropped, with a ledger entry, when this long after the call: a late command is worse than none.
    pub valid_for: Duration,
}

/// A message that this module cannot use: dead-lettered alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Index into [`Batch::messages`](crate::Batch::messages).
    pub message: u32,
    /// One clear sentence with the fact that matters.
    pub reason: String,
}

/// Why a call failed. Nothing of it is applied and the instance is dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Granted I/O failed: the same batch comes again, with back-off, a bounded number of times.
    Transient(String),
    /// Configuration or state is unusable: the module is parked and the operator is told.
    Permanent(String),
}

impl Fault {
    /// A fault that may pass.
    pub fn transient(reason: impl Into<String>) -> Self {
        Self::Transient(reason.into())
    }

    /// A fault that will not pass by itself.
    pub fn permanent(reason: impl Into<String>) -> Self {
        Self::Permanent(reason.into())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transient(reason) | Self::Permanent(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_that_quotes_a_hostile_payload_is_cut() {
        let mut outcome = Outcome::default();
        let message = Message::new("t", ());
        outcome.reject(&message, "é".repeat(100_000));
        outcome.reject(&message, "x".repeat(500));
        assert_eq!(outcome.rejected[0].reason, format!("{}…", "é".repeat(250)));
        assert_eq!(outcome.rejected[1].reason.len(), 500);
    }

    #[test]
    fn a_value_that_is_not_finite_is_left_out() {
        let values = Values::new()
            .with("a", f64::NAN)
            .with("b", f64::INFINITY)
            .with("c", u64::MAX);
        assert_eq!(
            values,
            Values(vec![("c".to_owned(), Scalar::Integer(i64::MAX))])
        );
    }
}
