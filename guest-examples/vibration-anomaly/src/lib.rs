//! Watches several channels of one JSON message, such as the axes of an accelerometer, and reports a channel whose level
//! leaves its baseline.
//!
//! Per channel: a fast mean follows the level, a slow one the baseline, and the score is their distance in units of the
//! distance that is usual. Spikes are cut to four deviations first. A channel in alarm learns ten times slower, so
//! that a fault does not become the new normal soon.

mod baseline;

use std::collections::BTreeMap;

use baseline::{Baseline, Change, Tuning};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidegate_sdk::{
    Batch, Class, Fault, Json, Keyed, Message, Outcome, Processor, Publication, Row, Start,
    Template, Values, config, metrics,
};

/// Messages of other machines are rejected beyond this number.
const MACHINES_MAX: usize = 100;

#[derive(Debug)]
struct VibrationAnomaly {
    channels: Vec<String>,
    tuning: Tuning,
    machine: Template,
    topic: Template,
    machines: Keyed<Machine>,
}

/// Baselines by channel.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Machine(BTreeMap<String, Baseline>);

tidegate_sdk::export!(VibrationAnomaly);

impl Processor for VibrationAnomaly {
    fn init(_: &mut Start) -> Result<Self, Fault> {
        let Json(channels) = config::get("channels")?;
        Ok(Self {
            channels,
            tuning: Tuning {
                fast: config::get_or("fast", 20)?,
                slow: config::get_or("slow", 800)?,
                warm_up: config::get_or("warm-up", 300)?,
                limit: config::get_or("limit", 4.0)?,
                clear: config::get_or("clear", 2.0)?,
            },
            machine: config::get("machine")?,
            topic: config::get("alarm.topic")?,
            machines: Keyed::open("machine/", MACHINES_MAX)?,
        })
    }

    fn process(&mut self, batch: &Batch) -> Result<Outcome, Fault> {
        let mut outcome = Outcome::default();
        for message in &batch.messages {
            match self.readings(message) {
                Ok(readings) => self.watch(message, &readings, &mut outcome)?,
                Err(reason) => outcome.reject(message, reason),
            }
        }
        self.machines.flush()?;
        Ok(outcome)
    }
}

impl VibrationAnomaly {
    /// The configured channels of a message. Each must be there: half a reading is none.
    fn readings(&self, message: &Message) -> Result<Vec<f64>, String> {
        let Json(payload) = message.decode::<Json<BTreeMap<String, Value>>>()?;
        let reading = |channel: &String| {
            payload
                .get(channel)
                .and_then(Value::as_f64)
                .ok_or_else(|| format!("channel {channel:?} is not a number"))
        };
        self.channels.iter().map(reading).collect()
    }

    fn watch(
        &mut self,
        message: &Message,
        readings: &[f64],
        outcome: &mut Outcome,
    ) -> Result<(), Fault> {
        let name = self.machine.render(&message.channel);
        let machine = match self.machines.get_mut(&name) {
            Ok(machine) => machine,
            Err(reason) => {
                outcome.reject(message, reason);
                return Ok(());
            }
        };
        let mut worst = 0.0_f64;
        for (channel, value) in self.channels.iter().zip(readings) {
            let baseline = match machine.0.get_mut(channel) {
                Some(baseline) => baseline,
                None => machine.0.entry(channel.clone()).or_default(),
            };
            let (score, change) = baseline.learn(*value, &self.tuning);
            worst = worst.max(score);
            let Some(change) = change else { continue };
            let state = match change {
                Change::Anomaly => "anomaly",
                Change::Normal => "normal",
            };
            let values = Values::new()
                .with("state", state)
                .with("value", *value)
                .with("level", baseline.level())
                .with("baseline", baseline.baseline())
                .with("score", score);
            let report = json!({
                "machine": name,
                "channel": channel,
                "state": state,
                "score": score,
                "time": message.time.to_string(),
            });
            let topic = self.topic.render(&message.channel);
            outcome.publish(
                message.cause(),
                Publication::json(topic, &report)?.at_once(),
            );
            // The channel is part of the key: two channels may change with the same message.
            let key = format!("{name}/{channel}");
            outcome.keep(
                message.cause(),
                Row::new("anomalies", Class::Alarm, key, message.time, values),
            );
        }
        metrics::set("score", worst);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
