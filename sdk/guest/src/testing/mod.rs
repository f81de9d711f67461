//! A host for native tests: configuration, state, a virtual clock, and everything that a module sent.
//!
//! It keeps the promises of the real host that a module stands on. A call that fails changes nothing and drops the
//! instance; the state outlives instances; a wake-up comes when the clock passes it, and never while messages wait. It
//! does not measure time or memory: that is what `tide test` does with the built component.
//!
//! ```
//! use tidegate_sdk::testing::Host;
//! use tidegate_sdk::{Fault, Message};
//!
//! #[tidegate_sdk::filter]
//! fn warm(message: &Message<f64>) -> bool {
//!     message.body > 20.0
//! }
//!
//! let mut host = Host::<warm>::new().config("output.topic", "warm/{topic}");
//! host.send("hall/1", 19.5)?;
//! host.send("hall/2", 21.5)?;
//! assert_eq!(host.published()[0].topic, "warm/hall/2");
//! # Ok::<(), Fault>(())
//! ```

mod recorded;
pub mod recording;

use std::time::Duration;

use crate::host::{Mock, with_mock};
use crate::log::Level;
use crate::message::{Batch, Body, ClockQuality, Message};
use crate::outcome::{Command, Effect, Fault, Outcome, Output, Publication, Row};
use crate::processor::{Processor, Start};
use crate::state;
use crate::time::{BootTime, WallTime};

pub use recorded::assert_recording;

/// 2026-01-01T00:00:00Z: where the virtual clock starts.
pub const START: WallTime = WallTime(1_767_225_600_000_000_000);

/// Wake-ups that are followed before a module is taken for one that never rests.
const WAKE_UPS_MAX: usize = 10_000;

/// Runs one module on this thread. A new one starts with no configuration and no state.
#[derive(Debug)]
pub struct Host<P> {
    instance: Option<P>,
    now: WallTime,
    now_boot: BootTime,
    boot: u64,
    clock: ClockQuality,
    wake_at: Option<BootTime>,
    outputs: Vec<Output>,
    rejected: Vec<(Message, String)>,
}

/// How a recording is cut into batches, and what happens between them. No choice may change what a module answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Messages of a batch.
    pub messages_max: usize,
    /// Whether the instance is dropped after each call.
    pub restart: bool,
}

impl<P: Processor> Host<P> {
    /// A host whose clock stands at [`START`], synced, one minute after the boot.
    #[must_use]
    pub fn new() -> Self {
        with_mock(|mock| *mock = Mock::default());
        Self {
            instance: None,
            now: START,
            now_boot: BootTime(60_000_000_000),
            boot: 1,
            clock: ClockQuality::Synced,
            wake_at: None,
            outputs: Vec::new(),
            rejected: Vec::new(),
        }
    }

    /// With a configuration value. One that is set later holds after [`Host::restart`].
    #[must_use]
    pub fn config(self, key: &str, value: &str) -> Self {
        self.set_config(key, value);
        self
    }

    /// Changes a configuration value; it holds from the next instance on.
    pub fn set_config(&self, key: &str, value: &str) {
        with_mock(|mock| mock.config.insert(key.to_owned(), value.to_owned()));
    }

    /// Steps the wall clock.
    pub fn set_clock(&mut self, now: WallTime, quality: ClockQuality) {
        (self.now, self.clock) = (now, quality);
    }

    /// The wall clock.
    pub fn now(&self) -> WallTime {
        self.now
    }

    /// The boot clock.
    pub fn now_boot(&self) -> BootTime {
        self.now_boot
    }

    /// A message that is received now.
    pub fn message(&self, topic: &str, body: impl Into<Body>) -> Message {
        let mut message = Message::new(topic, body.into()).at(self.now);
        message.clock = self.clock;
        message.received = self.now_boot;
        message
    }

