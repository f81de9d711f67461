//! One transaction: everything that waits, as a whole.
//!
//! Statements have fixed shapes (64 rows or one), so that they are prepared once: a statement costs a round trip to
//! sqlx's worker thread, and row by row would be 50 times slower.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, Connection, Sqlite, SqliteConnection};
use tidegate_record::{
    Applied, Clock, Limits, Mark, Publication, Rejection, Stamp, StateChange, StoredRow,
};

use crate::error::Error;
use crate::open::Ids;
use crate::outbox::Shared;
use crate::sequence::Place;
use crate::writer::Request;

/// Rows of one multi-row statement.
const ROWS_PER_STATEMENT: usize = 64;
/// Seen chunks that are dropped at once, when a module's window has moved past them.
const SEEN_CHUNKS_SLACK: i64 = 256;

/// What one commit holds.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) applied: Vec<Applied>,
    pub(crate) requests: Vec<Request>,
}

impl Group {
    pub(crate) fn messages(&self) -> usize {
        self.applied.iter().map(|applied| applied.acks.len()).sum()
    }
}

/// The connection that writes, and what it needs to know.
#[derive(Debug)]
pub(crate) struct Commits {
    pub(crate) connection: SqliteConnection,
    pub(crate) ids: Ids,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) limits: Arc<Limits>,
    /// Which release has written each module's state, as far as it is on disk.
    pub(crate) writers: HashMap<i64, Arc<str>>,
}

/// A row with its place, ready to be bound.
struct Placed {
    place: Place,
    seq: u64,
    class: u8,
    body: Vec<u8>,
}

static INSERT_ROWS: LazyLock<[Arc<str>; 2]> = LazyLock::new(|| {
    [1, ROWS_PER_STATEMENT].map(|rows| {
        insert(
            "INSERT INTO row (stream, epoch, seq, class, body) VALUES ",
            5,
            rows,
            "",
        )
    })
});
static UPSERT_STATE: LazyLock<[Arc<str>; 2]> = LazyLock::new(|| {
    let conflict = " ON CONFLICT (module, key) DO UPDATE SET value = excluded.value";
    [1, ROWS_PER_STATEMENT].map(|rows| {
        insert(
            "INSERT INTO state (module, key, value) VALUES ",
            3,
            rows,
            conflict,
        )
    })
});

fn insert(head: &str, columns: usize, rows: usize, tail: &str) -> Arc<str> {
    let row = format!("({})", vec!["?"; columns].join(", "));
    format!("{head}{}{tail}", vec![row; rows].join(", ")).into()
}

impl Commits {
    /// Commits `group`, and deletes a step of what the centre holds.
    pub(crate) async fn commit(
        &mut self,
        group: &mut Group,
        trim: Option<(Place, u64)>,
        shared: &Shared,
    ) -> Result<(), Error> {
        self.write(group, trim, shared).await.map_err(Error::Commit)
    }

    pub(crate) async fn close(self) -> Result<(), Error> {
        self.connection.close().await.map_err(Error::Commit)
    }

    async fn write(
        &mut self,
        group: &mut Group,
        trim: Option<(Place, u64)>,
        shared: &Shared,
    ) -> Result<(), sqlx::Error> {
        self.execute(sqlx::query("BEGIN IMMEDIATE")).await?;
        let rows = self.number(group, shared).await?;
        self.insert_rows(&rows).await?;
        self.write_state(group).await?;
        for applied in &mut group.applied {
            let module = self
                .ids
                .intern(&applied.module, &mut self.connection)
                .await?;
            self.remember(module, applied).await?;
            for publication in &applied.publications {
                self.post(publication).await?;
            }
            for rejection in &applied.rejections {
                self.set_aside(module, rejection).await?;
            }
        }
        for request in &group.requests {
            match request {
                Request::Marks(marks, _) => self.mark(marks, shared).await?,
                Request::Delivered(ids, _) => self.delivered(ids).await?,
            }
        }
        if let Some(trim) = trim {
            self.trim(trim, shared).await?;
        }
        self.execute(sqlx::query("COMMIT")).await
    }

