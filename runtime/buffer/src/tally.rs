//! Messages that were taken and led to nothing: how many, for whom and why. Counted in the commit that acknowledges them,
//! so that a count is never lost; counts only grow.

use std::collections::BTreeMap;

use sqlx::{Row, SqliteConnection};
use tidegate_record::{Applied, Name, WallTime};

use crate::error::{Error, unsigned};
use crate::names::Names;

/// How a module begins the reason for which it rejects a message that came too late for its window.
const LATE: &str = "late: ";

/// Messages for one module or of one source, with one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// The module, source or broker.
    pub of: Name,
    /// `rejected`, `late`, `undelivered` (a publication that its broker was away for), or a [`SkipReason`](tidegate_record::SkipReason)'s word.
    pub reason: String,
    /// How many.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the last one came.
    pub last: WallTime,
}

/// Counts by name and reason.
pub(crate) type Tallies = BTreeMap<(Name, String), Tally>;

/// All that are on disk.
pub(crate) async fn read(
    connection: &mut SqliteConnection,
    names: &Names,
) -> Result<Tallies, Error> {
    let rows = sqlx::query("SELECT name, reason, messages, bytes, last FROM tally")
        .fetch_all(connection)
        .await
        .map_err(Error::Read)?;
    let mut tallies = Tallies::new();
    for row in rows {
        let number = |index: usize| row.try_get::<i64, _>(index).map_err(Error::Read);
        let Some(of) = names.name(number(0)?).cloned() else {
            continue;
        };
        let reason: String = row.try_get(1).map_err(Error::Read)?;
        let tally = Tally {
            of: of.clone(),
            reason: reason.clone(),
            messages: unsigned("a count", number(2)?)?,
            bytes: unsigned("a count", number(3)?)?,
            last: WallTime(number(4)?.cast_unsigned()),
        };
        tallies.insert((of, reason), tally);
    }
    Ok(tallies)
}

/// What the outcomes of some calls add.
pub(crate) fn of(applied: &[Applied], now: WallTime) -> Tallies {
    let mut tallies = Tallies::new();
    for applied in applied {
        for rejection in &applied.rejections {
            let late = rejection.reason.starts_with(LATE);
            let tally = Tally {
                of: applied.module.clone(),
                reason: if late { "late" } else { "rejected" }.to_owned(),
                messages: 1,
                bytes: u64::try_from(rejection.record.body.to_bytes().len()).unwrap_or(u64::MAX),
                last: now,
            };
            add(&mut tallies, tally);
        }
        for skip in &applied.skipped {
            let tally = Tally {
                of: skip.of.clone(),
                reason: skip.reason.as_str().to_owned(),
                messages: skip.messages,
                bytes: skip.bytes,
                last: now,
            };
            add(&mut tallies, tally);
        }
    }
    tallies
}

/// Adds to what was counted before.
pub(crate) fn add(tallies: &mut Tallies, more: Tally) {
    match tallies.get_mut(&(more.of.clone(), more.reason.clone())) {
        Some(tally) => {
            tally.messages = tally.messages.saturating_add(more.messages);
            tally.bytes = tally.bytes.saturating_add(more.bytes);
            tally.last = more.last;
        }
        None => {
            tallies.insert((more.of.clone(), more.reason.clone()), more);
        }
    }
}

/// Adds them to what is on disk.
pub(crate) async fn write(
    connection: &mut SqliteConnection,
    names: &mut Names,
    more: &Tallies,
) -> Result<(), sqlx::Error> {
    for tally in more.values() {
        let name = names.intern(&tally.of, connection).await?;
        sqlx::query(
            "INSERT INTO tally (name, reason, messages, bytes, last) VALUES (?, ?, ?, ?, ?) ON CONFLICT (name, reason) \
             DO UPDATE SET messages = messages + excluded.messages, bytes = bytes + excluded.bytes, last = excluded.last",
        )
        .bind(name)
        .bind(&tally.reason)
        .bind(tally.messages.cast_signed())
        .bind(tally.bytes.cast_signed())
        .bind(tally.last.0.cast_signed())
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}
