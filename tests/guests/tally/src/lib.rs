//! Counts its messages in its state, and keeps one row for each with its number and the count: what shows whether a
//! message was lost or counted twice when one generation took over from another. Its configuration can give it a flaw,
//! from a certain count on.

use std::hint::black_box;

use tidegate_sdk::{
    Batch, Body, Class, Fault, Field, Message, Outcome, Processor, Row, Start, Values, config,
    state,
};

/// Some 120 us on a desktop for each message.
const TURNS: u64 = 100_000;
const COUNT: &str = "count";

struct Tally {
    number: Field,
    flaw: String,
    from: u64,
}

impl Processor for Tally {
    fn init(_: &mut Start) -> Result<Self, Fault> {
        let number = Field::parse("seq").map_err(Fault::permanent)?;
        let flaw: String = config::get_or("flaw", String::new())?;
        if flaw == "refuse" {
            return Err(Fault::permanent("this configuration cannot be"));
        }
        Ok(Self {
            number,
            flaw,
            from: config::get_or("from", 0)?,
        })
    }

    fn process(&mut self, batch: &Batch) -> Result<Outcome, Fault> {
        let mut outcome = Outcome::default();
        let mut count = counted()?;
        for message in &batch.messages {
            match self.number.pick(&message.body) {
                Ok(Body::Integer(seq)) => {
                    count += 1;
                    self.work(message, seq, count, &mut outcome)?;
                }
                Ok(_) => outcome.reject(message, "its number is none"),
                Err(reason) => outcome.reject(message, reason),
            }
        }
        if self.is_flawed("garble", count) {
            state::set(COUNT, b"?")?;
        } else {
            state::set(COUNT, count.to_string().as_bytes())?;
        }
        Ok(outcome)
    }
}

impl Tally {
    fn work(
        &self,
        message: &Message,
        seq: i64,
        count: u64,
        outcome: &mut Outcome,
    ) -> Result<(), Fault> {
        let times = if self.is_flawed("slow", count) { 3 } else { 1 };
        for turn in 0..TURNS * times {
            black_box(turn);
        }
        if self.is_flawed("trap", count) {
            std::process::abort();
        }
        while self.is_flawed("hang", count) {
            black_box(());
        }
        if self.is_flawed("leak", count) {
            let mut hoard = Vec::new();
            loop {
                hoard.push(black_box(vec![1_u8; 1 << 20]));
            }
        }
        let wrong = self.is_flawed("wrong", count) && count % 1000 == 0;
        let values = Values::new().with("seq", seq).with(
            "count",
            i64::try_from(count).unwrap_or(0) + i64::from(wrong),
        );
        let row = Row::new("tally", Class::Raw, "", message.time, values);
        if self.is_flawed("flood", count) {
            for _ in 0..20_000 {
                outcome.keep(message.cause(), row.clone());
            }
        }
        outcome.keep(message.cause(), row);
        Ok(())
    }

    fn is_flawed(&self, flaw: &str, count: u64) -> bool {
        self.flaw == flaw && count >= self.from
    }
}

fn counted() -> Result<u64, Fault> {
    let Some(value) = state::get(COUNT)? else {
        return Ok(0);
    };
    let text = String::from_utf8(value).unwrap_or_default();
    text.parse()
        .map_err(|_| Fault::permanent(format!("the count is {text:?}")))
}

tidegate_sdk::export!(Tally);
