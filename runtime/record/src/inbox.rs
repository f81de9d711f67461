//! Messages that wait on disk for a module which has fallen behind, and how they are stored.
//!
//! The `#[n(…)]` numbers are part of the stored format: never reuse one.

use std::collections::HashSet;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use minicbor::{Decode, Encode};

use crate::{
    Ack, Body, BootId, BootTime, Channel, Clock, ClockQuality, DeliveryFlags, MessageId, Name,
    Quality, Record, WallTime,
};

/// Bytes that a stored record has besides its texts and its payload, at most.
const FRAME_BYTES_MAX: usize = 96;
/// Bytes up to which a stored record lies within a page.
const SMALL_BYTES_MAX: usize = 900;
/// Bytes that its place takes.
const PLACE_BYTES: usize = 16;
/// Bytes of a page.
const PAGE_BYTES: usize = 4096;
/// Bytes that a property has besides its texts, at most.
const PROPERTY_BYTES_MAX: usize = 11;

/// One module's messages on disk. The buffer implements it, the sandbox drains it, and neither knows the other. They get
/// there and leave with commits ([`Applied::spilled`], [`Applied::consumed_to`]), so that none is lost and none doubled.
///
/// [`Applied::spilled`]: crate::Applied::spilled
/// [`Applied::consumed_to`]: crate::Applied::consumed_to
pub trait Inbox: Send + Sync {
    /// Why it could not be read.
    type Error: std::error::Error + Send + Sync + 'static;

    /// What is there.
    fn backlog(&self) -> Backlog;

    /// Resolves when `holds`.
    fn until(&self, holds: impl Fn(&Backlog) -> bool + Send) -> impl Future<Output = ()> + Send;

    /// Sets room aside for records that will be spilled next; false when there is not so much.
    fn reserve(&self, records: u64, bytes: u64) -> bool;

    /// The oldest after `after`: at most `records_max`, and as many as have at most `bytes_max`, but one at least.
    fn next(
        &self,
        after: u64,
        records_max: usize,
        bytes_max: usize,
    ) -> impl Future<Output = Result<Vec<Waiting>, Self::Error>> + Send;
}

/// How many messages wait on disk for a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// Messages that ever got there, counted from those that were there at the start.
    pub added: u64,
    /// Messages on their way there.
    pub coming: u64,
    /// Messages that are there.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes that may still be spilled, by any module.
    pub room: u64,
}

/// A message that waits on disk.
#[derive(Debug)]
pub struct Waiting {
    /// Its place in the order of the module's messages.
    pub id: u64,
    /// Its bytes on disk.
    pub bytes: u64,
    /// The message, unless it is damaged.
    pub record: Option<Record>,
}

/// Bytes that a stored record of `bytes` takes on disk: a small one lies within a page, a larger one has pages of its own.
pub const fn disk_bytes(bytes: usize) -> usize {
    if bytes <= SMALL_BYTES_MAX {
        bytes + PLACE_BYTES
    } else {
        SMALL_BYTES_MAX + bytes.div_ceil(PAGE_BYTES) * PAGE_BYTES
    }
}

/// Bytes that `record` takes on disk, at most.
pub fn stored_bytes_max(record: &Record) -> usize {
    let payload = match &record.body {
        Body::Payload(bytes) => bytes.len(),
        Body::Boolean(_) | Body::Integer(_) | Body::Number(_) => 0,
    };
    let channel = &record.channel;
    let unit = channel.unit.as_deref().map_or(0, str::len);
    let properties = record.properties.iter();
    let properties: usize = properties
        .map(|(name, value)| name.len() + value.len() + PROPERTY_BYTES_MAX)
        .sum();
    disk_bytes(
        FRAME_BYTES_MAX
            + payload
            + channel.source.as_str().len()
            + channel.topic.len()
            + unit
            + properties,
    )
}

/// A record as it stands on disk.
#[derive(Encode, Decode)]
struct Stored<'b> {
    #[b(0)]
    source: &'b str,
    #[b(1)]
    topic: &'b str,
    #[b(2)]
    unit: Option<&'b str>,
    #[b(3)]
    body: StoredBody<'b>,
    #[n(4)]
    time: WallTime,
    #[n(5)]
    clock: ClockQuality,
    #[n(6)]
    quality: Quality,
    #[n(7)]
    retained: bool,
    #[n(8)]
    redelivered: bool,
    #[n(9)]
    boot: BootId,
    #[n(10)]
    received: BootTime,
    #[b(11)]
    properties: Vec<(&'b str, &'b str)>,
    #[n(12)]
    id: Option<u64>,
}

