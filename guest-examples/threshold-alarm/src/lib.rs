//! Trips an alarm above a limit and clears it below another one, for each machine. A trip is published at once and kept
//! as a row that is never given up.

use serde_json::json;
use tidegate_sdk::operators::Input;
use tidegate_sdk::{
    Batch, Class, Fault, Keyed, Message, Outcome, Processor, Publication, Row, Start, Template,
    Values, config, metrics,
};

/// Machines that can be in alarm at the same time.
const MACHINES_MAX: usize = 1000;

#[derive(Debug)]
struct ThresholdAlarm {
    input: Input,
    limit: f64,
    clear: f64,
    machine: Template,
    topic: Template,
    /// Machines in alarm, so that neither a restart nor an update trips them again.
    tripped: Keyed<()>,
}

tidegate_sdk::export!(ThresholdAlarm);

impl Processor for ThresholdAlarm {
    fn init(_: &mut Start) -> Result<Self, Fault> {
        let limit = config::get("limit")?;
        let clear = config::get_or("clear", limit)?;
        if clear > limit {
            return Err(Fault::permanent(format!(
                "configuration key clear is {clear}, above the limit {limit}"
            )));
        }
        Ok(Self {
            input: Input::from_config()?,
            limit,
            clear,
            machine: config::get("machine")?,
            topic: config::get("alarm.topic")?,
            tripped: Keyed::open("tripped/", MACHINES_MAX)?,
        })
    }

    fn process(&mut self, batch: &Batch) -> Result<Outcome, Fault> {
        let mut outcome = Outcome::default();
        for message in &batch.messages {
            match self.input.decode(message) {
                Ok(value) => self.check(message, value, &mut outcome)?,
                Err(reason) => outcome.reject(message, reason),
            }
        }
        self.tripped.flush()?;
        Ok(outcome)
    }
}

impl ThresholdAlarm {
    fn check(&mut self, message: &Message, value: f64, outcome: &mut Outcome) -> Result<(), Fault> {
        let machine = self.machine.render(&message.channel);
        let was_tripped = self.tripped.get(&machine).is_some();
        if !was_tripped && value > self.limit {
            if let Err(reason) = self.tripped.get_mut(&machine) {
                outcome.reject(message, reason);
                return Ok(());
            }
            metrics::add("alarms", 1);
            return self.report(message, &machine, "tripped", value, outcome);
        }
        if was_tripped && value < self.clear {
            self.tripped.remove(&machine)?;
            return self.report(message, &machine, "cleared", value, outcome);
        }
        Ok(())
    }

    fn report(
        &self,
        message: &Message,
        machine: &str,
        state: &str,
        value: f64,
        outcome: &mut Outcome,
    ) -> Result<(), Fault> {
        let alarm = json!({
            "machine": machine,
            "state": state,
            "value": value,
            "limit": self.limit,
            "time": message.time.to_string(),
        });
        let topic = self.topic.render(&message.channel);
        outcome.publish(message.cause(), Publication::json(topic, &alarm)?.at_once());
        let values = Values::new()
            .with("state", state)
            .with("value", value)
            .with("limit", self.limit);
        outcome.keep(
            message.cause(),
            Row::new("alarms", Class::Alarm, machine, message.time, values),
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tidegate_sdk::testing::{Host, assert_recording};

    use super::*;

    fn host() -> Host<ThresholdAlarm> {
        Host::new()
            .config("limit", "80")
            .config("clear", "75")
            .config("machine", "{1}")
            .config("alarm.topic", "alarms/{1}")
    }

    #[test]
    fn an_alarm_trips_once_and_clears_below_the_lower_limit() -> Result<(), Fault> {
        let mut host = host();
        for value in [79.0, 80.1, 85.0, 79.0, 81.0, 75.0, 74.9, 70.0] {
            host.send("plant/press-7/temperature", value)?;
        }
        let states: Vec<bool> = host
            .published()
            .iter()
            .map(|sent| String::from_utf8_lossy(&sent.payload).contains("tripped"))
            .collect();
        assert_eq!(states, [true, false]);
        assert_eq!(host.kept().len(), 2);
        assert_eq!(host.published()[0].topic, "alarms/press-7");
        Ok(())
    }

    #[test]
    fn a_restart_does_not_trip_again() -> Result<(), Fault> {
        let mut host = host();
        host.send("plant/press-7/temperature", 90.0)?;
        host.restart();
        host.send("plant/press-7/temperature", 91.0)?;
        host.send("plant/press-8/temperature", 91.0)?;
        let machines: Vec<&str> = host.kept().iter().map(|row| row.key.as_str()).collect();
        assert_eq!(machines, ["press-7", "press-8"]);
        Ok(())
    }

    #[test]
    fn limits_that_make_no_sense_refuse_the_start() {
        let fault = host().config("clear", "81").start().unwrap_err();
        assert_eq!(
            fault,
            Fault::permanent("configuration key clear is 81, above the limit 80")
        );
        assert!(host().config("limit", "hot").start().is_err());
    }

    #[test]
    fn the_recording_gives_what_is_expected() {
        assert_recording::<ThresholdAlarm>();
    }
}