    /// Hands over one message that is received now.
    ///
    /// # Errors
    /// The module's fault.
    pub fn send(&mut self, topic: &str, body: impl Into<Body>) -> Result<(), Fault> {
        let message = self.message(topic, body);
        self.send_batch(vec![message])
    }

    /// Hands over messages in one call.
    ///
    /// # Errors
    /// The module's fault.
    pub fn send_batch(&mut self, mut messages: Vec<Message>) -> Result<(), Fault> {
        for (message, index) in messages.iter_mut().zip(0..) {
            message.index = index;
        }
        let channels = messages
            .iter()
            .map(|message| message.channel.clone())
            .collect();
        let batch = Batch {
            now: self.now,
            clock: self.clock,
            now_boot: self.now_boot,
            boot: self.boot,
            channels,
            messages,
            properties: Vec::new(),
        };
        match self.call(&batch) {
            Ok(outcome) => {
                with_mock(Mock::commit);
                self.apply(outcome, &batch);
                Ok(())
            }
            Err(fault) => {
                self.instance = None;
                with_mock(Mock::roll_back);
                Err(fault)
            }
        }
    }

    /// Lets time pass, and wakes the module whenever it wished to be woken.
    ///
    /// # Errors
    /// The module's fault.
    pub fn advance(&mut self, duration: Duration) -> Result<(), Fault> {
        let end = self.now_boot.plus(duration);
        self.start()?;
        for _ in 0..WAKE_UPS_MAX {
            let Some(wake_at) = self.wake_at.filter(|wake_at| *wake_at <= end) else {
                self.pass_to(end);
                return Ok(());
            };
            self.pass_to(wake_at);
            self.wake_at = None;
            self.send_batch(Vec::new())?;
        }
        Err(Fault::permanent(format!(
            "the module wished to be woken {WAKE_UPS_MAX} times in {duration:?}"
        )))
    }

    /// Lets time pass until the module wishes no more to be woken.
    ///
    /// # Errors
    /// The module's fault, or that it never rests.
    pub fn settle(&mut self) -> Result<(), Fault> {
        self.start()?;
        for _ in 0..WAKE_UPS_MAX {
            let Some(wake_at) = self.wake_at else {
                return Ok(());
            };
            self.advance(wake_at.since(self.now_boot))?;
        }
        Err(Fault::permanent(format!(
            "the module wished to be woken {WAKE_UPS_MAX} times after the last message"
        )))
    }

    /// Drops the instance. The state stays, and the next call makes a new one.
    pub fn restart(&mut self) {
        self.instance = None;
        self.wake_at = None;
    }

    /// Drops the instance and starts the boot clock again, under another boot id.
    pub fn reboot(&mut self) {
        self.restart();
        self.boot += 1;
        self.now_boot = BootTime(0);
    }

    /// Hands over a recording: time passes as it says, and afterwards until the module rests.
    ///
    /// # Errors
    /// The module's fault.
    pub fn replay(&mut self, recording: &[Message], cut: Cut) -> Result<(), Fault> {
        for messages in recording.chunks(cut.messages_max.max(1)) {
            self.receive(messages, Duration::ZERO)?;
            if cut.restart {
                self.restart();
            }
        }
        self.settle()
    }

    /// Hands over messages in one call, `lag` after the last of them was received.
    pub(crate) fn receive(&mut self, messages: &[Message], lag: Duration) -> Result<(), Fault> {
        let mut batch = Vec::new();
        for message in messages {
            // A wake-up before the batch comes in time; one within it, or while messages wait, comes after it.
            if batch.is_empty() && message.received > self.now_boot {
                self.advance(message.received.since(self.now_boot))?;
            }
            self.pass_to(message.received);
            batch.push(message.clone());
        }
        self.pass_to(self.now_boot.plus(lag));
        self.send_batch(batch)
    }

    /// What the module sent, in order.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// The publications among the outputs.
    pub fn published(&self) -> Vec<&Publication> {
        self.effects(|effect| {
            if let Effect::Publish(publication) = effect {
                Some(publication)
            } else {
                None
            }
        })
    }

