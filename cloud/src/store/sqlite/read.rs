//! The tables into answers. Each is bounded by a count, and by the bytes of its rows.

use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use tidegate_wire::{Content, Name, NamedValue, Scalar, ThinnedValue, WallTime};

use super::super::{
    CONTENT_BYTES_MAX, EntryPosition, Error, Gateway, GatewayId, HeldRow, Loss, NewestRow, Page,
    Reach, RowCount, RowFilter, SeriesRow, Stream, StreamId, Tenant,
};
use super::columns::{
    Statement, class_to_column, epoch, get, held_row, name, number, reason_from_column, signed,
    unsigned,
};

const GATEWAYS: &str = "SELECT * FROM gateways LEFT JOIN enrolments USING (tenant, gateway) \
    WHERE tenant = ?1 AND gateway > ?2 ORDER BY gateway LIMIT ?3";

const GATEWAY: &str = "SELECT * FROM gateways LEFT JOIN enrolments USING (tenant, gateway) \
    WHERE tenant = ?1 AND gateway = ?2";

/// A row may cover any numbers, so that marks may sum up to more than 63 bits: `sum` would fail, `total` is close.
const STREAMS: &str = "SELECT stream, CAST(total(mark) AS INTEGER) AS marks, sum(rows) AS rows FROM marks \
    WHERE tenant = ?1 AND gateway = ?2 AND stream > ?3 \
    GROUP BY stream HAVING max(mark) > 0 ORDER BY stream LIMIT ?4";

const ROWS_FORWARD: &str = "SELECT * FROM rows WHERE tenant = ?1 AND gateway = ?2 AND stream = ?3 \
    AND (?4 IS NULL OR class = ?4) AND (?5 IS NULL OR key = ?5) \
    AND (epoch_ordinal, epoch_random, seq) > (?7, ?8, ?9) \
    ORDER BY epoch_ordinal, epoch_random, seq LIMIT ?6";

const ROWS_BACKWARD: &str = "SELECT * FROM rows WHERE tenant = ?1 AND gateway = ?2 AND stream = ?3 \
    AND (?4 IS NULL OR class = ?4) AND (?5 IS NULL OR key = ?5) \
    ORDER BY epoch_ordinal DESC, epoch_random DESC, seq DESC LIMIT ?6";

const COUNT_ROWS: &str = "SELECT count(*) - count(lost) AS rows, count(lost) AS entries, \
    CAST(total(seq - coalesce(covers_from, seq) + 1) AS INTEGER) AS covered \
    FROM rows WHERE tenant = ?1 AND gateway = ?2 AND stream = ?3";

const COUNT_MARKS: &str = "SELECT CAST(total(mark) AS INTEGER) AS marks FROM marks \
    WHERE tenant = ?1 AND gateway = ?2 AND stream = ?3";

const LEDGER: &str = "SELECT * FROM rows WHERE tenant = ?1 AND gateway = ?2 AND lost IS NOT NULL \
    AND (received, stream, epoch_ordinal, epoch_random, seq) < (?3, ?4, ?5, ?6, ?7) \
    ORDER BY received DESC, stream DESC, epoch_ordinal DESC, epoch_random DESC, seq DESC LIMIT ?8";

const LOSSES: &str =
    "SELECT * FROM losses WHERE tenant = ?1 AND gateway = ?2 ORDER BY stream, reason LIMIT ?3";

const NEWEST: &str = "SELECT rows.* FROM newest JOIN rows USING \
    (tenant, gateway, stream, epoch_ordinal, epoch_random, seq) \
    WHERE newest.tenant = ?1 AND newest.gateway = ?2 ORDER BY newest.stream, newest.key, newest.class LIMIT ?3";

/// Several alarms can arrive together; then their order on the gateway decides.
const ALARMS: &str = "SELECT * FROM rows WHERE tenant = ?1 AND gateway = ?2 AND class = 0 AND lost IS NULL \
    ORDER BY received DESC, epoch_ordinal DESC, boot_time DESC, seq DESC LIMIT ?3";

const FLEET_ALARMS: &str = "SELECT rows.* FROM newest JOIN rows USING \
    (tenant, gateway, stream, epoch_ordinal, epoch_random, seq) \
    WHERE newest.tenant = ?1 AND newest.class = 0 ORDER BY newest.received DESC, rows.boot_time DESC LIMIT ?2";

