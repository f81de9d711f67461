//! A request into the tables, in one transaction.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use sqlx::sqlite::SqlitePool;
use sqlx::{Sqlite, SqliteConnection, Transaction};
use tidegate_wire::{
    Class, Mark, Name, Reason, StoredRow, StreamEpoch, StreamRows, SyncRequest, WallTime,
};

use super::super::audit::Event;
use super::super::devices::Heard;
use super::super::verdict::{Verdict, verdict};
use super::super::{Committed, Error, Gap, GatewayId, lost};
use super::columns::{
    Statement, bind_row, class_to_column, held_row, reason_to_column, signed, unsigned,
};
use super::{audit, devices};
use crate::Checked;
use crate::checked::COUNT_MAX;
use crate::lag::settled;

const READ_MARK: &str = "SELECT mark FROM marks \
    WHERE tenant = ?1 AND gateway = ?2 AND stream = ?3 AND epoch_ordinal = ?4 AND epoch_random = ?5";

const MOVE_MARK: &str = "INSERT INTO marks (tenant, gateway, stream, epoch_ordinal, epoch_random, mark, rows) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (tenant, gateway, stream, epoch_ordinal, epoch_random) \
    DO UPDATE SET mark = excluded.mark, rows = marks.rows + excluded.rows";

const READ_LOSS: &str = "SELECT entries, rows, bytes FROM losses \
    WHERE tenant = ?1 AND gateway = ?2 AND stream = ?3 AND reason = ?4";

const PUT_LOSS: &str = "INSERT OR REPLACE INTO losses (tenant, gateway, stream, reason, entries, rows, bytes, received) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";

const READ_KNOWN: &str = "SELECT * FROM rows \
    WHERE tenant = ?1 AND gateway = ?2 AND stream = ?3 AND epoch_ordinal = ?4 AND epoch_random = ?5 \
    AND seq BETWEEN ?6 AND ?7 ORDER BY seq";

const MOVE_NEWEST: &str = "INSERT INTO newest \
    (tenant, gateway, stream, epoch_ordinal, epoch_random, key, class, seq, received) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) \
    ON CONFLICT (tenant, gateway, stream, key, class) DO UPDATE SET epoch_ordinal = excluded.epoch_ordinal, \
    epoch_random = excluded.epoch_random, seq = excluded.seq, received = excluded.received \
    WHERE (excluded.epoch_ordinal, excluded.epoch_random, excluded.seq) \
    > (newest.epoch_ordinal, newest.epoch_random, newest.seq)";

const PUT_GATEWAY: &str = "INSERT INTO gateways (tenant, gateway, epoch_ordinal, epoch_random, first_seen, last_seen, \
    sent, newest_committed, newest_received, conflicts, status) VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6, ?7, ?8, 0, ?9) \
    ON CONFLICT (tenant, gateway) DO UPDATE SET epoch_ordinal = excluded.epoch_ordinal, \
    epoch_random = excluded.epoch_random, last_seen = excluded.last_seen, sent = excluded.sent, \
    newest_committed = coalesce(excluded.newest_committed, gateways.newest_committed), \
    newest_received = coalesce(excluded.newest_received, gateways.newest_received), status = excluded.status";

/// A file says nothing of the present: what is known of the gateway stays, but for a newer row.
const PUT_GATEWAY_OF_FILE: &str = "INSERT INTO gateways (tenant, gateway, epoch_ordinal, epoch_random, first_seen, \
    last_seen, sent, newest_committed, newest_received, conflicts, status) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6, ?7, ?8, 0, ?9) ON CONFLICT (tenant, gateway) DO UPDATE SET \
    newest_committed = excluded.newest_committed, newest_received = excluded.newest_received \
    WHERE excluded.newest_committed > coalesce(gateways.newest_committed, -1)";

const COUNT_CONFLICT: &str =
    "UPDATE gateways SET conflicts = conflicts + 1 WHERE tenant = ?1 AND gateway = ?2";

