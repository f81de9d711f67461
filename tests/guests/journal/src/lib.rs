//! Keeps one row for each message, with its number: what the tests compare with what was published.

use tidegate_sdk::{Batch, Body, Class, Fault, Field, Outcome, Processor, Row, Start, Values};

struct Journal {
    number: Field,
}

impl Processor for Journal {
    fn init(_: &mut Start) -> Result<Self, Fault> {
        Ok(Self {
            number: Field::parse("seq").map_err(Fault::permanent)?,
        })
    }

    fn process(&mut self, batch: &Batch) -> Result<Outcome, Fault> {
        let mut outcome = Outcome::default();
        for message in &batch.messages {
            match self.number.pick(&message.body) {
                Ok(Body::Integer(seq)) => {
                    let values = Values::new().with("seq", seq);
                    outcome.keep(
                        message.cause(),
                        Row::new("journal", Class::Raw, "", message.time, values),
                    );
                }
                Ok(_) => outcome.reject(message, "its number is none"),
                Err(reason) => outcome.reject(message, reason),
            }
        }
        Ok(outcome)
    }
}

tidegate_sdk::export!(Journal);
