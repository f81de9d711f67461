//! How much is in a buffer, from what is known of each stream and epoch: no row is read but the first and the last of each.

use std::collections::BTreeMap;

use tidegate_record::{Class, Epoch, Name, WallTime};

use crate::error::Error;
use crate::inspect::Inspection;
use crate::rows::{self, Bound};
use crate::sequence::{Destination, Extent, Place};
use crate::space::Space;

/// How much is in a buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// Bytes on disk: database, write-ahead log and ballast.
    pub bytes_used: u64,
    /// Epochs of which there are rows.
    pub epochs: u64,
    /// The newest of them.
    pub newest_epoch: Option<Epoch>,
    /// By stream.
    pub streams: BTreeMap<Name, StreamStat>,
}

/// How much of one stream is in a buffer, over all its epochs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamStat {
    /// Epochs of which there are rows.
    pub epochs: u64,
    /// Rows that were numbered.
    pub numbered: u64,
    /// Of these, held by the centre.
    pub held: u64,
    /// The others, those that were thinned out or are gone included.
    pub waiting: u64,
    /// Of the waiting ones, written to a file.
    pub exported: u64,
    /// Bytes on disk of rows of class alarm, summary and raw.
    pub bytes: [u64; 3],
    /// When the oldest row on disk was committed, by the gateway's clock.
    pub oldest: Option<WallTime>,
    /// When the newest was.
    pub newest: Option<WallTime>,
}

impl Inspection {
    /// How much is in it. The gateway's quota is not known here.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn stat(&mut self) -> Result<Stat, Error> {
        let mut epochs: Vec<Epoch> = self
            .extents
            .values()
            .map(|extent| extent.of.epoch)
            .collect();
        epochs.sort_unstable();
        epochs.dedup();
        let mut stat = Stat {
            bytes_used: Space::new(&self.path, 0).bytes_used(),
            epochs: epochs.len().try_into().unwrap_or(u64::MAX),
            newest_epoch: epochs.last().copied(),
            streams: BTreeMap::new(),
        };
        for (place, extent) in self.extents.clone() {
            let (first, last) = (extent.trimmed.saturating_add(1), extent.last);
            let ends = [
                self.stamp(place, first).await?,
                self.stamp(place, last).await?,
            ];
            let stream = stat.streams.entry(extent.of.stream.clone()).or_default();
            stream.add(&extent, ends);
        }
        Ok(stat)
    }

    /// When the first row from this number on was committed.
    async fn stamp(&mut self, place: Place, from: u64) -> Result<Option<WallTime>, Error> {
        let found = rows::read(&mut self.connection, place, from, &mut Bound::rows(1)).await;
        let found = found.map_err(Error::Read)?;
        Ok(found.first().map(|row| row.stamp.wall_time))
    }
}

impl StreamStat {
    fn add(&mut self, extent: &Extent, ends: [Option<WallTime>; 2]) {
        self.epochs += 1;
        self.numbered += extent.last;
        self.held += extent.mark;
        self.waiting += extent.waiting(Destination::First);
        self.exported += extent.exported.saturating_sub(extent.mark);
        let of = [Class::Alarm, Class::Summary, Class::Raw].map(|class| extent.usage.of(class));
        for (sum, bytes) in self.bytes.iter_mut().zip(of) {
            *sum += bytes;
        }
        // Entries for rows of which nothing is known have no time.
        for time in ends.into_iter().flatten().filter(|time| time.0 > 0) {
            self.oldest = Some(self.oldest.map_or(time, |oldest| oldest.min(time)));
            self.newest = self.newest.max(Some(time));
        }
    }
}
