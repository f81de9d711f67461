//! Watches several channels of one JSON message, such as the axes of an accelerometer, and reports a channel whose level
//! leaves its baseline.

mod channel;

use std::collections::BTreeMap;

use channel::Channel;
use serde_json::{Map, Value};
use tidegate_sdk::{
    Batch, Class, Fault, Json, Keyed, Message, Outcome, Processor, Publication, Row, Start,
    Template, Values, config,
};

/// Machines beyond which a message of another one is rejected.
const MACHINES_MAX: usize = 100;

#[derive(Debug)]
struct VibrationAnomaly {
    channels: Vec<String>,
    limit: f64,
    clear: f64,
    topic: Template,
    /// Channels by name, of machines by topic.
    machines: Keyed<BTreeMap<String, Channel>>,
}

tidegate_sdk::export!(VibrationAnomaly);

impl Processor for VibrationAnomaly {
    fn init(_: &mut Start) -> Result<Self, Fault> {
        let Json(channels) = config::get("channels")?;
        Ok(Self {
            channels,
            limit: config::get_or("limit", 4.0)?,
            clear: config::get_or("clear", 2.0)?,
            topic: config::get("alarm.topic")?,
            machines: Keyed::open("machine/", MACHINES_MAX)?,
        })
    }

    fn process(&mut self, batch: &Batch) -> Result<Outcome, Fault> {
        let mut outcome = Outcome::default();
        for message in &batch.messages {
            if let Err(reason) = self.watch(message, &mut outcome) {
                outcome.reject(message, reason);
            }
        }
        self.machines.flush()?;
        Ok(outcome)
    }
}

impl VibrationAnomaly {
    fn watch(&mut self, message: &Message, outcome: &mut Outcome) -> Result<(), String> {
        let Json(payload) = message.decode::<Json<Map<String, Value>>>()?;
        // Every channel or none: half a reading is not learnt.
        let readings = self.channels.iter().map(|name| reading(&payload, name));
        let readings: Vec<f64> = readings.collect::<Result<_, String>>()?;
        let machine = self.machines.get_mut(message.topic())?;
        for (name, value) in self.channels.iter().zip(readings) {
            let channel = machine.entry(name.clone()).or_default();
            let score = channel.learn(value);
            let (bound, next) = match channel.in_alarm {
                true => (self.clear, "normal"),
                false => (self.limit, "anomaly"),
            };
            if (score > bound) == channel.in_alarm {
                continue;
            }
            channel.in_alarm = !channel.in_alarm;
            let values = Values::new()
                .with("channel", name.as_str())
                .with("state", next)
                .with("score", score)
                .with("level", channel.level)
                .with("baseline", channel.baseline);
            let topic = self.topic.render(&message.channel);
            let report = Publication::json(topic, &values).map_err(|fault| fault.to_string())?;
            outcome.publish(message.cause(), report.at_once());
            // The channel is part of the key: two of them may change with the same message.
            let key = format!("{}/{name}", message.topic());
            let row = Row::new("anomalies", Class::Alarm, key, message.time, values);
            outcome.keep(message.cause(), row);
        }
        Ok(())
    }
}

/// A number whose square is one, too.
fn reading(payload: &Map<String, Value>, name: &str) -> Result<f64, String> {
    let value = payload
        .get(name)
        .and_then(Value::as_f64)
        .filter(|value| value.abs() < 1e100);
    value.ok_or_else(|| format!("channel {name:?} is not a number below 1e100"))
}

#[cfg(test)]
mod tests;
