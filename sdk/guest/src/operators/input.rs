//! From a message to the value that a function asked for.

use std::time::Duration;

use crate::config;
use crate::field::Field;
use crate::message::{Body, ClockQuality, Message, Quality};
use crate::outcome::Fault;
use crate::payload::Decode;
use crate::time::{NS_PER_SECOND, WallTime, nanoseconds};

/// Which part of a message is the input, and which its event time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    field: Option<Field>,
    time: Option<Field>,
}

impl Input {
    /// As configured: `input.field`, else the whole body; `input.time`, else the time that came with the message.
    ///
    /// # Errors
    /// A path is malformed.
    pub fn from_config() -> Result<Self, Fault> {
        Ok(Self {
            field: config::optional("input.field")?,
            time: config::optional("input.time")?,
        })
    }

    /// The input of this message as a `T`.
    ///
    /// # Errors
    /// Why there is none, as the reason of a rejection.
    pub fn decode<T: Decode>(&self, message: &Message) -> Result<T, String> {
        if message.quality == Quality::Bad {
            return Err("quality bad: there was no reading".to_owned());
        }
        match &self.field {
            None => message.decode(),
            Some(field) => T::decode(&field.pick(&message.body)?)
                .map_err(|reason| format!("field {field}: {reason}")),
        }
    }

    /// The message without its body, with the event time that its payload gives.
    ///
    /// # Errors
    /// Why there is none, as the reason of a rejection.
    pub fn stamp(&self, message: &Message) -> Result<Message<()>, String> {
        let mut stamped = message.with_body(());
        if let Some(field) = &self.time {
            let time = time(&field.pick(&message.body)?);
            stamped.time = time.map_err(|reason| format!("field {field}: {reason}"))?;
            stamped.clock = ClockQuality::Device;
        }
        Ok(stamped)
    }
}

/// RFC 3339 in UTC, or a number since 1970 in the unit that its size tells.
fn time(body: &Body) -> Result<WallTime, String> {
    let time = match body {
        Body::Payload(text) => return String::from_utf8_lossy(text).parse(),
        Body::Integer(number) => u64::try_from(*number).ok().and_then(|number| {
            let ns_per_unit = NS_PER_SECOND / units_per_second(number);
            number.checked_mul(ns_per_unit)
        }),
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "the size decides on the unit only, and `as` keeps it within u64"
        )]
        Body::Number(number) => {
            let seconds = number / units_per_second(*number as u64) as f64;
            let since_1970 = Duration::try_from_secs_f64(seconds).ok();
            since_1970.map(nanoseconds)
        }
        Body::Boolean(_) => None,
    };
    time.map(WallTime)
        .ok_or_else(|| "not a time since 1970".to_owned())
}

/// Seconds, milliseconds, microseconds or nanoseconds: each reaches to the year 5138, where the next one begins with 1973.
fn units_per_second(number: u64) -> u64 {
    match number {
        0..100_000_000_000 => 1,
        100_000_000_000..100_000_000_000_000 => 1_000,
        100_000_000_000_000..100_000_000_000_000_000 => 1_000_000,
        _ => NS_PER_SECOND,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_time_is_read_in_whichever_unit_it_was_written() {
        let expected = Ok(WallTime(1_772_352_000_250_000_000));
        for body in [
            Body::from("2026-03-01T08:00:00.250Z"),
            Body::Number(1_772_352_000.25),
            Body::Integer(1_772_352_000_250),
            Body::Number(1_772_352_000_250.0),
            Body::Integer(1_772_352_000_250_000),
            Body::Integer(1_772_352_000_250_000_000),
        ] {
            assert_eq!(time(&body), expected, "{body:?}");
        }
        assert_eq!(time(&Body::Integer(5)), Ok(WallTime(5_000_000_000)));
    }

    #[test]
    fn what_is_no_time_is_refused_with_the_reason() {
        for body in [
            Body::from("yesterday"),
            Body::Number(-1.0),
            Body::Number(f64::NAN),
            Body::Number(1e300),
            Body::Integer(-1),
            Body::Boolean(true),
        ] {
            assert!(time(&body).is_err(), "{body:?}");
        }
    }
}
