//! Calls, replies and what a worker is filled with, as CBOR arrays: they cross between two processes of one program, so
//! that there are no versions.
//!
//! A reply is read as the word of an enemy: nothing is allocated by a length that it names, and what is wrong with it is
//! an error. The frame around it bounds it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use minicbor::data::Type;
use minicbor::decode::Error as Bad;
use minicbor::{Decoder, Encoder};
use tidegate_record::{BootId, BootTime, ClockQuality, Name, StateChange, WallTime};
use tracing::Level;

use crate::convert::BatchParts;
use crate::error::{Error, Failure};
use crate::guest::{Answer, Bounds, Call, GuestSpec, ITEMS_MAX, Reply};
use crate::guest_log::Said;
use crate::module::Cost;
use crate::seal::Layer;

mod batch;
mod outcome;

type Out<'a> = Encoder<&'a mut Vec<u8>>;
type Read<T> = Result<T, Bad>;
/// Writing to memory cannot fail.
type Written = Result<(), minicbor::encode::Error<std::convert::Infallible>>;

/// What a worker says of a guest that it was given.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Loaded {
    Ready,
    /// It imports this, which is not granted.
    Import(String),
    /// It does not fit the contract.
    Contract(String),
}

/// A call, as a worker reads it. The batch borrows the frame.
pub(super) struct Asked<'a> {
    pub(super) now: (WallTime, BootTime),
    pub(super) clock: ClockQuality,
    pub(super) boot: BootId,
    /// The state to begin anew with.
    pub(super) state: Option<State<'a>>,
    pub(super) batch: Option<BatchParts<'a>>,
}

/// A state, and which release wrote it last.
pub(super) type State<'a> = (std::collections::BTreeMap<String, Bytes>, Option<&'a str>);