/// What is committed with a request.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct With<'r> {
    /// For the audit log.
    pub(super) event: Option<&'r Event>,
    /// Who has signed it.
    pub(super) heard: Option<&'r Heard>,
}

/// See [`super::super::Store::commit`].
pub(super) async fn commit(
    pool: &SqlitePool,
    of: &GatewayId,
    request: &Checked,
    received: WallTime,
    with: With<'_>,
) -> Result<Committed, Error> {
    let failed = |source| Error::Database {
        action: "commit rows",
        source,
    };
    // IMMEDIATE: a transaction that first reads and then writes could otherwise fail for another process's write.
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    let alarm = match with.heard {
        Some(heard) => {
            let epoch = request.request().epoch;
            devices::hear(&mut transaction, of, epoch, heard, received).await?
        }
        None => None,
    };
    match fill(&mut transaction, of, request, received).await {
        Ok(committed) => {
            let noted = match with.event {
                Some(event) => {
                    Some(audit::add(&mut transaction, &of.tenant, event, received).await?)
                }
                None => None,
            };
            transaction.commit().await.map_err(failed)?;
            alarm.iter().chain(&noted).for_each(audit::tell);
            Ok(committed)
        }
        Err(error) => {
            transaction.rollback().await.map_err(failed)?;
            if matches!(error, Error::Conflict { .. }) {
                let count = sqlx::query(COUNT_CONFLICT)
                    .bind(text(of.tenant.as_str()))
                    .bind(text(of.gateway.as_str()));
                count.execute(pool).await.map_err(failed)?;
            }
            Err(error)
        }
    }
}

async fn fill(
    transaction: &mut Transaction<'static, Sqlite>,
    of: &GatewayId,
    request: &Checked,
    received: WallTime,
) -> Result<Committed, Error> {
    let mut committed = Committed::default();
    let mut writer = Writer {
        connection: transaction,
        of,
        received,
        newest: None,
    };
    for stream in &request.request().rows {
        writer.stream(stream, &mut committed).await?;
    }
    if request.is_imported() {
        writer
            .gateway(PUT_GATEWAY_OF_FILE, request.request())
            .await?;
    } else {
        writer.gateway(PUT_GATEWAY, request.request()).await?;
        let status = &request.request().status;
        super::lag::keep(writer.connection, of, status, received).await?;
    }
    for named in request.named() {
        committed.marks.push(Mark {
            of: named.clone(),
            seq: writer.mark(named).await?,
        });
    }
    Ok(committed)
}

/// One transaction, with what all its statements share.
struct Writer<'t> {
    connection: &'t mut SqliteConnection,
    of: &'t GatewayId,
    received: WallTime,
    /// The newest row written, by the gateway's clock.
    newest: Option<WallTime>,
}

