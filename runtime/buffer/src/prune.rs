//! What gives way next, when the buffer fills; pure.
//!
//! First rows that the centre holds, the oldest epoch first. They are kept as long as there is room, so that a centre
//! restored from a backup can have them again. Then raw rows, which become summaries of 10 s, of 1 min and of 1 h. Then
//! an entry of the loss ledger takes the place of raw rows and of summaries, in turn down to a floor for each class, then
//! below it; of alarms last of all. A stream may have another [`Policy`].
//!
//! **What may have been sent or exported is never changed**, so that a request which was repeated or held up on its way, or
//! a file, cannot bring something else than what is here. What was exported goes before anything is thinned out: a file
//! has it as it was. Of streams with alarms it goes last of all.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tidegate_record::{Class, Name};

use crate::policy::Policy;
use crate::sequence::{Extent, Place, Second};

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
    /// Delete rows that a centre holds.
    Forget {
        /// Of which stream and epoch.
        place: Place,
        /// Up to this one.
        to: u64,
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
            Self::Forget { place, .. } | Self::Thin { place, .. } | Self::Evict { place, .. } => {
                *place
            }
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

/// What the steps follow.
#[derive(Debug)]
pub(crate) struct Rules<'a> {
    /// Bytes that rows can take.
    pub(crate) room: u64,
    /// What a second centre is for, if there is one.
    pub(crate) second: Option<Second>,
    /// Streams that do not degrade.
    pub(crate) policies: &'a HashMap<Name, Policy>,
}

impl Rules<'_> {
    fn policy(&self, extent: &Extent) -> Policy {
        let policy = self.policies.get(&extent.of.stream);
        policy.copied().unwrap_or_default()
    }
}

/// The next step, if there is one.
pub(crate) fn step(
    extents: &BTreeMap<Place, Extent>,
    pressure: Pressure,
    rules: &Rules<'_>,
) -> Option<Step> {
    if pressure == Pressure::None {
        return None;
    }
    let held = forget(extents, |extent| extent.held(rules.second));
    if held.is_some() || pressure < Pressure::Full {
        return held;
    }
    // Better that one of two centres lacks rows than that both do.
    forget(extents, |extent| extent.mark.max(extent.second))
        .or_else(|| forget_exported(extents, rules, Class::Summary))
        .or_else(|| thin(extents, rules))
        .or_else(|| evict(extents, rules))
        .or_else(|| forget_exported(extents, rules, Class::Alarm))
}

/// The oldest rows that a file has, of streams whose most urgent class is `most` or a less urgent one.
fn forget_exported(
    extents: &BTreeMap<Place, Extent>,
    rules: &Rules<'_>,
    most: Class,
) -> Option<Step> {
    forget(extents, |extent| {
        let may_go = extent.urgency() >= most && rules.policy(extent) != Policy::Block;
        if may_go { extent.exported } else { 0 }
    })
}

/// The oldest rows that need not be kept.
fn forget(extents: &BTreeMap<Place, Extent>, held: impl Fn(&Extent) -> u64) -> Option<Step> {
    let held = extents
        .iter()
        .map(|(place, extent)| (*place, held(extent), extent.trimmed));
    let (place, to, _) = held
        .filter(|(_, held, trimmed)| trimmed < held)
        .min_by_key(|(place, ..)| place.1)?;
    Some(Step::Forget { place, to })
}

/// The first `seq` that has certainly never left. What is noted on disk counts, which is ahead of what was sent: who
/// exports reads it there.
fn unsent(extent: &Extent) -> u64 {
    extent.sent.max(extent.reserved).saturating_add(1)
}

