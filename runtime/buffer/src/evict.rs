//! One step of making room, within a transaction: what [`prune`](crate::prune) decided.

use std::collections::BTreeMap;

use sqlx::SqliteConnection;
use tidegate_record::{Class, StoredRow};

use crate::outbox::Shared;
use crate::prune::{LEVELS, Step};
use crate::rows::{self, Bound, Placed};
use crate::sequence::{Extent, Place};
use crate::thin::{How, rewrite};

/// Rows that one step looks at: a larger one would hold up the commit that it is part of.
const ROWS_PER_STEP: usize = 500;

/// Does the step. False when there was nothing to gain: it was only looked.
pub(crate) async fn make_room(
    connection: &mut SqliteConnection,
    step: Step,
    shared: &Shared,
) -> Result<bool, sqlx::Error> {
    match step {
        Step::Forget { place, to } => {
            forget(connection, place, to, shared).await?;
            Ok(true)
        }
        Step::Thin {
            place,
            level,
            from,
            to,
        } => {
            let span = LEVELS.get(level).copied().unwrap_or_default();
            let block = Block {
                place,
                class: Class::Raw,
                how: How::Thin(span),
                from,
                to,
            };
            let Gave { next, gained, .. } = block.give_way(connection, shared).await?;
            if let Some(extent) = shared.sequence().extent_mut(place)
                && let Some(cursor) = extent.cursors.thinned.get_mut(level)
            {
                *cursor = next;
            }
            Ok(gained)
        }
        Step::Evict { place, class, from } => {
            let block = Block {
                place,
                class,
                how: How::Evict,
                from,
                to: u64::MAX,
            };
            let Gave { last, gained, .. } = block.give_way(connection, shared).await?;
            if let Some(extent) = shared.sequence().extent_mut(place) {
                let [alarm, summary, raw] = &mut extent.cursors.evicted;
                *match class {
                    Class::Alarm => alarm,
                    Class::Summary => summary,
                    Class::Raw => raw,
                } = last;
            }
            Ok(gained)
        }
    }
}

