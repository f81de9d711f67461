//! A batch: channels, messages and properties, each a list of lists.

use minicbor::Decoder;

use super::{Out, Read, Written, fields, length, list, unknown};
use crate::bindings::tidegate::module::types as wit;
use crate::convert::BatchParts;

pub(super) fn write(out: &mut Out<'_>, parts: &BatchParts<'_>) -> Written {
    out.array(3)?.array(length(parts.channels.len()))?;
    for channel in &parts.channels {
        out.array(3)?
            .str(channel.source)?
            .str(channel.topic)?
            .encode(channel.unit)?;
    }
    out.array(length(parts.messages.len()))?;
    for message in &parts.messages {
        out.array(8)?.u32(message.channel)?;
        match message.body {
            wit::Body::Payload(bytes) => out.u8(0)?.bytes(bytes)?,
            wit::Body::Boolean(value) => out.u8(1)?.bool(value)?,
            wit::Body::Integer(value) => out.u8(2)?.i64(value)?,
            wit::Body::Number(value) => out.u8(3)?.f64(value)?,
        };
        out.u64(message.time)?.u8(message.clock as u8)?;
        out.u8(message.quality as u8)?
            .u8(delivery_bits(message.delivery))?;
        out.u64(message.received)?;
    }
    out.array(length(parts.properties.len()))?;
    for property in &parts.properties {
        out.array(3)?
            .u32(property.message)?
            .str(property.name)?
            .str(property.value)?;
    }
    Ok(())
}

pub(super) fn read<'b>(input: &mut Decoder<'b>) -> Read<BatchParts<'b>> {
    fields(input, 3)?;
    Ok(BatchParts {
        channels: list(input, usize::MAX, |input| {
            fields(input, 3)?;
            Ok(wit::Channel {
                source: input.str()?,
                topic: input.str()?,
                unit: input.decode()?,
            })
        })?,
        messages: list(input, usize::MAX, message)?,
        properties: list(input, usize::MAX, |input| {
            fields(input, 3)?;
            Ok(wit::Property {
                message: input.u32()?,
                name: input.str()?,
                value: input.str()?,
            })
        })?,
    })
}

fn message<'b>(input: &mut Decoder<'b>) -> Read<wit::Message<'b>> {
    fields(input, 8)?;
    Ok(wit::Message {
        channel: input.u32()?,
        body: match input.u8()? {
            0 => wit::Body::Payload(input.bytes()?),
            1 => wit::Body::Boolean(input.bool()?),
            2 => wit::Body::Integer(input.i64()?),
            3 => wit::Body::Number(input.f64()?),
            other => return Err(unknown("body", other)),
        },
        time: input.u64()?,
        clock: match input.u8()? {
            0 => wit::ClockQuality::Unset,
            1 => wit::ClockQuality::HeldOver,
            2 => wit::ClockQuality::Synced,
            3 => wit::ClockQuality::Device,
            other => return Err(unknown("quality of a clock", other)),
        },
        quality: match input.u8()? {
            0 => wit::Quality::Good,
            1 => wit::Quality::Uncertain,
            2 => wit::Quality::Bad,
            other => return Err(unknown("quality", other)),
        },
        delivery: delivery(input.u8()?),
        received: input.u64()?,
    })
}

fn delivery_bits(flags: wit::DeliveryFlags) -> u8 {
    let bit = |flag, bit| if flags.contains(flag) { bit } else { 0 };
    bit(wit::DeliveryFlags::RETAINED, 1) | bit(wit::DeliveryFlags::REDELIVERED, 2)
}

fn delivery(bits: u8) -> wit::DeliveryFlags {
    let mut flags = wit::DeliveryFlags::empty();
    if bits & 1 != 0 {
        flags |= wit::DeliveryFlags::RETAINED;
    }
    if bits & 2 != 0 {
        flags |= wit::DeliveryFlags::REDELIVERED;
    }
    flags
}
