//! One transaction: everything that waits, as a whole.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use sqlx::{Connection, SqliteConnection};
use tidegate_record::{
    Applied, BootId, Clock, Epoch, Limits, Mark, Name, Stamp, StoredRow, WallTime,
};

use crate::error::Error;
use crate::evict::{make_room, write_usage};
use crate::export;
use crate::inbox::Changes;
use crate::names::Names;
use crate::outbox::Shared;
use crate::policy::Policy;
use crate::prune::{Pressure, Rules, Step, step};
use crate::restamp;
use crate::rows::{self, Placed, Statement};
use crate::sequence::{Destination, Place, Sequence};
use crate::space::Space;
use crate::tally::{self, Tallies};
use crate::writer::Request;

/// Rows of a stream that are counted again at the next start, at most.
const UNWRITTEN_ROWS_MAX: u64 = 4096;
/// Steps of a commit when there is no room left.
const FULL_STEPS: usize = 4;
/// Rows beyond those that are sent that count as sent after a restart.
const SENT_ROWS_SPARE: u64 = 1000;
/// The same for a backlog, in requests like the one that is sent.
const SENT_REQUESTS_SPARE: usize = 4;
/// Pause between steps that nobody waits for: a message that comes meanwhile would wait for one.
const FILLING_REST: Duration = Duration::from_millis(200);
/// Steps of a commit that may gain nothing: there are rows that would not take less room as summaries.
const LOOKS_MAX: usize = 20;
/// New rows for which one step of making room is made: a step makes more room than they take.
const ROWS_PER_STEP: usize = 200;

/// What one commit holds.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) applied: Vec<Applied>,
    pub(crate) requests: Vec<Request>,
    /// Of what was applied.
    pub(crate) tallies: Tallies,
    /// What it changes in the modules' inboxes.
    pub(crate) inboxes: Changes,
    /// Whether a mark went back.
    pub(crate) went_back: bool,
    /// The epoch that it begins.
    pub(crate) epoch: Option<Epoch>,
    /// When this boot began, if that is written down with it.
    pub(crate) booted: Option<(BootId, WallTime)>,
}

impl Group {
    pub(crate) const fn is_empty(&self) -> bool {
        self.applied.is_empty() && self.requests.is_empty()
    }

    pub(crate) fn messages(&self) -> usize {
        self.applied.iter().map(|applied| applied.acks.len()).sum()
    }
}

/// The connection that writes, and what it needs to know.
#[derive(Debug)]
pub(crate) struct Commits {
    pub(crate) connection: SqliteConnection,
    pub(crate) names: Names,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) space: Space,
    /// What happens near the quota to streams that do not degrade.
    pub(crate) policies: HashMap<Name, Policy>,
    /// Rows that were added since the last step of making room that was made for them.
    pub(crate) rows_since_step: usize,
    /// Which release has written each module's state, as far as it is on disk.
    pub(crate) writers: HashMap<i64, Arc<str>>,
    /// The same of the generations that stand by.
    pub(crate) standby_writers: HashMap<i64, Arc<str>>,
}

impl Commits {
    /// Commits `group`, and makes room where it is scarce. After an error nothing of it is on disk; where it was that there
    /// is no room, everything in memory is as before, and it can be tried again.
    pub(crate) async fn commit(&mut self, group: &mut Group, shared: &Shared) -> Result<(), Error> {
        group.tallies = tally::of(&group.applied, self.clock.wall_time());
        (group.went_back, group.epoch, group.booted) = (false, None, None);
        let written = self.write(group, shared).await.map_err(Error::Commit);
        match written {
            Err(error) if error.is_full() => {
                self.roll_back(shared).await?;
                return Err(error);
            }
            other => other?,
        }
        {
            let mut sequence = shared.sequence();
            sequence.end_rewrites();
            if let Some(epoch) = group.epoch {
                sequence.begin(epoch);
            }
            if let Some(booted) = group.booted {
                sequence.clock_is_set(booted);
            }
        }
        if self.space.is_stale() || self.space.pressure() > Pressure::None {
            self.space
                .measure(&mut self.connection)
                .await
                .map_err(Error::Read)?;
        }
        Ok(())
    }

