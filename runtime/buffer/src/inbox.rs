//! Messages that wait on disk for modules that have fallen behind, in order of `(module, id)`.
//!
//! They come in with one commit, which acknowledges them, and leave with the commit of what the module made of them: a
//! kill between the two neither loses nor doubles one. All inboxes together may take a part of the room for rows; beyond
//! it nothing is spilled, and the broker waits. Numbers of a module begin anew only when the database is opened.
//!
//! A body is the record's CBOR with a checksum behind it, of where it stands as well.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use minicbor::{Decode, Encode};
use sqlx::{Row, SqliteConnection};
use tidegate_record::inbox::{Decoder, disk_bytes, encode, stored_bytes_max};
use tidegate_record::{Backlog, BootId, Inbox, Name, Record, Waiting};

use crate::commit::{Commits, Group};
use crate::error::{Error, unsigned};
use crate::names::Names;
use crate::outbox::{BufferHandle, Shared};
use crate::replay::Letters;
use crate::rows::{ROWS_PER_STATEMENT, Statement, insert_statement, statement};
use crate::writer::Request;

/// Part of the room for rows that all inboxes together may take.
const SHARE_PERCENT: u64 = 25;

const CHECKSUM_BYTES: usize = 4;

static INSERT: LazyLock<[Arc<str>; 2]> = LazyLock::new(|| {
    let head = "INSERT INTO inbox (module, id, body) VALUES ";
    [1, ROWS_PER_STATEMENT].map(|rows| insert_statement(head, 3, rows, ""))
});

/// Messages that wait for a module: the last ones up to a number.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Waited {
    #[n(0)]
    pub(crate) module: Name,
    #[n(1)]
    pub(crate) messages: u64,
    #[n(2)]
    pub(crate) last: u64,
}

/// Messages that waited and are not there: `found` is what the database holds, whose end is gone, or all of it, if that is
/// known or its numbers say so.
pub(crate) fn lost(waited: &[Waited], found: &[Waited], end_is_gone: bool) -> Vec<(Name, u64)> {
    let last = |module: &Name| {
        let found = found.iter().find(|found| found.module == *module);
        found.map(|found| found.last)
    };
    let ends_earlier =
        |waited: &Waited| last(&waited.module).is_some_and(|last| last < waited.last);
    if !end_is_gone && !waited.iter().any(ends_earlier) {
        return Vec::new();
    }
    let lost = waited.iter().map(|waited| {
        let after = last(&waited.module).unwrap_or(0);
        let lost = waited.last.saturating_sub(after).min(waited.messages);
        (waited.module.clone(), lost)
    });
    lost.filter(|(_, lost)| *lost > 0).collect()
}

/// How far each module's inbox is filled.
#[derive(Debug)]
pub(crate) struct Inboxes {
    bytes_max: u64,
    modules: BTreeMap<Name, Extent>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Extent {
    added: u64,
    coming: u64,
    coming_bytes: u64,
    messages: u64,
    bytes: u64,
    /// The last number that was given out.
    last: u64,
}

impl Inboxes {
    /// Those on disk, where rows have `room` bytes.
    pub(crate) async fn read(
        connection: &mut SqliteConnection,
        names: &Names,
        room: u64,
    ) -> Result<Self, Error> {
        let rows = sqlx::query(
            "SELECT module, length(body), count(*), max(id) FROM inbox GROUP BY module, length(body)",
        )
        .fetch_all(connection)
        .await
        .map_err(Error::Read)?;
        let mut modules: BTreeMap<Name, Extent> = BTreeMap::new();
        for row in rows {
            let column = |index: usize| row.try_get::<i64, _>(index).map_err(Error::Read);
            let number = column(0)?;
            let module = names.name(number).ok_or(Error::Impossible {
                what: "an inbox of a module with number",
                value: number,
            })?;
            let extent = modules.entry(module.clone()).or_default();
            let messages = unsigned("a count", column(2)?)?;
            extent.messages += messages;
            extent.added += messages;
            extent.bytes += messages * bytes_of(column(1)?);
            let last = unsigned("a message's number", column(3)?)?;
            extent.last = extent.last.max(last);
        }
        Ok(Self {
            bytes_max: room / 100 * SHARE_PERCENT,
            modules,
        })
    }