/// Deletes the oldest rows up to `to`, which a centre holds.
///
/// In two plain statements: one that does both (`DELETE … RETURNING`) is a savepoint to SQLite, and then the pages that it
/// frees are written to the log and into the database once more, which doubles what the deletion writes.
async fn forget(
    connection: &mut SqliteConnection,
    place: Place,
    to: u64,
    shared: &Shared,
) -> Result<(), sqlx::Error> {
    let deleted: Vec<(i64, i64, i64)> = sqlx::query_as(
        "SELECT seq, class, length(body) FROM row WHERE stream = ? AND epoch = ? AND seq <= ? ORDER BY seq LIMIT ?",
    )
    .bind(place.0)
    .bind(place.1.cast_signed())
    .bind(to.cast_signed())
    .bind(i64::try_from(ROWS_PER_STEP).unwrap_or(i64::MAX))
    .fetch_all(&mut *connection)
    .await?;
    let last = deleted.last().map(|(seq, ..)| seq.unsigned_abs());
    if let Some(last) = last {
        delete(connection, place, 0, last).await?;
    }
    {
        let mut sequence = shared.sequence();
        let Some(extent) = sequence.extent_mut(place) else {
            return Ok(());
        };
        for (_, class, bytes) in &deleted {
            extent
                .usage
                .remove(rows::class_of(*class), bytes.unsigned_abs());
        }
        // Without rows there is nothing to delete: a file that was changed behind our back must not stop us.
        extent.trimmed = last.unwrap_or(to);
    }
    write_usage(connection, place, shared).await?;
    let empty = shared.sequence().forget();
    for (stream, epoch) in empty {
        sqlx::query("DELETE FROM mark WHERE stream = ? AND epoch = ?")
            .bind(stream)
            .bind(epoch.cast_signed())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Consecutive rows of which those of a class give way.
struct Block {
    place: Place,
    class: Class,
    how: How,
    from: u64,
    to: u64,
}

/// What came of a block.
struct Gave {
    /// From where the next one reads: rows of spans that are still under way come again.
    next: u64,
    /// Where this one ended.
    last: u64,
    /// Whether anything gave way.
    gained: bool,
}

impl Block {
    /// Rewrites the block.
    async fn give_way(
        &self,
        connection: &mut SqliteConnection,
        shared: &Shared,
    ) -> Result<Gave, sqlx::Error> {
        let mut bound = Bound::rows(ROWS_PER_STEP);
        let mut before = rows::read(connection, self.place, self.from, &mut bound).await?;
        before.retain(|row| row.seq <= self.to);
        let Some(last) = before.last().map(|row| row.seq) else {
            return Ok(Gave {
                next: self.to,
                last: self.to,
                gained: false,
            });
        };
        let after = rewrite(before.clone(), self.class, self.how);
        let gained = after != before;
        if gained {
            self.replace(connection, &before, &after, shared).await?;
            write_usage(connection, self.place, shared).await?;
        }
        let open = open_from(&after).filter(|open| *open > self.from);
        Ok(Gave {
            next: open.unwrap_or(last.saturating_add(1)),
            last,
            gained,
        })
    }

    /// Writes what differs.
    async fn replace(
        &self,
        connection: &mut SqliteConnection,
        before: &[StoredRow],
        after: &[StoredRow],
        shared: &Shared,
    ) -> Result<(), sqlx::Error> {
        let stays: BTreeMap<u64, &StoredRow> = after.iter().map(|row| (row.seq, row)).collect();
        let goes = |row: &StoredRow| stays.get(&row.seq) != Some(&row);
        for run in before.chunk_by(|left, right| goes(left) == goes(right)) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else {
                continue;
            };
            if !goes(first) {
                continue;
            }
            delete(connection, self.place, first.seq, last.seq).await?;
            for row in run {
                let bytes = rows::bytes(row);
                self.account(shared, |extent| extent.usage.remove(row.class, bytes));
            }
        }
        let was: BTreeMap<u64, &StoredRow> = before.iter().map(|row| (row.seq, row)).collect();
        for row in after.iter().filter(|row| was.get(&row.seq) != Some(row)) {
            let placed = Placed::new(self.place, row)?;
            rows::insert_covering(connection, &placed, row.from).await?;
            self.account(shared, |extent| extent.usage.add(row.class, placed.bytes()));
        }
        Ok(())
    }

    fn account(&self, shared: &Shared, change: impl FnOnce(&mut Extent)) {
        if let Some(extent) = shared.sequence().extent_mut(self.place) {
            change(extent);
        }
    }
}

async fn delete(
    connection: &mut SqliteConnection,
    place: Place,
    first: u64,
    last: u64,
) -> Result<(), sqlx::Error> {
    let query =
        sqlx::query("DELETE FROM row WHERE stream = ? AND epoch = ? AND seq BETWEEN ? AND ?");
    let query = query
        .bind(place.0)
        .bind(place.1.cast_signed())
        .bind(first.cast_signed())
        .bind(last.cast_signed());
    query.execute(connection).await.map(drop)
}

/// The first row of the newest span.
fn open_from(rows: &[StoredRow]) -> Option<u64> {
    let newest = rows.last()?.time;
    let open = rows.iter().rev().take_while(|row| row.time == newest);
    open.last().map(|row| row.seq)
}

/// Puts on disk how much a place takes, so that it need not be counted at the next start, and where its rows begin.
pub(crate) async fn write_usage(
    connection: &mut SqliteConnection,
    place: Place,
    shared: &Shared,
) -> Result<(), sqlx::Error> {
    let Some((usage, last, trimmed)) = shared.sequence().extent_mut(place).map(|extent| {
        extent.usage.unwritten_rows = 0;
        (extent.usage, extent.last, extent.trimmed)
    }) else {
        return Ok(());
    };
    let query = sqlx::query(
        "UPDATE mark SET counted = ?, alarm = ?, summary = ?, raw = ?, trimmed = ? WHERE stream = ? AND epoch = ?",
    );
    let query = query
        .bind(last.cast_signed())
        .bind(usage.of(Class::Alarm).cast_signed())
        .bind(usage.of(Class::Summary).cast_signed())
        .bind(usage.of(Class::Raw).cast_signed())
        .bind(trimmed.cast_signed())
        .bind(place.0)
        .bind(place.1.cast_signed());
    query.execute(connection).await.map(drop)
}
