//! Rows to columns and back.
//!
//! SQLite has signed 64-bit integers only. A number that orders rows is checked to fit before it comes here
//! ([`crate::Checked`]); all others keep their bit pattern.

use sqlx::Row as _;
use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteRow};
use tidegate_wire::{
    BootId, BootTime, Class, ClockQuality, Content, Epoch, Name, Reason, Stamp, StoredRow, WallTime,
};

use super::super::{Error, HeldRow, lost};
use crate::access::Role;

/// A statement under construction.
pub(super) type Statement = Query<'static, Sqlite, SqliteArguments>;

/// The bit pattern of a number, or the number itself where it is known to fit.
pub(super) const fn signed(number: u64) -> i64 {
    number.cast_signed()
}

/// The reverse of [`signed`].
pub(super) const fn unsigned(number: i64) -> u64 {
    number.cast_unsigned()
}

/// Binds the columns of a row after its epoch, in the order of the table. It covers the numbers from `first`.
pub(super) fn bind_row(
    statement: Statement,
    row: &StoredRow,
    first: u64,
    content: Vec<u8>,
) -> Statement {
    statement
        .bind(signed(row.seq))
        .bind(class_to_column(row.class))
        .bind(row.module.as_str().to_owned())
        .bind(signed(row.generation))
        .bind(row.key.clone())
        .bind(signed(row.time.0))
        .bind(signed(row.duration_ns))
        .bind(content)
        .bind(signed(row.stamp.boot.0))
        .bind(signed(row.stamp.boot_time.0))
        .bind(signed(row.stamp.wall_time.0))
        .bind(clock_to_column(row.stamp.clock))
        .bind(row.trace.map(|trace| trace.to_vec()))
        .bind((first != row.seq).then_some(signed(first)))
        .bind(lost(row).map(|lost| reason_to_column(lost.reason)))
}

/// The reverse of [`bind_row`], for a selection that names the columns as the table does.
pub(super) fn held_row(columns: &SqliteRow) -> Result<HeldRow, Error> {
    Ok(HeldRow {
        epoch: epoch(columns)?,
        received: WallTime(number(columns, "received")?),
        row: StoredRow {
            seq: number(columns, "seq")?,
            class: class_from_column(get(columns, "class")?)?,
            module: name(columns, "module")?,
            generation: number(columns, "generation")?,
            key: get(columns, "key")?,
            time: WallTime(number(columns, "time")?),
            duration_ns: number(columns, "duration_ns")?,
            content: minicbor::decode::<Content>(get(columns, "content")?)
                .map_err(|_| Error::Damaged("content"))?,
            stamp: Stamp {
                boot: BootId(number(columns, "boot")?),
                boot_time: BootTime(number(columns, "boot_time")?),
                wall_time: WallTime(number(columns, "wall_time")?),
                clock: clock_from_column(get(columns, "clock")?)?,
            },
            trace: trace(get(columns, "trace")?)?,
            from: get::<Option<i64>>(columns, "covers_from")?.map(unsigned),
        },
    })
}

/// The epoch of a row, mark or gateway.
pub(super) fn epoch(columns: &SqliteRow) -> Result<Epoch, Error> {
    Ok(Epoch {
        ordinal: number(columns, "epoch_ordinal")?,
        random: number(columns, "epoch_random")?,
    })
}

/// A number kept as [`signed`].
pub(super) fn number(columns: &SqliteRow, column: &'static str) -> Result<u64, Error> {
    get(columns, column).map(unsigned)
}

/// A name.
pub(super) fn name(columns: &SqliteRow, column: &'static str) -> Result<Name, Error> {
    Name::new(get(columns, column)?).map_err(|_| Error::Damaged(column))
}

/// A column of a type that SQLite knows.
pub(super) fn get<'r, T>(columns: &'r SqliteRow, column: &'static str) -> Result<T, Error>
where
    T: sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite>,
{
    columns.try_get(column).map_err(|_| Error::Damaged(column))
}

/// How a class is kept. The number of alarms stands in the schema's index as well.
pub(super) const fn class_to_column(class: Class) -> i64 {
    match class {
        Class::Alarm => 0,
        Class::Summary => 1,
        Class::Raw => 2,
    }
}

fn class_from_column(number: i64) -> Result<Class, Error> {
    match number {
        0 => Ok(Class::Alarm),
        1 => Ok(Class::Summary),
        2 => Ok(Class::Raw),
        _ => Err(Error::Damaged("class")),
    }
}

const fn clock_to_column(clock: ClockQuality) -> i64 {
    match clock {
        ClockQuality::Unset => 0,
        ClockQuality::HeldOver => 1,
        ClockQuality::Synced => 2,
        ClockQuality::Device => 3,
        ClockQuality::Restamped => 4,
    }
}

fn clock_from_column(number: i64) -> Result<ClockQuality, Error> {
    match number {
        0 => Ok(ClockQuality::Unset),
        1 => Ok(ClockQuality::HeldOver),
        2 => Ok(ClockQuality::Synced),
        3 => Ok(ClockQuality::Device),
        4 => Ok(ClockQuality::Restamped),
        _ => Err(Error::Damaged("clock")),
    }
}

/// How a reason is kept.
pub(super) const fn reason_to_column(reason: Reason) -> i64 {
    match reason {
        Reason::Evicted => 0,
        Reason::Forgotten => 1,
        Reason::Quarantined => 2,
        Reason::Elsewhere => 3,
    }
}

/// The reverse of [`reason_to_column`].
pub(super) fn reason_from_column(number: i64) -> Result<Reason, Error> {
    match number {
        0 => Ok(Reason::Evicted),
        1 => Ok(Reason::Forgotten),
        2 => Ok(Reason::Quarantined),
        3 => Ok(Reason::Elsewhere),
        _ => Err(Error::Damaged("reason")),
    }
}

/// How a role is kept.
pub(super) const fn role_to_column(role: Role) -> i64 {
    match role {
        Role::Viewer => 0,
        Role::Operator => 1,
        Role::Releaser => 2,
    }
}

/// The reverse of [`role_to_column`].
pub(super) fn role_from_column(number: i64) -> Result<Role, Error> {
    match number {
        0 => Ok(Role::Viewer),
        1 => Ok(Role::Operator),
        2 => Ok(Role::Releaser),
        _ => Err(Error::Damaged("role")),
    }
}

fn trace(bytes: Option<&[u8]>) -> Result<Option<[u8; 16]>, Error> {
    bytes
        .map(|bytes| bytes.try_into().map_err(|_| Error::Damaged("trace")))
        .transpose()
}