#[derive(Encode, Decode)]
enum StoredBody<'b> {
    #[n(0)]
    Payload(
        #[b(0)]
        #[cbor(with = "minicbor::bytes")]
        &'b [u8],
    ),
    #[n(1)]
    Boolean(#[n(0)] bool),
    #[n(2)]
    Integer(#[n(0)] i64),
    #[n(3)]
    Number(#[n(0)] f64),
}

/// A record without its ack, as it is stored; it was received in `boot`.
///
/// # Errors
/// None: nothing fails that writes into memory.
pub fn encode(
    record: &Record,
    boot: BootId,
) -> Result<Vec<u8>, minicbor::encode::Error<Infallible>> {
    let body = match &record.body {
        Body::Payload(bytes) => StoredBody::Payload(bytes),
        Body::Boolean(value) => StoredBody::Boolean(*value),
        Body::Integer(value) => StoredBody::Integer(*value),
        Body::Number(value) => StoredBody::Number(*value),
    };
    let properties = record.properties.iter();
    minicbor::to_vec(Stored {
        source: record.channel.source.as_str(),
        topic: &record.channel.topic,
        unit: record.channel.unit.as_deref(),
        body,
        time: record.time,
        clock: record.clock,
        quality: record.quality,
        retained: record.delivery.retained,
        redelivered: record.delivery.redelivered,
        boot,
        received: record.received,
        properties: properties
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect(),
        id: record.id.map(|id| id.0),
    })
}

/// Reads stored records. Those of one channel share it, as if they came from their source.
#[derive(Debug)]
pub struct Decoder<'a> {
    clock: &'a dyn Clock,
    channels: HashSet<Arc<Channel>>,
}

impl<'a> Decoder<'a> {
    /// For the records of a batch.
    pub fn new(clock: &'a dyn Clock) -> Self {
        Self {
            clock,
            channels: HashSet::new(),
        }
    }

    /// The record; none when it is damaged. One from before the gateway booted counts as received now: boot time began
    /// anew.
    pub fn decode(&mut self, bytes: &[u8]) -> Option<Record> {
        let mut decoder = minicbor::Decoder::new(bytes);
        let stored: Stored<'_> = decoder.decode().ok()?;
        let body = match stored.body {
            StoredBody::Payload(bytes) => Body::Payload(Bytes::copy_from_slice(bytes)),
            StoredBody::Boolean(value) => Body::Boolean(value),
            StoredBody::Integer(value) => Body::Integer(value),
            StoredBody::Number(value) => Body::Number(value),
        };
        let received = if stored.boot == self.clock.boot() {
            stored.received
        } else {
            self.clock.boot_time()
        };
        let properties = stored.properties.into_iter();
        Some(Record {
            channel: self.channel(Channel {
                source: Name::new(stored.source).ok()?,
                topic: stored.topic.into(),
                unit: stored.unit.map(Arc::from),
            }),
            body,
            time: stored.time,
            clock: stored.clock,
            quality: stored.quality,
            delivery: DeliveryFlags {
                retained: stored.retained,
                redelivered: stored.redelivered,
            },
            received,
            properties: properties
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            id: stored.id.map(MessageId),
            ack: Ack::none(),
        })
    }

    fn channel(&mut self, channel: Channel) -> Arc<Channel> {
        if let Some(known) = self.channels.get(&channel) {
            return known.clone();
        }
        let channel = Arc::new(channel);
        self.channels.insert(channel.clone());
        channel
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemClock;

    fn record(body: Body) -> Record {
        Record {
            channel: Arc::new(Channel {
                source: Name::new("plant").unwrap(),
                topic: "machines/1".into(),
                unit: Some("Cel".into()),
            }),
            body,
            time: WallTime(5),
            clock: ClockQuality::HeldOver,
            quality: Quality::Uncertain,
            delivery: DeliveryFlags {
                retained: true,
                redelivered: false,
            },
            received: BootTime(7),
            properties: vec![("traceparent".into(), "00-1".into())],
            id: Some(MessageId(u64::MAX)),
            ack: Ack::none(),
        }
    }

    #[test]
    fn everything_of_a_record_comes_back_and_within_its_bound() {
        let clock = SystemClock::new();
        let bodies = [
            Body::Payload(Bytes::from(vec![7; 300])),
            Body::Boolean(true),
            Body::Integer(i64::MIN),
            Body::Number(1.5),
        ];
        for body in bodies {
            let record = record(body);
            let bytes = encode(&record, clock.boot()).unwrap();
            assert!(bytes.len() <= stored_bytes_max(&record), "{}", bytes.len());
            let back = Decoder::new(&clock).decode(&bytes).unwrap();
            assert_eq!(format!("{back:?}"), format!("{record:?}"));
        }
    }

    #[test]
    fn one_from_an_earlier_boot_counts_as_received_now() {
        let clock = SystemClock::new();
        let other = BootId(clock.boot().0.wrapping_add(1));
        let bytes = encode(&record(Body::Boolean(true)), other).unwrap();
        let back = Decoder::new(&clock).decode(&bytes).unwrap();
        assert!(back.received.0 > 7 && back.received <= clock.boot_time());
    }

    #[test]
    fn records_of_one_channel_share_it() {
        let clock = SystemClock::new();
        let bytes = encode(&record(Body::Boolean(true)), clock.boot()).unwrap();
        let mut decoder = Decoder::new(&clock);
        let [one, two] = [(); 2].map(|()| decoder.decode(&bytes).unwrap());
        assert!(Arc::ptr_eq(&one.channel, &two.channel));
    }

    #[test]
    fn what_is_no_record_is_none() {
        let clock = SystemClock::new();
        let bytes = encode(&record(Body::Boolean(true)), clock.boot()).unwrap();
        for end in 0..bytes.len() {
            assert!(
                Decoder::new(&clock).decode(&bytes[..end]).is_none(),
                "{end}"
            );
        }
    }
}
