//! What is counted: everything on a network interface, or the bytes of our own connections.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidegate_record::{Clock, Stamp};

use super::ledger::{Ledger, Reading};
use super::{BudgetConfig, Grant, Span};
use crate::socket::Traffic;

/// Where the kernel counts by interface.
const INTERFACES: &str = "/sys/class/net";

/// What is written down at least, and at most, before the file is written again.
const UNWRITTEN_BYTES: std::ops::RangeInclusive<u64> = 4 << 10..=256 << 10;
/// Of the smallest budget, this part: a hundredth.
const UNWRITTEN_PART: u64 = 100;

/// What an exchange is thought to cost besides its rows before the first one: a handshake of TLS.
const OVERHEAD_GUESS: u64 = 4096;

/// Counts what is spent, and says what may be.
#[derive(Debug)]
pub struct Meter {
    config: BudgetConfig,
    interfaces: PathBuf,
    file: PathBuf,
    clock: Arc<dyn Clock>,
    traffic: Arc<Traffic>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    ledger: Ledger,
    /// Of [`Traffic::total`], what has been counted.
    counted: u64,
    /// Not yet on disk. Before the first exchange it is as if much were not.
    unwritten: u64,
    overhead: u64,
    told: Told,
}

/// What the log was told last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Free,
    Alarms,
    Spent,
}

/// What was spent, and what that means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// By span that has a budget: bytes spent, and bytes that may be.
    pub spans: Vec<(Span, u64, u64)>,
    /// `free`, `alarms only` or `spent`.
    pub state: &'static str,
    /// How long it stays so, if nothing more is spent.
    pub relief: Option<Duration>,
}

impl Meter {
    /// Counts on from what `file` says. A file that is damaged is as none: what was spent before is forgotten, and told.
    pub fn open(config: BudgetConfig, file: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self::open_beside(Path::new(INTERFACES), config, file, clock)
    }

    fn open_beside(
        interfaces: &Path,
        config: BudgetConfig,
        file: PathBuf,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let ledger = Ledger::read(&file).unwrap_or_else(|error| {
            let path = file.display();
            tracing::error!("what was spent of the byte budget is forgotten: {path}: {error}");
            None
        });
        let state = State {
            ledger: ledger.unwrap_or_default(),
            counted: 0,
            unwritten: u64::MAX,
            overhead: OVERHEAD_GUESS,
            told: Told::Free,
        };
        let meter = Self {
            config,
            interfaces: interfaces.to_owned(),
            file,
            clock,
            traffic: Arc::default(),
            state: Mutex::new(state),
        };
        if let (Some(name), None) = (&meter.config.interface, meter.reading()) {
            let folder = meter.interfaces.display();
            tracing::warn!(
                "there is no interface {folder}/{name} now: until there is, only what the uplink itself carries is counted"
            );
        }
        meter
    }

    /// Where our connections count what they carry.
    pub fn traffic(&self) -> Arc<Traffic> {
        self.traffic.clone()
    }

    /// What may be spent now. Tells the log when that changes.
    pub(crate) fn grant(&self) -> Grant {
        let mut state = self.observe();
        let grant = state.ledger.grant(&self.config.bounds, state.overhead);
        let (told, relief) = match grant {
            Grant::All { .. } => (Told::Free, Duration::ZERO),
            Grant::Alarms { relief, .. } => (Told::Alarms, relief),
            Grant::Spent { relief } => (Told::Spent, relief),
        };
        if told != std::mem::replace(&mut state.told, told) {
            let minutes = relief.as_secs().div_ceil(60);
            match told {
                Told::Free => tracing::info!("the byte budget allows all rows again"),
                Told::Alarms => tracing::warn!(
                    "what is left of the byte budget is for alarms: other rows wait, for about {minutes} min"
                ),
                Told::Spent => {
                    tracing::warn!(
                        "the byte budget is spent: all rows wait, for about {minutes} min"
                    );
                }
            }
        }
        grant
    }

    /// What our connections have carried.
    pub(crate) fn carried(&self) -> u64 {
        self.traffic.total()
    }

