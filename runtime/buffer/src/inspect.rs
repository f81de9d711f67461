//! Looking into a buffer from outside, while its gateway runs or not. Reads only, and only what is committed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sqlx::{ConnectOptions, Row, SqliteConnection};
use tidegate_record::{Class, Content, Lost, Reason, StoredRow, StreamEpoch, WallTime};

use crate::error::{Error, unsigned};
use crate::extents;
use crate::names::Names;
use crate::rows::{self, Bound};
use crate::schema;
use crate::sequence::{Destination, Extent, Place};
use crate::tally::{self, Tally};

/// Rows read at a time.
const PAGE_ROWS: usize = 1000;

/// How often a place is read that does not add up: a running gateway may be changing it.
const ATTEMPTS_MAX: usize = 5;

/// A buffer, open for reading.
#[derive(Debug)]
pub struct Inspection {
    pub(crate) path: PathBuf,
    pub(crate) connection: SqliteConnection,
    pub(crate) names: Names,
    pub(crate) extents: BTreeMap<Place, Extent>,
}

/// What becomes of the rows that a stream was given in one epoch. Every number is in exactly one of these, or
/// [`Account::faults`] says why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Which stream and epoch.
    pub of: StreamEpoch,
    /// Rows that were numbered.
    pub numbered: u64,
    /// Of these, held by the centre.
    pub held: u64,
    /// Waiting as they were kept.
    pub whole: u64,
    /// Rows that wait as part of a summary.
    pub thinned: u64,
    /// Rows that are gone, by reason: those whose entries wait.
    pub lost: BTreeMap<Reason, u64>,
    /// What should not be: a gap, a row twice, a damaged row.
    pub faults: Vec<String>,
}

/// An entry of the loss ledger.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Which stream and epoch.
    pub of: StreamEpoch,
    /// First number of the rows that are gone.
    pub first: u64,
    /// Last one.
    pub last: u64,
    /// Since when.
    pub time: WallTime,
    /// How many, and why.
    pub lost: Lost,
}

/// A message that was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its number.
    pub id: u64,
    /// The module that could not use it.
    pub module: String,
    /// Where it came from.
    pub source: String,
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: Vec<u8>,
    /// Its event time.
    pub time: WallTime,
    /// Why.
    pub reason: String,
}

impl Inspection {
    /// Opens the database for reading.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub async fn open(path: &Path) -> Result<Self, Error> {
        let open = |source| Error::Open {
            path: path.to_owned(),
            source,
        };
        let mut connection = schema::reader(path)
            .create_if_missing(false)
            .connect()
            .await
            .map_err(open)?;
        schema::check(&mut connection).await?;
        let names = Names::read(&mut connection).await?;
        let extents = extents::read(&mut connection, &names).await?;
        Ok(Self {
            path: path.to_owned(),
            connection,
            names,
            extents,
        })
    }

    /// What became of all rows: reads every one that waits.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn verify(&mut self) -> Result<Vec<Account>, Error> {
        let mut accounts = Vec::new();
        let places: Vec<Place> = self.extents.keys().copied().collect();
        for place in places {
            accounts.extend(self.account(place).await?);
        }
        Ok(accounts)
    }

    /// None when nothing is left of the place. Not one long transaction: that would keep the writer from emptying its log.
    async fn account(&mut self, place: Place) -> Result<Option<Account>, Error> {
        let mut account = None;
        for _ in 0..ATTEMPTS_MAX {
            let Some(extent) = self.extents.get(&place).cloned() else {
                return Ok(None);
            };
            let read = account.insert(self.read_account(place, &extent).await?);
            if read.is_complete() {
                break;
            }
            self.names = Names::read(&mut self.connection).await?;
            self.extents = extents::read(&mut self.connection, &self.names).await?;
        }
        Ok(account)
    }

    async fn read_account(&mut self, place: Place, extent: &Extent) -> Result<Account, Error> {
        let mut account = Account {
            of: extent.of.clone(),
            numbered: extent.last,
            held: extent.mark,
            whole: 0,
            thinned: 0,
            lost: BTreeMap::new(),
            faults: Vec::new(),
        };
        let mut next = extent.mark.saturating_add(1);
        if let Some((to, reason)) = extent.skipped(Destination::First, None) {
            account.lost.insert(reason, to - extent.mark);
            next = to.saturating_add(1);
        }
        loop {
            let page = self.page(place, next).await?;
            let Some(last) = page.last().map(|row| row.seq) else {
                break;
            };
            let known = page.iter().take_while(|row| row.seq <= extent.last);
            for row in known {
                account.add(row, next);
                next = row.seq.saturating_add(1);
            }
            if last >= extent.last {
                break;
            }
        }
        if next <= extent.last {
            let last = extent.last;
            account
                .faults
                .push(format!("rows {next} to {last} are missing"));
        }
        Ok(account)
    }

    /// The entries of the loss ledger that are still here, those that the centre holds included.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn ledger(&mut self) -> Result<Vec<Entry>, Error> {
        let mut entries = Vec::new();
        for (place, extent) in self.extents.clone() {
            entries.extend(skipped(&extent));
            let mut next = 0;
            loop {
                let page = self.page(place, next).await?;
                let Some(last) = page.last().map(|row| row.seq) else {
                    break;
                };
                next = last.saturating_add(1);
                entries.extend(page.into_iter().filter_map(|row| entry(&extent.of, row)));
            }
        }
        Ok(entries)
    }

    async fn page(&mut self, place: Place, from: u64) -> Result<Vec<StoredRow>, Error> {
        rows::read(
            &mut self.connection,
            place,
            from,
            &mut Bound::rows(PAGE_ROWS),
        )
        .await
        .map_err(Error::Read)
    }

    /// Messages that were taken and led to nothing.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn tallies(&mut self) -> Result<Vec<Tally>, Error> {
        let tallies = tally::read(&mut self.connection, &self.names).await?;
        Ok(tallies.into_values().collect())
    }

    /// Messages that were set aside, the oldest first, from the one after `after`: at most `count_max`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn dead_letters(
        &mut self,
        after: u64,
        count_max: u32,
    ) -> Result<Vec<DeadLetter>, Error> {
        let rows = sqlx::query(
            "SELECT d.id, n.text, d.source, d.topic, d.payload, d.time, d.reason FROM dead_letter d \
             JOIN name n ON n.id = d.module WHERE d.id > ? ORDER BY d.id LIMIT ?",
        )
        .bind(after.cast_signed())
        .bind(i64::from(count_max))
        .fetch_all(&mut self.connection)
        .await
        .map_err(Error::Read)?;
        rows.iter().map(dead_letter).collect()
    }
}

