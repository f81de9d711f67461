//! Positions and marks of all streams, in memory: what the next row's number is, and what waits for the centre.

use std::collections::BTreeMap;

use tidegate_record::{Epoch, Mark, Name, StreamEpoch};

/// A stream and epoch as the database names them.
pub(crate) type Place = (i64, u64);

/// How far one stream and epoch is written and held by the centre.
#[derive(Debug, Clone)]
pub(crate) struct Extent {
    /// Its name outside of the database.
    pub(crate) of: StreamEpoch,
    /// Highest `seq` that the centre holds.
    pub(crate) mark: u64,
    /// Highest `seq` on disk or ever given out.
    pub(crate) last: u64,
    /// Rows up to here are deleted.
    pub(crate) trimmed: u64,
}

/// Positions and marks of all streams that have rows, in order of `(stream, epoch)`.
#[derive(Debug)]
pub(crate) struct Sequence {
    epoch: Epoch,
    extents: BTreeMap<Place, Extent>,
}

impl Sequence {
    pub(crate) const fn new(epoch: Epoch, extents: BTreeMap<Place, Extent>) -> Self {
        Self { epoch, extents }
    }

    /// The next `seq` of `stream`; true when it is the stream's first in this epoch.
    pub(crate) fn next(&mut self, stream: i64, name: &Name) -> (u64, bool) {
        let epoch = self.epoch;
        let extent = self
            .extents
            .entry((stream, epoch.ordinal))
            .or_insert_with(|| Extent {
                of: StreamEpoch {
                    stream: name.clone(),
                    epoch,
                },
                mark: 0,
                last: 0,
                trimmed: 0,
            });
        extent.last += 1;
        (extent.last, extent.last == 1)
    }

    /// Moves the marks that the centre has moved. One beyond what was ever sent is refused: it is not about our rows.
    pub(crate) fn acknowledge(&mut self, marks: &[Mark]) -> Vec<(Place, u64)> {
        let mut moved = Vec::new();
        for mark in marks {
            let Some((place, extent)) = self
                .extents
                .iter_mut()
                .find(|(_, extent)| extent.of == mark.of)
            else {
                continue;
            };
            if mark.seq > extent.last {
                tracing::error!(stream = %mark.of.stream, "centre claims row {}, the last one is {}", mark.seq, extent.last);
            } else if mark.seq > extent.mark {
                extent.mark = mark.seq;
                moved.push((*place, mark.seq));
            }
        }
        moved
    }

    /// A step of rows that the centre holds and that can be deleted: the place, and up to which `seq`.
    pub(crate) fn trim(&mut self, rows_max: u64) -> Option<(Place, u64)> {
        let (place, extent) = self
            .extents
            .iter_mut()
            .find(|(_, extent)| extent.trimmed < extent.mark)?;
        extent.trimmed = extent.mark.min(extent.trimmed + rows_max);
        Some((*place, extent.trimmed))
    }

    /// Whether there are rows to delete.
    pub(crate) fn trim_waits(&self) -> bool {
        self.extents
            .values()
            .any(|extent| extent.trimmed < extent.mark)
    }

    /// Places of earlier epochs of which nothing is left.
    pub(crate) fn forget(&mut self) -> Vec<Place> {
        let done = |place: &Place, extent: &Extent| {
            place.1 != self.epoch.ordinal && extent.trimmed == extent.last
        };
        let places: Vec<_> = self
            .extents
            .iter()
            .filter(|(place, extent)| done(place, extent))
            .map(|(p, _)| *p)
            .collect();
        for place in &places {
            self.extents.remove(place);
        }
        places
    }

    /// What waits for the centre, in order of `(stream, epoch)`.
    pub(crate) fn waiting(&self) -> Vec<(Place, Extent)> {
        let waiting = self
            .extents
            .iter()
            .filter(|(_, extent)| extent.mark < extent.last);
        waiting
            .map(|(place, extent)| (*place, extent.clone()))
            .collect()
    }

    /// Rows that wait for the centre.
    pub(crate) fn rows_waiting(&self) -> u64 {
        self.extents
            .values()
            .map(|extent| extent.last - extent.mark)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(ordinal: u64) -> Epoch {
        Epoch { ordinal, random: 7 }
    }

    fn sequence() -> (Sequence, Name) {
        let name = Name::new("alarms").unwrap();
        let of = StreamEpoch {
            stream: name.clone(),
            epoch: epoch(1),
        };
        let earlier = Extent {
            of,
            mark: 2,
            last: 5,
            trimmed: 2,
        };
        (
            Sequence::new(epoch(2), BTreeMap::from([((1, 1), earlier)])),
            name,
        )
    }

    #[test]
    fn numbers_start_at_one_in_each_epoch_and_have_no_gaps() {
        let (mut sequence, name) = sequence();
        assert_eq!(sequence.next(1, &name), (1, true));
        assert_eq!(sequence.next(1, &name), (2, false));
        assert_eq!(sequence.rows_waiting(), 5);
    }

    #[test]
    fn a_mark_never_moves_back_nor_beyond_what_was_written() {
        let (mut sequence, name) = sequence();
        let mark = |seq| {
            [Mark {
                of: StreamEpoch {
                    stream: name.clone(),
                    epoch: epoch(1),
                },
                seq,
            }]
        };
        assert!(sequence.acknowledge(&mark(6)).is_empty());
        assert!(sequence.acknowledge(&mark(1)).is_empty());
        assert_eq!(sequence.acknowledge(&mark(4)), [((1, 1), 4)]);
        assert_eq!(sequence.rows_waiting(), 1);
    }

    #[test]
    fn only_what_the_centre_holds_is_trimmed_in_small_steps() {
        let (mut sequence, name) = sequence();
        assert_eq!(sequence.trim(10), None);
        sequence.acknowledge(&[Mark {
            of: StreamEpoch {
                stream: name,
                epoch: epoch(1),
            },
            seq: 5,
        }]);
        assert_eq!(sequence.trim(2), Some(((1, 1), 4)));
        assert!(sequence.forget().is_empty());
        assert_eq!(sequence.trim(2), Some(((1, 1), 5)));
        assert_eq!(sequence.forget(), [(1, 1)]);
    }
}
