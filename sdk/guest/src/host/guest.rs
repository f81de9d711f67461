//! The host's functions as the component imports them.

use crate::bindings::tidegate::module::metrics;
use crate::bindings::wasi::config::store as config;
use crate::bindings::wasi::keyvalue::store as keyvalue;
use crate::bindings::wasi::logging::logging;
use crate::log::Level;
use crate::outcome::Fault;

pub(crate) fn config_get(key: &str) -> Result<Option<String>, Fault> {
    config::get(key)
        .map_err(|error| Fault::transient(format!("configuration key {key}: {error:?}")))
}

/// The module's own state.
pub(crate) struct Bucket(keyvalue::Bucket);

impl Bucket {
    pub(crate) fn open() -> Result<Self, Fault> {
        keyvalue::open("")
            .map(Self)
            .map_err(|error| fault("open", "", &error))
    }

    pub(crate) fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Fault> {
        self.0.get(key).map_err(|error| fault("read", key, &error))
    }

    pub(crate) fn set(&self, key: &str, value: &[u8]) -> Result<(), Fault> {
        self.0
            .set(key, value)
            .map_err(|error| fault("write", key, &error))
    }

    pub(crate) fn delete(&self, key: &str) -> Result<(), Fault> {
        self.0
            .delete(key)
            .map_err(|error| fault("delete", key, &error))
    }

    pub(crate) fn keys(&self) -> Result<Vec<String>, Fault> {
        let mut keys = Vec::new();
        let mut cursor = None;
        loop {
            let page = self
                .0
                .list_keys(cursor)
                .map_err(|error| fault("list", "", &error))?;
            keys.extend(page.keys);
            match page.cursor {
                Some(next) => cursor = Some(next),
                None => return Ok(keys),
            }
        }
    }
}

/// The host's copy of the state is in memory: what it refuses, it refuses again.
fn fault(what: &str, key: &str, error: &keyvalue::Error) -> Fault {
    let reason = match error {
        keyvalue::Error::NoSuchStore => "no such store",
        keyvalue::Error::AccessDenied => "access denied",
        keyvalue::Error::Other(reason) => reason,
    };
    Fault::permanent(format!("cannot {what} state {key:?}: {reason}"))
}

pub(crate) fn log(level: Level, context: &str, message: &str) {
    let level = match level {
        Level::Trace => logging::Level::Trace,
        Level::Debug => logging::Level::Debug,
        Level::Info => logging::Level::Info,
        Level::Warn => logging::Level::Warn,
        Level::Error => logging::Level::Error,
        Level::Critical => logging::Level::Critical,
    };
    logging::log(level, context, message);
}

pub(crate) fn metric_add(counter: &str, delta: u64) {
    metrics::add(counter, delta);
}

pub(crate) fn metric_set(gauge: &str, value: f64) {
    metrics::set(gauge, value);
}

pub(crate) fn metric_observe(histogram: &str, value: f64) {
    metrics::observe(histogram, value);
}
