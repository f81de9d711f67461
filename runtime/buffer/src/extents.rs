//! Where each stream and epoch stands, read from disk.

use std::collections::BTreeMap;

use sqlx::{Row, SqliteConnection};
use tidegate_record::{Epoch, StreamEpoch};

use crate::error::{Error, unsigned};
use crate::names::Names;
use crate::rows::class_of;
use crate::sequence::{Extent, Place, Usage};

/// All of them. A few seeks per place, whatever the number of rows, and a count of the rows that were added since the
/// place's usage was last written down. A place whose epoch is gone is damage.
pub(crate) async fn read(
    connection: &mut SqliteConnection,
    names: &Names,
) -> Result<BTreeMap<Place, Extent>, Error> {
    let rows = sqlx::query(
        "SELECT m.stream, m.epoch, e.random, m.seq, m.sent, m.counted, m.alarm, m.summary, m.raw, m.second, m.trimmed, m.plain, m.exported, \
           (SELECT max(seq) FROM row r WHERE r.stream = m.stream AND r.epoch = m.epoch), \
           (SELECT coalesce(covers_from, seq) FROM row r WHERE r.stream = m.stream AND r.epoch = m.epoch ORDER BY seq LIMIT 1) \
         FROM mark m LEFT JOIN epoch e ON e.ordinal = m.epoch",
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(Error::Read)?;
    let mut extents = BTreeMap::new();
    for row in rows {
        let stream = row.try_get(0).map_err(Error::Read)?;
        let name = names.name(stream).ok_or(Error::Impossible {
            what: "a mark of stream",
            value: stream,
        })?;
        let ordinal: i64 = row.try_get(1).map_err(Error::Read)?;
        let random: Option<i64> = row.try_get(2).map_err(Error::Read)?;
        let random = random.ok_or(Error::Impossible {
            what: "a mark of epoch",
            value: ordinal,
        })?;
        let epoch = Epoch {
            ordinal: unsigned("epoch", ordinal)?,
            random: random.cast_unsigned(),
        };
        let place = (stream, epoch.ordinal);
        let of = StreamEpoch {
            stream: name.clone(),
            epoch,
        };
        let mut extent = extent(of, &row)?;
        let counted = unsigned("seq", row.try_get(5).map_err(Error::Read)?)?;
        count_newer(connection, place, counted, &mut extent.usage).await?;
        extents.insert(place, extent);
    }
    Ok(extents)
}

fn extent(of: StreamEpoch, row: &sqlx::sqlite::SqliteRow) -> Result<Extent, Error> {
    let column = |index: usize| {
        let number = row.try_get(index).map_err(Error::Read)?;
        unsigned("seq or bytes", number)
    };
    let optional = |index: usize| {
        let number: Option<i64> = row.try_get(index).map_err(Error::Read)?;
        number.map(|number| unsigned("seq", number)).transpose()
    };
    let (mark, second, trimmed) = (column(3)?, column(9)?, column(10)?);
    if let Some(first) = optional(14)?
        && first != trimmed.saturating_add(1)
    {
        return Err(Error::Impossible {
            what: "rows of which the first is",
            value: first.cast_signed(),
        });
    }
    Ok(Extent {
        mark,
        second,
        sent: column(4)?,
        reserved: column(4)?,
        last: optional(13)?
            .unwrap_or(0)
            .max(mark)
            .max(second)
            .max(trimmed),
        trimmed,
        plain: column(11)?,
        exported: column(12)?,
        usage: Usage::new([column(6)?, column(7)?, column(8)?]),
        ..Extent::new(of)
    })
}

async fn count_newer(
    connection: &mut SqliteConnection,
    (stream, epoch): Place,
    counted: u64,
    usage: &mut Usage,
) -> Result<(), Error> {
    let classes: Vec<(i64, i64, i64)> = sqlx::query_as(
        "SELECT class, count(*), sum(length(body)) FROM row WHERE stream = ? AND epoch = ? AND seq > ? GROUP BY class",
    )
    .bind(stream)
    .bind(epoch.cast_signed())
    .bind(counted.cast_signed())
    .fetch_all(connection)
    .await
    .map_err(Error::Read)?;
    for (class, rows, bytes) in classes {
        usage.add(class_of(class), bytes.unsigned_abs());
        usage.unwritten_rows += rows.unsigned_abs().saturating_sub(1);
    }
    Ok(())
}
