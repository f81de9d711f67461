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
        Ok(Self {
            input: Input::from_config()?,
            destination: Destination::from_config()?,
        })
    }

    /// Maps every message. What the function answers with an error, and what does not decode, is rejected alone.
    pub fn process<T: Decode, R: MapResult>(
        &self,
        batch: &Batch,
        function: impl Fn(Message<T>) -> R,
    ) -> Outcome {
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
        let input = self.input.decode(message)?;
        let stamped = self.input.stamp(message)?;
        let Some(result) = function(stamped.with_body(input)).into_result()? else {
            return Ok(());
        };
        let payload = || {
            Ok(Payload {
                bytes: result.payload()?,
                content_type: R::Value::CONTENT_TYPE,
            })
        };
        self.destination
            .send(&stamped, payload, || result.content(), outcome)
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::Host;
    use crate::{Class, Delivery, Json, Values};

    #[crate::map]
    fn double(message: Message<Json<i64>>) -> Result<Option<Json<Value>>, String> {
        match message.body.0 {
            0 => Ok(None),
            ..0 => Err("negative".to_owned()),
            value => Ok(Some(Json(json!({"twice": 2 * value})))),
        }
    }

    #[test]
    fn a_result_goes_where_the_configuration_says() -> Result<(), Fault> {
        let mut host = Host::<double>::new()
            .config("output.topic", "twice/{-1}")
            .config("output.delivery", "at-once")
            .config("output.retain", "true")
            .config("output.stream", "doubles")
            .config("output.key", "{0}");
        host.send("plant/press-7", json!(4))?;
        let publication = host.published()[0];
        assert_eq!(publication.topic, "twice/press-7");
        assert_eq!(publication.payload, br#"{"twice":8}"#);
        assert_eq!(
            publication.content_type.as_deref(),
            Some("application/json")
        );
        assert_eq!(
            (publication.delivery, publication.retain),
            (Delivery::AtOnce, true)
        );
        let row = host.kept()[0];
        assert_eq!(
            (row.stream.as_str(), row.key.as_str(), row.class),
            ("doubles", "plant", Class::Raw)
        );
        assert_eq!(row.time, host.now());
        assert_eq!(row.content, Values::new().with("twice", 8_i64).into());
        assert_eq!(host.outputs()[0].cause, Some(0));
        Ok(())
    }

    #[test]
    fn a_message_that_cannot_be_mapped_is_rejected_alone() -> Result<(), Fault> {
        let mut host = Host::<double>::new().config("output.topic", "twice");
        let mut bad = host.message("t", json!(1));
        bad.quality = crate::Quality::Bad;
        let bodies = [json!(1), json!("x"), json!(-1), json!(0), json!(2)];
        let mut messages: Vec<Message> = bodies
            .into_iter()
            .map(|body| host.message("t", body))
            .collect();
        messages.push(bad);
        host.send_batch(messages)?;
        let causes: Vec<_> = host.outputs().iter().map(|output| output.cause).collect();
        assert_eq!(causes, [Some(0), Some(4)]);
        let rejected: Vec<_> = host
            .rejected()
            .iter()
            .map(|(message, reason)| (message.index, reason.as_str()))
            .collect();
        let no_json =
            "not the expected JSON: invalid type: string \"x\", expected i64 at line 1 column 3";
        assert_eq!(
            rejected,
            [
                (1, no_json),
                (2, "negative"),
                (5, "quality bad: there was no reading")
            ]
        );
        Ok(())
    }

    #[test]
    fn results_that_would_go_nowhere_refuse_the_start() {
        let fault = Host::<double>::new().start().unwrap_err();
        assert_eq!(
            fault,
            Fault::permanent("results go nowhere: configure output.topic, output.stream or both")
        );
        let fault = Host::<double>::new()
            .config("output.topic", "a/{b}")
            .start()
            .unwrap_err();
        assert!(
            fault.to_string().contains("unknown placeholder {b}"),
            "{fault}"
        );
        assert!(
            Host::<double>::new()
                .config("output.delivery", "soon")
                .start()
                .is_err()
        );
    }
}