    /// The rows among the outputs.
    pub fn kept(&self) -> Vec<&Row> {
        self.effects(|effect| {
            if let Effect::Keep(row) = effect {
                Some(row)
            } else {
                None
            }
        })
    }

    /// The commands among the outputs.
    pub fn actuated(&self) -> Vec<&Command> {
        self.effects(|effect| {
            if let Effect::Actuate(command) = effect {
                Some(command)
            } else {
                None
            }
        })
    }

    /// The messages that the module rejected, each with the reason.
    pub fn rejected(&self) -> &[(Message, String)] {
        &self.rejected
    }

    /// Forgets outputs and rejections so far.
    pub fn clear(&mut self) {
        self.outputs.clear();
        self.rejected.clear();
    }

    /// The lines that the module wrote.
    pub fn logs(&self) -> Vec<(Level, String)> {
        with_mock(|mock| mock.logs.clone())
    }

    /// A counter of the module.
    pub fn counter(&self, name: &str) -> u64 {
        with_mock(|mock| mock.counters.get(name).copied().unwrap_or(0))
    }

    /// A gauge of the module.
    pub fn gauge(&self, name: &str) -> Option<f64> {
        with_mock(|mock| mock.gauges.get(name).copied())
    }

    /// The observations of a histogram of the module.
    pub fn observed(&self, name: &str) -> Vec<f64> {
        with_mock(|mock| mock.histograms.get(name).cloned().unwrap_or_default())
    }

    /// Keys and sizes of the module's state, in bytes.
    pub fn state(&self) -> Vec<(String, usize)> {
        with_mock(|mock| {
            mock.committed
                .iter()
                .map(|(key, value)| (key.clone(), value.len()))
                .collect()
        })
    }

    /// How often the module wrote to its state.
    pub fn state_writes(&self) -> u64 {
        with_mock(|mock| mock.writes)
    }

    /// Makes an instance, unless there is one.
    ///
    /// # Errors
    /// The module's fault.
    pub fn start(&mut self) -> Result<(), Fault> {
        if self.instance.is_none() {
            with_mock(Mock::roll_back);
            let has_state = with_mock(|mock| !mock.state.is_empty());
            let mut start = Start {
                state_written_by: has_state.then(|| "0.1.0".to_owned()),
                wake_at: None,
            };
            let instance = P::init(&mut start)?;
            state::all_flushed()?;
            with_mock(Mock::commit);
            self.instance = Some(instance);
            self.wake_at = start.wake_at;
        }
        Ok(())
    }

    fn call(&mut self, batch: &Batch) -> Result<Outcome, Fault> {
        self.start()?;
        let instance = self
            .instance
            .as_mut()
            .ok_or_else(|| Fault::permanent("there is no instance"))?;
        let outcome = instance.process(batch)?;
        state::all_flushed()?;
        Ok(outcome)
    }

    fn apply(&mut self, outcome: Outcome, batch: &Batch) {
        self.wake_at = outcome.wake_at;
        self.outputs.extend(outcome.outputs);
        for rejection in outcome.rejected {
            let message = batch
                .messages
                .iter()
                .find(|message| message.index == rejection.message);
            let message = message
                .cloned()
                .unwrap_or_else(|| Message::new("no such message", Body::Boolean(false)));
            self.rejected.push((message, rejection.reason));
        }
    }

    fn pass_to(&mut self, time: BootTime) {
        let passed = time.since(self.now_boot);
        self.now = self.now.plus(passed);
        self.now_boot = self.now_boot.plus(passed);
    }

    fn effects<'a, T>(&'a self, pick: impl Fn(&'a Effect) -> Option<T>) -> Vec<T> {
        self.outputs
            .iter()
            .filter_map(|output| pick(&output.effect))
            .collect()
    }
}

impl<P: Processor> Default for Host<P> {
    fn default() -> Self {
        Self::new()
    }
}
