//! Rows as they stand in the database: a body of CBOR with a checksum behind it.
//!
//! SQLite does not notice a flipped bit within a value. A row whose checksum does not fit is not handed out as what it
//! seems to be, but as an entry of the loss ledger under the same number.
//!
//! Statements have fixed shapes (64 rows or one), so that they are prepared once: a statement costs a round trip to
//! sqlx's worker thread, and row by row would be 50 times slower.

use std::sync::{Arc, LazyLock};

use futures_util::TryStreamExt;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, Row, Sqlite, SqliteConnection};
use tidegate_record::{
    BootId, BootTime, Class, ClockQuality, Content, Lost, Name, Reason, Stamp, StoredRow, WallTime,
};

use crate::sequence::Place;

/// Rows of one multi-row statement.
pub(crate) const ROWS_PER_STATEMENT: usize = 64;

/// Bytes of rows that are read into memory at once.
const READ_BYTES_MAX: usize = 4 << 20;

const CHECKSUM_BYTES: usize = 4;

/// A statement of a fixed text, whose values are bound.
pub(crate) type Statement<'q> = Query<'q, Sqlite, SqliteArguments>;

/// A row with its place, ready to be bound.
pub(crate) struct Placed {
    pub(crate) place: Place,
    pub(crate) seq: u64,
    pub(crate) class: Class,
    pub(crate) body: Vec<u8>,
}

impl Placed {
    pub(crate) fn new(place: Place, row: &StoredRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            place,
            seq: row.seq,
            class: row.class,
            body: body(place, row)?,
        })
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.body.len().try_into().unwrap_or(u64::MAX)
    }
}

static INSERT: LazyLock<[Arc<str>; 2]> = LazyLock::new(|| {
    let head = "INSERT INTO row (stream, epoch, seq, class, body) VALUES ";
    [1, ROWS_PER_STATEMENT].map(|rows| insert_statement(head, 5, rows, ""))
});

/// `head (?, …), (?, …) tail`, for so many rows.
pub(crate) fn insert_statement(head: &str, columns: usize, rows: usize, tail: &str) -> Arc<str> {
    let row = format!("({})", vec!["?"; columns].join(", "));
    format!("{head}{}{tail}", vec![row; rows].join(", ")).into()
}

/// The text is one of the program's own: nothing from outside is in it.
pub(crate) fn statement<'q>(text: &Arc<str>) -> Statement<'q> {
    sqlx::query(AssertSqlSafe(text.clone()))
}

/// Adds rows that cover their own number and no other.
pub(crate) async fn insert(
    connection: &mut SqliteConnection,
    rows: &[Placed],
) -> Result<(), sqlx::Error> {
    let [one, many] = &*INSERT;
    let (chunks, rest) = rows.as_chunks::<ROWS_PER_STATEMENT>();
    for chunk in chunks {
        chunk
            .iter()
            .fold(statement(many), bind)
            .execute(&mut *connection)
            .await?;
    }
    for row in rest {
        bind(statement(one), row).execute(&mut *connection).await?;
    }
    Ok(())
}

fn bind<'q>(query: Statement<'q>, row: &Placed) -> Statement<'q> {
    query
        .bind(row.place.0)
        .bind(row.place.1.cast_signed())
        .bind(row.seq.cast_signed())
        .bind(class_column(row.class))
        .bind(row.body.clone())
}

/// Adds a row that stands for others.
pub(crate) async fn insert_covering(
    connection: &mut SqliteConnection,
    row: &Placed,
    from: Option<u64>,
) -> Result<(), sqlx::Error> {
    let query = sqlx::query(
        "INSERT INTO row (stream, epoch, seq, class, body, covers_from) VALUES (?, ?, ?, ?, ?, ?)",
    );
    let query = query
        .bind(row.place.0)
        .bind(row.place.1.cast_signed())
        .bind(row.seq.cast_signed())
        .bind(class_column(row.class))
        .bind(row.body.clone())
        .bind(from.map(u64::cast_signed));
    query.execute(connection).await.map(drop)
}

/// How much may be read. One row is read however large it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bound {
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
}

impl Bound {
    /// So many rows, and a few MiB.
    pub(crate) const fn rows(rows: usize) -> Self {
        Self {
            rows,
            bytes: READ_BYTES_MAX,
        }
    }

    pub(crate) const fn is_reached(&self) -> bool {
        self.rows == 0 || self.bytes == 0
    }