    /// An exchange has ended that began when they had carried `before` bytes, with `body` bytes of rows. What it cost
    /// besides those goes into a running mean.
    pub(crate) fn exchanged(&self, before: u64, body: usize) {
        let cost = self.carried().saturating_sub(before);
        let overhead = cost.saturating_sub(u64::try_from(body).unwrap_or(u64::MAX));
        let mut state = self.state();
        state.overhead = (state.overhead * 3 + overhead) / 4;
    }

    /// What an exchange costs besides its rows.
    pub(crate) fn overhead(&self) -> u64 {
        self.state().overhead
    }

    /// Writes the file, if enough was spent since it was written, or at the `end`.
    pub(crate) async fn keep(&self, end: bool) {
        let smallest = self.config.bounds.each().map(|(_, max)| max).min();
        let part = smallest.unwrap_or(u64::MAX) / UNWRITTEN_PART;
        let due = part.clamp(*UNWRITTEN_BYTES.start(), *UNWRITTEN_BYTES.end());
        let mut ledger = {
            let mut state = self.observe();
            if state.unwritten < due && !(end && state.unwritten > 0) {
                return;
            }
            state.unwritten = 0;
            state.ledger.clone()
        };
        let path = self.file.clone();
        let written = tokio::task::spawn_blocking(move || ledger.write(&path)).await;
        if let Ok(Err(error)) = written {
            let path = self.file.display();
            tracing::warn!("cannot write what was spent of the byte budget: {path}: {error}");
        }
    }

    /// What was spent.
    pub fn report(&self) -> Report {
        let state = self.observe();
        let spans = self.config.bounds.each();
        let spans = spans.map(|(span, max)| (span, state.ledger.used(span), max));
        let (word, relief) = match state.ledger.grant(&self.config.bounds, state.overhead) {
            Grant::All { .. } => ("free", None),
            Grant::Alarms { relief, .. } => ("alarms only", Some(relief)),
            Grant::Spent { relief } => ("spent", Some(relief)),
        };
        Report {
            spans: spans.collect(),
            state: word,
            relief,
        }
    }

    /// Counts what passed since the last look.
    fn observe(&self) -> MutexGuard<'_, State> {
        let now = Stamp {
            boot: self.clock.boot(),
            boot_time: self.clock.boot_time(),
            wall_time: self.clock.wall_time(),
            clock: self.clock.quality(),
        };
        let reading = self.reading();
        let mut state = self.state();
        let total = self.traffic.total();
        let own = total.saturating_sub(std::mem::replace(&mut state.counted, total));
        let bytes = match reading {
            // No such interface, or not now: what we send goes somewhere.
            None => own,
            Some(reading) => {
                let passed = passed(state.ledger.interface.as_ref(), &reading);
                state.ledger.interface = Some(reading);
                passed
            }
        };
        state.ledger.add(&now, bytes);
        state.unwritten = state.unwritten.saturating_add(bytes);
        state
    }

    fn reading(&self) -> Option<Reading> {
        let name = self.config.interface.as_deref()?;
        let folder = self.interfaces.join(name).join("statistics");
        let counter = |of: &str| -> Option<u64> {
            let text = fs::read_to_string(folder.join(of)).ok()?;
            text.trim().parse().ok()
        };
        Some(Reading {
            name: name.to_owned(),
            boot: self.clock.boot(),
            received: counter("rx_bytes")?,
            sent: counter("tx_bytes")?,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes that passed an interface between two readings. Its counters begin at 0 when it or the machine starts again; what
/// passed before the first reading of all is not ours to count.
fn passed(before: Option<&Reading>, now: &Reading) -> u64 {
    let Some(before) = before.filter(|before| before.name == now.name) else {
        return 0;
    };
    let since = |before_bytes: u64, bytes: u64| match now.boot == before.boot {
        true => bytes.checked_sub(before_bytes).unwrap_or(bytes),
        false => bytes,
    };
    since(before.received, now.received).saturating_add(since(before.sent, now.sent))
}

#[cfg(test)]
mod tests;