impl Writer<'_> {
    async fn stream(
        &mut self,
        stream: &StreamRows,
        committed: &mut Committed,
    ) -> Result<(), Error> {
        let mark = self.mark(&stream.of).await?;
        let (known, new) = match verdict(mark, &stream.rows) {
            Verdict::Gap { first } => {
                committed.gaps.push(Gap {
                    of: stream.of.clone(),
                    mark,
                    first,
                });
                return Ok(());
            }
            Verdict::Append { known, new } => (known, new),
        };
        self.compare(&stream.of, known).await?;
        committed.rows_known = committed.rows_known.saturating_add(count(known));
        let Some(last) = new.last() else {
            return Ok(());
        };
        self.insert(&stream.of, mark, new).await?;
        self.move_newest(&stream.of, new).await?;
        self.add_losses(&stream.of.stream, new).await?;
        let kept = new.iter().filter(|row| lost(row).is_none());
        let moved = self
            .keyed(MOVE_MARK, &stream.of)
            .bind(signed(last.seq))
            .bind(signed(kept.clone().fold(0, |count, _| count + 1)));
        self.execute(moved).await?;
        self.newest = self.newest.max(kept.map(|row| row.stamp.wall_time).max());
        committed.rows_new = committed.rows_new.saturating_add(count(new));
        if !committed.streams.contains(&stream.of.stream) {
            committed.streams.push(stream.of.stream.clone());
        }
        Ok(())
    }

    async fn mark(&mut self, of: &StreamEpoch) -> Result<u64, Error> {
        let failed = |source| Error::Database {
            action: "read a mark",
            source,
        };
        let row = self
            .keyed(READ_MARK, of)
            .fetch_optional(&mut *self.connection)
            .await
            .map_err(failed)?;
        let mark: Option<i64> = row
            .map(|row| super::columns::get(&row, "mark"))
            .transpose()?;
        Ok(mark.map_or(0, unsigned))
    }

    /// Rows that are held must come again as they were. Those that a retention rule has removed cannot be compared.
    async fn compare(&mut self, of: &StreamEpoch, known: &[StoredRow]) -> Result<(), Error> {
        let (Some(first), Some(last)) = (known.first(), known.last()) else {
            return Ok(());
        };
        let failed = |source| Error::Database {
            action: "compare rows",
            source,
        };
        let query = self
            .keyed(READ_KNOWN, of)
            .bind(signed(first.seq))
            .bind(signed(last.seq));
        let mut held = BTreeMap::new();
        for columns in query
            .fetch_all(&mut *self.connection)
            .await
            .map_err(failed)?
        {
            let row = held_row(&columns)?.row;
            held.insert(row.seq, row);
        }
        for row in known {
            let Some(held) = held.get_mut(&row.seq) else {
                continue;
            };
            // An entry says that the gateway has nothing any more: an earlier request, late, may have had the row.
            if lost(held).is_some() || lost(row).is_some() {
                continue;
            }
            // Which numbers it covers here followed from the mark when it came.
            held.from = row.from;
            // As bytes: a value that is not a number does not equal itself.
            if bytes(held)? != bytes(row)? {
                return Err(Error::Conflict {
                    stream: of.stream.clone(),
                    epoch: of.epoch,
                    seq: row.seq,
                });
            }
        }
        Ok(())
    }

    /// Rows follow the mark and each other: a row begins where the one before ended, even if it once covered more.
    async fn insert(
        &mut self,
        of: &StreamEpoch,
        mark: u64,
        mut new: &[StoredRow],
    ) -> Result<(), Error> {
        let mut before = mark;
        for (size, statement) in &*INSERTS {
            while let Some((chunk, rest)) = new.split_at_checked(*size) {
                let mut insert = self.keyed(statement, of).bind(signed(self.received.0));
                for row in chunk {
                    let first = before.saturating_add(1);
                    insert = bind_row(insert, row, first, bytes(&row.content)?);
                    before = row.seq;
                }
                self.execute(insert).await?;
                new = rest;
            }
        }
        Ok(())
    }

    async fn move_newest(&mut self, of: &StreamEpoch, new: &[StoredRow]) -> Result<(), Error> {
        let newest: BTreeMap<(&str, Class), u64> = new
            .iter()
            .filter(|row| lost(row).is_none())
            .map(|row| ((row.key.as_str(), row.class), row.seq))
            .collect();
        for ((key, class), seq) in newest {
            let query = self
                .keyed(MOVE_NEWEST, of)
                .bind(text(key))
                .bind(class_to_column(class));
            self.execute(query.bind(signed(seq)).bind(signed(self.received.0)))
                .await?;
        }
        Ok(())
    }

    /// Adds to the sums over the ledger, here and not in SQL: what a gateway says is lost may be any number.
    async fn add_losses(&mut self, stream: &Name, new: &[StoredRow]) -> Result<(), Error> {
        let mut added: BTreeMap<Reason, [u64; 3]> = BTreeMap::new();
        for lost in new.iter().filter_map(lost) {
            let sums = added.entry(lost.reason).or_default();
            *sums = add(*sums, [1, lost.rows, lost.bytes]);
        }
        let failed = |source| Error::Database {
            action: "read the sums over the ledger",
            source,
        };
        for (reason, added) in added {
            let keyed = |statement| {
                self.of_stream(statement, stream)
                    .bind(reason_to_column(reason))
            };
            let put = keyed(PUT_LOSS);
            let sums = match keyed(READ_LOSS)
                .fetch_optional(&mut *self.connection)
                .await
                .map_err(failed)?
            {
                Some(columns) => {
                    let sum = |column| super::columns::number(&columns, column);
                    add(added, [sum("entries")?, sum("rows")?, sum("bytes")?])
                }
                None => added,
            };
            let put = sums
                .into_iter()
                .fold(put, |put, sum| put.bind(signed(sum.min(COUNT_MAX))));
            self.execute(put.bind(signed(self.received.0))).await?;
        }
        Ok(())
    }

    async fn gateway(&mut self, put: &'static str, request: &SyncRequest) -> Result<(), Error> {
        let query = sqlx::query(put)
            .bind(text(self.of.tenant.as_str()))
            .bind(text(self.of.gateway.as_str()))
            .bind(signed(request.epoch.ordinal))
            .bind(signed(request.epoch.random))
            .bind(signed(self.received.0))
            .bind(signed(request.sent.0))
            .bind(self.newest.map(|time| signed(time.0)))
            .bind(self.newest.map(|_| signed(self.received.0)))
            .bind(bytes(&settled(request))?);
        self.execute(query).await
    }

    /// A statement whose first five parameters are the stream and epoch.
    fn keyed(&self, statement: &'static str, of: &StreamEpoch) -> Statement {
        self.of_stream(statement, &of.stream)
            .bind(signed(of.epoch.ordinal))
            .bind(signed(of.epoch.random))
    }

    /// A statement whose first three parameters are the stream.
    fn of_stream(&self, statement: &'static str, stream: &Name) -> Statement {
        sqlx::query(statement)
            .bind(text(self.of.tenant.as_str()))
            .bind(text(self.of.gateway.as_str()))
            .bind(text(stream.as_str()))
    }

    async fn execute(&mut self, statement: Statement) -> Result<(), Error> {
        let failed = |source| Error::Database {
            action: "write rows",
            source,
        };
        statement
            .execute(&mut *self.connection)
            .await
            .map(|_| ())
            .map_err(failed)
    }
}

