//! Records to the guest's batch, borrowed; the guest's outcome to effects, checked.
//!
//! Nothing that a guest answers is trusted: indices, names, topics, classes and sizes are checked, and one that is
//! refused fails the whole call, because a call is applied as a whole or not at all.

use std::sync::Arc;

use bytes::Bytes;
use tidegate_record::{
    BootTime, Class, ClockQuality, Command, Content, Delivery, Document, Limits, NamedValue,
    Publication, Quality, Record, Rejection, Row, Scalar, Topic, WallTime,
};

use crate::bindings::tidegate::module::types as wit;
use crate::error::Failure;
use crate::guest::Call;
use crate::spec::{Grants, StreamSpec};

/// A batch that borrows its records.
#[derive(Debug, Default)]
pub(crate) struct BatchParts<'a> {
    pub(crate) channels: Vec<wit::Channel<'a>>,
    pub(crate) messages: Vec<wit::Message<'a>>,
    pub(crate) properties: Vec<wit::Property<'a>>,
}

impl<'a> BatchParts<'a> {
    pub(crate) fn new(records: &'a [Record]) -> Self {
        let mut parts = Self {
            channels: Vec::new(),
            messages: Vec::with_capacity(records.len()),
            properties: Vec::new(),
        };
        // Sources intern their channels, so the same channel is the same pointer; runs of one topic skip the search.
        let mut known: Vec<*const tidegate_record::Channel> = Vec::new();
        let mut last = 0;
        for (message, record) in (0_u32..).zip(records) {
            let pointer = Arc::as_ptr(&record.channel);
            if known.get(last) != Some(&pointer) {
                last = known
                    .iter()
                    .position(|other| *other == pointer)
                    .unwrap_or_else(|| {
                        known.push(pointer);
                        parts.channels.push(channel(&record.channel));
                        known.len() - 1
                    });
            }
            parts.messages.push(self::message(
                record,
                u32::try_from(last).unwrap_or(u32::MAX),
            ));
            let properties = record.properties.iter();
            parts
                .properties
                .extend(properties.map(|(name, value)| wit::Property {
                    message,
                    name,
                    value,
                }));
        }
        parts
    }

    /// Whether the guest is only woken.
    pub(crate) const fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(crate) fn batch(&self, call: &Call<'_>) -> wit::Batch<'_> {
        wit::Batch {
            now: call.now.0.0,
            clock: quality_of(call.clock),
            now_boot: call.now.1.0,
            boot: call.boot.0,
            channels: &self.channels,
            messages: &self.messages,
            properties: &self.properties,
        }
    }
}

fn channel(channel: &tidegate_record::Channel) -> wit::Channel<'_> {
    wit::Channel {
        source: channel.source.as_str(),
        topic: &channel.topic,
        unit: channel.unit.as_deref(),
    }
}

fn message(record: &Record, channel: u32) -> wit::Message<'_> {
    let mut delivery = wit::DeliveryFlags::empty();
    if record.delivery.retained {
        delivery |= wit::DeliveryFlags::RETAINED;
    }
    if record.delivery.redelivered {
        delivery |= wit::DeliveryFlags::REDELIVERED;
    }
    wit::Message {
        channel,
        body: match &record.body {
            tidegate_record::Body::Payload(bytes) => wit::Body::Payload(bytes),
            tidegate_record::Body::Boolean(value) => wit::Body::Boolean(*value),
            tidegate_record::Body::Integer(value) => wit::Body::Integer(*value),
            tidegate_record::Body::Number(value) => wit::Body::Number(*value),
        },
        time: record.time.0,
        clock: quality_of(record.clock),
        quality: match record.quality {
            Quality::Good => wit::Quality::Good,
            Quality::Uncertain => wit::Quality::Uncertain,
            Quality::Bad => wit::Quality::Bad,
        },
        delivery,
        received: record.received.0,
    }
}

const fn quality_of(quality: ClockQuality) -> wit::ClockQuality {
    match quality {
        ClockQuality::Unset => wit::ClockQuality::Unset,
        ClockQuality::HeldOver => wit::ClockQuality::HeldOver,
        // Messages are never restamped.
        ClockQuality::Synced | ClockQuality::Restamped => wit::ClockQuality::Synced,
        ClockQuality::Device => wit::ClockQuality::Device,
    }
}

/// The effects of one call, checked against what the module may do.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) rows: Vec<(Row, Option<[u8; 16]>)>,
    pub(crate) durable: Vec<Publication>,
    pub(crate) at_once: Vec<Publication>,
    pub(crate) commands: Vec<Command>,
    pub(crate) rejections: Vec<Rejection>,
}

/// What the effects of a module are checked against.
pub(crate) struct Rules<'a> {
    pub(crate) grants: &'a Grants,
    pub(crate) streams: &'a [StreamSpec],
    pub(crate) limits: &'a Limits,
    pub(crate) now_boot: BootTime,
}

