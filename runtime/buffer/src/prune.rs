//! What gives way next, when the buffer fills; pure.
//!
//! First rows that the centre holds, the oldest epoch first. They are kept as long as there is room, so that a centre
//! restored from a backup can have them again. Then raw rows, which become summaries of 10 s, of 1 min and of 1 h. Then
//! an entry of the loss ledger takes the place of raw rows and of summaries, in turn down to a floor for each class, then
//! below it; of alarms last of all.
//!
//! **What may have been sent is never changed**, so that a request which was repeated or held up on its way cannot bring
//! something else than what is here.

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_record::Class;

use crate::sequence::{Extent, Place};

/// Spans of summaries, the finest first.
pub(crate) const LEVELS: [Duration; 3] = [
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(3600),
];

/// The newest raw rows of a stream that are not thinned out: its latest spans may still be under way.
const NEWEST_ROWS_KEPT: u64 = 200;

/// Which part of the room a class keeps while another one has more than its part. Alarms need none: they go last.
const FLOORS: [(Class, u64); 2] = [(Class::Raw, 10), (Class::Summary, 5)];

/// One small step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Delete rows that the centre holds.
    Forget {
        /// Of which stream and epoch.
        place: Place,
    },
    /// Thin out raw rows.
    Thin {
        /// Of which stream and epoch.
        place: Place,
        /// Position in [`LEVELS`].
        level: usize,
        /// From this `seq` on.
        from: u64,
        /// Up to this one.
        to: u64,
    },
    /// Write an entry of the loss ledger in the place of rows.
    Evict {
        /// Of which stream and epoch.
        place: Place,
        /// Of which class.
        class: Class,
        /// From this `seq` on.
        from: u64,
    },
}

impl Step {
    /// The stream and epoch whose rows give way.
    pub(crate) const fn place(&self) -> Place {
        match self {
            Self::Forget { place } | Self::Thin { place, .. } | Self::Evict { place, .. } => *place,
        }
    }
}

/// How much has to give way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pressure {
    /// Nothing.
    None,
    /// What the centre holds.
    Filling,
    /// Whatever there is.
    Full,
}

/// The next step, if there is one. `room` is the bytes that rows can take.
pub(crate) fn step(
    extents: &BTreeMap<Place, Extent>,
    pressure: Pressure,
    room: u64,
) -> Option<Step> {
    if pressure == Pressure::None {
        return None;
    }
    let held = extents
        .iter()
        .filter(|(_, extent)| extent.trimmed < extent.mark)
        .min_by_key(|(place, _)| place.1);
    if let Some((place, _)) = held {
        return Some(Step::Forget { place: *place });
    }
    if pressure < Pressure::Full {
        return None;
    }
    thin(extents).or_else(|| evict(extents, room))
}

/// The first `seq` that was certainly never sent.
const fn unsent(extent: &Extent) -> u64 {
    extent.sent.saturating_add(1)
}

/// The finest level that something is left for, of the stream with the most raw bytes.
fn thin(extents: &BTreeMap<Place, Extent>) -> Option<Step> {
    let mut largest: Vec<_> = extents
        .iter()
        .filter(|(_, extent)| extent.usage.of(Class::Raw) > 0)
        .collect();
    largest.sort_by_key(|(_, extent)| std::cmp::Reverse(extent.usage.of(Class::Raw)));
    for level in 0..LEVELS.len() {
        for (place, extent) in &largest {
            let cursor = extent.cursors.thinned.get(level).copied().unwrap_or(0);
            let finer = level.checked_sub(1);
            let to = match finer.and_then(|finer| extent.cursors.thinned.get(finer)) {
                Some(finer) => *finer,
                None => extent.last.saturating_sub(NEWEST_ROWS_KEPT),
            };
            let from = cursor.max(unsent(extent));
            if from < to {
                let place = **place;
                return Some(Step::Thin {
                    place,
                    level,
                    from,
                    to,
                });
            }
        }
    }
    None
}

fn evict(extents: &BTreeMap<Place, Extent>, room: u64) -> Option<Step> {
    let above_floors = FLOORS
        .into_iter()
        .map(|(class, percent)| (class, room / 100 * percent));
    let below_them = [(Class::Raw, 0), (Class::Summary, 0), (Class::Alarm, 0)];
    above_floors
        .chain(below_them)
        .find_map(|(class, floor)| evict_class(extents, class, floor))
}

