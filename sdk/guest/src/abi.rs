//! The contract's types to and from the SDK's, and the two calls of the host. Only in the guest.
//!
//! Payloads and texts are moved, never copied.

use std::cell::RefCell;
use std::rc::Rc;

use crate::bindings::exports::tidegate::module::entry;
use crate::bindings::tidegate::module::types;
use crate::message::{Batch, Body, Channel, ClockQuality, Message, Property, Quality};
use crate::outcome::{
    Class, Content, Delivery, Effect, Fault, Outcome, Output, Publication, Row, Scalar,
};
use crate::processor::{Processor, Start};
use crate::state;
use crate::time::{BootTime, WallTime, nanoseconds};

pub type AbiStart = entry::Start;
pub type AbiBatch = types::Batch;
pub type InitResult = Result<Option<types::BootTime>, types::Fault>;
pub type ProcessResult = Result<types::Outcome, types::Fault>;

/// Makes the instance.
pub fn init<P: Processor>(instance: &RefCell<Option<P>>, start: AbiStart) -> InitResult {
    let mut start = Start {
        state_written_by: start.state_written_by,
        wake_at: None,
    };
    let processor =
        P::init(&mut start).and_then(|processor| state::all_flushed().map(|()| processor))?;
    instance.replace(Some(processor));
    Ok(start.wake_at.map(|time| time.0))
}

/// Hands the batch to the instance.
pub fn process<P: Processor>(instance: &RefCell<Option<P>>, batch: AbiBatch) -> ProcessResult {
    let mut instance = instance.borrow_mut();
    let Some(processor) = instance.as_mut() else {
        return Err(types::Fault::Permanent(
            "process was called before init".to_owned(),
        ));
    };
    let outcome = processor.process(&batch.into())?;
    state::all_flushed()?;
    Ok(outcome.into())
}

impl From<Fault> for types::Fault {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Transient(reason) => Self::Transient(reason),
            Fault::Permanent(reason) => Self::Permanent(reason),
        }
    }
}

impl From<types::Batch> for Batch {
    fn from(batch: types::Batch) -> Self {
        let channels: Vec<Rc<Channel>> = batch
            .channels
            .into_iter()
            .map(|channel| Rc::new(channel.into()))
            .collect();
        let nowhere = Rc::new(Channel::default());
        let messages = batch.messages.into_iter().zip(0..);
        let messages = messages.map(|(message, index)| {
            let channel = usize::try_from(message.channel)
                .ok()
                .and_then(|index| channels.get(index));
            from_abi(message, Rc::clone(channel.unwrap_or(&nowhere)), index)
        });
        let messages = messages.collect();
        let properties = batch.properties.into_iter().map(|property| Property {
            message: property.message,
            name: property.name,
            value: property.value,
        });
        Self {
            now: WallTime(batch.now),
            clock: batch.clock.into(),
            now_boot: BootTime(batch.now_boot),
            boot: batch.boot,
            messages,
            properties: properties.collect(),
            channels,
        }
    }
}

fn from_abi(message: types::Message, channel: Rc<Channel>, index: u32) -> Message {
    Message {
        channel,
        body: match message.body {
            types::Body::Payload(payload) => Body::Payload(payload),
            types::Body::Boolean(value) => Body::Boolean(value),
            types::Body::Integer(value) => Body::Integer(value),
            types::Body::Number(value) => Body::Number(value),
        },
        time: WallTime(message.time),
        clock: message.clock.into(),
        quality: match message.quality {
            types::Quality::Good => Quality::Good,
            types::Quality::Uncertain => Quality::Uncertain,
            types::Quality::Bad => Quality::Bad,
        },
        retained: message.delivery.contains(types::DeliveryFlags::RETAINED),
        redelivered: message.delivery.contains(types::DeliveryFlags::REDELIVERED),
        received: BootTime(message.received),
        index,
    }
}

impl From<types::Channel> for Channel {
    fn from(channel: types::Channel) -> Self {
        Self {
            source: channel.source,
            topic: channel.topic,
            unit: channel.unit,
        }
    }
}

impl From<types::ClockQuality> for ClockQuality {
    fn from(clock: types::ClockQuality) -> Self {
        match clock {
            types::ClockQuality::Unset => Self::Unset,
            types::ClockQuality::HeldOver => Self::HeldOver,
            types::ClockQuality::Synced => Self::Synced,
            types::ClockQuality::Device => Self::Device,
        }
    }
}

impl From<Outcome> for types::Outcome {
    fn from(outcome: Outcome) -> Self {
        let rejected = outcome.rejected.into_iter();
        let rejected = rejected.map(|rejection| types::Rejection {
            message: rejection.message,
            reason: rejection.reason,
        });
        Self {
            outputs: outcome
                .outputs
                .into_iter()
                .map(types::Output::from)
                .collect(),
            rejected: rejected.collect(),
            wake_at: outcome.wake_at.map(|time| time.0),
        }
    }
}

impl From<Output> for types::Output {
    fn from(output: Output) -> Self {
        let effect = match output.effect {
            Effect::Publish(publication) => types::Effect::Publish(publication.into()),
            Effect::Keep(row) => types::Effect::Keep(row.into()),
            Effect::Actuate(command) => types::Effect::Actuate(types::Command {
                point: command.point,
                value: command.value.into(),
                valid_for_ns: nanoseconds(command.valid_for),
            }),
        };
        Self {
            cause: output.cause,
            effect,
        }
    }
}

impl From<Publication> for types::Publication {
    fn from(publication: Publication) -> Self {
        Self {
            topic: publication.topic,
            payload: publication.payload,
            content_type: publication.content_type,
            retain: publication.retain,
            delivery: match publication.delivery {
                Delivery::AtOnce => types::Delivery::AtOnce,
                Delivery::Durable => types::Delivery::Durable,
            },
        }
    }
}

impl From<Row> for types::Row {
    fn from(row: Row) -> Self {
        Self {
            stream: row.stream,
            class: match row.class {
                Class::Alarm => types::Class::Alarm,
                Class::Summary => types::Class::Summary,
                Class::Raw => types::Class::Raw,
            },
            key: row.key,
            time: row.time.0,
            duration: nanoseconds(row.duration),
            content: match row.content {
                Content::Values(values) => {
                    let named = |(name, value): (String, Scalar)| types::NamedValue {
                        name,
                        value: value.into(),
                    };
                    types::Content::Values(values.0.into_iter().map(named).collect())
                }
                Content::Document {
                    content_type,
                    bytes,
                } => types::Content::Document(types::Document {
                    content_type,
                    bytes,
                }),
            },
        }
    }
}

impl From<Scalar> for types::Scalar {
    fn from(scalar: Scalar) -> Self {
        match scalar {
            Scalar::Boolean(value) => Self::Boolean(value),
            Scalar::Integer(value) => Self::Integer(value),
            Scalar::Number(value) => Self::Number(value),
            Scalar::Text(value) => Self::Text(value),
        }
    }
}