impl Rules<'_> {
    /// Checks and converts an outcome.
    pub(crate) fn effects(
        &self,
        records: &[Record],
        outcome: wit::Outcome,
    ) -> Result<Effects, Failure> {
        let count = outcome.outputs.len() + outcome.rejected.len();
        if count > self.limits.outputs_per_call_max {
            return refused(format!(
                "answered {count} outputs, limit is {}",
                self.limits.outputs_per_call_max
            ));
        }
        let sizes = outcome.outputs.iter().map(|output| size(&output.effect));
        let (bytes, largest) = sizes.fold((0, 0), |(sum, largest), size| {
            (sum + size, size.max(largest))
        });
        if largest > self.limits.output_bytes_max {
            return refused(format!(
                "answered an output of {largest} bytes, limit is {}",
                self.limits.output_bytes_max
            ));
        }
        if bytes > self.limits.output_bytes_per_call_max {
            return refused(format!(
                "answered {bytes} bytes, limit is {}",
                self.limits.output_bytes_per_call_max
            ));
        }
        let mut effects = Effects::default();
        for output in outcome.outputs {
            let trace = match output.cause {
                None => None,
                Some(index) => find(records, index)?.trace_id(),
            };
            match output.effect {
                wit::Effect::Keep(row) => effects.rows.push((self.row(row)?, trace)),
                wit::Effect::Actuate(command) => effects.commands.push(self.command(command)?),
                wit::Effect::Publish(publication) => {
                    let publication = self.publication(publication)?;
                    match publication.delivery {
                        Delivery::AtOnce => effects.at_once.push(publication),
                        Delivery::Durable => effects.durable.push(publication),
                    }
                }
            }
        }
        for rejected in outcome.rejected {
            effects
                .rejections
                .push(rejection(find(records, rejected.message)?, rejected.reason));
        }
        Ok(effects)
    }

    fn publication(&self, publication: wit::Publication) -> Result<Publication, Failure> {
        let topic =
            Topic::new(&publication.topic).map_err(|error| Failure::Refused(error.to_string()))?;
        let grant = self
            .grants
            .publish
            .iter()
            .find(|(_, filter)| filter.matches(topic.as_str()));
        let Some((broker, _)) = grant else {
            return refused(format!("published to {topic}, which is not granted"));
        };
        let mut inputs = self.grants.inputs.iter();
        if inputs.any(|(source, filter)| source == broker && filter.matches(topic.as_str())) {
            return refused(format!("published to {topic}, which is its own input"));
        }
        Ok(Publication {
            broker: broker.clone(),
            topic,
            payload: Bytes::from(publication.payload),
            content_type: publication.content_type.map(Arc::from),
            retain: publication.retain,
            delivery: match publication.delivery {
                wit::Delivery::AtOnce => Delivery::AtOnce,
                wit::Delivery::Durable => Delivery::Durable,
            },
        })
    }

    fn row(&self, row: wit::Row) -> Result<Row, Failure> {
        let class = match row.class {
            wit::Class::Alarm => Class::Alarm,
            wit::Class::Summary => Class::Summary,
            wit::Class::Raw => Class::Raw,
        };
        let Some(declared) = self
            .streams
            .iter()
            .find(|declared| declared.name.as_str() == row.stream)
        else {
            return refused(format!(
                "kept a row in stream {:?}, which its release does not declare",
                row.stream
            ));
        };
        if class < declared.class {
            let (claimed, class) = (class.as_str(), declared.class.as_str());
            return refused(format!(
                "kept a row of class {claimed} in stream {}, which is {class}",
                declared.name
            ));
        }
        Ok(Row {
            stream: declared.name.clone(),
            class,
            key: row.key.into(),
            time: WallTime(row.time),
            duration_ns: row.duration,
            content: match row.content {
                wit::Content::Values(values) => {
                    Content::Values(values.into_iter().map(named).collect())
                }
                wit::Content::Document(wit::Document {
                    content_type,
                    bytes,
                }) => Content::Document(Document {
                    content_type,
                    bytes,
                }),
            },
        })
    }

    fn command(&self, command: wit::Command) -> Result<Command, Failure> {
        if !self.grants.actuate.contains(&command.point) {
            return refused(format!("wrote to {}, which is not granted", command.point));
        }
        Ok(Command {
            point: command.point.into(),
            value: scalar(command.value),
            expires: BootTime(self.now_boot.0.saturating_add(command.valid_for_ns)),
        })
    }
}

/// A message set aside, with the reason.
pub(crate) fn rejection(record: &Record, reason: String) -> Rejection {
    Rejection {
        record: record.without_ack(),
        reason,
    }
}

fn find(records: &[Record], index: u32) -> Result<&Record, Failure> {
    let found = usize::try_from(index)
        .ok()
        .and_then(|index| records.get(index));
    found.ok_or_else(|| {
        Failure::Refused(format!(
            "named message {index} of a batch of {}",
            records.len()
        ))
    })
}

fn refused<T>(reason: String) -> Result<T, Failure> {
    Err(Failure::Refused(reason))
}

fn named(value: wit::NamedValue) -> NamedValue {
    NamedValue {
        name: value.name,
        value: scalar(value.value),
    }
}

fn scalar(value: wit::Scalar) -> Scalar {
    match value {
        wit::Scalar::Boolean(value) => Scalar::Boolean(value),
        wit::Scalar::Integer(value) => Scalar::Integer(value),
        wit::Scalar::Number(value) => Scalar::Number(value),
        wit::Scalar::Text(value) => Scalar::Text(value),
    }
}

/// Bytes that an effect brings along.
fn size(effect: &wit::Effect) -> usize {
    match effect {
        wit::Effect::Publish(publication) => publication.topic.len() + publication.payload.len(),
        wit::Effect::Actuate(command) => command.point.len(),
        wit::Effect::Keep(row) => {
            row.stream.len()
                + row.key.len()
                + match &row.content {
                    wit::Content::Document(document) => {
                        document.bytes.len() + document.content_type.len()
                    }
                    wit::Content::Values(values) => values.iter().map(value_size).sum(),
                }
        }
    }
}

fn value_size(value: &wit::NamedValue) -> usize {
    let text = match &value.value {
        wit::Scalar::Text(text) => text.len(),
        wit::Scalar::Boolean(_) | wit::Scalar::Integer(_) | wit::Scalar::Number(_) => 0,
    };
    value.name.len() + text + size_of::<Scalar>()
}