fn write(buffer: &mut Vec<u8>, fill: impl FnOnce(&mut Out<'_>) -> Written) {
    let written = fill(&mut Encoder::new(buffer));
    debug_assert!(written.is_ok(), "memory takes everything");
}

fn invalid(error: Bad) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Writes what a guest is given besides its code.
pub(super) fn write_spec(buffer: &mut Vec<u8>, spec: &GuestSpec) {
    write(buffer, |out| {
        out.array(10)?.str(spec.name.as_str())?.str(&spec.version)?;
        out.map(length(spec.config.len()))?;
        for (key, value) in &*spec.config {
            out.str(key)?.str(value)?;
        }
        out.u64(length(spec.memory_bytes_max))?;
        out.u64(length(spec.state_bytes_max))?;
        let Bounds {
            call_deadline,
            outputs_max,
            log_lines_max,
            log_line_bytes_max,
            metrics_max,
        } = spec.bounds;
        out.u64(nanos(call_deadline))?
            .u64(length(outputs_max))?
            .u32(log_lines_max)?;
        out.u64(length(log_line_bytes_max))?
            .u64(length(metrics_max))?;
        Ok(())
    });
}

/// Reads it.
pub(super) fn read_spec(bytes: &[u8]) -> io::Result<GuestSpec> {
    let read = || -> Read<GuestSpec> {
        let input = &mut Decoder::new(bytes);
        fields(input, 10)?;
        let name = Name::new(input.str()?).map_err(Bad::message)?;
        let version = Arc::from(input.str()?);
        let pairs = input.map_iter()?.collect::<Result<_, _>>()?;
        Ok(GuestSpec {
            name,
            version,
            config: Arc::new(pairs),
            memory_bytes_max: size(input)?,
            state_bytes_max: size(input)?,
            bounds: Bounds {
                call_deadline: Duration::from_nanos(input.u64()?),
                outputs_max: size(input)?,
                log_lines_max: input.u32()?,
                log_line_bytes_max: size(input)?,
                metrics_max: size(input)?,
            },
        })
    };
    read().map_err(invalid)
}

/// Writes what became of loading a guest.
pub(super) fn write_loaded(buffer: &mut Vec<u8>, loaded: Result<(), &Error>) {
    write(buffer, |out| {
        match loaded {
            Ok(()) => out.array(2)?.u8(0)?.str("")?,
            Err(Error::Import { import, .. }) => out.array(2)?.u8(1)?.str(import)?,
            Err(Error::Contract { source, .. }) => {
                out.array(2)?.u8(2)?.str(&format!("{source:#}"))?
            }
            Err(other) => out.array(2)?.u8(2)?.str(&other.to_string())?,
        };
        Ok(())
    });
}

/// Reads it.
pub(super) fn read_loaded(bytes: &[u8]) -> io::Result<Loaded> {
    let read = || -> Read<Loaded> {
        let input = &mut Decoder::new(bytes);
        fields(input, 2)?;
        let (kind, text) = (input.u8()?, input.str()?);
        match kind {
            0 => Ok(Loaded::Ready),
            1 => Ok(Loaded::Import(text.to_owned())),
            2 => Ok(Loaded::Contract(text.to_owned())),
            other => Err(unknown("outcome of loading", other)),
        }
    };
    read().map_err(invalid)
}

/// Writes the layers of a wall.
pub(super) fn write_layers(buffer: &mut Vec<u8>, layers: &[Layer]) {
    write(buffer, |out| {
        out.array(length(layers.len()))?;
        for Layer { name, missing } in layers {
            out.array(2)?.str(name)?.encode(missing)?;
        }
        Ok(())
    });
}

/// Reads them.
pub(super) fn read_layers(bytes: &[u8]) -> io::Result<Vec<Layer>> {
    let read = || -> Read<Vec<Layer>> {
        list(&mut Decoder::new(bytes), ITEMS_MAX, |input| {
            fields(input, 2)?;
            Ok(Layer {
                name: input.str()?.to_owned(),
                missing: input.decode()?,
            })
        })
    };
    read().map_err(invalid)
}

/// Writes a call, with the state if `with_state`.
pub(super) fn write_call(buffer: &mut Vec<u8>, call: &Call<'_>, with_state: bool) {
    write(buffer, |out| {
        out.array(6)?.u64(call.now.0.0)?.u64(call.now.1.0)?;
        out.encode(call.clock)?.u64(call.boot.0)?;
        match with_state {
            true => {
                out.array(2)?.map(length(call.state.len()))?;
                for (key, value) in call.state {
                    out.str(key)?.bytes(value)?;
                }
                out.encode(call.state_written_by)?;
            }
            false => {
                out.null()?;
            }
        }
        match call.batch {
            Some(parts) => batch::write(out, parts),
            None => out.null().map(drop),
        }
    });
}

/// Reads a call.
pub(super) fn read_call(bytes: &[u8]) -> io::Result<Asked<'_>> {
    let read = || -> Read<Asked<'_>> {
        let input = &mut Decoder::new(bytes);
        fields(input, 6)?;
        Ok(Asked {
            now: (WallTime(input.u64()?), BootTime(input.u64()?)),
            clock: input.decode()?,
            boot: BootId(input.u64()?),
            state: some(input, |input| {
                fields(input, 2)?;
                let pairs = input.map()?.unwrap_or(0);
                let mut entries = std::collections::BTreeMap::new();
                for _ in 0..pairs {
                    let (key, value) = (input.str()?.to_owned(), input.bytes()?);
                    entries.insert(key, Bytes::copy_from_slice(value));
                }
                Ok((entries, input.decode()?))
            })?,
            batch: some(input, batch::read)?,
        })
    };
    read().map_err(invalid)
}

/// Writes a reply.
pub(super) fn write_reply(buffer: &mut Vec<u8>, reply: &Reply) {
    write(buffer, |out| {
        out.array(3)?;
        let Said { lines, dropped } = &reply.said;
        out.array(length(lines.len()))?;
        for (level, text) in lines {
            out.array(2)?.u8(level_number(*level))?.str(text)?;
        }
        out.u64(*dropped)?;
        match &reply.result {
            Err(failure) => write_failure(out, failure),
            Ok(answer) => write_answer(out, answer),
        }
    });
}

/// Reads a reply.
pub(super) fn read_reply(bytes: &[u8]) -> io::Result<Reply> {
    let read = || -> Read<Reply> {
        let input = &mut Decoder::new(bytes);
        fields(input, 3)?;
        let lines = list(input, ITEMS_MAX, |input| {
            fields(input, 2)?;
            Ok((level(input.u8()?)?, input.str()?.to_owned()))
        })?;
        let said = Said {
            lines,
            dropped: input.u64()?,
        };
        let result = match input.array()? {
            Some(2) => Err(read_failure(input)?),
            Some(5) => Ok(read_answer(input)?),
            _ => return Err(Bad::message("neither an answer nor a failure")),
        };
        Ok(Reply { result, said })
    };
    read().map_err(invalid)
}

