//! What the demo publishes, and what alarms it must raise.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;
use tidegate_tests::broker::Broker;
use tidegate_tests::listener::Listener;
use tidegate_tests::publisher::{Load, Publisher};
use tidegate_tests::tools::Tool;
use tidegate_tests::wait::pace;

use super::log::MachineLog;

/// Messages a second of the machine log.
const LOG_PER_SECOND: f64 = 400.0;

/// Messages a second of the other client.
const OTHER_PER_SECOND: f64 = 20.0;

/// Messages of the probe; each of them is an alarm.
const PROBES: u64 = 400;

/// Messages a second of the probe.
const PROBES_PER_SECOND: f64 = 40.0;

/// The limits that the modules are configured with.
const LIMIT: f64 = 80.0;
const CLEAR: f64 = 75.0;

/// The running sources.
#[derive(Debug)]
pub(crate) struct Feed {
    log: Load,
    log_bytes: Arc<AtomicU64>,
    other: Other,
    probes: u64,
}

/// What was published in all.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fed {
    /// Messages.
    pub(crate) messages: u64,
    /// Of them, from the machine log.
    pub(crate) log: u64,
    /// Of them, from the client of another make.
    pub(crate) other: u64,
    /// Bytes of all payloads.
    pub(crate) bytes: u64,
    /// Alarms and clearances that they must lead to.
    pub(crate) alarms: u64,
}

/// Times from a message in to its alarm out.
#[derive(Debug)]
pub(crate) struct Reaction(Vec<Duration>);

impl Feed {
    /// Starts the machine log and the other client.
    pub(crate) fn start(broker: &Broker, folder: &Path, log: &MachineLog) -> Result<Self> {
        let publisher = Publisher::connect(broker.port(), "machine-log", 200)?;
        let messages = log.messages.clone();
        let log_bytes = Arc::new(AtomicU64::new(0));
        let bytes = log_bytes.clone();
        let load = Load::start(publisher, LOG_PER_SECOND, move |number| {
            let position = usize::try_from(number).unwrap_or(0) % messages.len().max(1);
            let mut message = messages.get(position).cloned().unwrap_or_default();
            message.insert("id".into(), Value::from(format!("log/{number}")));
            let payload = Value::Object(message).to_string().into_bytes();
            bytes.fetch_add(
                u64::try_from(payload.len()).unwrap_or_default(),
                Ordering::Relaxed,
            );
            ("machines/pump-3/log".into(), payload)
        });
        Ok(Self {
            log: load,
            log_bytes,
            other: Other::start(broker, folder)?,
            probes: 0,
        })
    }

    /// Sends messages that each change the state of an alarm, and measures until the alarm is heard.
    pub(crate) fn probe(&mut self, broker: &Broker) -> Result<Reaction> {
        let listener = Listener::subscribe(broker.port(), "operator", "alarms/machines/probe/#")?;
        let mut publisher = Publisher::connect(broker.port(), "probe", 10)?;
        let mut times = Vec::new();
        let start = Instant::now();
        for number in 0..PROBES {
            pace(
                start
                    + Duration::from_secs_f64(
                        f64::from(u32::try_from(number)?) / PROBES_PER_SECOND,
                    ),
            );
            let sent = Instant::now();
            publisher.publish("machines/probe/temperature", probe(number).as_bytes())?;
            publisher.flush()?;
            let heard = listener
                .next(Duration::from_secs(10))
                .context("no alarm came")?;
            times.push(heard.at.saturating_duration_since(sent));
        }
        self.probes = publisher.finish()?;
        times.sort_unstable();
        Ok(Reaction(times))
    }