pub(super) async fn gateways(
    pool: &SqlitePool,
    tenant: &Tenant,
    after: Option<&Name>,
    count_max: u32,
) -> Result<Page<Gateway>, Error> {
    let query = sqlx::query(GATEWAYS)
        .bind(tenant.as_str().to_owned())
        .bind(after.map(text).unwrap_or_default());
    page(
        query.bind(i64::from(count_max) + 1).fetch(pool),
        count_max,
        to_gateway,
        status_bytes,
    )
    .await
}

pub(super) async fn gateway(pool: &SqlitePool, of: &GatewayId) -> Result<Option<Gateway>, Error> {
    let row = of_gateway(GATEWAY, of)
        .fetch_optional(pool)
        .await
        .map_err(failed)?;
    row.as_ref().map(to_gateway).transpose()
}

pub(super) async fn streams(
    pool: &SqlitePool,
    of: &GatewayId,
    after: Option<&Name>,
    count_max: u32,
) -> Result<Page<Stream>, Error> {
    let query = of_gateway(STREAMS, of)
        .bind(after.map(text).unwrap_or_default())
        .bind(i64::from(count_max) + 1);
    let mut filling = Filling::new(count_max);
    for columns in query.fetch_all(pool).await.map_err(failed)? {
        let id = StreamId {
            of: of.clone(),
            stream: name(&columns, "stream")?,
        };
        let first = rows(pool, &id, &RowFilter::default(), Reach::First, 1)
            .await?
            .items
            .pop();
        let last = rows(pool, &id, &RowFilter::default(), Reach::Last, 1)
            .await?
            .items
            .pop();
        let (Some(first), Some(last)) = (first, last) else {
            continue;
        };
        let bytes = held_bytes(&first).saturating_add(held_bytes(&last));
        if !filling.push(
            Stream {
                name: id.stream,
                rows: number(&columns, "rows")?,
                marks: number(&columns, "marks")?,
                first,
                last,
            },
            bytes,
        ) {
            break;
        }
    }
    Ok(filling.page)
}

pub(super) async fn rows(
    pool: &SqlitePool,
    of: &StreamId,
    filter: &RowFilter,
    reach: Reach,
    count_max: u32,
) -> Result<Page<HeldRow>, Error> {
    let statement = if reach == Reach::Last {
        ROWS_BACKWARD
    } else {
        ROWS_FORWARD
    };
    let query = of_stream(statement, of)
        .bind(filter.class.map(class_to_column))
        .bind(filter.key.clone())
        .bind(i64::from(count_max) + 1);
    let query = match reach {
        Reach::Last => query,
        // No ordinal is below zero.
        Reach::First => query.bind(-1_i64).bind(0_i64).bind(0_i64),
        Reach::After(position) => query
            .bind(signed(position.epoch.ordinal))
            .bind(signed(position.epoch.random))
            .bind(signed(position.seq)),
    };
    page(query.fetch(pool), count_max, held_row, held_bytes).await
}

pub(super) async fn count(pool: &SqlitePool, of: &StreamId) -> Result<RowCount, Error> {
    let rows = of_stream(COUNT_ROWS, of)
        .fetch_one(pool)
        .await
        .map_err(failed)?;
    let marks = of_stream(COUNT_MARKS, of)
        .fetch_one(pool)
        .await
        .map_err(failed)?;
    Ok(RowCount {
        rows: number(&rows, "rows")?,
        entries: number(&rows, "entries")?,
        covered: number(&rows, "covered")?,
        marks: number(&marks, "marks")?,
    })
}

pub(super) async fn ledger(
    pool: &SqlitePool,
    of: &GatewayId,
    after: Option<&EntryPosition>,
    count_max: u32,
) -> Result<Page<SeriesRow>, Error> {
    let query = of_gateway(LEDGER, of);
    let query = match after {
        // No entry comes that late.
        None => query.bind(i64::MAX).bind("").bind(0).bind(0).bind(0),
        Some(EntryPosition {
            received,
            stream,
            at,
        }) => query
            .bind(signed(received.0))
            .bind(text(stream))
            .bind(signed(at.epoch.ordinal))
            .bind(signed(at.epoch.random))
            .bind(signed(at.seq)),
    };
    series(pool, query, count_max).await
}

