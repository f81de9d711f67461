//! From a message to the value that a function asked for.

use crate::config;
use crate::field::Field;
use crate::message::{Message, Quality};
use crate::outcome::Fault;
use crate::payload::Decode;

/// Which part of a message is the input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    field: Option<Field>,
}

impl Input {
    /// As configured: `input.field`, else the whole body.
    ///
    /// # Errors
    /// The path is malformed.
    pub fn from_config() -> Result<Self, Fault> {
        Ok(Self {
            field: config::optional("input.field")?,
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
}