/// The oldest epoch's stream with the most of `class`, if there is more of it than `floor` in all streams.
fn evict_class(extents: &BTreeMap<Place, Extent>, class: Class, floor: u64) -> Option<Step> {
    let all: u64 = extents.values().map(|extent| extent.usage.of(class)).sum();
    if all <= floor {
        return None;
    }
    let cursor = |extent: &Extent| {
        let [alarm, summary, raw] = extent.cursors.evicted;
        let cursor = match class {
            Class::Alarm => alarm,
            Class::Summary => summary,
            Class::Raw => raw,
        };
        cursor.max(unsent(extent))
    };
    let (place, extent) = extents
        .iter()
        .filter(|(_, extent)| extent.usage.of(class) > 0 && cursor(extent) < extent.last)
        .min_by_key(|(place, extent)| (place.1, std::cmp::Reverse(extent.usage.of(class))))?;
    Some(Step::Evict {
        place: *place,
        class,
        from: cursor(extent),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sequence::Usage;
    use tidegate_record::{Epoch, Name, StreamEpoch};

    const ROOM: u64 = 1_000_000;

    fn extent(ordinal: u64, last: u64, mark: u64, bytes: [u64; 3]) -> Extent {
        let of = StreamEpoch {
            stream: Name::new("readings").unwrap(),
            epoch: Epoch { ordinal, random: 1 },
        };
        Extent {
            last,
            mark,
            sent: mark,
            usage: Usage::new(bytes),
            ..Extent::new(of)
        }
    }

    fn full(extents: &BTreeMap<Place, Extent>) -> Option<Step> {
        step(extents, Pressure::Full, ROOM)
    }

    #[test]
    fn what_the_centre_holds_goes_first_and_the_oldest_of_it() {
        let extents = BTreeMap::from([
            ((1, 2), extent(2, 50, 40, [0, 0, 500])),
            ((2, 1), extent(1, 50, 10, [0, 0, 500])),
        ]);
        assert_eq!(step(&extents, Pressure::None, ROOM), None);
        let oldest = Some(Step::Forget { place: (2, 1) });
        assert_eq!(step(&extents, Pressure::Filling, ROOM), oldest);
        assert_eq!(full(&extents), oldest);
    }

    #[test]
    fn what_may_have_been_sent_is_never_changed() {
        let mut sent = extent(1, 1000, 0, [0, 0, 900_000]);
        sent.sent = 1000;
        assert_eq!(full(&BTreeMap::from([((1, 1), sent)])), None);
        // A centre that was restored has a lower mark; what it was sent before stays as it is.
        let mut restored = extent(1, 9000, 7000, [0, 0, 900_000]);
        restored.mark = 0;
        let step = full(&BTreeMap::from([((1, 1), restored)]));
        assert!(
            matches!(step, Some(Step::Thin { from: 7001, .. })),
            "{step:?}"
        );
    }

    #[test]
    fn rows_are_thinned_finely_everywhere_before_coarsely_anywhere() {
        let mut extents = BTreeMap::from([
            ((1, 1), extent(1, 9000, 0, [0, 0, 900_000])),
            ((2, 1), extent(1, 9000, 0, [0, 0, 100_000])),
        ]);
        let mut seen = Vec::new();
        while let Some(Step::Thin {
            place, level, to, ..
        }) = full(&extents)
        {
            seen.push((level, place.0));
            extents.get_mut(&place).unwrap().cursors.thinned[level] = to;
        }
        assert_eq!(seen, [(0, 1), (0, 2), (1, 1), (1, 2), (2, 1), (2, 2)]);
    }

    #[test]
    fn raw_rows_and_summaries_keep_their_floors_and_alarms_go_last() {
        let classes = |bytes: [u64; 3]| {
            let mut extent = extent(1, 90_000, 0, bytes);
            extent.cursors.thinned = [90_000; LEVELS.len()];
            match full(&BTreeMap::from([((1, 1), extent)])) {
                Some(Step::Evict { class, .. }) => Some(class),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(classes([500_000, 300_000, 200_000]), Some(Class::Raw));
        assert_eq!(classes([500_000, 400_000, 100_000]), Some(Class::Summary));
        assert_eq!(classes([900_000, 50_000, 50_000]), Some(Class::Raw));
        assert_eq!(classes([990_000, 10_000, 0]), Some(Class::Summary));
        assert_eq!(classes([1_000_000, 0, 0]), Some(Class::Alarm));
    }
}