    const fn take(&mut self, bytes: usize) {
        self.rows = self.rows.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// Rows of a place from `from` on, in order, up to `bound`: what is left of it says whether there may be more.
pub(crate) async fn read(
    connection: &mut SqliteConnection,
    place: Place,
    from: u64,
    bound: &mut Bound,
) -> Result<Vec<StoredRow>, sqlx::Error> {
    let mut found = sqlx::query(
        "SELECT seq, class, body, covers_from FROM row WHERE stream = ? AND epoch = ? AND seq >= ? ORDER BY seq LIMIT ?",
    )
    .bind(place.0)
    .bind(place.1.cast_signed())
    .bind(from.cast_signed())
    .bind(i64::try_from(bound.rows).unwrap_or(i64::MAX))
    .fetch(connection);
    let mut rows = Vec::new();
    while !bound.is_reached()
        && let Some(columns) = found.try_next().await?
    {
        let (row, bytes) = stored(place, &columns)?;
        bound.take(bytes);
        rows.push(row);
    }
    Ok(rows)
}

/// A row, and the bytes of its body.
fn stored(place: Place, columns: &SqliteRow) -> Result<(StoredRow, usize), sqlx::Error> {
    let seq = columns.try_get::<i64, _>(0)?.cast_unsigned();
    let class = class_of(columns.try_get(1)?);
    let body: &[u8] = columns.try_get(2)?;
    let from = columns
        .try_get::<Option<i64>, _>(3)?
        .map(i64::cast_unsigned);
    let row = whole(place, seq, body).unwrap_or_else(|| {
        tracing::error!(
            stream = place.0,
            epoch = place.1,
            seq,
            "row of {} bytes is damaged on disk",
            body.len()
        );
        let rows = seq.saturating_sub(from.unwrap_or(seq)).saturating_add(1);
        lost(seq, from, class, Reason::Quarantined, rows)
    });
    Ok((row, body.len()))
}

/// The row in this body, if it is what was written.
fn whole(place: Place, seq: u64, body: &[u8]) -> Option<StoredRow> {
    let mut decoder = minicbor::Decoder::new(body);
    let row: StoredRow = decoder.decode().ok()?;
    let (cbor, sum) = body.split_at_checked(decoder.position())?;
    // A body without a checksum was written before there were any.
    let fits = sum.is_empty() || sum == checksum(place, seq, cbor);
    (fits && row.seq == seq).then_some(row)
}

/// The body of a row.
fn body(place: Place, row: &StoredRow) -> Result<Vec<u8>, sqlx::Error> {
    let mut body = minicbor::to_vec(row).map_err(|error| sqlx::Error::Encode(error.into()))?;
    let sum = checksum(place, row.seq, &body);
    body.extend(sum);
    Ok(body)
}

/// Bytes of a row's body.
pub(crate) fn bytes(row: &StoredRow) -> u64 {
    let cbor = minicbor::to_vec(row).map_or(0, |cbor| cbor.len());
    (cbor + CHECKSUM_BYTES).try_into().unwrap_or(u64::MAX)
}

/// Of the row and of where it stands, so that a flipped bit in its key shows as well.
fn checksum((stream, epoch): Place, seq: u64, cbor: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&stream.to_le_bytes());
    hasher.update(&epoch.to_le_bytes());
    hasher.update(&seq.to_le_bytes());
    hasher.update(cbor);
    hasher.finalize().to_le_bytes()
}

/// An entry of the loss ledger for rows of which nothing is known but their numbers.
pub(crate) fn lost(
    seq: u64,
    from: Option<u64>,
    class: Class,
    reason: Reason,
    rows: u64,
) -> StoredRow {
    let content = Content::Lost(Lost {
        reason,
        rows,
        bytes: 0,
        values: Vec::new(),
    });
    StoredRow {
        seq,
        class,
        module: Name::host(),
        generation: 0,
        key: String::new(),
        time: WallTime(0),
        duration_ns: 0,
        content,
        stamp: Stamp {
            boot: BootId(0),
            boot_time: BootTime(0),
            wall_time: WallTime(0),
            clock: ClockQuality::Unset,
        },
        trace: None,
        from,
    }
}

/// How a class stands in the database.
pub(crate) const fn class_column(class: Class) -> i64 {
    match class {
        Class::Alarm => 0,
        Class::Summary => 1,
        Class::Raw => 2,
    }
}

/// The reverse of [`class_column`]. One that cannot be is taken for the first to give way.
pub(crate) const fn class_of(column: i64) -> Class {
    match column {
        0 => Class::Alarm,
        1 => Class::Summary,
        _ => Class::Raw,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = (3, 9);

    fn row() -> StoredRow {
        lost(7, Some(5), Class::Raw, Reason::Evicted, 3)
    }

    #[test]
    fn a_body_comes_back_and_no_flipped_bit_does() {
        let written = body(PLACE, &row()).unwrap();
        assert_eq!(whole(PLACE, 7, &written), Some(row()));
        assert_eq!(whole((3, 10), 7, &written), None);
        for bit in 0..written.len() * 8 {
            let mut flipped = written.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(whole(PLACE, 7, &flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn a_body_from_before_the_checksums_is_read() {
        let written = minicbor::to_vec(row()).unwrap();
        assert_eq!(whole(PLACE, 7, &written), Some(row()));
    }
}
