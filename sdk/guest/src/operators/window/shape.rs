//! How windows lie in time: kinds, lengths, and how long each waits.
//!
//! Time is cut into steps, aligned since 1970. A window is a whole number of steps: one if it tumbles, several if it hops or
//! slides. So a message is counted once, in its step, however many windows overlap there.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config;
use crate::outcome::Fault;
use crate::time::{WallTime, nanoseconds, parse_duration_ns};

/// Steps of one series that may be held at a time: those of a window, and of the time that it waits and can be corrected.
const STEPS_MAX: u64 = 128;

/// How far ahead of the gateway's clock an event time may be, unless `window.ahead` says otherwise.
const AHEAD: Duration = Duration::from_secs(3600);

/// Kind, length and step of windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    kind: Kind,
    length: u64,
    every: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    /// A window is one step.
    #[default]
    Tumbling,
    /// Each step begins a window.
    Hopping,
    /// Each message ends one.
    Sliding,
}

impl Shape {
    /// Windows of this length, one after the other. A `const fn`, so that an attribute is checked when it is compiled.
    ///
    /// # Errors
    /// It is no duration such as `10s`.
    pub const fn tumbling(length: &str) -> Result<Self, &'static str> {
        Self::parse(Kind::Tumbling, length, length)
    }

    /// Windows of this length, one of which begins with every step.
    ///
    /// # Errors
    /// One is no duration such as `10s`, or the length is no multiple of the step.
    pub const fn hopping(length: &str, every: &str) -> Result<Self, &'static str> {
        Self::parse(Kind::Hopping, length, every)
    }

    /// For each message the window of this length that ends with the message's step.
    ///
    /// # Errors
    /// As [`Shape::hopping`].
    pub const fn sliding(length: &str, every: &str) -> Result<Self, &'static str> {
        Self::parse(Kind::Sliding, length, every)
    }

    const fn parse(kind: Kind, length: &str, every: &str) -> Result<Self, &'static str> {
        match (parse_duration_ns(length), parse_duration_ns(every)) {
            (Some(length), Some(every)) => Self::new(kind, length, every),
            _ => Err("not a duration such as 250ms, 10s, 5m, 1h or 1d"),
        }
    }

    const fn new(kind: Kind, length: u64, every: u64) -> Result<Self, &'static str> {
        if length == 0 || every == 0 {
            Err("a window has a length above 0")
        } else if length % every != 0 {
            Err("the length of a window is a multiple of its step")
        } else if length / every > STEPS_MAX {
            Err("a window has at most 128 steps")
        } else {
            Ok(Self {
                kind,
                length,
                every,
            })
        }
    }

    /// Whether this is that of a series that has not begun.
    pub(super) fn is_none(self) -> bool {
        self.every == 0
    }

    pub(super) fn is_sliding(self) -> bool {
        self.kind == Kind::Sliding
    }

    /// Start of the step that this time lies in.
    pub(super) fn step(self, time: WallTime) -> WallTime {
        WallTime(time.0 - time.0 % self.every.max(1))
    }

    pub(super) fn length(self) -> Duration {
        Duration::from_nanos(self.length)
    }

    pub(super) fn every(self) -> Duration {
        Duration::from_nanos(self.every)
    }

    /// From the start of a window's first step to that of its last.
    pub(super) fn overlap(self) -> Duration {
        Duration::from_nanos(self.length - self.every)
    }
}

/// When windows begin, close, and are closed for good.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    pub(super) shape: Shape,
    /// How long after its end a window waits for late messages.
    pub(super) lateness: Duration,
    /// For how long a closed window is corrected: whole steps.
    pub(super) corrections: Duration,
    /// How far ahead of the clock an event time may be.
    pub(super) ahead: Duration,
}

impl Timing {
    /// As configured, with the shape of the attribute as default.
    pub(super) fn from_config(attribute: Shape) -> Result<Self, Fault> {
        let length = config::get_or("window", attribute.length())?;
        let every = match config::optional("window.every")? {
            Some(_) if attribute.kind == Kind::Tumbling => {
                return Err(meaningless("window.every", "tumbling"));
            }
            Some(every) => every,
            None if attribute.kind == Kind::Tumbling => length,
            None => attribute.every(),
        };
        let shape = Shape::new(attribute.kind, nanoseconds(length), nanoseconds(every));
        let shape = shape.map_err(|problem| {
            Fault::permanent(format!(
                "configuration keys window ({length:?}) and window.every ({every:?}): {problem}"
            ))
        })?;
        for key in ["window.lateness", "window.corrections"] {
            if shape.is_sliding() && config::optional::<Duration>(key)?.is_some() {
                return Err(meaningless(key, "sliding"));
            }
        }
        let lateness = config::get_or("window.lateness", Duration::ZERO)?;
        let corrections: Duration = config::get_or("window.corrections", Duration::ZERO)?;
        let held = nanoseconds(shape.length() + lateness + corrections);
        if held / shape.every > STEPS_MAX {
            return Err(Fault::permanent(format!(
                "configuration keys window, window.lateness and window.corrections: together {} steps of {every:?}, \
                 the limit is {STEPS_MAX}",
                held / shape.every
            )));
        }
        let steps = nanoseconds(corrections).div_ceil(shape.every);
        Ok(Self {
            shape,
            lateness,
            corrections: Duration::from_nanos(steps * shape.every),
            ahead: config::get_or("window.ahead", AHEAD)?,
        })
    }
}

fn meaningless(key: &str, kind: &str) -> Fault {
    Fault::permanent(format!(
        "configuration key {key} means nothing for a {kind} window"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_a_whole_and_bounded_number_of_steps() {
        assert!(Shape::tumbling("10s").is_ok());
        assert!(Shape::hopping("1m", "10s").is_ok());
        assert!(Shape::sliding("1h", "30s").is_ok());
        for (length, every, problem) in [
            (
                "10 s",
                "1s",
                "not a duration such as 250ms, 10s, 5m, 1h or 1d",
            ),
            (
                "10s",
                "x",
                "not a duration such as 250ms, 10s, 5m, 1h or 1d",
            ),
            ("0s", "1s", "a window has a length above 0"),
            ("10s", "0s", "a window has a length above 0"),
            (
                "10s",
                "3s",
                "the length of a window is a multiple of its step",
            ),
            (
                "10s",
                "1m",
                "the length of a window is a multiple of its step",
            ),
            ("1h", "1s", "a window has at most 128 steps"),
        ] {
            assert_eq!(Shape::hopping(length, every), Err(problem));
            assert_eq!(Shape::sliding(length, every), Err(problem));
        }
        assert_eq!(Shape::tumbling("0s"), Err("a window has a length above 0"));
    }
}
