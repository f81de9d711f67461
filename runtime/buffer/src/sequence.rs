//! Positions and marks of all streams, in memory: what the next row's number is, what waits for the centre, and what it
//! takes on disk. After a transaction that failed it is read from disk again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate_record::{BootId, Class, Epoch, Mark, Name, Reason, StreamEpoch, WallTime};

use crate::prune::LEVELS;
use crate::restamp::Boots;

/// Streams and epochs that are remembered though nothing of them is left here.
const PLACES_MAX: usize = 256;

/// A stream and epoch as the database names them.
pub(crate) type Place = (i64, u64);

/// Where rows go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Destination {
    /// The centre.
    First,
    /// A second one, with marks of its own.
    Second,
}

/// Streams, by their number, whose rows may not go to a destination.
pub(crate) type Withheld = BTreeSet<(i64, Destination)>;

/// What a second centre is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Second {
    /// It takes rows while the first does not answer. What either of them holds can be deleted.
    Failover,
    /// It has everything as well. What both of them hold can be deleted.
    Mirror,
}

/// How far one stream and epoch is written and held by the centre.
#[derive(Debug, Clone)]
pub(crate) struct Extent {
    /// Its name outside of the database.
    pub(crate) of: StreamEpoch,
    /// Highest `seq` that the centre holds.
    pub(crate) mark: u64,
    /// Highest `seq` that the second centre holds.
    pub(crate) second: u64,
    /// Highest `seq` that may have been sent: what was sent is never changed.
    pub(crate) sent: u64,
    /// Highest `seq` that may be sent without this being written to disk first.
    pub(crate) reserved: u64,
    /// Highest `seq` on disk or ever given out.
    pub(crate) last: u64,
    /// Rows up to here are deleted.
    pub(crate) trimmed: u64,
    /// Rows up to here go out as they were stamped, though the clock was set later.
    pub(crate) plain: u64,
    /// Highest `seq` that a file has that was exported.
    pub(crate) exported: u64,
    /// What it takes on disk.
    pub(crate) usage: Usage,
    /// How far its rows were looked at for giving way, by how much they gave way.
    pub(crate) cursors: Cursors,
}

impl Extent {
    /// One without rows.
    pub(crate) fn new(of: StreamEpoch) -> Self {
        Self {
            of,
            mark: 0,
            second: 0,
            sent: 0,
            reserved: 0,
            last: 0,
            trimmed: 0,
            plain: 0,
            exported: 0,
            usage: Usage::default(),
            cursors: Cursors::default(),
        }
    }

    /// Highest `seq` that this centre holds.
    pub(crate) const fn mark_of(&self, destination: Destination) -> u64 {
        match destination {
            Destination::First => self.mark,
            Destination::Second => self.second,
        }
    }

    /// Highest `seq` up to which rows need not be kept.
    pub(crate) fn held(&self, second: Option<Second>) -> u64 {
        match second {
            None => self.mark,
            Some(Second::Failover) => self.mark.max(self.second),
            Some(Second::Mirror) => self.mark.min(self.second),
        }
    }

    /// Rows that this centre lacks, those that were thinned out or are gone included.
    pub(crate) const fn waiting(&self, destination: Destination) -> u64 {
        self.last.saturating_sub(self.mark_of(destination))
    }

    /// The numbers after the mark of this centre whose rows it will not get, up to which one and why: they are deleted, or
    /// its stand-in need not have what the first holds.
    pub(crate) fn skipped(
        &self,
        destination: Destination,
        second: Option<Second>,
    ) -> Option<(u64, Reason)> {
        let (mark, other) = match destination {
            Destination::First => (self.mark, self.second),
            Destination::Second => (self.second, self.mark),
        };
        let stand_in = (destination, second) == (Destination::Second, Some(Second::Failover));
        let to = if stand_in {
            self.trimmed.max(other)
        } else {
            self.trimmed
        };
        let reason = if other.max(self.exported) >= to {
            Reason::Elsewhere
        } else {
            Reason::Forgotten
        };
        (to > mark).then_some((to, reason))
    }