fn write_answer(out: &mut Out<'_>, answer: &Answer) -> Written {
    out.array(5)?;
    out.encode(answer.wake_at.map(|at| at.0))?;
    out.array(length(answer.state.len()))?;
    for StateChange { key, value } in &answer.state {
        out.array(2)?.str(key)?;
        match value {
            Some(value) => out.bytes(value)?,
            None => out.null()?,
        };
    }
    out.u64(nanos(answer.cost.cpu))?
        .u64(nanos(answer.cost.wall))?;
    match &answer.outcome {
        Some(outcome) => outcome::write(out, outcome),
        None => out.null().map(drop),
    }
}

fn read_answer(input: &mut Decoder<'_>) -> Read<Answer> {
    Ok(Answer {
        wake_at: input.decode::<Option<u64>>()?.map(BootTime),
        state: list(input, ITEMS_MAX, |input| {
            fields(input, 2)?;
            Ok(StateChange {
                key: input.str()?.to_owned(),
                value: some(input, |input| input.bytes().map(Bytes::copy_from_slice))?,
            })
        })?,
        cost: Cost {
            cpu: Duration::from_nanos(input.u64()?),
            wall: Duration::from_nanos(input.u64()?),
        },
        outcome: some(input, outcome::read)?,
    })
}

fn write_failure(out: &mut Out<'_>, failure: &Failure) -> Written {
    out.array(2)?;
    match failure {
        Failure::Trap(text) => out.u8(0)?.str(text)?,
        Failure::Deadline(ms) => out.u8(1)?.u64(u64::try_from(*ms).unwrap_or(u64::MAX))?,
        Failure::Memory {
            wanted_mib,
            limit_mib,
        } => {
            out.u8(2)?.array(2)?;
            out.u64(length(*wanted_mib))?.u64(length(*limit_mib))?
        }
        Failure::Refused(text) => out.u8(3)?.str(text)?,
        Failure::Transient(text) => out.u8(4)?.str(text)?,
        Failure::Permanent(text) => out.u8(5)?.str(text)?,
        Failure::Ended(text) => out.u8(6)?.str(text)?,
    };
    Ok(())
}

fn read_failure(input: &mut Decoder<'_>) -> Read<Failure> {
    Ok(match input.u8()? {
        0 => Failure::Trap(input.str()?.to_owned()),
        1 => Failure::Deadline(input.u64()?.into()),
        2 => {
            fields(input, 2)?;
            Failure::Memory {
                wanted_mib: size(input)?,
                limit_mib: size(input)?,
            }
        }
        3 => Failure::Refused(input.str()?.to_owned()),
        4 => Failure::Transient(input.str()?.to_owned()),
        5 => Failure::Permanent(input.str()?.to_owned()),
        // That its process ended is not for the process to say.
        other => return Err(unknown("failure", other)),
    })
}

const LEVELS: [Level; 5] = [
    Level::TRACE,
    Level::DEBUG,
    Level::INFO,
    Level::WARN,
    Level::ERROR,
];

fn level_number(level: Level) -> u8 {
    let place = LEVELS.iter().position(|other| *other == level);
    place
        .and_then(|place| u8::try_from(place).ok())
        .unwrap_or(0)
}

fn level(number: u8) -> Read<Level> {
    let level = LEVELS.get(usize::from(number)).copied();
    level.ok_or_else(|| unknown("level", number))
}

/// Reads a list of at most `most` items.
fn list<'b, T>(
    input: &mut Decoder<'b>,
    most: usize,
    mut read: impl FnMut(&mut Decoder<'b>) -> Read<T>,
) -> Read<Vec<T>> {
    let count = input
        .array()?
        .ok_or_else(|| Bad::message("a list without a length"))?;
    if count > length(most) {
        return Err(Bad::message(format!("a list of {count}, limit is {most}")));
    }
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(read(input)?);
    }
    Ok(items)
}

fn some<'b, T>(
    input: &mut Decoder<'b>,
    read: impl FnOnce(&mut Decoder<'b>) -> Read<T>,
) -> Read<Option<T>> {
    match input.datatype()? {
        Type::Null => {
            input.null()?;
            Ok(None)
        }
        _ => read(input).map(Some),
    }
}

fn fields(input: &mut Decoder<'_>, count: u64) -> Read<()> {
    match input.array()? {
        Some(found) if found == count => Ok(()),
        _ => Err(Bad::message(format!("not a list of {count} fields"))),
    }
}

fn unknown(what: &str, number: u8) -> Bad {
    Bad::message(format!("no {what} has the number {number}"))
}

fn size(input: &mut Decoder<'_>) -> Read<usize> {
    usize::try_from(input.u64()?).map_err(|_| Bad::message("a size beyond this machine"))
}

fn length(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
