//! Does what the message tells it to: each word is one way in which a module goes wrong. Any other word is kept as a row.

use std::hint::black_box;

use tidegate_sdk::{
    Batch, Body, Class, Fault, Message, Outcome, Processor, Publication, Rejection, Row, Start,
    Values, state,
};

struct Hostile;

impl Processor for Hostile {
    fn init(_: &mut Start) -> Result<Self, Fault> {
        Ok(Self)
    }

    fn process(&mut self, batch: &Batch) -> Result<Outcome, Fault> {
        let mut outcome = Outcome::default();
        for message in &batch.messages {
            obey(message, &mut outcome)?;
        }
        Ok(outcome)
    }
}

fn obey(message: &Message, outcome: &mut Outcome) -> Result<(), Fault> {
    let Body::Payload(payload) = &message.body else {
        return Ok(());
    };
    let word = String::from_utf8_lossy(payload).into_owned();
    let row = |stream: &str, values| Row::new(stream, Class::Raw, "", message.time, values);
    match word.as_str() {
        "trap" => std::process::abort(),
        "loop" => loop {
            black_box(());
        },
        "allocate" => {
            let mut hoard = Vec::new();
            loop {
                hoard.push(black_box(vec![1_u8; 1 << 20]));
            }
        }
        "recurse" => {
            black_box(recurse(black_box(1)));
        }
        "transient" => return Err(Fault::transient("the moon is wrong")),
        "reject" => outcome.reject(message, "I do not like it"),
        "reject-another" => outcome.rejected.push(Rejection {
            message: 4711,
            reason: "not mine".into(),
        }),
        "blame-another" => outcome.keep(
            Some(4711),
            row("hostile", Values::new().with("word", "cause")),
        ),
        "undeclared-stream" => {
            outcome.keep(None, row("secrets", Values::new().with("word", "stream")))
        }
        "foreign-topic" => outcome.publish(None, Publication::new("commands/stop", "now")),
        "wildcard-topic" => outcome.publish(None, Publication::new("hostile/#", "all")),
        "fill-state" => {
            for key in 0..u32::MAX {
                state::set(&key.to_string(), &[0; 4096])?;
            }
        }
        "flood" => loop {
            outcome.keep(
                None,
                row("hostile", Values::new().with("word", "x".repeat(1 << 16))),
            );
            if outcome.outputs.len() > 200 {
                break;
            }
        },
        "huge-row" => outcome.keep(
            None,
            row("hostile", Values::new().with("word", "x".repeat(600 << 10))),
        ),
        "chatter" => {
            for line in 0..10_000 {
                tidegate_sdk::info!("line {line}");
            }
        }
        other => outcome.keep(
            message.cause(),
            row("hostile", Values::new().with("word", other)),
        ),
    }
    Ok(())
}

#[allow(unconditional_recursion, reason = "that is the point")]
fn recurse(depth: u64) -> u64 {
    black_box([depth; 64]);
    black_box(recurse(depth + 1)) + 1
}

tidegate_sdk::export!(Hostile);