    /// Empties the write-ahead log into the database. False while another program holds a reader open.
    pub(crate) async fn reset_log(&mut self) -> Result<bool, Error> {
        let (busy, _, _): (i64, i64, i64) = sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)")
            .fetch_one(&mut self.connection)
            .await
            .map_err(Error::Commit)?;
        Ok(busy == 0)
    }

    /// Makes room for a commit that found none. False when nothing can give way.
    pub(crate) async fn make_room(&mut self, shared: &Shared) -> Result<bool, Error> {
        self.space.found_full();
        if self.next_step(&shared.sequence()).is_none() {
            return Ok(false);
        }
        self.commit(&mut Group::default(), shared).await?;
        Ok(true)
    }

    /// Whether there is something to do without anyone asking for it.
    pub(crate) fn is_filling(&self, shared: &Shared) -> bool {
        self.next_step(&shared.sequence()).is_some()
    }

    /// How long to wait before a step that nobody waits for.
    pub(crate) fn rest(&self) -> Duration {
        match self.space.pressure() {
            Pressure::Full => Duration::ZERO,
            Pressure::Filling | Pressure::None => FILLING_REST,
        }
    }

    /// What memory says is what the disk says again.
    async fn roll_back(&mut self, shared: &Shared) -> Result<(), Error> {
        // SQLite has rolled back by itself after some errors.
        let _rolled_back = sqlx::query("ROLLBACK").execute(&mut self.connection).await;
        self.writers.clear();
        self.standby_writers.clear();
        self.names = Names::read(&mut self.connection).await?;
        let extents = crate::extents::read(&mut self.connection, &self.names).await?;
        let mut sequence = shared.sequence();
        sequence.reload(extents);
        sequence.end_rewrites();
        Ok(())
    }

    pub(crate) async fn close(mut self, shared: &Shared) -> Result<(), Error> {
        let places: Vec<Place> = shared.sequence().extents().keys().copied().collect();
        let connection = &mut self.connection;
        sqlx::query("BEGIN IMMEDIATE")
            .execute(&mut *connection)
            .await
            .map_err(Error::Commit)?;
        for place in places {
            write_usage(connection, place, shared)
                .await
                .map_err(Error::Commit)?;
        }
        sqlx::query("COMMIT")
            .execute(connection)
            .await
            .map_err(Error::Commit)?;
        self.reset_log().await?;
        self.connection.close().await.map_err(Error::Commit)
    }

    async fn write(&mut self, group: &mut Group, shared: &Shared) -> Result<(), sqlx::Error> {
        self.execute(sqlx::query("BEGIN IMMEDIATE")).await?;
        self.note_clock(group, shared).await?;
        let rows = self.number(group, shared).await?;
        rows::insert(&mut self.connection, &rows).await?;
        self.write_effects(group).await?;
        self.write_inboxes(group, shared).await?;
        tally::write(&mut self.connection, &mut self.names, &group.tallies).await?;
        for request in &group.requests {
            match request {
                Request::Marks(by, marks, _) => {
                    group.went_back |= self.mark(*by, marks, shared).await?;
                }
                Request::Delivered(ids, _) => self.delivered(ids).await?,
                Request::Sending(places, _) => self.reserve(places, shared).await?,
                Request::Export(_) => export::note(&mut self.connection, shared).await?,
                Request::Exported(written, _) => {
                    export::settle(&mut self.connection, written, shared).await?;
                }
                Request::Flush(_) | Request::Damaged(_) | Request::Replay(..) => {}
                Request::Epoch(_) => {
                    // Numbered in from the next commit on: this one may be rolled back.
                    group.epoch =
                        Some(crate::open::begin(&mut self.connection, &*self.clock, 0).await?);
                }
            }
        }
        let (mut left, mut looks) = (self.steps(group, rows.len()), LOOKS_MAX);
        while left > 0
            && looks > 0
            && let Some(step) = self.decide(shared)
        {
            match make_room(&mut self.connection, step, shared).await? {
                true => left -= 1,
                false => looks -= 1,
            }
        }
        self.execute(sqlx::query("COMMIT")).await
    }

    /// Writes down when this boot began, once the clock is set.
    async fn note_clock(&mut self, group: &mut Group, shared: &Shared) -> Result<(), sqlx::Error> {
        if shared.sequence().boots().contains_key(&self.clock.boot()) {
            return Ok(());
        }
        let Some(booted) = restamp::booted(&*self.clock) else {
            return Ok(());
        };
        let places = {
            let mut sequence = shared.sequence();
            sequence.set_clock();
            let extents = sequence.extents().iter();
            extents
                .map(|(place, extent)| (*place, extent.plain))
                .collect::<Vec<_>>()
        };
        restamp::write(&mut self.connection, booted, &places).await?;
        group.booted = Some(booted);
        Ok(())
    }

    /// Steps of making room in this commit. While there is some room, they keep pace with the rows that come, so that a
    /// small commit is not held up by one.
    fn steps(&mut self, group: &Group, rows: usize) -> usize {
        self.rows_since_step += rows;
        let due = self.rows_since_step / ROWS_PER_STEP;
        self.rows_since_step %= ROWS_PER_STEP;
        match self.space.pressure() {
            Pressure::Full => due.max(FULL_STEPS),
            Pressure::Filling | Pressure::None if group.is_empty() => 1,
            Pressure::Filling | Pressure::None => due,
        }
    }

    /// The next step, decided together with the note that it is under way.
    fn decide(&self, shared: &Shared) -> Option<Step> {
        let mut sequence = shared.sequence();
        let step = self.next_step(&sequence)?;
        sequence.begin_rewrite(step.place());
        Some(step)
    }

    fn next_step(&self, sequence: &Sequence) -> Option<Step> {
        step(
            sequence.extents(),
            self.space.pressure(),
            &Rules {
                room: self.space.row_bytes_max(),
                second: sequence.second(),
                policies: &self.policies,
            },
        )
    }

    /// Gives each row its identity. The mark of a stream's first row in this epoch is its entry in the list of places.
    async fn number(&mut self, group: &Group, shared: &Shared) -> Result<Vec<Placed>, sqlx::Error> {
        let epoch = shared.sequence().epoch().ordinal;
        let stamp = Stamp {
            boot: self.clock.boot(),
            boot_time: self.clock.boot_time(),
            wall_time: self.clock.wall_time(),
            clock: self.clock.quality(),
        };
        let count = group.applied.iter().map(|applied| applied.rows.len()).sum();
        let mut placed: Vec<Placed> = Vec::with_capacity(count);
        for applied in &group.applied {
            for (row, trace) in &applied.rows {
                let stream = self.names.intern(&row.stream, &mut self.connection).await?;
                let place = (stream, epoch);
                let (seq, first) = shared.sequence().next(stream, &row.stream);
                if first {
                    self.insert_mark(place).await?;
                }
                let stored = StoredRow {
                    seq,
                    class: row.class,
                    module: applied.module.clone(),
                    generation: applied.generation,
                    key: row.key.to_string(),
                    time: row.time,
                    duration_ns: row.duration_ns,
                    content: row.content.clone(),
                    stamp,
                    trace: *trace,
                    from: None,
                };
                placed.push(Placed::new(place, &stored)?);
            }
        }
        self.account(&placed, shared).await?;
        Ok(placed)
    }

    async fn insert_mark(&mut self, (stream, epoch): Place) -> Result<(), sqlx::Error> {
        let query = sqlx::query("INSERT INTO mark (stream, epoch, seq) VALUES (?, ?, 0)");
        self.execute(query.bind(stream).bind(epoch.cast_signed()))
            .await
    }

    /// Counts what the new rows take.
    async fn account(&mut self, placed: &[Placed], shared: &Shared) -> Result<(), sqlx::Error> {
        let mut long_unwritten = BTreeSet::new();
        {
            let mut sequence = shared.sequence();
            for row in placed {
                self.space.wrote(row.bytes());
                if let Some(extent) = sequence.extent_mut(row.place) {
                    extent.usage.add(row.class, row.bytes());
                    if extent.usage.unwritten_rows > UNWRITTEN_ROWS_MAX {
                        long_unwritten.insert(row.place);
                    }
                }
            }
        }
        for place in long_unwritten {
            write_usage(&mut self.connection, place, shared).await?;
        }
        Ok(())
    }

    /// Notes how far rows may be sent, with some to spare, so that it need not be done for each request.
    async fn reserve(
        &mut self,
        places: &[(Place, usize)],
        shared: &Shared,
    ) -> Result<(), sqlx::Error> {
        for ((stream, epoch), rows) in places {
            let ahead = u64::try_from(rows * SENT_REQUESTS_SPARE).unwrap_or(u64::MAX);
            let reserved = {
                let mut sequence = shared.sequence();
                let Some(extent) = sequence.extent_mut((*stream, *epoch)) else {
                    continue;
                };
                extent.reserved = extent.sent.saturating_add(ahead.max(SENT_ROWS_SPARE));
                extent.reserved
            };
            let query = sqlx::query("UPDATE mark SET sent = ? WHERE stream = ? AND epoch = ?");
            let query = query.bind(reserved.cast_signed());
            self.execute(query.bind(stream).bind(epoch.cast_signed()))
                .await?;
        }
        Ok(())
    }

    /// Moves marks; true when one went back.
    async fn mark(
        &mut self,
        by: Destination,
        marks: &[Mark],
        shared: &Shared,
    ) -> Result<bool, sqlx::Error> {
        let moved = shared.sequence().acknowledge(by, marks);
        let went_back = moved.iter().any(|moved| moved.mark < moved.before);
        for moved in moved {
            let (stream, epoch) = moved.place;
            let query = sqlx::query(match by {
                Destination::First => "UPDATE mark SET seq = ? WHERE stream = ? AND epoch = ?",
                Destination::Second => "UPDATE mark SET second = ? WHERE stream = ? AND epoch = ?",
            });
            let query = query.bind(moved.mark.cast_signed());
            self.execute(query.bind(stream).bind(epoch.cast_signed()))
                .await?;
        }
        Ok(went_back)
    }

    pub(crate) async fn execute(&mut self, query: Statement<'_>) -> Result<(), sqlx::Error> {
        query.execute(&mut self.connection).await.map(drop)
    }
}