impl Account {
    fn add(&mut self, row: &StoredRow, next: u64) {
        // An entry may begin with numbers that the centre holds.
        let first = row.first();
        if first > next || row.seq < next {
            self.faults.push(format!(
                "row {} begins at {first}, {next} must follow",
                row.seq
            ));
        }
        let covered = row.seq.saturating_sub(first.max(next)).saturating_add(1);
        match &row.content {
            Content::Values(_) | Content::Document(_) => self.whole += covered,
            Content::Thinned(_) => self.thinned += covered,
            Content::Lost(lost) => *self.lost.entry(lost.reason).or_default() += covered,
        }
    }

    /// Whether every row that was numbered is accounted for.
    pub fn is_complete(&self) -> bool {
        let lost: u64 = self.lost.values().sum();
        self.faults.is_empty() && self.numbered == self.held + self.whole + self.thinned + lost
    }
}

/// What the centre gets in place of rows that were deleted, and that it lacks.
fn skipped(extent: &Extent) -> Option<Entry> {
    let (last, reason) = extent.skipped(Destination::First, None)?;
    let first = extent.mark.saturating_add(1);
    let rows = last.saturating_sub(extent.mark);
    let entry = rows::lost(last, Some(first), Class::Raw, reason, rows);
    self::entry(&extent.of, entry)
}

fn entry(of: &StreamEpoch, row: StoredRow) -> Option<Entry> {
    let (first, last, time) = (row.first(), row.seq, row.time);
    let Content::Lost(lost) = row.content else {
        return None;
    };
    Some(Entry {
        of: of.clone(),
        first,
        last,
        time,
        lost,
    })
}

fn dead_letter(row: &sqlx::sqlite::SqliteRow) -> Result<DeadLetter, Error> {
    let read = |row: &sqlx::sqlite::SqliteRow| -> Result<(i64, DeadLetter), sqlx::Error> {
        let letter = DeadLetter {
            id: 0,
            module: row.try_get(1)?,
            source: row.try_get(2)?,
            topic: row.try_get(3)?,
            payload: row.try_get(4)?,
            time: WallTime(row.try_get::<i64, _>(5)?.cast_unsigned()),
            reason: row.try_get(6)?,
        };
        Ok((row.try_get(0)?, letter))
    };
    let (id, letter) = read(row).map_err(Error::Read)?;
    Ok(DeadLetter {
        id: unsigned("dead letter", id)?,
        ..letter
    })
}
