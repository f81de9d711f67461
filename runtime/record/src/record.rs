//! A reading or message inside the gateway.

use std::sync::Arc;

use bytes::Bytes;
use minicbor::{Decode, Encode};

use crate::{Ack, BootTime, ClockQuality, MessageId, Name, WallTime};

/// One reading or message on its way to the modules; they call it a message.
#[derive(Debug, Clone)]
pub struct Record {
    /// Where it came from. Shared by all records of a topic, so comparing pointers is enough to group them.
    pub channel: Arc<Channel>,
    /// What it says.
    pub body: Body,
    /// Event time: the device's where the source knows it, else that of receipt.
    pub time: WallTime,
    /// How far to trust `time`.
    pub clock: ClockQuality,
    /// How far to trust the reading.
    pub quality: Quality,
    /// How it was delivered.
    pub delivery: DeliveryFlags,
    /// When the gateway received it.
    pub received: BootTime,
    /// MQTT 5 content type, user properties, `traceparent`; empty for plain telemetry.
    pub properties: Vec<(String, String)>,
    /// The id that the sender gave it, if any: a second delivery of it has no effect.
    pub id: Option<MessageId>,
    /// Fired when everything that it led to is on disk.
    pub ack: Ack,
}

impl Record {
    /// Bytes that the record holds in memory, for the bound of a batch or queue.
    pub fn size_bytes(&self) -> usize {
        let payload = match &self.body {
            Body::Payload(bytes) => bytes.len(),
            Body::Boolean(_) | Body::Integer(_) | Body::Number(_) => 0,
        };
        let properties: usize = self
            .properties
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        size_of::<Self>() + payload + properties
    }

    /// All of it but its ack, which stays where it is.
    #[must_use]
    pub fn without_ack(&self) -> Self {
        Self {
            channel: self.channel.clone(),
            body: self.body.clone(),
            time: self.time,
            clock: self.clock,
            quality: self.quality,
            delivery: self.delivery,
            received: self.received,
            properties: self.properties.clone(),
            id: self.id,
            ack: Ack::none(),
        }
    }

    /// The 16-byte trace id of the W3C `traceparent` property, where there is a valid one.
    pub fn trace_id(&self) -> Option<[u8; 16]> {
        let (_, value) = self
            .properties
            .iter()
            .find(|(name, _)| name == "traceparent")?;
        let hex = value.split('-').nth(1)?;
        if hex.len() != 32 || hex.bytes().all(|digit| digit == b'0') {
            return None;
        }
        Some(u128::from_str_radix(hex, 16).ok()?.to_be_bytes())
    }
}

/// Where messages come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Channel {
    /// Broker or driver, by its name in gateway.toml.
    pub source: Name,
    /// MQTT topic or point name.
    pub topic: Arc<str>,
    /// UCUM code of a scalar; none where the payload says it.
    pub unit: Option<Arc<str>>,
}

/// What a record says: an encoded payload, or a scalar that spares field protocols an encoding.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// Encoded by the sender.
    Payload(Bytes),
    /// On or off.
    Boolean(bool),
    /// A count or code.
    Integer(i64),
    /// A measured value.
    Number(f64),
}

impl Body {
    /// The payload, or the scalar as text: for a dead letter.
    pub fn to_bytes(&self) -> Bytes {
        match self {
            Self::Payload(bytes) => bytes.clone(),
            Self::Boolean(value) => Bytes::from(value.to_string()),
            Self::Integer(value) => Bytes::from(value.to_string()),
            Self::Number(value) => Bytes::from(value.to_string()),
        }
    }
}

/// How far to trust a reading. A driver without a reading says `Bad`; it never makes a number up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(index_only)]
pub enum Quality {
    /// As measured.
    #[default]
    #[n(0)]
    Good,
    /// Measured, but out of range, stale or estimated.
    #[n(1)]
    Uncertain,
    /// Not measured.
    #[n(2)]
    Bad,
}

/// How a message was delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeliveryFlags {
    /// Kept by the broker from before we subscribed: not live.
    pub retained: bool,
    /// May have been delivered before.
    pub redelivered: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_property(name: &str, value: &str) -> Record {
        Record {
            channel: Arc::new(Channel {
                source: Name::new("plant").unwrap(),
                topic: "t".into(),
                unit: None,
            }),
            body: Body::Number(1.5),
            time: WallTime(0),
            clock: ClockQuality::Synced,
            quality: Quality::Good,
            delivery: DeliveryFlags::default(),
            received: BootTime(0),
            properties: vec![(name.into(), value.into())],
            id: None,
            ack: Ack::none(),
        }
    }

    #[test]
    fn the_trace_id_is_read_from_traceparent_alone() {
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let id = with_property("traceparent", trace).trace_id().unwrap();
        assert_eq!(id[..2], [0x4b, 0xf9]);
        assert_eq!(with_property("trace", trace).trace_id(), None);
    }

    #[test]
    fn a_malformed_trace_id_is_none() {
        for bad in [
            "",
            "00",
            "00-xyz-1-01",
            "00-00000000000000000000000000000000-1-01",
            "00-4bf9-1-01",
        ] {
            assert_eq!(with_property("traceparent", bad).trace_id(), None, "{bad}");
        }
    }
}