/// The finest level that something is left for, of the stream with the most raw bytes; or rows of that stream itself,
/// where they are to be dropped instead.
fn thin(extents: &BTreeMap<Place, Extent>, rules: &Rules<'_>) -> Option<Step> {
    let mut largest: Vec<_> = extents
        .iter()
        .filter(|(_, extent)| extent.usage.of(Class::Raw) > 0)
        .filter(|(_, extent)| rules.policy(extent) != Policy::Block)
        .collect();
    largest.sort_by_key(|(_, extent)| std::cmp::Reverse(extent.usage.of(Class::Raw)));
    for level in 0..LEVELS.len() {
        for (place, extent) in &largest {
            if rules.policy(extent) == Policy::DropOldest {
                let from = evict_from(extent, Class::Raw);
                if from < extent.last {
                    let (place, class) = (**place, Class::Raw);
                    return Some(Step::Evict { place, class, from });
                }
                continue;
            }
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

fn evict(extents: &BTreeMap<Place, Extent>, rules: &Rules<'_>) -> Option<Step> {
    let above_floors = FLOORS
        .into_iter()
        .map(|(class, percent)| (class, rules.room / 100 * percent));
    let below_them = [(Class::Raw, 0), (Class::Summary, 0)];
    above_floors
        .chain(below_them)
        .find_map(|(class, floor)| evict_class(extents, class, floor, rules))
        .or_else(|| evict_alarms(extents, rules))
}

/// Alarms give way last of all, and not to rows of a stream that rather blocks.
fn evict_alarms(extents: &BTreeMap<Place, Extent>, rules: &Rules<'_>) -> Option<Step> {
    let blocks = |extent: &Extent| {
        let others = extent.usage.of(Class::Raw) + extent.usage.of(Class::Summary);
        rules.policy(extent) == Policy::Block && others > 0
    };
    match extents.values().any(blocks) {
        true => None,
        false => evict_class(extents, Class::Alarm, 0, rules),
    }
}

/// From where rows of `class` were not yet looked at for an entry.
fn evict_from(extent: &Extent, class: Class) -> u64 {
    let [alarm, summary, raw] = extent.cursors.evicted;
    let cursor = match class {
        Class::Alarm => alarm,
        Class::Summary => summary,
        Class::Raw => raw,
    };
    cursor.max(unsent(extent))
}

/// The oldest epoch's stream with the most of `class`, if there is more of it than `floor` in all streams.
fn evict_class(
    extents: &BTreeMap<Place, Extent>,
    class: Class,
    floor: u64,
    rules: &Rules<'_>,
) -> Option<Step> {
    let all: u64 = extents.values().map(|extent| extent.usage.of(class)).sum();
    if all <= floor {
        return None;
    }
    let (place, extent) = extents
        .iter()
        .filter(|(_, extent)| rules.policy(extent) != Policy::Block)
        .filter(|(_, extent)| extent.usage.of(class) > 0 && evict_from(extent, class) < extent.last)
        .min_by_key(|(place, extent)| (place.1, std::cmp::Reverse(extent.usage.of(class))))?;
    Some(Step::Evict {
        place: *place,
        class,
        from: evict_from(extent, class),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sequence::Usage;
    use tidegate_record::{Epoch, StreamEpoch};

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

    /// The next step, of streams that degrade.
    fn next(extents: &BTreeMap<Place, Extent>, pressure: Pressure) -> Option<Step> {
        with(extents, pressure, None, Policy::Degrade)
    }

    fn with(
        extents: &BTreeMap<Place, Extent>,
        pressure: Pressure,
        second: Option<Second>,
        policy: Policy,
    ) -> Option<Step> {
        let policies = HashMap::from([(Name::new("readings").unwrap(), policy)]);
        let rules = Rules {
            room: ROOM,
            second,
            policies: &policies,
        };
        step(extents, pressure, &rules)
    }

    fn full(extents: &BTreeMap<Place, Extent>) -> Option<Step> {
        next(extents, Pressure::Full)
    }

    #[test]
    fn what_the_centre_holds_goes_first_and_the_oldest_of_it() {
        let extents = BTreeMap::from([
            ((1, 2), extent(2, 50, 40, [0, 0, 500])),
            ((2, 1), extent(1, 50, 10, [0, 0, 500])),
        ]);
        assert_eq!(next(&extents, Pressure::None), None);
        let (place, to) = ((2, 1), 10);
        let oldest = Some(Step::Forget { place, to });
        assert_eq!(next(&extents, Pressure::Filling), oldest);
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

    #[test]
    fn a_mirror_keeps_rows_until_there_is_no_room() {
        let mut extent = extent(1, 50, 40, [0, 0, 500]);
        extent.second = 20;
        extent.trimmed = 20;
        let extents = BTreeMap::from([((1, 1), extent)]);
        let step = |pressure, second| with(&extents, pressure, Some(second), Policy::Degrade);
        let (place, to) = ((1, 1), 40);
        let forget = Some(Step::Forget { place, to });
        assert_eq!(step(Pressure::Filling, Second::Failover), forget);
        assert_eq!(step(Pressure::Filling, Second::Mirror), None);
        assert_eq!(step(Pressure::Full, Second::Mirror), forget);
    }

    #[test]
    fn a_stream_drops_its_oldest_rows_or_blocks_where_it_is_told_to() {
        let mut extents = BTreeMap::from([((1, 1), extent(1, 9000, 100, [5000, 0, 900_000]))]);
        extents.get_mut(&(1, 1)).unwrap().trimmed = 100;
        let dropped = with(&extents, Pressure::Full, None, Policy::DropOldest);
        let (place, class, from) = ((1, 1), Class::Raw, 101);
        assert_eq!(dropped, Some(Step::Evict { place, class, from }));
        assert_eq!(with(&extents, Pressure::Full, None, Policy::Block), None);
        // The control: it is the policy that holds the alarms back.
        let alarms = extent(1, 100, 0, [900_000, 0, 0]);
        let alarms = BTreeMap::from([((1, 1), alarms)]);
        let step = with(&alarms, Pressure::Full, None, Policy::Degrade);
        assert!(matches!(
            step,
            Some(Step::Evict {
                class: Class::Alarm,
                ..
            })
        ));
    }
}