    /// The most urgent class of which there are rows.
    pub(crate) fn urgency(&self) -> Class {
        [Class::Alarm, Class::Summary]
            .into_iter()
            .find(|class| self.usage.of(*class) > 0)
            .unwrap_or(Class::Raw)
    }
}

/// Bytes of rows on disk by class, and how much of it stands on disk as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Usage {
    bytes: [u64; 3],
    /// Rows that were added since it was written to disk. After a restart only so many have to be counted again.
    pub(crate) unwritten_rows: u64,
}

impl Usage {
    pub(crate) const fn new(bytes: [u64; 3]) -> Self {
        Self {
            bytes,
            unwritten_rows: 0,
        }
    }

    pub(crate) const fn of(&self, class: Class) -> u64 {
        let [alarm, summary, raw] = self.bytes;
        match class {
            Class::Alarm => alarm,
            Class::Summary => summary,
            Class::Raw => raw,
        }
    }

    pub(crate) fn add(&mut self, class: Class, bytes: u64) {
        self.unwritten_rows += 1;
        let of_class = self.class(class);
        *of_class = of_class.saturating_add(bytes);
    }

    pub(crate) fn remove(&mut self, class: Class, bytes: u64) {
        let of_class = self.class(class);
        *of_class = of_class.saturating_sub(bytes);
    }

    const fn class(&mut self, class: Class) -> &mut u64 {
        let [alarm, summary, raw] = &mut self.bytes;
        match class {
            Class::Alarm => alarm,
            Class::Summary => summary,
            Class::Raw => raw,
        }
    }
}

/// See [`Extent::cursors`]: the `seq` from which on rows were not yet looked at. Forgotten with the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Cursors {
    /// By level of thinning, the finest first.
    pub(crate) thinned: [u64; LEVELS.len()],
    /// By class: alarm, summary, raw.
    pub(crate) evicted: [u64; 3],
}

/// A mark that the centre has moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) place: Place,
    pub(crate) before: u64,
    pub(crate) mark: u64,
}

/// Positions and marks of all streams that have rows, in order of `(stream, epoch)`.
#[derive(Debug)]
pub(crate) struct Sequence {
    epoch: Epoch,
    second: Option<Second>,
    boots: Arc<Boots>,
    extents: BTreeMap<Place, Extent>,
    withheld: Withheld,
    rewrites: Rewrites,
    /// Cursors of the places that the transaction under way rewrites, as they were before.
    before: BTreeMap<Place, Cursors>,
}

/// Rewrites of rows that never were sent. Whoever reads rows to send them must not have one beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Rewrites {
    begun: u64,
    ended: u64,
}

impl Rewrites {
    /// Whether none was under way between `before` and now.
    pub(crate) fn none_since(self, before: Self) -> bool {
        before.begun == before.ended && self == before
    }
}

impl Sequence {
    pub(crate) fn new(
        epoch: Epoch,
        extents: BTreeMap<Place, Extent>,
        second: Option<Second>,
        boots: Boots,
    ) -> Self {
        Self {
            epoch,
            second,
            boots: boots.into(),
            extents,
            withheld: Withheld::new(),
            rewrites: Rewrites { begun: 0, ended: 0 },
            before: BTreeMap::new(),
        }
    }

    /// From now on these are kept back.
    pub(crate) fn withhold(&mut self, withheld: Withheld) {
        self.withheld = withheld;
    }

    /// What waits for a centre of a place, and may go there.
    fn may_go(&self, place: Place, extent: &Extent, at: Destination) -> u64 {
        match self.withheld.contains(&(place.0, at)) {
            true => 0,
            false => extent.waiting(at),
        }
    }

    /// What a second centre is for, if there is one.
    pub(crate) const fn second(&self) -> Option<Second> {
        self.second
    }

