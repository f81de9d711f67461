//! What a guest can call: configuration, its own state, the log, metrics. Every answer is bounded, and no call blocks.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use tidegate_record::StateChange;
use tracing::Level;
use wasmtime::component::{HasData, Resource, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::bindings::tidegate::module::{metrics, types};
use crate::bindings::wasi::config::store as config;
use crate::bindings::wasi::keyvalue::store as keyvalue;
use crate::bindings::wasi::logging::logging;
use crate::budget::Budget;
use crate::guest_log::Lines;
use crate::wasi::{self, Now};

/// Keys in one answer of `list-keys`.
const KEYS_PER_PAGE: usize = 256;
/// Longest name of a metric.
const METRIC_NAME_BYTES_MAX: usize = 128;
/// WASI and key-value handles that one instance may hold. A Rust guest holds about five.
const HANDLES_MAX: usize = 64;

/// A guest's handle of its own state. There is only one, so it carries nothing.
#[derive(Debug)]
#[allow(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Bucket;

/// All that belongs to one instance.
pub(crate) struct Host {
    table: ResourceTable,
    wasi: WasiCtx,
    pub(crate) now: Arc<Now>,
    pub(crate) budget: Budget,
    pub(crate) state: State,
    /// Epoch ticks that the current call may still run.
    pub(crate) ticks_left: u64,
    config: Arc<BTreeMap<String, String>>,
    lines: Arc<Lines>,
    metrics: HashMap<String, f64>,
    metrics_max: usize,
}

impl Host {
    pub(crate) fn new(
        config: Arc<BTreeMap<String, String>>,
        lines: Arc<Lines>,
        budget: Budget,
        state: State,
        metrics_max: usize,
    ) -> Self {
        let now = Arc::new(Now::default());
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES_MAX);
        Self {
            table,
            wasi: wasi::context(&now, &lines),
            now,
            budget,
            state,
            ticks_left: 0,
            config,
            lines,
            metrics: HashMap::new(),
            metrics_max,
        }
    }

    fn metric(&mut self, name: String, change: impl FnOnce(f64) -> f64) {
        let is_full = self.metrics.len() >= self.metrics_max && !self.metrics.contains_key(&name);
        if is_full || name.len() > METRIC_NAME_BYTES_MAX {
            return;
        }
        let value = self.metrics.entry(name).or_default();
        *value = change(*value);
    }
}

/// A module's state: what is committed or on its way to the commit, and the writes of the current call over it.
#[derive(Debug, Default)]
pub(crate) struct State {
    values: BTreeMap<String, Bytes>,
    changes: BTreeMap<String, Option<Bytes>>,
    bytes: usize,
    bytes_max: usize,
}

impl State {
    pub(crate) fn new(values: BTreeMap<String, Bytes>, bytes_max: usize) -> Self {
        let bytes = values
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum();
        Self {
            values,
            changes: BTreeMap::new(),
            bytes,
            bytes_max,
        }
    }

    fn get(&self, key: &str) -> Option<&Bytes> {
        match self.changes.get(key) {
            Some(change) => change.as_ref(),
            None => self.values.get(key),
        }
    }

    /// Writes or deletes; refuses what would be over the limit, with the words for the guest.
    fn put(&mut self, key: String, value: Option<Bytes>) -> Result<(), String> {
        let size = |value: Option<&Bytes>| value.map_or(0, |value| key.len() + value.len());
        let bytes = self.bytes - size(self.get(&key)) + size(value.as_ref());
        if bytes > self.bytes_max {
            return Err(format!(
                "state would have {bytes} bytes, limit is {}",
                self.bytes_max
            ));
        }
        self.bytes = bytes;
        // What never was committed needs no deletion, which no limit would count.
        if value.is_none() && !self.values.contains_key(&key) {
            self.changes.remove(&key);
        } else {
            self.changes.insert(key, value);
        }
        Ok(())
    }

    /// Keys in order, with the current call's writes.
    fn keys(&self) -> impl Iterator<Item = &String> {
        let kept = self
            .values
            .keys()
            .filter(|key| !self.changes.contains_key(*key));
        let written = self
            .changes
            .iter()
            .filter_map(|(key, value)| value.as_ref().map(|_| key));
        let mut keys: Vec<_> = kept.chain(written).collect();
        keys.sort();
        keys.into_iter()
    }

    /// The call ended well: its writes become the state, and are returned for the commit.
    pub(crate) fn merge(&mut self) -> Vec<StateChange> {
        let changes = std::mem::take(&mut self.changes);
        for (key, value) in &changes {
            match value {
                Some(value) => self.values.insert(key.clone(), value.clone()),
                None => self.values.remove(key),
            };
        }
        changes
            .into_iter()
            .map(|(key, value)| StateChange { key, value })
            .collect()
    }

    /// The call failed: its writes are forgotten. Gives the state back for the next instance.
    pub(crate) fn discard(self) -> BTreeMap<String, Bytes> {
        self.values
    }
}

/// Names [`Host`] as the data of all host functions.
pub(crate) struct Whole;

impl HasData for Whole {
    type Data<'a> = &'a mut Host;
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl types::Host for Host {}

impl config::Host for Host {
    fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<String>, config::Error>> {
        Ok(Ok(self.config.get(&key).cloned()))
    }