    /// Those in which messages wait.
    pub(crate) fn waiting(&self) -> Vec<Waited> {
        let modules = self.modules.iter();
        let waiting = modules.filter(|(_, extent)| extent.messages > 0);
        waiting
            .map(|(module, extent)| Waited {
                module: module.clone(),
                messages: extent.messages,
                last: extent.last,
            })
            .collect()
    }

    fn backlog(&self, module: &Name) -> Backlog {
        let extent = self.modules.get(module).copied().unwrap_or_default();
        let taken: u64 = self
            .modules
            .values()
            .map(|extent| extent.bytes + extent.coming_bytes)
            .sum();
        Backlog {
            added: extent.added,
            coming: extent.coming,
            messages: extent.messages,
            bytes: extent.bytes,
            room: self.bytes_max.saturating_sub(taken),
        }
    }

    fn reserve(&mut self, module: &Name, records: u64, bytes: u64) -> bool {
        if self.backlog(module).room < bytes {
            return false;
        }
        let extent = self.modules.entry(module.clone()).or_default();
        extent.coming += records;
        extent.coming_bytes += bytes;
        true
    }

    fn settle(&mut self, module: &Name, change: &Change) {
        let extent = self.modules.entry(module.clone()).or_default();
        extent.coming = extent.coming.saturating_sub(change.came);
        extent.coming_bytes = extent.coming_bytes.saturating_sub(change.came_bytes);
        extent.added += change.added;
        extent.messages = (extent.messages + change.added).saturating_sub(change.removed);
        extent.bytes = (extent.bytes + change.added_bytes).saturating_sub(change.removed_bytes);
        extent.last += change.added;
    }
}

/// What one commit changes.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    modules: BTreeMap<Name, Change>,
    /// Letters that were moved, for each request of the commit.
    pub(crate) replayed: Letters,
}

#[derive(Debug, Default)]
struct Change {
    /// What room was set aside for.
    came: u64,
    came_bytes: u64,
    added: u64,
    added_bytes: u64,
    removed: u64,
    removed_bytes: u64,
}

impl Commits {
    /// Takes out what modules have taken, and puts in what they could not take yet.
    pub(crate) async fn write_inboxes(
        &mut self,
        group: &mut Group,
        shared: &Shared,
    ) -> Result<(), sqlx::Error> {
        let mut changes = Changes::default();
        self.consume(group, &mut changes).await?;
        for applied in &group.applied {
            let records = &applied.spilled;
            if records.is_empty() {
                continue;
            }
            self.put(&applied.module, records, &mut changes, shared)
                .await?;
            let change = changes.modules.entry(applied.module.clone()).or_default();
            change.came += count(records.len());
            change.came_bytes += records
                .iter()
                .map(|record| count(stored_bytes_max(record)))
                .sum::<u64>();
        }
        for request in &group.requests {
            if let Request::Replay(letters, _) = request {
                let moved = self.replay(letters, &mut changes, shared).await?;
                changes.replayed.push_back(moved);
            }
        }
        group.inboxes = changes;
        Ok(())
    }

    async fn consume(&mut self, group: &Group, changes: &mut Changes) -> Result<(), sqlx::Error> {
        let mut taken: BTreeMap<&Name, u64> = BTreeMap::new();
        for applied in &group.applied {
            if let Some(to) = applied.consumed_to {
                let last = taken.entry(&applied.module).or_default();
                *last = to.max(*last);
            }
        }
        for (name, to) in taken {
            let module = self.names.intern(name, &mut self.connection).await?;
            let lengths: Vec<i64> =
                sqlx::query_scalar("SELECT length(body) FROM inbox WHERE module = ? AND id <= ?")
                    .bind(module)
                    .bind(to.cast_signed())
                    .fetch_all(&mut self.connection)
                    .await?;
            let query = sqlx::query("DELETE FROM inbox WHERE module = ? AND id <= ?");
            self.execute(query.bind(module).bind(to.cast_signed()))
                .await?;
            let change = changes.modules.entry(name.clone()).or_default();
            change.removed = count(lengths.len());
            change.removed_bytes = lengths.into_iter().map(bytes_of).sum();
        }
        Ok(())
    }

