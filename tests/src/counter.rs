//! An independent count of the messages: the lines that mosquitto's own subscriber prints.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::broker::Broker;
use crate::process::Process;
use crate::tools::Tool;
use crate::wait::wait_until;

/// A subscriber process with a persistent session, which prints one line per message.
#[derive(Debug)]
pub struct Counter {
    process: Process,
    output: File,
    lines: u64,
}

impl Counter {
    /// Subscribes to `filter` with QoS 1; what is published after this returns is counted.
    ///
    /// # Errors
    /// When mosquitto_sub is not installed or cannot subscribe.
    pub fn start(directory: &Path, broker: &Broker, client_id: &str, filter: &str) -> Result<Self> {
        let name = format!("mosquitto_sub-{client_id}");
        let mut command = Command::new(Tool::MosquittoSub.path()?);
        command.args([
            "-p",
            &broker.port().to_string(),
            "-q",
            "1",
            "-c",
            "-i",
            client_id,
            "-t",
            filter,
            "-F",
            "x",
        ]);
        let process = Process::start(&name, directory, &mut command)?;
        broker.wait_for_subscriber(client_id)?;
        let output = File::open(directory.join(format!("{name}.stdout")))
            .context("cannot read the counter's lines")?;
        Ok(Self {
            process,
            output,
            lines: 0,
        })
    }

    /// Messages so far.
    ///
    /// # Errors
    /// When the subscriber has ended or its lines cannot be read.
    pub fn count(&mut self) -> Result<u64> {
        if let Some(status) = self.process.exited()? {
            anyhow::bail!(
                "the counter ended with {status}\n{}",
                self.process.last_words()
            );
        }
        let mut text = Vec::new();
        self.output.read_to_end(&mut text)?;
        self.lines += u64::try_from(text.iter().filter(|byte| **byte == b'\n').count())?;
        Ok(self.lines)
    }

    /// Waits until it has seen `messages`.
    ///
    /// # Errors
    /// When it has not within `limit`.
    pub fn wait_for(&mut self, messages: u64, limit: Duration) -> Result<()> {
        wait_until(
            &format!("the counter to see {messages} messages"),
            limit,
            || Ok(self.count()? >= messages),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publisher::Publisher;
    use crate::tools::available;

    #[test]
    fn every_message_that_the_broker_acknowledged_is_counted_once() {
        if !available("counter", &[Tool::Mosquitto, Tool::MosquittoSub]).unwrap() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let broker = Broker::start(directory.path()).unwrap();
        let mut counter = Counter::start(directory.path(), &broker, "counter", "a/#").unwrap();
        let mut publisher = Publisher::connect(broker.port(), "publisher", 1000).unwrap();
        for number in 0..70_000 {
            publisher
                .publish("a/b", format!("{{\"seq\":{number}}}").as_bytes())
                .unwrap();
        }
        assert_eq!(publisher.finish().unwrap(), 70_000);
        publisher.publish("other", b"not counted").unwrap();
        publisher.finish().unwrap();
        counter.wait_for(70_000, Duration::from_secs(60)).unwrap();
        assert_eq!(counter.count().unwrap(), 70_000);
    }
}
