//! Rows for a file, read beside a running gateway or without one.
//!
//! First the writer notes on disk that what waits is about to leave ([`BufferHandle::export`]), as it does for a request to
//! the centre. From then on it is not thinned out, summarised or restamped: the file and the outbox give the same row under
//! the same number. So reading needs no lock and no long transaction: one short statement after the other, from a
//! connection that nobody waits for. What can happen to those rows meanwhile is that they are deleted, because the centre
//! or an earlier file has them. Only when the file is on disk as a whole do its rows count as exported
//! ([`BufferHandle::exported`]): one that nobody finished lets none of them go.
//!
//! Every number from the mark on is covered once, in order. Where rows are deleted that the centre lacks, an entry of the
//! loss ledger stands in their place, as it does on the way to the centre.

use std::collections::{HashMap, VecDeque};
use std::path::Path;

use sqlx::{ConnectOptions, Row, SqliteConnection};
use tidegate_record::{Class, Epoch, StoredRow, StreamEpoch, WallTime};

use crate::error::Error;
use crate::names::Names;
use crate::outbox::{BufferHandle, Shared};
use crate::restamp::{self, Boots, restamp};
use crate::rows::{self, Bound};
use crate::sequence::{Destination, Extent, Place};
use crate::writer::Request;
use crate::{extents, residency, schema};

/// Rows read by one statement: bounds what is in memory, and how long a reader is open.
const ROWS_PER_READ: usize = 100;

impl BufferHandle {
    /// What waits for the centre now is about to be exported. Resolves when that is on disk.
    ///
    /// # Errors
    /// When the writer has ended.
    pub async fn export(&self) -> Result<(), Error> {
        self.request(Request::Export).await
    }

    /// A file has these streams and epochs up to these numbers, and is on disk: their rows may go where room is needed.
    ///
    /// # Errors
    /// When the writer has ended.
    pub async fn exported(&self, written: &HashMap<StreamEpoch, u64>) -> Result<(), Error> {
        let written = written.clone();
        self.request(|done| Request::Exported(written, done)).await
    }
}

