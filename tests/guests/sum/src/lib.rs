//! Adds up the bytes of each batch: as little work as a module can do with every message, so that what a message costs
//! is the way into the sandbox. Its bench does the same natively.

use tidegate_sdk::{Batch, Body, Class, Fault, Outcome, Processor, Row, Start, Values};

struct Sum;

impl Processor for Sum {
    fn init(_: &mut Start) -> Result<Self, Fault> {
        Ok(Self)
    }

    fn process(&mut self, batch: &Batch) -> Result<Outcome, Fault> {
        let mut sum = 0_i64;
        for message in &batch.messages {
            if let Body::Payload(bytes) = &message.body {
                sum += bytes.iter().map(|byte| i64::from(*byte)).sum::<i64>();
            }
        }
        let mut outcome = Outcome::default();
        let values = Values::new().with("sum", sum);
        if let Some(last) = batch.messages.last() {
            outcome.keep(None, Row::new("sums", Class::Raw, "", last.time, values));
        }
        Ok(outcome)
    }
}

tidegate_sdk::export!(Sum);