    /// Adds records at the end of a module's inbox.
    pub(crate) async fn put(
        &mut self,
        name: &Name,
        records: &[Record],
        changes: &mut Changes,
        shared: &Shared,
    ) -> Result<(), sqlx::Error> {
        let module = self.names.intern(name, &mut self.connection).await?;
        let change = changes.modules.entry(name.clone()).or_default();
        let last = shared
            .inboxes
            .borrow()
            .modules
            .get(name)
            .map_or(0, |extent| extent.last);
        let boot = self.clock.boot();
        let mut bodies = Vec::with_capacity(records.len());
        for record in records {
            change.added += 1;
            let id = last + change.added;
            let body = body(module, id, record, boot)?;
            let bytes = count(disk_bytes(body.len()));
            change.added_bytes += bytes;
            self.space.wrote(bytes);
            bodies.push((module, id, body));
        }
        let [one, many] = &*INSERT;
        let (chunks, rest) = bodies.as_chunks::<ROWS_PER_STATEMENT>();
        for chunk in chunks {
            self.execute(chunk.iter().fold(statement(many), bind))
                .await?;
        }
        for row in rest {
            self.execute(bind(statement(one), row)).await?;
        }
        Ok(())
    }
}

fn bind<'q>(query: Statement<'q>, (module, id, body): &(i64, u64, Vec<u8>)) -> Statement<'q> {
    query
        .bind(*module)
        .bind(id.cast_signed())
        .bind(body.clone())
}

impl Shared {
    /// It is on disk: modules may read it.
    pub(crate) fn report_inboxes(&self, changes: &Changes) {
        if changes.modules.is_empty() {
            return;
        }
        self.inboxes.send_modify(|inboxes| {
            for (module, change) in &changes.modules {
                inboxes.settle(module, change);
            }
        });
    }
}

impl BufferHandle {
    /// The messages that wait on disk for `module`.
    pub fn inbox(&self, module: &Name) -> ModuleInbox {
        ModuleInbox {
            handle: self.clone(),
            module: module.clone(),
        }
    }

    /// What waits on disk, of all modules of which there is something.
    pub fn inboxes(&self) -> Vec<(Name, Backlog)> {
        let inboxes = self.shared.inboxes.borrow();
        let filled = inboxes
            .modules
            .iter()
            .filter(|(_, extent)| extent.messages + extent.coming > 0);
        filled
            .map(|(module, _)| (module.clone(), inboxes.backlog(module)))
            .collect()
    }

    /// Bytes that all inboxes together may take.
    pub fn inbox_bytes_max(&self) -> u64 {
        self.shared.inboxes.borrow().bytes_max
    }
}

/// The messages that wait on disk for one module.
#[derive(Debug)]
pub struct ModuleInbox {
    handle: BufferHandle,
    module: Name,
}

impl ModuleInbox {
    async fn read(
        &self,
        after: u64,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Waiting>, sqlx::Error> {
        let mut reader = self.handle.shared.reader.lock().await;
        let sizes: Vec<(i64, i64, i64)> = sqlx::query_as(
            "SELECT module, id, length(body) FROM inbox \
             WHERE module = (SELECT id FROM name WHERE text = ?) AND id > ? ORDER BY id LIMIT ?",
        )
        .bind(self.module.as_str())
        .bind(after.cast_signed())
        .bind(i64::try_from(records_max).unwrap_or(i64::MAX))
        .fetch_all(&mut *reader)
        .await?;
        let mut bytes = 0;
        let fitting = sizes.iter().take_while(|(_, _, length)| {
            bytes += usize::try_from(*length).unwrap_or(usize::MAX);
            bytes <= bytes_max
        });
        let fitting = fitting.count().max(1);
        let Some((module, last, _)) = sizes.iter().take(fitting).next_back() else {
            return Ok(Vec::new());
        };
        let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(
            "SELECT id, body FROM inbox WHERE module = ? AND id > ? AND id <= ? ORDER BY id",
        )
        .bind(module)
        .bind(after.cast_signed())
        .bind(last)
        .fetch_all(&mut *reader)
        .await?;
        let mut decoder = Decoder::new(&*self.handle.shared.clock);
        let waiting = rows.iter().map(|(id, body)| Waiting {
            id: id.unsigned_abs(),
            bytes: count(body.len()),
            record: whole(*module, *id, body).and_then(|cbor| decoder.decode(cbor)),
        });
        Ok(waiting.collect())
    }
}

impl Inbox for ModuleInbox {
    type Error = Error;

