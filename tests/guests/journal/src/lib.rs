//! Keeps one row for each message, with its number: what the tests compare with what was published.

use serde::Deserialize;
use tidegate_sdk::{Batch, Class, Fault, Json, Outcome, Processor, Row, Start, Values};

#[derive(Deserialize)]
struct Numbered {
    seq: i64,
}

struct Journal;

impl Processor for Journal {
    fn init(_: &mut Start) -> Result<Self, Fault> {
        Ok(Self)
    }

    fn process(&mut self, batch: &Batch) -> Result<Outcome, Fault> {
        let mut outcome = Outcome::default();
        for message in &batch.messages {
            match message.decode::<Json<Numbered>>() {
                Ok(Json(Numbered { seq })) => {
                    let values = Values::new().with("seq", seq);
                    outcome.keep(message.cause(), Row::new("journal", Class::Raw, "", message.time, values));
                }
                Err(reason) => outcome.reject(message, reason),
            }
        }
        Ok(outcome)
    }
}

tidegate_sdk::export!(Journal);
