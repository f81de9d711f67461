//! Lets some messages through as they came.

use std::fmt::Display;

use crate::message::{Batch, Body, Message};
use crate::operators::destination::Payload;
use crate::operators::{Destination, Input};
use crate::outcome::{Content, Fault, Outcome, Values};
use crate::payload::{Decode, Encode, Raw, json_content};

/// The operator behind [`filter`](macro@crate::filter).
#[derive(Debug)]
pub struct Filter {
    input: Input,
    destination: Destination,
}

impl Filter {
    /// As configured.
    ///
    /// # Errors
    /// The configuration is malformed.
    pub fn from_config() -> Result<Self, Fault> {
        Ok(Self {
            input: Input::from_config()?,
            destination: Destination::from_config()?,
        })
    }

    /// Sends on every message that the function says `true` to, unchanged. One that does not decode is rejected.
    pub fn process<T: Decode, R: FilterResult>(
        &self,
        batch: &Batch,
        function: impl Fn(&Message<T>) -> R,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        for message in &batch.messages {
            if let Err(reason) = self.filter(message, &function, &mut outcome) {
                outcome.reject(message, reason);
            }
        }
        outcome
    }

    fn filter<T: Decode, R: FilterResult>(
        &self,
        message: &Message,
        function: &impl Fn(&Message<T>) -> R,
        outcome: &mut Outcome,
    ) -> Result<(), String> {
        let input = self.input.decode(message)?;
        let stamped = self.input.stamp(message)?;
        if !function(&stamped.with_body(input)).into_result()? {
            return Ok(());
        }
        let payload = || {
            Ok(Payload {
                bytes: Raw::decode(&message.body)?.0,
                content_type: None,
            })
        };
        self.destination
            .send(&stamped, payload, || content(&message.body), outcome)
    }
}

/// What a filter may answer: whether the message passes, or a `Result` of it (an error rejects the message).
pub trait FilterResult {
    /// Whether the message passes, or the reason of the rejection.
    ///
    /// # Errors
    /// The reason of the rejection.
    fn into_result(self) -> Result<bool, String>;
}

impl FilterResult for bool {
    fn into_result(self) -> Result<bool, String> {
        Ok(self)
    }
}

impl<E: Display> FilterResult for Result<bool, E> {
    fn into_result(self) -> Result<bool, String> {
        self.map_err(|error| error.to_string())
    }
}

/// A body as named values where it is a scalar or JSON, else as the bytes that it is.
fn content(body: &Body) -> Result<Content, String> {
    match body {
        Body::Boolean(value) => Ok(Values::new().with("value", *value).into()),
        Body::Integer(value) => Ok(Values::new().with("value", *value).into()),
        Body::Number(value) => value.content(),
        Body::Payload(payload) => match serde_json::from_slice(payload) {
            Ok(json) => Ok(json_content(json)),
            Err(_) => Raw(payload.clone()).content(),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Json;
    use crate::testing::Host;

    #[crate::filter]
    fn warm(message: &Message<f64>) -> Result<bool, String> {
        match message.body {
            ..-273.15 => Err("below absolute zero".to_owned()),
            celsius => Ok(celsius > 20.0),
        }
    }

    #[test]
    fn a_message_that_passes_goes_on_as_it_came() -> Result<(), Fault> {
        let mut host = Host::<warm>::new()
            .config("input.field", "t")
            .config("output.topic", "warm/{topic}")
            .config("output.stream", "warm");
        host.send("hall", json!({"t": 19.5, "seq": 1}))?;
        host.send("hall", json!({"t": 21.5, "seq": 2}))?;
        host.send("hall", json!({"t": -300, "seq": 3}))?;
        assert_eq!(host.published().len(), 1);
        assert_eq!(host.published()[0].payload, br#"{"seq":2,"t":21.5}"#);
        let values = Values::new().with("seq", 2_i64).with("t", 21.5);
        assert_eq!(host.kept()[0].content, values.into());
        assert_eq!(host.rejected()[0].1, "below absolute zero");
        Ok(())
    }

    #[test]
    fn a_payload_that_is_no_json_is_kept_whole() -> Result<(), Fault> {
        #[crate::filter]
        fn every(_: &Message<()>) -> bool {
            true
        }
        let mut host = Host::<every>::new().config("output.stream", "all");
        host.send("hall", vec![0xff, 0x00])?;
        host.send("hall", true)?;
        let content_type = "application/octet-stream".to_owned();
        let document = Content::Document {
            content_type,
            bytes: vec![0xff, 0x00],
        };
        assert_eq!(host.kept()[0].content, document);
        assert_eq!(
            host.kept()[1].content,
            Values::new().with("value", true).into()
        );
        Ok(())
    }

    #[test]
    fn a_filter_stays_an_ordinary_function() {
        assert_eq!(warm(&Message::new("hall", 25.0)), Ok(true));
        assert_eq!(Message::new("hall", Json(1)).topic(), "hall");
    }
}