    /// Ends all sources and waits until the broker has everything.
    pub(crate) fn stop(self) -> Result<Fed> {
        let log = self.log.stop()?.published();
        let (other, other_bytes) = self.other.stop()?;
        let probe_bytes: usize = (0..self.probes).map(|number| probe(number).len()).sum();
        Ok(Fed {
            messages: log + other + self.probes,
            log,
            other,
            bytes: self.log_bytes.load(Ordering::Relaxed)
                + other_bytes
                + u64::try_from(probe_bytes)?,
            alarms: alarms((0..other).map(temperature)) + self.probes,
        })
    }
}

impl Reaction {
    /// The time that this share of the messages stayed under.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a few hundred times"
        )]
        let position = (self.0.len().saturating_sub(1) as f64 * share).round() as usize;
        self.0.get(position).copied().unwrap_or_default()
    }
}

/// mosquitto_pub, which publishes the lines that it is given.
#[derive(Debug)]
struct Other {
    child: Child,
    stop: Arc<AtomicBool>,
    writer: JoinHandle<Result<(u64, u64)>>,
}

impl Other {
    fn start(broker: &Broker, folder: &Path) -> Result<Self> {
        let log = std::fs::File::create(folder.join("mosquitto_pub.stderr"))?;
        let mut command = Command::new(Tool::MosquittoPub.path()?);
        command.args([
            "-p",
            &broker.port().to_string(),
            "-q",
            "1",
            "-i",
            "press-7",
            "-l",
        ]);
        command
            .args(["-t", "machines/press-7/temperature"])
            .stdin(Stdio::piped())
            .stderr(log);
        let mut child = command.spawn().context("cannot start mosquitto_pub")?;
        let mut input = child.stdin.take().context("mosquitto_pub takes no lines")?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let writer = std::thread::spawn(move || {
            let (mut messages, mut bytes, start) = (0_u64, 0_u64, Instant::now());
            while !stopped.load(Ordering::Relaxed) {
                let line = format!(
                    "{{\"id\":\"press/{messages}\",\"celsius\":{:.2}}}",
                    temperature(messages)
                );
                input
                    .write_all(format!("{line}\n").as_bytes())
                    .context("mosquitto_pub has ended")?;
                messages += 1;
                bytes += u64::try_from(line.len())?;
                let due = f64::from(u32::try_from(messages)?) / OTHER_PER_SECOND;
                pace(start + Duration::from_secs_f64(due));
            }
            // Dropping its input lets it send what it has and end.
            Ok((messages, bytes))
        });
        Ok(Self {
            child,
            stop,
            writer,
        })
    }

    fn stop(mut self) -> Result<(u64, u64)> {
        self.stop.store(true, Ordering::Relaxed);
        let counts = self
            .writer
            .join()
            .map_err(|_| anyhow!("the writer panicked"))??;
        let status = self.child.wait()?;
        ensure!(status.success(), "mosquitto_pub ended with {status}");
        Ok(counts)
    }
}

/// A press that warms up and cools down once in 10 s.
fn temperature(number: u64) -> f64 {
    let phase =
        f64::from(u32::try_from(number % 200).unwrap_or_default()) / 200.0 * std::f64::consts::TAU;
    // Rounded as it is sent.
    ((78.0 + 12.0 * phase.sin()) * 100.0).round() / 100.0
}

fn probe(number: u64) -> String {
    let celsius = if number.is_multiple_of(2) { 95 } else { 60 };
    format!("{{\"id\":\"probe/{number}\",\"celsius\":{celsius}}}")
}

/// How often values cross the limits: what the alarm module must find, computed without it.
fn alarms(values: impl Iterator<Item = f64>) -> u64 {
    let (mut tripped, mut changes) = (false, 0);
    for value in values {
        if (!tripped && value > LIMIT) || (tripped && value < CLEAR) {
            tripped = !tripped;
            changes += 1;
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_between_the_limits_changes_nothing() {
        assert_eq!(
            alarms([79.0, 80.0, 80.1, 85.0, 76.0, 81.0, 74.9, 75.0, 79.0].into_iter()),
            2
        );
        assert_eq!(alarms((0..400).map(temperature)), 4);
    }
}
