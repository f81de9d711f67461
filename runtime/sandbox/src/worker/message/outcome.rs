//! What a guest answered: outputs and rejections.

use minicbor::Decoder;

use super::{Out, Read, Written, fields, length, list, unknown};
use crate::bindings::tidegate::module::types as wit;
use crate::guest::ITEMS_MAX;

pub(super) fn write(out: &mut Out<'_>, outcome: &wit::Outcome) -> Written {
    out.array(3)?.encode(outcome.wake_at)?;
    out.array(length(outcome.outputs.len()))?;
    for output in &outcome.outputs {
        out.array(3)?.encode(output.cause)?;
        match &output.effect {
            wit::Effect::Publish(publication) => write_publication(out, publication)?,
            wit::Effect::Keep(row) => write_row(out, row)?,
            wit::Effect::Actuate(command) => write_command(out, command)?,
        }
    }
    out.array(length(outcome.rejected.len()))?;
    for rejection in &outcome.rejected {
        out.array(2)?
            .u32(rejection.message)?
            .str(&rejection.reason)?;
    }
    Ok(())
}

pub(super) fn read(input: &mut Decoder<'_>) -> Read<wit::Outcome> {
    fields(input, 3)?;
    Ok(wit::Outcome {
        wake_at: input.decode()?,
        outputs: list(input, ITEMS_MAX, |input| {
            fields(input, 3)?;
            Ok(wit::Output {
                cause: input.decode()?,
                effect: match input.u8()? {
                    0 => wit::Effect::Publish(publication(input)?),
                    1 => wit::Effect::Keep(row(input)?),
                    2 => wit::Effect::Actuate(command(input)?),
                    other => return Err(unknown("effect", other)),
                },
            })
        })?,
        rejected: list(input, ITEMS_MAX, |input| {
            fields(input, 2)?;
            Ok(wit::Rejection {
                message: input.u32()?,
                reason: input.str()?.to_owned(),
            })
        })?,
    })
}

fn write_publication(out: &mut Out<'_>, publication: &wit::Publication) -> Written {
    out.u8(0)?.array(5)?;
    out.str(&publication.topic)?.bytes(&publication.payload)?;
    out.encode(publication.content_type.as_deref())?
        .bool(publication.retain)?;
    out.bool(matches!(publication.delivery, wit::Delivery::Durable))?;
    Ok(())
}

fn publication(input: &mut Decoder<'_>) -> Read<wit::Publication> {
    fields(input, 5)?;
    Ok(wit::Publication {
        topic: input.str()?.to_owned(),
        payload: input.bytes()?.to_vec(),
        content_type: input.decode()?,
        retain: input.bool()?,
        delivery: match input.bool()? {
            true => wit::Delivery::Durable,
            false => wit::Delivery::AtOnce,
        },
    })
}

fn write_row(out: &mut Out<'_>, row: &wit::Row) -> Written {
    out.u8(1)?.array(7)?.str(&row.stream)?;
    out.u8(row.class as u8)?
        .str(&row.key)?
        .u64(row.time)?
        .u64(row.duration)?;
    match &row.content {
        wit::Content::Values(values) => {
            out.u8(0)?.array(length(values.len()))?;
            for named in values {
                out.array(3)?.str(&named.name)?;
                write_scalar(out, &named.value)?;
            }
        }
        wit::Content::Document(document) => {
            out.u8(1)?.array(2)?;
            out.str(&document.content_type)?.bytes(&document.bytes)?;
        }
    }
    Ok(())
}

fn row(input: &mut Decoder<'_>) -> Read<wit::Row> {
    fields(input, 7)?;
    Ok(wit::Row {
        stream: input.str()?.to_owned(),
        class: match input.u8()? {
            0 => wit::Class::Alarm,
            1 => wit::Class::Summary,
            2 => wit::Class::Raw,
            other => return Err(unknown("class", other)),
        },
        key: input.str()?.to_owned(),
        time: input.u64()?,
        duration: input.u64()?,
        content: match input.u8()? {
            0 => wit::Content::Values(list(input, ITEMS_MAX, |input| {
                fields(input, 3)?;
                Ok(wit::NamedValue {
                    name: input.str()?.to_owned(),
                    value: scalar(input)?,
                })
            })?),
            1 => {
                fields(input, 2)?;
                wit::Content::Document(wit::Document {
                    content_type: input.str()?.to_owned(),
                    bytes: input.bytes()?.to_vec(),
                })
            }
            other => return Err(unknown("content", other)),
        },
    })
}

fn write_command(out: &mut Out<'_>, command: &wit::Command) -> Written {
    out.u8(2)?.array(4)?.str(&command.point)?;
    write_scalar(out, &command.value)?;
    out.u64(command.valid_for_ns)?;
    Ok(())
}

fn command(input: &mut Decoder<'_>) -> Read<wit::Command> {
    fields(input, 4)?;
    Ok(wit::Command {
        point: input.str()?.to_owned(),
        value: scalar(input)?,
        valid_for_ns: input.u64()?,
    })
}

/// Two fields: which kind, and the value.
fn write_scalar(out: &mut Out<'_>, scalar: &wit::Scalar) -> Written {
    match scalar {
        wit::Scalar::Boolean(value) => out.u8(0)?.bool(*value)?,
        wit::Scalar::Integer(value) => out.u8(1)?.i64(*value)?,
        wit::Scalar::Number(value) => out.u8(2)?.f64(*value)?,
        wit::Scalar::Text(text) => out.u8(3)?.str(text)?,
    };
    Ok(())
}

fn scalar(input: &mut Decoder<'_>) -> Read<wit::Scalar> {
    Ok(match input.u8()? {
        0 => wit::Scalar::Boolean(input.bool()?),
        1 => wit::Scalar::Integer(input.i64()?),
        2 => wit::Scalar::Number(input.f64()?),
        3 => wit::Scalar::Text(input.str()?.to_owned()),
        other => return Err(unknown("value", other)),
    })
}
