//! The host's functions on a developer's machine: a mock per thread, which [`testing::Host`](crate::testing::Host) turns.
//!
//! It keeps the promises of the real one that a test can notice: writes are read back within the call, committed with it
//! and dropped with a failed one, and the state has a bound.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::log::Level;
use crate::outcome::Fault;

/// Keys and values of a module's state together, as the gateway's default.
pub(crate) const STATE_BYTES_MAX: usize = 256 << 10;

#[derive(Debug, Default)]
pub(crate) struct Mock {
    pub(crate) config: BTreeMap<String, String>,
    /// What the current call reads and writes.
    pub(crate) state: BTreeMap<String, Vec<u8>>,
    pub(crate) committed: BTreeMap<String, Vec<u8>>,
    pub(crate) writes: u64,
    pub(crate) logs: Vec<(Level, String)>,
    pub(crate) counters: BTreeMap<String, u64>,
    pub(crate) gauges: BTreeMap<String, f64>,
    pub(crate) histograms: BTreeMap<String, Vec<f64>>,
}

impl Mock {
    pub(crate) fn commit(&mut self) {
        self.committed.clone_from(&self.state);
    }

    pub(crate) fn roll_back(&mut self) {
        self.state.clone_from(&self.committed);
    }

    fn state_bytes(&self) -> usize {
        self.state
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum()
    }
}

thread_local! {
    static MOCK: RefCell<Mock> = RefCell::default();
}

/// Reads or turns this thread's mock.
pub(crate) fn with_mock<T>(f: impl FnOnce(&mut Mock) -> T) -> T {
    MOCK.with_borrow_mut(f)
}

pub(crate) fn config_get(key: &str) -> Result<Option<String>, Fault> {
    Ok(with_mock(|mock| mock.config.get(key).cloned()))
}

/// The module's own state.
pub(crate) struct Bucket;

impl Bucket {
    pub(crate) fn open() -> Result<Self, Fault> {
        Ok(Self)
    }

    pub(crate) fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Fault> {
        Ok(with_mock(|mock| mock.state.get(key).cloned()))
    }

    pub(crate) fn set(&self, key: &str, value: &[u8]) -> Result<(), Fault> {
        with_mock(|mock| {
            mock.writes += 1;
            mock.state.insert(key.to_owned(), value.to_vec());
            if mock.state_bytes() <= STATE_BYTES_MAX {
                return Ok(());
            }
            Err(Fault::permanent(format!(
                "cannot write state {key:?}: more than {} KiB",
                STATE_BYTES_MAX >> 10
            )))
        })
    }

    pub(crate) fn delete(&self, key: &str) -> Result<(), Fault> {
        with_mock(|mock| mock.state.remove(key));
        Ok(())
    }

    pub(crate) fn keys(&self) -> Result<Vec<String>, Fault> {
        Ok(with_mock(|mock| mock.state.keys().cloned().collect()))
    }
}

pub(crate) fn log(level: Level, _context: &str, message: &str) {
    with_mock(|mock| mock.logs.push((level, message.to_owned())));
}

pub(crate) fn metric_add(counter: &str, delta: u64) {
    with_mock(|mock| *mock.counters.entry(counter.to_owned()).or_default() += delta);
}

pub(crate) fn metric_set(gauge: &str, value: f64) {
    with_mock(|mock| mock.gauges.insert(gauge.to_owned(), value));
}

pub(crate) fn metric_observe(histogram: &str, value: f64) {
    with_mock(|mock| {
        mock.histograms
            .entry(histogram.to_owned())
            .or_default()
            .push(value)
    });
}
