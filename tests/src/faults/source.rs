//! The load of the drills: numbered messages of one machine.

use anyhow::{Context, Result};

use crate::publisher::{Load, Publisher};

/// The topic of the load.
pub const TOPIC: &str = "machines/press-7/temperature";

/// The topic of what fills the store.
pub const FILL: &str = "machines/press-7/log";

/// Messages of the load in flight between publisher and broker.
const WINDOW: u16 = 1000;

/// A message of the load.
pub fn payload(number: u64) -> Vec<u8> {
    #[allow(clippy::cast_precision_loss, reason = "small numbers")]
    let value = 60.0 + (number % 97) as f64 / 4.0;
    format!("{{\"seq\":{number},\"machine\":\"press-7\",\"celsius\":{value}}}").into_bytes()
}

/// The load: either paused, with the publisher at hand, or running.
#[derive(Debug)]
pub struct Source {
    publisher: Option<Publisher>,
    load: Option<Load>,
    per_second: f64,
    /// Number of the first message of the present connection.
    first: u64,
}

impl Source {
    /// A paused load of so many messages a second for the broker at `port`.
    ///
    /// # Errors
    /// When the broker is not there.
    pub fn new(port: u16, per_second: f64) -> Result<Self> {
        Self::from(port, per_second, 0)
    }

    /// As [`Source::new`], where the first message has the number `first`.
    ///
    /// # Errors
    /// As [`Source::new`].
    pub fn from(port: u16, per_second: f64, first: u64) -> Result<Self> {
        Ok(Self {
            publisher: Some(Publisher::connect(port, "press-7", WINDOW)?),
            load: None,
            per_second,
            first,
        })
    }

    /// Lets it run.
    pub fn resume(&mut self) {
        if let Some(publisher) = self.publisher.take() {
            let first = self.first + publisher.published();
            self.load = Some(Load::start(publisher, self.per_second, move |number| {
                (TOPIC.into(), payload(first + number))
            }));
        }
    }

    /// Pauses it, when the broker has everything; gives the number of messages so far.
    ///
    /// # Errors
    /// When a message could not be published.
    pub fn pause(&mut self) -> Result<u64> {
        if let Some(load) = self.load.take() {
            self.publisher = Some(load.stop()?);
        }
        let publisher = self.publisher.as_ref();
        let publisher = publisher.context("the load has neither stopped nor started")?;
        Ok(self.first + publisher.published())
    }

    /// Messages so far.
    pub fn published(&self) -> u64 {
        let running = self.load.as_ref().map(Load::published);
        let paused = self.publisher.as_ref().map(Publisher::published);
        self.first + running.or(paused).unwrap_or(0)
    }

    /// Publishes `messages` at once, while it is paused.
    ///
    /// # Errors
    /// When a message could not be published.
    pub fn burst(&mut self, messages: u64) -> Result<()> {
        let from = self.pause()?;
        let publisher = self.publisher.as_mut();
        let publisher = publisher.context("the load has neither stopped nor started")?;
        for number in from..from + messages {
            publisher.publish(TOPIC, &payload(number))?;
        }
        publisher.finish().map(drop)
    }

    /// Begins anew, with other numbers, at a broker that has gone and come back.
    ///
    /// # Errors
    /// When the broker is not there.
    pub fn reconnect(&mut self, port: u16) -> Result<()> {
        // One may have been handed over that was not counted yet.
        self.first = self.published() + 1;
        self.load = None;
        self.publisher = Some(Publisher::connect(port, "press-7", WINDOW)?);
        Ok(())
    }
}
