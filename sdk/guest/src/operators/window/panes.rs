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

/// Older steps by series, each oldest first.
#[derive(Debug)]
pub(super) struct Panes<A> {
    series: BTreeMap<String, Vec<Pane<A>>>,
    /// What the state does not hold as it is here.
    unwritten: Vec<(String, WallTime)>,
    bytes: usize,
}

#[derive(Debug)]
struct Pane<A> {
    start: WallTime,
    aggregate: A,
    bytes: usize,
    written: bool,
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
                start: WallTime(start),
                aggregate: entry.value,
                bytes: entry.bytes,
                written: true,
            };
            panes.place(id, pane);
        }
        Ok(panes)
    }

    /// Keys and values together.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The oldest step from this time on.
    pub(super) fn first_from(&self, id: &str, from: WallTime) -> Option<WallTime> {
        let steps = self.of(id);
        let position = steps.partition_point(|pane| pane.start < from);
        steps.get(position).map(|pane| pane.start)
    }

    /// The steps of a window, oldest first.
    pub(super) fn between(
        &self,
        id: &str,
        from: WallTime,
        to: WallTime,
    ) -> impl Iterator<Item = &A> {
        let steps = self.of(id).iter();
        let steps = steps.filter(move |pane| (from..to).contains(&pane.start));
        steps.map(|pane| &pane.aggregate)
    }

    /// One step, to count in; none if nothing was counted there.
    pub(super) fn get_mut(&mut self, id: &str, start: WallTime) -> Option<&mut A> {
        let pane = find(&mut self.series, id, start)?;
        if std::mem::take(&mut pane.written) {
            self.unwritten.push((id.to_owned(), start));
        }
        Some(&mut pane.aggregate)
    }

    /// Takes a step that was not there.
    pub(super) fn insert(&mut self, id: &str, start: WallTime, aggregate: A) {
        let key = key(id, start);
        // What cannot be encoded faults when it is written.
        let encoded = state::encode(&key, &aggregate).map_or(0, |encoded| encoded.len());
        let pane = Pane {
            start,
            aggregate,
            bytes: key.len() + encoded,
            written: false,
        };
        self.unwritten.push((id.to_owned(), start));
        self.place(id, pane);
    }

    /// Forgets what is older.
    pub(super) fn drop_before(&mut self, id: &str, from: WallTime) {
        let Some(steps) = self.series.get_mut(id) else {
            return;
        };
        let old = steps.partition_point(|pane| pane.start < from);
        for pane in steps.drain(..old) {
            self.unwritten.push((id.to_owned(), pane.start));
            self.bytes -= pane.bytes;
        }
        if steps.is_empty() {
            self.series.remove(id);
        }
    }

    /// Writes what changed, and deletes what is gone.
    pub(super) fn flush(&mut self) -> Result<(), Fault> {
        for (id, start) in self.unwritten.drain(..) {
            let key = key(&id, start);
            let Some(pane) = find(&mut self.series, &id, start) else {
                state::delete(&key)?;
                continue;
            };
            let encoded = state::encode(&key, &pane.aggregate)?;
            self.bytes -= pane.bytes;
            pane.bytes = key.len() + encoded.len();
            self.bytes += pane.bytes;
            pane.written = true;
            state::set(&key, &encoded)?;
        }
        Ok(())
    }

    fn place(&mut self, id: &str, pane: Pane<A>) {
        self.bytes += pane.bytes;
        let steps = match self.series.get_mut(id) {
            Some(steps) => steps,
            None => self.series.entry(id.to_owned()).or_default(),
        };
        let position = steps.partition_point(|before| before.start < pane.start);
        steps.insert(position, pane);
    }

    fn of(&self, id: &str) -> &[Pane<A>] {
        self.series.get(id).map_or(&[], Vec::as_slice)
    }
}

fn find<'a, A>(
    series: &'a mut BTreeMap<String, Vec<Pane<A>>>,
    id: &str,
    start: WallTime,
) -> Option<&'a mut Pane<A>> {
    let steps = series.get_mut(id)?;
    let position = steps.binary_search_by_key(&start, |pane| pane.start).ok()?;
    steps.get_mut(position)
}

/// The start comes first and has a fixed width, so that no id can look like another one's step.
fn key(id: &str, start: WallTime) -> String {
    format!("{PREFIX}{:016x}/{id}", start.0)
}
