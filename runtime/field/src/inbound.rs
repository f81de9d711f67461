//! An MQTT message becomes a record.

use std::sync::Arc;

use tidegate_record::{
    Ack, Body, BootTime, Clock, ClockQuality, DeliveryFlags, IdHasher, MessageId, Name, Quality,
    Record, WallTime,
};

use crate::channels::Channels;
use crate::json_field::top_level_field;
use crate::mqtt::Message;
use crate::{MessageIdFrom, Surroundings};

/// Turns messages of one broker into records.
#[derive(Debug)]
pub(crate) struct Inbound {
    source: Name,
    channels: Channels,
    message_id: Option<MessageIdFrom>,
    ids: IdHasher,
    clock: Arc<dyn Clock>,
}

/// When messages were received that came in one read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    wall: WallTime,
    boot: BootTime,
    quality: ClockQuality,
}

impl Inbound {
    pub(crate) fn new(
        source: Name,
        message_id: Option<MessageIdFrom>,
        surroundings: &Surroundings,
    ) -> Self {
        Self {
            channels: Channels::new(source.clone(), surroundings.limits.channels_max),
            source,
            message_id,
            ids: surroundings.ids,
            clock: surroundings.clock.clone(),
        }
    }

    /// What the clocks say now.
    pub(crate) fn now(&self) -> Moment {
        Moment {
            wall: self.clock.wall_time(),
            boot: self.clock.boot_time(),
            quality: self.clock.quality(),
        }
    }

    /// The record of `message`; none when its topic is no text.
    pub(crate) fn record(
        &mut self,
        message: Message,
        received: Moment,
        ack: Ack,
    ) -> Option<Record> {
        let channel = self.channels.get(&message.topic)?;
        let id = self.message_id(&message, &channel.topic);
        Some(Record {
            channel,
            body: Body::Payload(message.payload),
            time: received.wall,
            clock: received.quality,
            quality: Quality::Good,
            delivery: DeliveryFlags {
                retained: message.retained,
                redelivered: message.redelivered,
            },
            received: received.boot,
            properties: message.properties,
            id,
            ack,
        })
    }

    fn message_id(&self, message: &Message, topic: &str) -> Option<MessageId> {
        let id = match self.message_id.as_ref()? {
            MessageIdFrom::Property(wanted) => {
                let (_, value) = message.properties.iter().find(|(name, _)| name == wanted)?;
                value.as_bytes()
            }
            MessageIdFrom::Field(name) => top_level_field(&message.payload, name)?,
        };
        (!id.is_empty()).then(|| self.ids.hash(self.source.as_str(), topic, id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use tidegate_record::{Limits, SystemClock};
    use tokio::sync::{mpsc, watch};

    #[derive(Debug)]
    struct Nowhere;

    impl tidegate_record::SkipSink for Nowhere {
        fn skipped(&self, _: &Name, _: tidegate_record::SkipReason, _: u64, _: Ack) {}
    }

    fn record(
        message_id: Option<MessageIdFrom>,
        payload: &str,
        properties: &[(&str, &str)],
    ) -> Record {
        let surroundings = Surroundings {
            records: mpsc::channel(1).0,
            phase: watch::channel(crate::Phase::Running).1,
            clock: Arc::new(SystemClock::new()),
            ids: IdHasher::new(7),
            skips: Arc::new(Nowhere),
            limits: Arc::new(Limits::DEFAULT),
        };
        let mut inbound = Inbound::new(Name::new("plant").unwrap(), message_id, &surroundings);
        let own = |text: &&str| (*text).to_owned();
        let message = Message {
            packet_id: Some(1),
            topic: Bytes::from_static(b"machines/1"),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            retained: true,
            redelivered: true,
            properties: properties
                .iter()
                .map(|(name, value)| (own(name), own(value)))
                .collect(),
        };
        let now = inbound.now();
        inbound.record(message, now, Ack::none()).unwrap()
    }

    #[test]
    fn a_record_says_where_and_how_it_came() {
        let record = record(None, "21.5", &[("traceparent", "00-1")]);
        assert_eq!(
            (record.channel.source.as_str(), &*record.channel.topic),
            ("plant", "machines/1")
        );
        assert_eq!(record.body, Body::Payload(Bytes::from_static(b"21.5")));
        assert!(record.delivery.retained && record.delivery.redelivered);
        assert_eq!(
            record.properties,
            [("traceparent".to_owned(), "00-1".to_owned())]
        );
        assert_eq!(record.id, None);
        assert!(record.time.0 > 0 && record.received.0 > 0);
    }

    #[test]
    fn the_senders_id_is_taken_from_where_the_operator_said() {
        let expected = Some(IdHasher::new(7).hash("plant", "machines/1", b"17"));
        let property = || Some(MessageIdFrom::Property("id".into()));
        let field = || Some(MessageIdFrom::Field("id".into()));
        assert_eq!(record(property(), "{}", &[("id", "17")]).id, expected);
        assert_eq!(record(field(), r#"{"id":17}"#, &[]).id, expected);
        assert_eq!(record(property(), r#"{"id":17}"#, &[("id", "")]).id, None);
        assert_eq!(record(field(), "17", &[("id", "17")]).id, None);
    }
}