pub(super) async fn losses(
    pool: &SqlitePool,
    of: &GatewayId,
    count_max: u32,
) -> Result<Page<Loss>, Error> {
    let query = of_gateway(LOSSES, of).bind(i64::from(count_max) + 1);
    page(query.fetch(pool), count_max, loss, |_| 0).await
}

pub(super) async fn newest(
    pool: &SqlitePool,
    of: &GatewayId,
    count_max: u32,
) -> Result<Page<SeriesRow>, Error> {
    series(pool, of_gateway(NEWEST, of), count_max).await
}

pub(super) async fn alarms(
    pool: &SqlitePool,
    of: &GatewayId,
    count_max: u32,
) -> Result<Page<SeriesRow>, Error> {
    series(pool, of_gateway(ALARMS, of), count_max).await
}

pub(super) async fn fleet_alarms(
    pool: &SqlitePool,
    tenant: &Tenant,
    count_max: u32,
) -> Result<Page<SeriesRow>, Error> {
    series(
        pool,
        sqlx::query(FLEET_ALARMS).bind(tenant.as_str().to_owned()),
        count_max,
    )
    .await
}

/// The statement's last parameter is its limit.
async fn series(
    pool: &SqlitePool,
    statement: Statement,
    count_max: u32,
) -> Result<Page<SeriesRow>, Error> {
    let query = statement.bind(i64::from(count_max) + 1);
    page(query.fetch(pool), count_max, series_row, |row| {
        held_bytes(&row.held)
    })
    .await
}

async fn page<T>(
    mut rows: BoxStream<'_, Result<SqliteRow, sqlx::Error>>,
    count_max: u32,
    convert: impl Fn(&SqliteRow) -> Result<T, Error>,
    bytes: impl Fn(&T) -> usize,
) -> Result<Page<T>, Error> {
    let mut filling = Filling::new(count_max);
    while let Some(columns) = rows.try_next().await.map_err(failed)? {
        let item = convert(&columns)?;
        let bytes = bytes(&item);
        if !filling.push(item, bytes) {
            break;
        }
    }
    Ok(filling.page)
}

/// A page that is full at a count or at [`CONTENT_BYTES_MAX`]; the first item comes whatever its size.
struct Filling<T> {
    page: Page<T>,
    count_max: usize,
    bytes: usize,
}

impl<T> Filling<T> {
    fn new(count_max: u32) -> Self {
        let count_max = count_max.try_into().unwrap_or(usize::MAX);
        Self {
            page: Page {
                items: Vec::new(),
                more: false,
            },
            count_max,
            bytes: 0,
        }
    }

    /// Whether the item found room; if not, the page knows that more follow.
    fn push(&mut self, item: T, bytes: usize) -> bool {
        self.bytes = self.bytes.saturating_add(bytes);
        let full = self.page.items.len() >= self.count_max || self.bytes > CONTENT_BYTES_MAX;
        if full && !self.page.items.is_empty() {
            self.page.more = true;
            return false;
        }
        self.page.items.push(item);
        true
    }
}

/// What a row can hold without bound.
fn held_bytes(held: &HeldRow) -> usize {
    let content = match &held.row.content {
        Content::Document(document) => document
            .bytes
            .len()
            .saturating_add(document.content_type.len()),
        Content::Values(values) => {
            let bytes =
                |value: &NamedValue| value.name.len().saturating_add(scalar_bytes(&value.value));
            values.iter().map(bytes).fold(0, usize::saturating_add)
        }
        Content::Thinned(thinned) => {
            let values = thinned.values.iter().map(thinned_bytes);
            values.fold(0, usize::saturating_add)
        }
        Content::Lost(lost) => {
            let values = lost.values.iter().map(|value| value.name.len() + 24);
            values.fold(0, usize::saturating_add)
        }
    };
    content.saturating_add(held.row.key.len())
}

fn thinned_bytes(value: &ThinnedValue) -> usize {
    let bins = value.numbers.as_ref().map_or(0, |numbers| {
        let sketch = &numbers.sketch;
        sketch.positive.len().saturating_add(sketch.negative.len())
    });
    let ends = scalar_bytes(&value.first).saturating_add(scalar_bytes(&value.last));
    let bins = bins.saturating_mul(size_of::<(i32, u64)>());
    value.name.len().saturating_add(ends).saturating_add(bins)
}