/// Statements that insert 64, 8 and 1 rows. A statement's round trip costs far more than a row in it, and a few fixed
/// sizes stay prepared.
static INSERTS: LazyLock<[(usize, String); 3]> =
    LazyLock::new(|| [64, 8, 1].map(|size| (size, insert_statement(size))));

fn insert_statement(size: usize) -> String {
    let mut statement = String::from(
        "INSERT INTO rows (tenant, gateway, stream, epoch_ordinal, epoch_random, received, seq, class, module, \
         generation, key, time, duration_ns, content, boot, boot_time, wall_time, clock, trace, covers_from, lost) VALUES ",
    );
    for row in 0..size {
        statement.push_str(if row == 0 {
            "(?1, ?2, ?3, ?4, ?5, ?6"
        } else {
            ", (?1, ?2, ?3, ?4, ?5, ?6"
        });
        let first = KEY_COLUMNS + 1 + row * ROW_COLUMNS;
        for parameter in first..first + ROW_COLUMNS {
            statement.push_str(&format!(", ?{parameter}"));
        }
        statement.push(')');
    }
    statement
}

/// Columns that all rows of one statement share: stream and epoch, and when they came.
const KEY_COLUMNS: usize = 6;

/// Columns that [`bind_row`] binds.
const ROW_COLUMNS: usize = 15;

fn add([a, b, c]: [u64; 3], [d, e, f]: [u64; 3]) -> [u64; 3] {
    [
        a.saturating_add(d),
        b.saturating_add(e),
        c.saturating_add(f),
    ]
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn bytes<T: minicbor::Encode<()>>(value: &T) -> Result<Vec<u8>, Error> {
    minicbor::to_vec(value).map_err(|error| Error::Encode(error.to_string()))
}

fn count(rows: &[StoredRow]) -> u64 {
    rows.len().try_into().unwrap_or(u64::MAX)
}
