//! What of each stream the centre lacks, and since when. Reads only.
//!
//! How many rows wait is known in memory; when the oldest of them was committed stands in that row, and one read of one row
//! finds it. A row that was thinned out has the stamp of the last of those that it stands for: whoever asks again and again
//! keeps the earlier answer for as long as [`Oldest`] is the same.

use std::collections::BTreeMap;

use tidegate_record::{BootId, Name, Stamp, WallTime};

use crate::error::Error;
use crate::outbox::BufferHandle;
use crate::rows::{self, Bound};
use crate::sequence::Place;

/// What of one stream the centre lacks; where a second centre stands in for it, what neither has, and where one mirrors it,
/// what one of them lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamBacklog {
    /// Which stream.
    pub stream: Name,
    /// How many rows, those that were thinned out or are gone included.
    pub rows: u64,
    /// The first of them in the earliest epoch.
    pub oldest: Option<Oldest>,
}

/// Where the oldest row of a stream is that the centre lacks. It stays the same until the centre has taken that row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Oldest {
    place: Place,
    after: u64,
}

impl BufferHandle {
    /// Of every stream that was ever kept and is remembered, in order of name. From memory.
    pub fn stream_backlogs(&self) -> Vec<StreamBacklog> {
        let mut streams: BTreeMap<Name, StreamBacklog> = BTreeMap::new();
        let sequence = self.shared.sequence();
        // In order of epoch within a stream.
        for (place, extent) in sequence.extents() {
            let stream = &extent.of.stream;
            let backlog = streams
                .entry(stream.clone())
                .or_insert_with(|| StreamBacklog {
                    stream: stream.clone(),
                    rows: 0,
                    oldest: None,
                });
            let after = extent.held(sequence.second());
            let rows = extent.last.saturating_sub(after);
            backlog.rows = backlog.rows.saturating_add(rows);
            if rows > 0 && backlog.oldest.is_none() {
                let place = *place;
                backlog.oldest = Some(Oldest { place, after });
            }
        }
        streams.into_values().collect()
    }

    /// When this row was committed; none when nobody knows, because only an entry of the ledger is left of it. Reads one row.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn committed(&self, oldest: Oldest) -> Result<Option<Stamp>, Error> {
        let Oldest { place, after } = oldest;
        let mut reader = self.shared.reader.lock().await;
        let read = rows::read(
            &mut reader,
            place,
            after.saturating_add(1),
            &mut Bound::rows(1),
        )
        .await;
        let read = read.map_err(|error| self.failed(Error::Read(error)))?;
        let stamp = read.first().map(|row| row.stamp);
        Ok(stamp.filter(|stamp| stamp.boot != BootId(0) || stamp.wall_time != WallTime(0)))
    }
}