    fn get_all(&mut self) -> wasmtime::Result<Result<Vec<(String, String)>, config::Error>> {
        Ok(Ok(self
            .config
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()))
    }
}

impl keyvalue::Host for Host {
    fn open(
        &mut self,
        identifier: String,
    ) -> wasmtime::Result<Result<Resource<Bucket>, keyvalue::Error>> {
        if !identifier.is_empty() {
            return Ok(Err(keyvalue::Error::NoSuchStore));
        }
        Ok(Ok(self.table.push(Bucket)?))
    }
}

impl keyvalue::HostBucket for Host {
    fn get(
        &mut self,
        _: Resource<Bucket>,
        key: String,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, keyvalue::Error>> {
        Ok(Ok(self.state.get(&key).map(|value| value.to_vec())))
    }

    fn set(
        &mut self,
        _: Resource<Bucket>,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), keyvalue::Error>> {
        Ok(self
            .state
            .put(key, Some(Bytes::from(value)))
            .map_err(keyvalue::Error::Other))
    }

    fn delete(
        &mut self,
        _: Resource<Bucket>,
        key: String,
    ) -> wasmtime::Result<Result<(), keyvalue::Error>> {
        Ok(self.state.put(key, None).map_err(keyvalue::Error::Other))
    }

    fn exists(
        &mut self,
        _: Resource<Bucket>,
        key: String,
    ) -> wasmtime::Result<Result<bool, keyvalue::Error>> {
        Ok(Ok(self.state.get(&key).is_some()))
    }

    fn list_keys(
        &mut self,
        _: Resource<Bucket>,
        cursor: Option<u64>,
    ) -> wasmtime::Result<Result<keyvalue::KeyResponse, keyvalue::Error>> {
        let start = usize::try_from(cursor.unwrap_or(0)).unwrap_or(usize::MAX);
        let keys: Vec<_> = self
            .state
            .keys()
            .skip(start)
            .take(KEYS_PER_PAGE)
            .cloned()
            .collect();
        let next = start.saturating_add(keys.len());
        let cursor =
            (self.state.keys().count() > next).then(|| u64::try_from(next).unwrap_or(u64::MAX));
        Ok(Ok(keyvalue::KeyResponse { keys, cursor }))
    }

    fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl logging::Host for Host {
    fn log(
        &mut self,
        level: logging::Level,
        context: String,
        message: String,
    ) -> wasmtime::Result<()> {
        let level = match level {
            logging::Level::Trace => Level::TRACE,
            logging::Level::Debug => Level::DEBUG,
            logging::Level::Info => Level::INFO,
            logging::Level::Warn => Level::WARN,
            logging::Level::Error | logging::Level::Critical => Level::ERROR,
        };
        match context.is_empty() {
            true => self.lines.add(level, &message),
            false => self.lines.add(level, &format!("{context}: {message}")),
        }
        Ok(())
    }
}

impl metrics::Host for Host {
    fn add(&mut self, counter: String, delta: u64) -> wasmtime::Result<()> {
        #[allow(
            clippy::cast_precision_loss,
            reason = "a counter past 2^53 loses its last digit, nothing else"
        )]
        self.metric(counter, |value| value + delta as f64);
        Ok(())
    }

    fn set(&mut self, gauge: String, value: f64) -> wasmtime::Result<()> {
        self.metric(gauge, |_| value);
        Ok(())
    }

    fn observe(&mut self, histogram: String, value: f64) -> wasmtime::Result<()> {
        self.metric(histogram, |_| value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(bytes_max: usize) -> State {
        State::new(
            BTreeMap::from([("a".to_owned(), Bytes::from_static(b"1"))]),
            bytes_max,
        )
    }

    #[test]
    fn a_call_reads_its_own_writes_and_a_failed_call_leaves_none() {
        let mut state = state(100);
        state.put("a".into(), None).unwrap();
        state
            .put("b".into(), Some(Bytes::from_static(b"2")))
            .unwrap();
        assert_eq!(state.get("a"), None);
        assert_eq!(state.keys().collect::<Vec<_>>(), ["b"]);
        assert_eq!(state.discard().into_keys().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn merged_writes_are_the_state_and_are_handed_to_the_commit_once() {
        let mut state = state(100);
        state
            .put("a".into(), Some(Bytes::from_static(b"9")))
            .unwrap();
        assert_eq!(state.merge().len(), 1);
        assert!(state.merge().is_empty());
        assert_eq!(state.get("a"), Some(&Bytes::from_static(b"9")));
    }

    #[test]
    fn deleting_what_is_not_there_leaves_nothing_behind() {
        let mut state = state(100);
        for number in 0..1000 {
            let key = format!("never-{number}");
            state.put(key.clone(), None).unwrap();
            state
                .put(key.clone(), Some(Bytes::from_static(b"2")))
                .unwrap();
            state.put(key, None).unwrap();
        }
        state.put("a".into(), None).unwrap();
        let changes: Vec<_> = state.merge().into_iter().map(|change| change.key).collect();
        assert_eq!(changes, ["a"]);
    }

    #[test]
    fn state_over_its_limit_is_refused_with_the_numbers() {
        let mut state = state(4);
        let error = state
            .put("b".into(), Some(Bytes::from_static(b"too much")))
            .unwrap_err();
        assert_eq!(error, "state would have 11 bytes, limit is 4");
        state.put("a".into(), None).unwrap();
        state
            .put("b".into(), Some(Bytes::from_static(b"123")))
            .unwrap();
    }
}
