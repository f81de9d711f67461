//! What was counted in steps that are no longer the newest of their series.
//!
//! The newest step is part of its series' entry in the state; each older one is an entry of its own. So a call writes what it
//! counted and not all that is held, and a tumbling window whose messages come in order needs no entry here at all.

use std::collections::BTreeMap;

use crate::aggregate::Aggregate;
use crate::outcome::Fault;
use crate::state;
use crate::time::WallTime;

const PREFIX: &str = "pane/";

/// Older steps by series and start.
#[derive(Debug)]
pub(super) struct Panes<A> {
    series: BTreeMap<String, BTreeMap<WallTime, Pane<A>>>,
    /// What the state does not hold as it is here.
    unwritten: Vec<(String, WallTime)>,
    bytes: usize,
}

#[derive(Debug)]
struct Pane<A> {
    aggregate: A,
    bytes: usize,
}

impl<A: Aggregate> Panes<A> {
    /// As the state holds them.
    pub(super) fn open() -> Result<Self, Fault> {
        let mut panes = Self {
            series: BTreeMap::new(),
            unwritten: Vec::new(),
            bytes: 0,
        };
        for entry in state::load(PREFIX)? {
            let Some((start, id)) = entry.key.split_once('/') else {
                continue;
            };
            let Ok(start) = u64::from_str_radix(start, 16) else {
                continue;
            };
            let pane = Pane {
                aggregate: entry.value,
                bytes: entry.bytes,
            };
            panes.bytes += pane.bytes;
            let of_series = panes.series.entry(id.to_owned()).or_default();
            of_series.insert(WallTime(start), pane);
        }
        Ok(panes)
    }

    /// Keys and values together.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The oldest step from this time on.
    pub(super) fn first_from(&self, id: &str, from: WallTime) -> Option<WallTime> {
        let of_series = self.series.get(id)?;
        of_series.range(from..).next().map(|(start, _)| *start)
    }

    /// The steps of a window, oldest first.
    pub(super) fn between(
        &self,
        id: &str,
        from: WallTime,
        to: WallTime,
    ) -> impl Iterator<Item = &A> {
        let of_series = self.series.get(id).into_iter();
        of_series
            .flat_map(move |of_series| of_series.range(from..to))
            .map(|(_, pane)| &pane.aggregate)
    }

    /// One step, to count in; none if nothing was counted there.
    pub(super) fn get_mut(&mut self, id: &str, start: WallTime) -> Option<&mut A> {
        let pane = self.series.get_mut(id)?.get_mut(&start)?;
        self.unwritten.push((id.to_owned(), start));
        Some(&mut pane.aggregate)
    }

    /// Takes a step that was not there.
    pub(super) fn insert(&mut self, id: &str, start: WallTime, aggregate: A) {
        let key = key(id, start);
        // What cannot be encoded faults when it is written.
        let encoded = state::encode(&key, &aggregate).map_or(0, |encoded| encoded.len());
        let bytes = key.len() + encoded;
        self.bytes += bytes;
        self.unwritten.push((id.to_owned(), start));
        let of_series = self.series.entry(id.to_owned()).or_default();
        of_series.insert(start, Pane { aggregate, bytes });
    }

    /// Forgets what is older.
    pub(super) fn drop_before(&mut self, id: &str, from: WallTime) {
        let Some(of_series) = self.series.get_mut(id) else {
            return;
        };
        while let Some(oldest) = of_series
            .first_entry()
            .filter(|oldest| *oldest.key() < from)
        {
            self.unwritten.push((id.to_owned(), *oldest.key()));
            self.bytes -= oldest.remove().bytes;
        }
        if of_series.is_empty() {
            self.series.remove(id);
        }
    }

    /// Writes what changed, and deletes what is gone.
    pub(super) fn flush(&mut self) -> Result<(), Fault> {
        self.unwritten.sort();
        self.unwritten.dedup();
        for (id, start) in self.unwritten.drain(..) {
            let key = key(&id, start);
            let pane = self
                .series
                .get_mut(&id)
                .and_then(|of_series| of_series.get_mut(&start));
            let Some(pane) = pane else {
                state::delete(&key)?;
                continue;
            };
            let encoded = state::encode(&key, &pane.aggregate)?;
            self.bytes -= pane.bytes;
            pane.bytes = key.len() + encoded.len();
            self.bytes += pane.bytes;
            state::set(&key, &encoded)?;
        }
        Ok(())
    }
}

/// The start comes first and has a fixed width, so that no id can look like another one's step.
fn key(id: &str, start: WallTime) -> String {
    format!("{PREFIX}{:016x}/{id}", start.0)
}