    fn backlog(&self) -> Backlog {
        self.handle.shared.inboxes.borrow().backlog(&self.module)
    }

    async fn until(&self, holds: impl Fn(&Backlog) -> bool + Send) {
        let mut inboxes = self.handle.shared.inboxes.subscribe();
        let module = &self.module;
        let reached = inboxes.wait_for(move |inboxes| holds(&inboxes.backlog(module)));
        // The sender lives as long as the handle, so that an error cannot come.
        if reached.await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    fn reserve(&self, records: u64, bytes: u64) -> bool {
        let mut reserved = false;
        self.handle.shared.inboxes.send_if_modified(|inboxes| {
            reserved = inboxes.reserve(&self.module, records, bytes);
            reserved
        });
        reserved
    }

    async fn next(
        &self,
        after: u64,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Waiting>, Error> {
        let read = self.read(after, records_max, bytes_max).await;
        let read = read.map_err(|error| self.handle.failed(Error::Read(error)))?;
        match read.is_empty() {
            // It is asked for what is known to be there.
            true => Err(self.handle.failed(Error::Impossible {
                what: "no message in an inbox after number",
                value: after.cast_signed(),
            })),
            false => Ok(read),
        }
    }
}

/// The body of a record.
fn body(module: i64, id: u64, record: &Record, boot: BootId) -> Result<Vec<u8>, sqlx::Error> {
    let mut body = encode(record, boot).map_err(|error| sqlx::Error::Encode(error.into()))?;
    let sum = checksum(module, id.cast_signed(), &body);
    body.extend(sum);
    Ok(body)
}

/// The CBOR in this body, if it is what was written.
fn whole(module: i64, id: i64, body: &[u8]) -> Option<&[u8]> {
    let (cbor, sum) = body.split_last_chunk::<CHECKSUM_BYTES>()?;
    (*sum == checksum(module, id, cbor)).then_some(cbor)
}

fn checksum(module: i64, id: i64, cbor: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&module.to_le_bytes());
    hasher.update(&id.to_le_bytes());
    hasher.update(cbor);
    hasher.finalize().to_le_bytes()
}

/// Bytes on disk of a body of this length.
fn bytes_of(length: i64) -> u64 {
    count(disk_bytes(usize::try_from(length).unwrap_or(0)))
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_comes_back_and_no_flipped_bit_does() {
        let cbor = [1, 2, 3];
        let mut body = cbor.to_vec();
        body.extend(checksum(3, 7, &cbor));
        assert_eq!(whole(3, 7, &body), Some(&cbor[..]));
        assert_eq!(whole(3, 8, &body), None);
        assert_eq!(whole(4, 7, &body), None);
        for bit in 0..body.len() * 8 {
            let mut flipped = body.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(whole(3, 7, &flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn room_is_set_aside_within_the_share_and_free_again_when_messages_leave() {
        let (one, two) = (Name::new("one").unwrap(), Name::new("two").unwrap());
        let mut inboxes = Inboxes {
            bytes_max: 100,
            modules: BTreeMap::new(),
        };
        assert!(inboxes.reserve(&one, 2, 60));
        assert!(!inboxes.reserve(&two, 1, 41));
        let came = Change {
            came: 2,
            came_bytes: 60,
            added: 2,
            added_bytes: 50,
            ..Change::default()
        };
        inboxes.settle(&one, &came);
        let backlog = inboxes.backlog(&one);
        assert_eq!((backlog.added, backlog.coming, backlog.room), (2, 0, 50));
        let taken = Change {
            removed: 2,
            removed_bytes: 50,
            ..Change::default()
        };
        inboxes.settle(&one, &taken);
        let backlog = inboxes.backlog(&one);
        assert_eq!((backlog.added, backlog.messages, backlog.room), (2, 0, 100));
    }
}