    /// When boots began.
    pub(crate) fn boots(&self) -> Arc<Boots> {
        self.boots.clone()
    }

    /// It is to be written down when this boot began. What may have been sent goes out as it did.
    pub(crate) fn set_clock(&mut self) {
        let places: Vec<Place> = self.extents.keys().copied().collect();
        places
            .into_iter()
            .for_each(|place| self.begin_rewrite(place));
        for extent in self.extents.values_mut() {
            extent.reserved = extent.reserved.max(extent.sent);
            extent.plain = extent.reserved;
        }
    }

    /// It is written down.
    pub(crate) fn clock_is_set(&mut self, (boot, booted): (BootId, WallTime)) {
        Arc::make_mut(&mut self.boots).entry(boot).or_insert(booted);
    }

    pub(crate) const fn rewrites(&self) -> Rewrites {
        self.rewrites
    }

    /// A rewrite was decided, from what is known of what was sent.
    pub(crate) fn begin_rewrite(&mut self, place: Place) {
        self.rewrites.begun += 1;
        if let Some(extent) = self.extents.get(&place) {
            self.before.entry(place).or_insert(extent.cursors);
        }
    }

    /// All of them are on disk, or rolled back.
    pub(crate) fn end_rewrites(&mut self) {
        self.rewrites.ended = self.rewrites.begun;
        self.before.clear();
    }

    /// Rows up to here are about to be sent. Answers whether this has to be on disk first.
    pub(crate) fn send(&mut self, place: Place, seq: u64) -> bool {
        let Some(extent) = self.extents.get_mut(&place) else {
            return false;
        };
        extent.sent = extent.sent.max(seq);
        extent.sent > extent.reserved
    }

    /// The epoch in which rows are numbered.
    pub(crate) const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// From now on rows are numbered in `epoch`.
    pub(crate) const fn begin(&mut self, epoch: Epoch) {
        self.epoch = epoch;
    }

    /// Takes over what is on disk, after a transaction that failed.
    pub(crate) fn reload(&mut self, mut extents: BTreeMap<Place, Extent>) {
        for (place, extent) in &mut extents {
            if let Some(known) = self.extents.get(place) {
                extent.sent = extent.sent.max(known.sent);
                extent.cursors = *self.before.get(place).unwrap_or(&known.cursors);
            }
        }
        self.extents = extents;
    }

    /// The next `seq` of `stream`; true when it is the stream's first in this epoch.
    pub(crate) fn next(&mut self, stream: i64, name: &Name) -> (u64, bool) {
        let epoch = self.epoch;
        let extent = self
            .extents
            .entry((stream, epoch.ordinal))
            .or_insert_with(|| {
                Extent::new(StreamEpoch {
                    stream: name.clone(),
                    epoch,
                })
            });
        extent.last += 1;
        (extent.last, extent.last == 1)
    }

    pub(crate) const fn extents(&self) -> &BTreeMap<Place, Extent> {
        &self.extents
    }

    pub(crate) fn extent_mut(&mut self, place: Place) -> Option<&mut Extent> {
        self.extents.get_mut(&place)
    }

    /// By how many rows these marks are ahead of those that are known.
    pub(crate) fn moves(&self, by: Destination, marks: &[Mark]) -> u64 {
        let ahead = |mark: &Mark| {
            let mut extents = self.extents.values();
            let extent = extents.find(|extent| extent.of == mark.of)?;
            Some(mark.seq.saturating_sub(extent.mark_of(by)))
        };
        marks.iter().filter_map(ahead).sum()
    }

