//! Works for some milliseconds over each message, and keeps one row for it, with its number.

use std::hint::black_box;

use tidegate_sdk::{Batch, Body, Class, Fault, Field, Outcome, Processor, Row, Start, Values};

/// About 5 ms on a desktop.
const TURNS: u64 = 4_000_000;

struct Slow {
    number: Field,
}

impl Processor for Slow {
    fn init(_: &mut Start) -> Result<Self, Fault> {
        Ok(Self {
            number: Field::parse("seq").map_err(Fault::permanent)?,
        })
    }

    fn process(&mut self, batch: &Batch) -> Result<Outcome, Fault> {
        let mut outcome = Outcome::default();
        for message in &batch.messages {
            for turn in 0..TURNS {
                black_box(turn);
            }
            match self.number.pick(&message.body) {
                Ok(Body::Integer(seq)) => {
                    let values = Values::new().with("seq", seq);
                    outcome.keep(
                        message.cause(),
                        Row::new("slow", Class::Raw, "", message.time, values),
                    );
                }
                Ok(_) => outcome.reject(message, "its number is none"),
                Err(reason) => outcome.reject(message, reason),
            }
        }
        Ok(outcome)
    }
}

tidegate_sdk::export!(Slow);