const fn scalar_bytes(scalar: &Scalar) -> usize {
    match scalar {
        Scalar::Text(text) => text.len(),
        Scalar::Boolean(_) | Scalar::Integer(_) | Scalar::Number(_) => 8,
    }
}

/// What a gateway can say of itself without bound.
fn status_bytes(gateway: &Gateway) -> usize {
    let status = &gateway.status;
    let tallies = status
        .buffer
        .as_ref()
        .map_or(0, |buffer| buffer.tallies.len());
    status
        .modules
        .len()
        .saturating_add(tallies)
        .saturating_add(status.streams.len())
        .saturating_mul(256)
}

fn loss(columns: &SqliteRow) -> Result<Loss, Error> {
    Ok(Loss {
        stream: name(columns, "stream")?,
        reason: reason_from_column(get(columns, "reason")?)?,
        entries: number(columns, "entries")?,
        rows: number(columns, "rows")?,
        bytes: number(columns, "bytes")?,
        received: WallTime(number(columns, "received")?),
    })
}

fn to_gateway(columns: &SqliteRow) -> Result<Gateway, Error> {
    let committed: Option<i64> = get(columns, "newest_committed")?;
    let received: Option<i64> = get(columns, "newest_received")?;
    let time = |number| WallTime(unsigned(number));
    Ok(Gateway {
        name: name(columns, "gateway")?,
        epoch: epoch(columns)?,
        first_seen: WallTime(number(columns, "first_seen")?),
        last_seen: WallTime(number(columns, "last_seen")?),
        sent: WallTime(number(columns, "sent")?),
        newest_row: committed
            .zip(received)
            .map(|(committed, received)| NewestRow {
                committed: time(committed),
                received: time(received),
            }),
        conflicts: number(columns, "conflicts")?,
        identity: super::devices::identity(columns)?,
        status: minicbor::decode(get(columns, "status")?).map_err(|_| Error::Damaged("status"))?,
    })
}

fn series_row(columns: &SqliteRow) -> Result<SeriesRow, Error> {
    Ok(SeriesRow {
        gateway: name(columns, "gateway")?,
        stream: name(columns, "stream")?,
        held: held_row(columns)?,
    })
}

fn of_gateway(statement: &'static str, of: &GatewayId) -> Statement {
    sqlx::query(statement)
        .bind(of.tenant.as_str().to_owned())
        .bind(text(&of.gateway))
}

fn of_stream(statement: &'static str, of: &StreamId) -> Statement {
    of_gateway(statement, &of.of).bind(text(&of.stream))
}

fn text(name: &Name) -> String {
    name.as_str().to_owned()
}

const fn failed(source: sqlx::Error) -> Error {
    Error::Database {
        action: "read rows",
        source,
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, Row as _};

    use super::*;
    use crate::store::SqliteStore;

    #[tokio::test]
    async fn a_page_is_read_by_an_index_and_never_sorted() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("centre.db"))
            .await
            .unwrap();
        let plan = async |statement: &str| {
            let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
            let steps = sqlx::query(explain)
                .fetch_all(&store.readers)
                .await
                .unwrap();
            let words = steps.iter().map(|step| step.get::<String, _>("detail"));
            words.collect::<Vec<_>>().join("; ")
        };
        for (statement, index) in [
            (LEDGER, "rows USING INDEX ledger"),
            (ALARMS, "rows USING INDEX alarms"),
            (ROWS_FORWARD, "rows USING PRIMARY KEY"),
            (ROWS_BACKWARD, "rows USING PRIMARY KEY"),
            (STREAMS, "marks USING PRIMARY KEY"),
            (LOSSES, "losses USING PRIMARY KEY"),
            (super::super::lag::LAGS, "lags USING PRIMARY KEY"),
        ] {
            let plan = plan(statement).await;
            assert!(plan.contains(index), "{plan}");
            assert!(!plan.contains("TEMP B-TREE"), "{plan}");
        }
        // The control: an order that no index has is seen.
        let sorted = plan("SELECT * FROM rows ORDER BY wall_time").await;
        assert!(sorted.contains("TEMP B-TREE"), "{sorted}");
    }
}