    /// Moves the marks that a centre has moved. One beyond what was ever given out in this epoch is refused: it is not about
    /// our rows. Of an earlier epoch the centre may know more than a database that was damaged since.
    pub(crate) fn acknowledge(&mut self, by: Destination, marks: &[Mark]) -> Vec<Moved> {
        let mut moved = Vec::new();
        for mark in marks {
            let Some((place, extent)) = self
                .extents
                .iter_mut()
                .find(|(_, extent)| extent.of == mark.of)
            else {
                continue;
            };
            if mark.seq > extent.last && place.1 == self.epoch.ordinal {
                tracing::error!(stream = %mark.of.stream, "centre claims row {}, the last one is {}", mark.seq, extent.last);
                continue;
            }
            // Never beyond what is here: whatever a centre says, it is written down.
            let seq = mark.seq.min(extent.last);
            let before = match by {
                Destination::First => std::mem::replace(&mut extent.mark, seq),
                Destination::Second => std::mem::replace(&mut extent.second, seq),
            };
            if seq == before {
                continue;
            }
            if mark.seq > seq {
                tracing::warn!(
                    stream = %mark.of.stream, epoch = place.1,
                    "centre holds rows up to {}, of which only those up to {seq} are known here", mark.seq
                );
            }
            if seq < before {
                tracing::warn!(
                    stream = %mark.of.stream, epoch = mark.of.epoch.ordinal,
                    "centre holds rows up to {}, and held them up to {before} before: it was restored from a backup",
                    seq
                );
            }
            moved.push(Moved {
                place: *place,
                before,
                mark: seq,
            });
        }
        moved
    }

    /// The oldest places of which nothing is left, when there are many: a centre that is restored to before them is not
    /// told what it lacks.
    pub(crate) fn forget(&mut self) -> Vec<Place> {
        let empty = |place: &Place, extent: &Extent| {
            let known = extent.mark.max(extent.second) == extent.last;
            place.1 != self.epoch.ordinal && extent.trimmed == extent.last && known
        };
        let places = self.extents.iter();
        let mut places: Vec<_> = places
            .filter(|(place, extent)| empty(place, extent))
            .map(|(place, _)| *place)
            .collect();
        places.sort_by_key(|(_, epoch)| *epoch);
        places.truncate(self.extents.len().saturating_sub(PLACES_MAX));
        for place in &places {
            self.extents.remove(place);
        }
        places
    }

    /// What waits for a centre, of streams with rows of class `least` or a more urgent one: alarms first, then what was kept
    /// since the link came back, by class, then the shortest first.
    pub(crate) fn waiting(&self, at: Destination, least: Class) -> Vec<(Place, Extent)> {
        let waiting = self.extents.iter().filter(|(place, extent)| {
            self.may_go(**place, extent, at) > 0 && extent.urgency() <= least
        });
        let mut waiting: Vec<_> = waiting
            .map(|(place, extent)| (*place, extent.clone()))
            .collect();
        waiting.sort_by_key(|(place, extent)| {
            let urgency = extent.urgency();
            (
                urgency != Class::Alarm,
                place.1 != self.epoch.ordinal,
                urgency,
                extent.waiting(at),
            )
        });
        waiting
    }

    /// Streams and epochs that have rows, the newest epoch first.
    pub(crate) fn known(&self, current: bool) -> Vec<StreamEpoch> {
        let known = self
            .extents
            .values()
            .filter(|extent| !current || extent.of.epoch == self.epoch);
        let mut known: Vec<_> = known.map(|extent| extent.of.clone()).collect();
        known.sort_by_key(|of| std::cmp::Reverse(of.epoch));
        known
    }

    /// Rows that wait for a centre and may go there, those that were thinned out or are gone included.
    pub(crate) fn rows_waiting(&self, at: Destination) -> u64 {
        let extents = self.extents.iter();
        extents
            .map(|(place, extent)| self.may_go(*place, extent, at))
            .sum()
    }

    /// Rows of the current epoch that wait.
    pub(crate) fn rows_waiting_now(&self, at: Destination) -> u64 {
        let now = self
            .extents
            .iter()
            .filter(|(place, _)| place.1 == self.epoch.ordinal);
        now.map(|(place, extent)| self.may_go(*place, extent, at))
            .sum()
    }
}

#[cfg(test)]
mod tests;
