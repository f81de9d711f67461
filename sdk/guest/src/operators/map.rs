//! One result, or none, for each message.

use std::fmt::Display;

use crate::message::{Batch, Message};
use crate::operators::destination::Payload;
use crate::operators::{Destination, Input};
use crate::outcome::{Fault, Outcome};
use crate::payload::{Decode, Encode};

/// The operator behind [`map`](macro@crate::map).
#[derive(Debug)]
pub struct Map {
    input: Input,
    destination: Destination,
}

impl Map {
    /// As configured.
    ///
    /// # Errors
    /// The configuration is malformed.
    pub fn from_config() -> Result<Self, Fault> {
        Ok(Self { input: Input::from_config()?, destination: Destination::from_config()? })
    }

    /// Maps every message. What the function answers with an error, and what does not decode, is rejected alone.
    pub fn process<T: Decode, R: MapResult>(&self, batch: &Batch, function: impl Fn(Message<T>) -> R) -> Outcome {
        let mut outcome = Outcome::default();
        for message in &batch.messages {
            if let Err(reason) = self.map(message, &function, &mut outcome) {
                outcome.reject(message, reason);
            }
        }
        outcome
    }

    fn map<T: Decode, R: MapResult>(
        &self,
        message: &Message,
        function: &impl Fn(Message<T>) -> R,
        outcome: &mut Outcome,
    ) -> Result<(), String> {
        let input = message.with_body(self.input.decode(message)?);
        let Some(result) = function(input).into_result()? else { return Ok(()) };
        let payload = || Ok(Payload { bytes: result.payload()?, content_type: R::Value::CONTENT_TYPE });
        self.destination.send(message, payload, || result.content(), outcome)
    }
}

/// What a mapped function may answer: a value, an `Option` (none drops the message), a `Result` of either (an error
/// rejects the message with this reason).
pub trait MapResult {
    /// The value.
    type Value: Encode;

    /// The value, none, or the reason of the rejection.
    ///
    /// # Errors
    /// The reason of the rejection.
    fn into_result(self) -> Result<Option<Self::Value>, String>;
}

impl<T: Encode> MapResult for T {
    type Value = T;

    fn into_result(self) -> Result<Option<T>, String> {
        Ok(Some(self))
    }
}

impl<T: Encode> MapResult for Option<T> {
    type Value = T;

    fn into_result(self) -> Result<Option<T>, String> {
        Ok(self)
    }
}

impl<T: Encode, E: Display> MapResult for Result<T, E> {
    type Value = T;

    fn into_result(self) -> Result<Option<T>, String> {
        self.map(Some).map_err(|error| error.to_string())
    }
}

impl<T: Encode, E: Display> MapResult for Result<Option<T>, E> {
    type Value = T;

    fn into_result(self) -> Result<Option<T>, String> {
        self.map_err(|error| error.to_string())
    }
}