    /// Gives each row its identity. The mark of a stream's first row in this epoch is its entry in the list of places.
    async fn number(
        &mut self,
        group: &mut Group,
        shared: &Shared,
    ) -> Result<Vec<Placed>, sqlx::Error> {
        let stamp = Stamp {
            boot: self.clock.boot(),
            boot_time: self.clock.boot_time(),
            wall_time: self.clock.wall_time(),
            clock: self.clock.quality(),
        };
        let mut placed =
            Vec::with_capacity(group.applied.iter().map(|applied| applied.rows.len()).sum());
        for applied in &mut group.applied {
            for (row, trace) in &mut applied.rows {
                let stream = self.ids.intern(&row.stream, &mut self.connection).await?;
                let place = (stream, shared.epoch.ordinal);
                let (seq, first) = shared.sequence().next(stream, &row.stream);
                if first {
                    let query =
                        sqlx::query("INSERT INTO mark (stream, epoch, seq) VALUES (?, ?, 0)");
                    self.execute(query.bind(place.0).bind(place.1.cast_signed()))
                        .await?;
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
                let body =
                    minicbor::to_vec(&stored).map_err(|error| sqlx::Error::Encode(error.into()))?;
                placed.push(Placed {
                    place,
                    seq,
                    class: row.class as u8,
                    body,
                });
            }
        }
        Ok(placed)
    }

    async fn insert_rows(&mut self, rows: &[Placed]) -> Result<(), sqlx::Error> {
        let [one, many] = &*INSERT_ROWS;
        let (chunks, rest) = rows.as_chunks::<ROWS_PER_STATEMENT>();
        for chunk in chunks {
            self.execute(chunk.iter().fold(statement(many), bind_row))
                .await?;
        }
        for row in rest {
            self.execute(bind_row(statement(one), row)).await?;
        }
        Ok(())
    }

    /// The last write of each key in the group: those before it have no reader.
    async fn write_state(&mut self, group: &mut Group) -> Result<(), sqlx::Error> {
        let mut last: BTreeMap<(i64, String), Option<Bytes>> = BTreeMap::new();
        for applied in &mut group.applied {
            let module = self
                .ids
                .intern(&applied.module, &mut self.connection)
                .await?;
            if !applied.state.is_empty() && self.writers.get(&module) != Some(&applied.version) {
                self.name_writer(module, &applied.version).await?;
            }
            for StateChange { key, value } in applied.state.drain(..) {
                last.insert((module, key), value);
            }
        }
        let (written, deleted): (Vec<_>, Vec<_>) =
            last.into_iter().partition(|(_, value)| value.is_some());
        let [one, many] = &*UPSERT_STATE;
        let (chunks, rest) = written.as_chunks::<ROWS_PER_STATEMENT>();
        for chunk in chunks {
            self.execute(chunk.iter().fold(statement(many), bind_state))
                .await?;
        }
        for change in rest {
            self.execute(bind_state(statement(one), change)).await?;
        }
        for ((module, key), _) in deleted {
            let query = sqlx::query("DELETE FROM state WHERE module = ? AND key = ?");
            self.execute(query.bind(module).bind(key)).await?;
        }
        Ok(())
    }

    async fn name_writer(&mut self, module: i64, version: &Arc<str>) -> Result<(), sqlx::Error> {
        self.writers.insert(module, version.clone());
        let query = sqlx::query(
            "INSERT INTO writer (module, version) VALUES (?, ?) ON CONFLICT (module) DO UPDATE SET version = excluded.version",
        );
        self.execute(query.bind(module).bind(version.to_string()))
            .await
    }

    /// Appends the ids of a call, and forgets chunks that are certainly out of the window.
    async fn remember(&mut self, module: i64, applied: &Applied) -> Result<(), sqlx::Error> {
        if applied.seen.is_empty() {
            return Ok(());
        }
        let ids: Vec<u8> = applied
            .seen
            .iter()
            .flat_map(|id| id.0.to_le_bytes())
            .collect();
        let query = sqlx::query("INSERT INTO seen (module, ids) VALUES (?, ?)");
        let chunk = query
            .bind(module)
            .bind(ids)
            .execute(&mut self.connection)
            .await?
            .last_insert_rowid();
        if chunk % SEEN_CHUNKS_SLACK != 0 {
            return Ok(());
        }
        let query = sqlx::query(
            "DELETE FROM seen WHERE module = ?1 AND chunk <= (SELECT chunk FROM \
             (SELECT chunk, sum(length(ids)) OVER (ORDER BY chunk DESC) AS bytes FROM seen WHERE module = ?1) \
             WHERE bytes > ?2 ORDER BY chunk DESC LIMIT 1 OFFSET 1)",
        );
        let bytes_max = i64::try_from(self.limits.seen_ids_max * 8).unwrap_or(i64::MAX);
        self.execute(query.bind(module).bind(bytes_max)).await
    }

    async fn post(&mut self, publication: &Publication) -> Result<(), sqlx::Error> {
        let query = sqlx::query(
            "INSERT INTO publication (broker, topic, payload, content_type, retain) VALUES (?, ?, ?, ?, ?)",
        );
        let query = query
            .bind(publication.broker.as_str().to_owned())
            .bind(publication.topic.as_str().to_owned())
            .bind(publication.payload.to_vec())
            .bind(publication.content_type.as_deref().map(str::to_owned))
            .bind(publication.retain);
        self.execute(query).await
    }

    async fn set_aside(&mut self, module: i64, rejection: &Rejection) -> Result<(), sqlx::Error> {
        let query = sqlx::query(
            "INSERT INTO dead_letter (module, source, topic, payload, time, reason) VALUES (?, ?, ?, ?, ?, ?)",
        );
        let query = query
            .bind(module)
            .bind(rejection.source.to_string())
            .bind(rejection.topic.to_string())
            .bind(rejection.payload.to_vec())
            .bind(rejection.time.0.cast_signed())
            .bind(rejection.reason.clone());
        let id = query
            .execute(&mut self.connection)
            .await?
            .last_insert_rowid();
        let oldest = id - i64::from(self.limits.dead_letters_max);
        self.execute(sqlx::query("DELETE FROM dead_letter WHERE id <= ?").bind(oldest))
            .await
    }

    async fn mark(&mut self, marks: &[Mark], shared: &Shared) -> Result<(), sqlx::Error> {
        let moved = shared.sequence().acknowledge(marks);
        for ((stream, epoch), seq) in moved {
            let query = sqlx::query("UPDATE mark SET seq = ? WHERE stream = ? AND epoch = ?");
            self.execute(
                query
                    .bind(seq.cast_signed())
                    .bind(stream)
                    .bind(epoch.cast_signed()),
            )
            .await?;
        }
        Ok(())
    }

    async fn delivered(&mut self, ids: &[u64]) -> Result<(), sqlx::Error> {
        for ids in ids.chunks(ROWS_PER_STATEMENT) {
            let mut list = String::new();
            for id in ids {
                let comma = if list.is_empty() { "" } else { "," };
                // Writing to a string cannot fail.
                let _written = write!(list, "{comma}{id}");
            }
            let sql = format!("DELETE FROM publication WHERE id IN ({list})");
            self.execute(sqlx::query(AssertSqlSafe(sql)).persistent(false))
                .await?;
        }
        Ok(())
    }

    async fn trim(
        &mut self,
        ((stream, epoch), seq): (Place, u64),
        shared: &Shared,
    ) -> Result<(), sqlx::Error> {
        let query = sqlx::query("DELETE FROM row WHERE stream = ? AND epoch = ? AND seq <= ?");
        self.execute(
            query
                .bind(stream)
                .bind(epoch.cast_signed())
                .bind(seq.cast_signed()),
        )
        .await?;
        let empty = shared.sequence().forget();
        for (stream, epoch) in empty {
            let query = sqlx::query("DELETE FROM mark WHERE stream = ? AND epoch = ?");
            self.execute(query.bind(stream).bind(epoch.cast_signed()))
                .await?;
        }
        Ok(())
    }

    async fn execute(
        &mut self,
        query: Query<'_, Sqlite, SqliteArguments>,
    ) -> Result<(), sqlx::Error> {
        query.execute(&mut self.connection).await.map(drop)
    }
}

type Statement<'q> = Query<'q, Sqlite, SqliteArguments>;

/// The text is one of the statics above: nothing from outside is in it.
fn statement<'q>(text: &Arc<str>) -> Statement<'q> {
    sqlx::query(AssertSqlSafe(text.clone()))
}

fn bind_row<'q>(query: Statement<'q>, row: &Placed) -> Statement<'q> {
    query
        .bind(row.place.0)
        .bind(row.place.1.cast_signed())
        .bind(row.seq.cast_signed())
        .bind(i64::from(row.class))
        .bind(row.body.clone())
}

fn bind_state<'q>(
    query: Statement<'q>,
    ((module, key), value): &((i64, String), Option<Bytes>),
) -> Statement<'q> {
    query
        .bind(*module)
        .bind(key.clone())
        .bind(value.as_deref().map(<[u8]>::to_vec))
}
