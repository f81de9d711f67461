//! What must last: the module's own key-value state. Committed with the outputs of a call, or dropped with them.

use std::cell::Cell;
use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::host::Bucket;
use crate::outcome::Fault;

/// Keys and values of a [`Keyed`] beyond which it takes no new key: the host's default bound is 256 KiB, and what is
/// already there must have room to grow.
pub const KEYED_BYTES_MAX: usize = 192 << 10;

/// The value of a key, if there is one.
///
/// # Errors
/// The host refused.
pub fn get(key: &str) -> Result<Option<Vec<u8>>, Fault> {
    Bucket::open()?.get(key)
}

/// Writes the value of a key.
///
/// # Errors
/// The host refused, because the state is full.
pub fn set(key: &str, value: &[u8]) -> Result<(), Fault> {
    Bucket::open()?.set(key, value)
}

/// Deletes a key, if it is there.
///
/// # Errors
/// The host refused.
pub fn delete(key: &str) -> Result<(), Fault> {
    Bucket::open()?.delete(key)
}

/// One entry of the state, as [`encode`] wrote it.
pub(crate) struct Loaded<T> {
    /// Without the prefix.
    pub(crate) key: String,
    pub(crate) value: T,
    /// Key and value together.
    pub(crate) bytes: usize,
}

/// Every entry under a prefix.
pub(crate) fn load<T: DeserializeOwned>(prefix: &str) -> Result<Vec<Loaded<T>>, Fault> {
    let bucket = Bucket::open()?;
    let mut entries = Vec::new();
    for key in bucket.keys()? {
        let Some(name) = key.strip_prefix(prefix) else {
            continue;
        };
        let Some(encoded) = bucket.get(&key)? else {
            continue;
        };
        let value = postcard::from_bytes(&encoded).map_err(|error| {
            Fault::permanent(format!(
                "state {key:?} is not what this version writes: {error}"
            ))
        })?;
        entries.push(Loaded {
            key: name.to_owned(),
            value,
            bytes: key.len() + encoded.len(),
        });
    }
    Ok(entries)
}

/// A value as the state holds it: exact and compact, and not self-describing.
pub(crate) fn encode(key: &str, value: &impl Serialize) -> Result<Vec<u8>, Fault> {
    postcard::to_allocvec(value)
        .map_err(|error| Fault::permanent(format!("state {key:?} cannot be written: {error}")))
}

/// A value for each of a bounded number of keys, such as one per machine.
///
/// All are loaded once per instance and kept in memory; [`Keyed::flush`] writes those that changed, once per call and
/// key. A call that returns with unwritten changes is a fault, so that none is lost unnoticed.
///
/// The encoding (postcard) is exact and compact, and not self-describing: after a change of `T` either open another
/// prefix or migrate in [`Processor::init`](crate::Processor::init).
#[derive(Debug)]
pub struct Keyed<T> {
    prefix: String,
    entries: BTreeMap<String, Entry<T>>,
    changed: Vec<String>,
    bytes: usize,
    keys_max: usize,
}

#[derive(Debug)]
struct Entry<T> {
    value: T,
    changed: bool,
    bytes: usize,
}

thread_local! {
    static UNFLUSHED: Cell<usize> = const { Cell::new(0) };
}

impl<T: Default + Serialize + DeserializeOwned> Keyed<T> {
    /// Loads the values under `prefix`, such as `machine/`.
    ///
    /// # Errors
    /// A permanent fault when a value does not decode: another version of `T` wrote it.
    pub fn open(prefix: &str, keys_max: usize) -> Result<Self, Fault> {
        let mut entries = BTreeMap::new();
        let mut total = 0;
        for Loaded { key, value, bytes } in load(prefix)? {
            total += bytes;
            let entry = Entry {
                value,
                changed: false,
                bytes,
            };
            entries.insert(key, entry);
        }
        Ok(Self {
            prefix: prefix.to_owned(),
            entries,
            changed: Vec::new(),
            bytes: total,
            keys_max,
        })
    }

    /// The value of a key, to read.
    pub fn get(&self, key: &str) -> Option<&T> {
        self.entries.get(key).map(|entry| &entry.value)
    }

    /// The value of a key, to change; a new key starts with the default.
    ///
    /// # Errors
    /// There is no room for another key, as the reason of a rejection.
    pub fn get_mut(&mut self, key: &str) -> Result<&mut T, String> {
        if !self.entries.contains_key(key) {
            self.insert_default(key)?;
        }
        let entry = self
            .entries
            .get_mut(key)
            .ok_or_else(|| format!("key {key:?} is gone"))?;
        if !entry.changed {
            entry.changed = true;
            self.changed.push(key.to_owned());
            UNFLUSHED.set(UNFLUSHED.get() + 1);
        }
        Ok(&mut entry.value)
    }

