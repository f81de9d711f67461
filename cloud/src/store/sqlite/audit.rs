//! The audit log in its table.

use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{Sqlite, Transaction};
use tidegate_wire::WallTime;

use super::super::audit::{Audit, Entry, Event};
use super::super::{Error, Page, Tenant};
use super::SqliteStore;
use super::columns::{get, number, signed};

const LAST: &str = "SELECT * FROM audit WHERE tenant = ?1 ORDER BY number DESC LIMIT 1";

const ADD: &str = "INSERT INTO audit (tenant, number, time, who, role, action, object, outcome, hash) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";

const AFTER: &str =
    "SELECT * FROM audit WHERE tenant = ?1 AND number > ?2 ORDER BY number LIMIT ?3";

const BEFORE: &str =
    "SELECT * FROM audit WHERE tenant = ?1 AND number < ?2 ORDER BY number DESC LIMIT ?3";

impl Audit for SqliteStore {
    async fn note(&self, tenant: &Tenant, event: &Event, time: WallTime) -> Result<Entry, Error> {
        let begun = self.writer.begin_with("BEGIN IMMEDIATE").await;
        let mut transaction = begun.map_err(failed)?;
        let entry = add(&mut transaction, tenant, event, time).await?;
        transaction.commit().await.map_err(failed)?;
        tell(&entry);
        Ok(entry)
    }

    async fn entries_after(
        &self,
        tenant: &Tenant,
        number: u64,
        count_max: u32,
    ) -> Result<Page<Entry>, Error> {
        page(&self.readers, AFTER, tenant, number, count_max).await
    }

    async fn entries_before(
        &self,
        tenant: &Tenant,
        number: u64,
        count_max: u32,
    ) -> Result<Page<Entry>, Error> {
        page(&self.readers, BEFORE, tenant, number, count_max).await
    }
}

/// Adds a row within a transaction that does what it tells of. [`tell`] it once that is committed.
pub(super) async fn add(
    transaction: &mut Transaction<'static, Sqlite>,
    tenant: &Tenant,
    event: &Event,
    time: WallTime,
) -> Result<Entry, Error> {
    let last = sqlx::query(LAST).bind(tenant.as_str().to_owned());
    let last = last.fetch_optional(&mut **transaction).await;
    let last = last.map_err(failed)?.as_ref().map(entry).transpose()?;
    let entry = Entry::after(last.as_ref(), tenant, event.clone(), time)?;
    let Event {
        who,
        role,
        action,
        object,
        outcome,
    } = event.clone();
    let add = sqlx::query(ADD)
        .bind(tenant.as_str().to_owned())
        .bind(signed(entry.number))
        .bind(signed(entry.time.0))
        .bind(who)
        .bind(role)
        .bind(action)
        .bind(object)
        .bind(outcome)
        .bind(entry.hash.to_vec());
    add.execute(&mut **transaction).await.map_err(failed)?;
    Ok(entry)
}

/// A second copy, where the database's owner may not be able to change it.
pub(super) fn tell(entry: &Entry) {
    let Event {
        who,
        action,
        object,
        outcome,
        ..
    } = &entry.event;
    let hash = crate::audit::hex(&entry.hash);
    tracing::info!(
        number = entry.number,
        who,
        action,
        object,
        outcome,
        hash,
        "audit"
    );
}

async fn page(
    pool: &SqlitePool,
    statement: &'static str,
    tenant: &Tenant,
    number: u64,
    count_max: u32,
) -> Result<Page<Entry>, Error> {
    let query = sqlx::query(statement)
        .bind(tenant.as_str().to_owned())
        .bind(signed(number.min(crate::checked::COUNT_MAX)))
        .bind(i64::from(count_max) + 1);
    let rows = query.fetch_all(pool).await.map_err(failed)?;
    let mut items: Vec<_> = rows.iter().map(entry).collect::<Result<_, _>>()?;
    let count_max = usize::try_from(count_max).unwrap_or(usize::MAX);
    let more = items.len() > count_max;
    items.truncate(count_max);
    Ok(Page { items, more })
}

fn entry(columns: &SqliteRow) -> Result<Entry, Error> {
    let hash: &[u8] = get(columns, "hash")?;
    Ok(Entry {
        number: number(columns, "number")?,
        time: WallTime(number(columns, "time")?),
        event: Event {
            who: get(columns, "who")?,
            role: get(columns, "role")?,
            action: get(columns, "action")?,
            object: get(columns, "object")?,
            outcome: get(columns, "outcome")?,
        },
        hash: hash.try_into().map_err(|_| Error::Damaged("hash"))?,
    })
}

fn failed(source: sqlx::Error) -> Error {
    Error::Database {
        action: "keep the audit log",
        source,
    }
}