/// Notes that everything that waits may have left.
pub(crate) async fn note(
    connection: &mut SqliteConnection,
    shared: &Shared,
) -> Result<(), sqlx::Error> {
    let places: Vec<_> = {
        let mut sequence = shared.sequence();
        let places: Vec<Place> = sequence.extents().keys().copied().collect();
        let noted = places.into_iter().filter_map(|place| {
            let extent = sequence.extent_mut(place)?;
            let new = extent.waiting(Destination::First) > 0 && extent.reserved < extent.last;
            extent.sent = extent.sent.max(extent.last);
            extent.reserved = extent.reserved.max(extent.last);
            new.then_some((place, extent.reserved))
        });
        noted.collect()
    };
    for ((stream, epoch), reserved) in places {
        sqlx::query("UPDATE mark SET sent = ? WHERE stream = ? AND epoch = ?")
            .bind(reserved.cast_signed())
            .bind(stream)
            .bind(epoch.cast_signed())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Notes how far rows are in a file.
pub(crate) async fn settle(
    connection: &mut SqliteConnection,
    written: &HashMap<StreamEpoch, u64>,
    shared: &Shared,
) -> Result<(), sqlx::Error> {
    let places: Vec<_> = {
        let mut sequence = shared.sequence();
        let places: Vec<Place> = sequence.extents().keys().copied().collect();
        let written = places.into_iter().filter_map(|place| {
            let extent = sequence.extent_mut(place)?;
            let written = *written.get(&extent.of)?;
            extent.exported = extent.exported.max(written.min(extent.reserved));
            Some((place, extent.exported))
        });
        written.collect()
    };
    for ((stream, epoch), exported) in places {
        sqlx::query("UPDATE mark SET exported = ? WHERE stream = ? AND epoch = ?")
            .bind(exported.cast_signed())
            .bind(stream)
            .bind(epoch.cast_signed())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Rows that the centre lacks, on their way into a file.
#[derive(Debug)]
pub struct Export {
    connection: SqliteConnection,
    database: u64,
    epoch: Epoch,
    boots: Boots,
    places: VecDeque<Reading>,
}

/// How far one stream and epoch is read.
#[derive(Debug)]
struct Reading {
    place: Place,
    of: StreamEpoch,
    /// The number that comes next.
    next: u64,
    /// The last that is exported.
    last: u64,
    /// Rows up to here go out as they were stamped.
    plain: u64,
}

/// Rows of streams and epochs, each in order of `seq`.
type Rows = Vec<(StreamEpoch, Vec<StoredRow>)>;

impl Export {
    /// Opens the database for reading.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub async fn open(path: &Path) -> Result<Self, Error> {
        let open = |source| Error::Open {
            path: path.to_owned(),
            source,
        };
        let options = schema::reader(path).create_if_missing(false);
        let mut connection = options.connect().await.map_err(open)?;
        schema::check(&mut connection).await?;
        let number = |row: sqlx::sqlite::SqliteRow, index: usize| row.try_get::<i64, _>(index);
        let database = sqlx::query("SELECT value FROM meta WHERE key = 'database'")
            .fetch_one(&mut connection)
            .await
            .and_then(|row| number(row, 0))
            .map_err(Error::Read)?;
        let (ordinal, random): (i64, i64) =
            sqlx::query_as("SELECT ordinal, random FROM epoch ORDER BY ordinal DESC LIMIT 1")
                .fetch_one(&mut connection)
                .await
                .map_err(Error::Read)?;
        Ok(Self {
            connection,
            database: database.cast_unsigned(),
            epoch: Epoch {
                ordinal: ordinal.unsigned_abs(),
                random: random.cast_unsigned(),
            },
            boots: Boots::new(),
            places: VecDeque::new(),
        })
    }

    /// The database's own number.
    pub const fn database(&self) -> u64 {
        self.database
    }

    /// The newest epoch.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Begins with what [`BufferHandle::export`] has noted, after the rows that a file has already. Streams with alarms come
    /// first, then the oldest epoch. Answers how many numbers there are to come.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn begin(&mut self, written: &HashMap<StreamEpoch, u64>) -> Result<u64, Error> {
        // Before the places: a clock that is set in between leaves what is exported as it is.
        self.boots = restamp::read(&mut self.connection).await?;
        let names = Names::read(&mut self.connection).await?;
        let extents = extents::read(&mut self.connection, &names).await?;
        let withheld = residency::read(&mut self.connection)
            .await
            .map_err(Error::Read)?;
        let mut extents: Vec<_> = extents.into_iter().collect();
        extents.retain(|(place, _)| !withheld.contains(&(place.0, Destination::First)));
        extents.sort_by_key(|(place, extent)| (extent.urgency() != Class::Alarm, place.1, place.0));
        let places = extents.into_iter().map(|(place, extent)| {
            let written = written.get(&extent.of).copied().unwrap_or_default();
            Reading {
                place,
                next: extent.mark.max(written).saturating_add(1),
                last: extent.sent.min(extent.last),
                plain: extent.plain,
                of: extent.of,
            }
        });
        self.places = places
            .filter(|reading| reading.next <= reading.last)
            .collect();
        Ok(self.left())
    }

    /// The rows that come next, in chunks of at most `rows_max` and a few MiB; none at the end. The same again, until they
    /// are [`Export::written`].
    ///
    /// # Errors
    /// When the database cannot be read or is damaged.
    pub async fn next(&mut self, rows_max: usize, now: WallTime) -> Result<Rows, Error> {
        let (mut found, mut left) = (Rows::new(), Bound::rows(rows_max));
        for reading in &self.places {
            let mut rows = Vec::new();
            let mut next = reading.next;
            while !left.is_reached() && next <= reading.last {
                let mut few = Bound {
                    rows: left.rows.min(ROWS_PER_READ),
                    ..left
                };
                let read = reading
                    .read(&mut self.connection, next, &mut few, now)
                    .await?;
                let Some(last) = read.last() else {
                    break;
                };
                next = last.seq.saturating_add(1);
                left.rows = left.rows.saturating_sub(read.len());
                left.bytes = few.bytes;
                rows.extend(read);
            }
            let later = rows
                .iter_mut()
                .filter(|row: &&mut StoredRow| row.seq > reading.plain);
            later.for_each(|row| restamp(row, &self.boots));
            if !rows.is_empty() {
                found.push((reading.of.clone(), rows));
            }
            if left.is_reached() {
                break;
            }
        }
        Ok(found)
    }

    /// Numbers that are to come.
    pub fn left(&self) -> u64 {
        let left = self.places.iter();
        left.map(|reading| reading.last - reading.next + 1).sum()
    }

    /// These are in the file.
    pub fn written(&mut self, rows: &[(StreamEpoch, Vec<StoredRow>)]) {
        for (of, rows) in rows {
            let mut places = self.places.iter_mut();
            if let Some(reading) = places.find(|reading| reading.of == *of)
                && let Some(last) = rows.last()
            {
                reading.next = last.seq.saturating_add(1);
            }
        }
        self.places.retain(|reading| reading.next <= reading.last);
    }
}

impl Reading {
    /// Rows from `next` on that cover their numbers without a gap, as far as the centre does not hold them by now.
    async fn read(
        &self,
        connection: &mut SqliteConnection,
        next: u64,
        bound: &mut Bound,
        now: WallTime,
    ) -> Result<Vec<StoredRow>, Error> {
        let mut found = rows::read(connection, self.place, next, bound)
            .await
            .map_err(Error::Read)?;
        found.retain(|row| row.seq <= self.last);
        let first = found
            .first()
            .map_or(self.last.saturating_add(1), StoredRow::first);
        let gap = self.gap(connection, next, first, now).await?;
        let mut covered = first.saturating_sub(1).max(next.saturating_sub(1));
        for row in &mut found {
            let expected = covered.saturating_add(1);
            if row.first() > expected || row.seq < expected {
                return Err(Error::Impossible {
                    what: "a row out of its order, with number",
                    value: row.seq.cast_signed(),
                });
            }
            if row.first() < expected {
                row.from = (expected < row.seq).then_some(expected);
            }
            covered = row.seq;
        }
        Ok(gap.into_iter().chain(found).collect())
    }

    /// What stands for the numbers from `next` to before `first`: nothing, where the centre holds them, or an entry of the
    /// loss ledger, where they are deleted.
    async fn gap(
        &self,
        connection: &mut SqliteConnection,
        next: u64,
        first: u64,
        now: WallTime,
    ) -> Result<Option<StoredRow>, Error> {
        if first <= next {
            return Ok(None);
        }
        let missing = first.saturating_sub(1);
        // Read after the rows: whoever deleted them has noted that before.
        let (mark, second, trimmed, exported): (i64, i64, i64, i64) = sqlx::query_as(
            "SELECT seq, second, trimmed, exported FROM mark WHERE stream = ? AND epoch = ?",
        )
        .bind(self.place.0)
        .bind(self.place.1.cast_signed())
        .fetch_one(connection)
        .await
        .map_err(Error::Read)?;
        let extent = Extent {
            mark: mark.unsigned_abs(),
            second: second.unsigned_abs(),
            trimmed: trimmed.unsigned_abs(),
            exported: exported.unsigned_abs(),
            ..Extent::new(self.of.clone())
        };
        let from = next.max(extent.mark.saturating_add(1));
        match extent.skipped(Destination::First, None) {
            _ if extent.mark >= missing => Ok(None),
            Some((to, reason)) if to >= missing => {
                let covered = missing.saturating_sub(from).saturating_add(1);
                let several = (from < missing).then_some(from);
                let entry = rows::lost(missing, several, Class::Raw, reason, covered);
                Ok(Some(StoredRow { time: now, ..entry }))
            }
            _ => Err(Error::Impossible {
                what: "no row with number",
                value: next.cast_signed(),
            }),
        }
    }
}
