//! Messages on their way into a module, and their places where they come from disk.

use tidegate_record::{Applied, Name, Record, Skip, SkipReason, Waiting};

/// Messages for one or more calls.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) records: Vec<Record>,
    /// Where they are on disk; none when they came straight from the field.
    pub(crate) place: Option<Place>,
}

/// Where the messages of a load are on disk.
#[derive(Debug)]
pub(crate) struct Place {
    /// One for each record.
    ids: Vec<u64>,
    /// The last that leaves when the load is done: after its last record there may be damaged ones.
    end: u64,
    damaged: Option<Skip>,
}

impl Load {
    /// Messages straight from the field.
    pub(crate) const fn live(records: Vec<Record>) -> Self {
        Self {
            records,
            place: None,
        }
    }

    /// Messages for `module` from disk, which are not none. Damaged ones are counted when the load is done.
    pub(crate) fn stored(module: &Name, rows: Vec<Waiting>) -> Self {
        let (mut records, mut ids) = (Vec::with_capacity(rows.len()), Vec::new());
        let (mut end, mut damaged) = (0, None);
        for row in rows {
            end = row.id;
            match row.record {
                Some(record) => {
                    records.push(record);
                    ids.push(row.id);
                }
                None => {
                    let skip = damaged.get_or_insert_with(|| Skip {
                        of: module.clone(),
                        reason: SkipReason::Damaged,
                        messages: 0,
                        bytes: 0,
                    });
                    skip.messages += 1;
                    skip.bytes += row.bytes;
                }
            }
        }
        Self {
            records,
            place: Some(Place { ids, end, damaged }),
        }
    }

    /// Leaves the first `at`, of which there is at least one, and gives the rest.
    pub(crate) fn split_off(&mut self, at: usize) -> Self {
        let place = self.place.as_mut().map(|place| {
            let ids = place.ids.split_off(at.min(place.ids.len()));
            let last = place.ids.last().copied().unwrap_or(0);
            Place {
                ids,
                end: std::mem::replace(&mut place.end, last),
                damaged: place.damaged.take(),
            }
        });
        Self {
            records: self.records.split_off(at.min(self.records.len())),
            place,
        }
    }

    /// Loads of at most `bytes_max`, or of one record; the first one last.
    pub(crate) fn cut(mut self, bytes_max: usize) -> Vec<Self> {
        let mut loads = Vec::new();
        loop {
            let mut bytes = 0;
            let beyond = self.records.iter().position(|record| {
                bytes += record.size_bytes();
                bytes > bytes_max
            });
            match beyond.map(|at| at.max(1)) {
                Some(at) if at < self.records.len() => {
                    let rest = self.split_off(at);
                    loads.push(std::mem::replace(&mut self, rest));
                }
                _ => break,
            }
        }
        loads.push(self);
        loads.reverse();
        loads
    }
}

impl Place {
    /// The messages leave with this commit. They were durable before: what it took is not measured again.
    pub(crate) fn leave(self, applied: &mut Applied) {
        applied.consumed_to = Some(self.end);
        applied.skipped.extend(self.damaged);
        applied.received = None;
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::Arc;
    use tidegate_record::{
        Ack, Body, BootTime, Channel, ClockQuality, DeliveryFlags, Quality, WallTime,
    };

    pub(crate) fn record(number: i64) -> Record {
        Record {
            channel: Arc::new(Channel {
                source: Name::new("plant").unwrap(),
                topic: "t".into(),
                unit: None,
            }),
            body: Body::Integer(number),
            time: WallTime(1),
            clock: ClockQuality::Synced,
            quality: Quality::Good,
            delivery: DeliveryFlags::default(),
            received: BootTime(1),
            properties: Vec::new(),
            id: None,
            ack: Ack::none(),
        }
    }

    pub(crate) fn numbers(load: &Load) -> Vec<i64> {
        let number = |record: &Record| match record.body {
            Body::Integer(number) => number,
            _ => panic!("{record:?}"),
        };
        load.records.iter().map(number).collect()
    }

    fn stored(ids: &[(u64, bool)]) -> Load {
        let rows = ids.iter().map(|(id, whole)| Waiting {
            id: *id,
            bytes: 10,
            record: whole.then(|| record(id.cast_signed())),
        });
        Load::stored(&Name::new("m").unwrap(), rows.collect())
    }

    fn left(load: Load) -> (Option<u64>, u64) {
        let mut applied = Applied::new(Name::new("m").unwrap(), 1, "1".into());
        load.place.unwrap().leave(&mut applied);
        let damaged = applied.skipped.iter().map(|skip| skip.messages).sum();
        (applied.consumed_to, damaged)
    }

    #[test]
    fn each_part_of_a_load_takes_its_own_messages_off_the_disk_and_the_last_the_damaged_ones() {
        let mut load = stored(&[(4, true), (5, false), (6, true), (7, true), (9, false)]);
        let rest = load.split_off(1);
        assert_eq!((numbers(&load), numbers(&rest)), (vec![4], vec![6, 7]));
        assert_eq!(left(load), (Some(4), 0));
        assert_eq!(left(rest), (Some(9), 2));
        let nothing = stored(&[(1, false)]);
        assert!(nothing.records.is_empty());
        assert_eq!(left(nothing), (Some(1), 1));
    }

    #[test]
    fn loads_are_cut_where_they_are_too_large_and_stay_in_order() {
        let size = record(0).size_bytes();
        let cut = |bytes_max| {
            let loads = stored(&[(1, true), (2, true), (3, true)]).cut(bytes_max);
            loads.iter().rev().map(numbers).collect::<Vec<_>>()
        };
        assert_eq!(cut(3 * size), [vec![1, 2, 3]]);
        assert_eq!(cut(2 * size), [vec![1, 2], vec![3]]);
        assert_eq!(cut(1), [vec![1], vec![2], vec![3]]);
    }
}