    /// Keys and values in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.entries
            .iter()
            .map(|(key, entry)| (key.as_str(), &entry.value))
    }

    /// Keys and values together, as they were last written.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets a key.
    ///
    /// # Errors
    /// The host refused.
    pub fn remove(&mut self, key: &str) -> Result<(), Fault> {
        let Some(entry) = self.entries.remove(key) else {
            return Ok(());
        };
        self.bytes -= entry.bytes;
        if entry.changed {
            self.changed.retain(|changed| changed != key);
            UNFLUSHED.set(UNFLUSHED.get().saturating_sub(1));
        }
        Bucket::open()?.delete(&format!("{}{key}", self.prefix))
    }

    /// Writes what changed since the last flush.
    ///
    /// # Errors
    /// The host refused, because the state is full.
    pub fn flush(&mut self) -> Result<(), Fault> {
        if self.changed.is_empty() {
            return Ok(());
        }
        let bucket = Bucket::open()?;
        UNFLUSHED.set(UNFLUSHED.get().saturating_sub(self.changed.len()));
        for name in self.changed.drain(..) {
            let Some(entry) = self.entries.get_mut(&name) else {
                continue;
            };
            entry.changed = false;
            let key = format!("{}{name}", self.prefix);
            let encoded = encode(&key, &entry.value)?;
            self.bytes -= entry.bytes;
            entry.bytes = key.len() + encoded.len();
            self.bytes += entry.bytes;
            bucket.set(&key, &encoded)?;
        }
        Ok(())
    }

    fn insert_default(&mut self, key: &str) -> Result<(), String> {
        if self.entries.len() >= self.keys_max {
            return Err(format!(
                "no room for key {key:?}: the limit is {} keys",
                self.keys_max
            ));
        }
        if self.bytes >= KEYED_BYTES_MAX {
            let (keys, kib) = (self.entries.len(), KEYED_BYTES_MAX >> 10);
            return Err(format!(
                "no room for key {key:?}: {keys} keys fill {kib} KiB of state"
            ));
        }
        self.entries.insert(
            key.to_owned(),
            Entry {
                value: T::default(),
                changed: false,
                bytes: 0,
            },
        );
        Ok(())
    }
}

/// An instance that is dropped takes its unwritten changes with it.
impl<T> Drop for Keyed<T> {
    fn drop(&mut self) {
        UNFLUSHED.set(UNFLUSHED.get().saturating_sub(self.changed.len()));
    }
}

/// Whether every [`Keyed`] was flushed.
pub(crate) fn all_flushed() -> Result<(), Fault> {
    match UNFLUSHED.get() {
        0 => Ok(()),
        keys => Err(Fault::permanent(format!(
            "the call returned with {keys} changed keys that were not flushed"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::with_mock;

    #[test]
    fn a_value_outlives_its_instance() {
        let mut counts = Keyed::<u64>::open("count/", 10).unwrap();
        *counts.get_mut("a").unwrap() = 7;
        counts.flush().unwrap();
        drop(counts);
        assert_eq!(Keyed::<u64>::open("count/", 10).unwrap().get("a"), Some(&7));
        assert_eq!(Keyed::<u64>::open("other/", 10).unwrap().get("a"), None);
    }

    #[test]
    fn a_key_is_written_once_per_flush_and_only_if_it_changed() {
        let mut counts = Keyed::<u64>::open("", 10).unwrap();
        for _ in 0..100 {
            *counts.get_mut("a").unwrap() += 1;
        }
        counts.get_mut("b").unwrap();
        counts.flush().unwrap();
        counts.flush().unwrap();
        assert_eq!(with_mock(|mock| mock.writes), 2);
    }

    #[test]
    fn changes_that_were_not_flushed_are_a_fault() {
        let mut counts = Keyed::<u64>::open("", 10).unwrap();
        assert!(all_flushed().is_ok());
        counts.get_mut("a").unwrap();
        assert!(all_flushed().is_err());
        counts.remove("a").unwrap();
        assert!(all_flushed().is_ok());
        counts.get_mut("b").unwrap();
        drop(counts);
        assert!(all_flushed().is_ok());
    }

    #[test]
    fn a_key_beyond_the_limits_is_refused_and_the_others_go_on() {
        let mut counts = Keyed::<String>::open("", 2).unwrap();
        counts.get_mut("a").unwrap();
        *counts.get_mut("b").unwrap() = "x".repeat(KEYED_BYTES_MAX);
        let reason = counts.get_mut("c").unwrap_err();
        assert_eq!(reason, "no room for key \"c\": the limit is 2 keys");
        counts.flush().unwrap();
        counts.remove("a").unwrap();
        let reason = counts.get_mut("c").unwrap_err();
        assert_eq!(
            reason,
            "no room for key \"c\": 1 keys fill 192 KiB of state"
        );
        assert!(counts.get_mut("b").is_ok());
    }

    #[test]
    fn a_value_of_another_version_is_a_fault_that_names_the_key() {
        set("machine/press-7", &[0xff]).unwrap();
        let fault = Keyed::<String>::open("machine/", 10).unwrap_err();
        assert!(fault.to_string().contains("machine/press-7"), "{fault}");
    }
}
