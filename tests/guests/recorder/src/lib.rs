//! Keeps readings with the time that their message says, so that a week of them can come in minutes, and as many rows of
//! each as it says, so that a large store fills in minutes as well.

use std::time::Duration;

use tidegate_sdk::{
    Batch, Body, Class, Fault, Field, Message, Outcome, Processor, Row, Start, Values, WallTime,
};

/// Rows of one message, at most.
const ROWS_MAX: i64 = 100;

/// Where a message says what.
struct Recorder {
    /// Its number.
    number: Field,
    /// Milliseconds since 1970.
    at: Field,
    value: Field,
    /// A text that is kept as well, if there is one.
    note: Field,
    /// How many rows, if not one.
    rows: Field,
    /// Whether it is urgent.
    urgent: Field,
}

impl Processor for Recorder {
    fn init(_: &mut Start) -> Result<Self, Fault> {
        let field = |name| Field::parse(name).map_err(Fault::permanent);
        Ok(Self {
            number: field("seq")?,
            at: field("at")?,
            value: field("value")?,
            note: field("note")?,
            rows: field("rows")?,
            urgent: field("urgent")?,
        })
    }

    fn process(&mut self, batch: &Batch) -> Result<Outcome, Fault> {
        let mut outcome = Outcome::default();
        for message in &batch.messages {
            match self.row(message) {
                Ok(row) => {
                    let rows = match self.rows.pick(&message.body) {
                        Ok(Body::Integer(rows)) => rows.clamp(1, ROWS_MAX),
                        _ => 1,
                    };
                    for _ in 0..rows {
                        outcome.keep(message.cause(), row.clone());
                    }
                }
                Err(reason) => outcome.reject(message, reason),
            }
        }
        Ok(outcome)
    }
}

impl Recorder {
    fn row(&self, message: &Message) -> Result<Row, String> {
        let body = &message.body;
        let integer = |field: &Field| match field.pick(body)? {
            Body::Integer(integer) => Ok(integer),
            _ => Err(format!("{field} is no integer")),
        };
        let value = match self.value.pick(body)? {
            Body::Integer(integer) => integer as f64,
            Body::Number(number) => number,
            _ => return Err(format!("{} is no number", self.value)),
        };
        let mut values = Values::new()
            .with("seq", integer(&self.number)?)
            .with("value", value);
        if let Ok(Body::Payload(note)) = self.note.pick(body) {
            values.push("note", String::from_utf8_lossy(&note).as_ref());
        }
        let at = u64::try_from(integer(&self.at)?).map_err(|_| "a time before 1970")?;
        let at = WallTime::default().plus(Duration::from_millis(at));
        let urgent = matches!(self.urgent.pick(body), Ok(Body::Boolean(true)));
        let (stream, class) = match urgent {
            true => ("live", Class::Alarm),
            false => ("readings", Class::Raw),
        };
        Ok(Row::new(stream, class, "", at, values))
    }
}

tidegate_sdk::export!(Recorder);
