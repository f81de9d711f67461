//! Rollouts in their table.

use sqlx::sqlite::SqliteRow;
use tidegate_wire::{Name, WallTime};

use super::super::audit::Event;
use super::super::rollouts::{KeptRollout, NewRollout, ROLLOUTS_OF_GROUP, Rollouts};
use super::super::{Error, Tenant};
use super::columns::{get, name, number, signed};
use super::{SqliteStore, audit};
use crate::checked::COUNT_MAX;
use crate::rollout::Rollout;

const ACTIVE_OF_GROUP: &str =
    "SELECT 1 FROM rollouts WHERE tenant = ?1 AND target = ?2 AND active = 1 LIMIT 1";

const LAST: &str = "SELECT coalesce(max(number), 0) AS last FROM rollouts WHERE tenant = ?1";

const START: &str = "INSERT INTO rollouts (tenant, number, target, active, revision, started, who, body) \
    VALUES (?1, ?2, ?3, 1, 0, ?4, ?5, ?6)";

const SAVE: &str = "UPDATE rollouts SET active = ?4, revision = ?3 + 1, body = ?5 \
    WHERE tenant = ?1 AND number = ?2 AND revision = ?3";

const ROLLOUTS: &str = "SELECT * FROM rollouts WHERE tenant = ?1 ORDER BY number DESC LIMIT ?2";

const ROLLOUT: &str = "SELECT * FROM rollouts WHERE tenant = ?1 AND number = ?2";

const OF_GROUP: &str =
    "SELECT * FROM rollouts WHERE tenant = ?1 AND target = ?2 ORDER BY number DESC LIMIT ?3";

const ACTIVE: &str = "SELECT * FROM rollouts WHERE active = 1";

impl Rollouts for SqliteStore {
    async fn start_rollout(
        &self,
        tenant: &Tenant,
        start: &NewRollout,
        event: &Event,
    ) -> Result<Option<u64>, Error> {
        let begun = self.writer.begin_with("BEGIN IMMEDIATE").await;
        let mut transaction = begun.map_err(failed)?;
        let active = sqlx::query(ACTIVE_OF_GROUP)
            .bind(tenant.as_str().to_owned())
            .bind(start.group.as_str().to_owned());
        let active = active.fetch_optional(&mut *transaction).await;
        if active.map_err(failed)?.is_some() {
            return Ok(None);
        }
        let last = sqlx::query(LAST).bind(tenant.as_str().to_owned());
        let last = last.fetch_one(&mut *transaction).await.map_err(failed)?;
        let next = self::number(&last, "last")?.saturating_add(1);
        let insert = sqlx::query(START)
            .bind(tenant.as_str().to_owned())
            .bind(signed(next))
            .bind(start.group.as_str().to_owned())
            .bind(signed(start.started.0))
            .bind(start.by.clone())
            .bind(body(&start.rollout)?);
        insert.execute(&mut *transaction).await.map_err(failed)?;
        let entry = audit::add(&mut transaction, tenant, event, start.started).await?;
        transaction.commit().await.map_err(failed)?;
        audit::tell(&entry);
        Ok(Some(next))
    }

    async fn save_rollout(
        &self,
        tenant: &Tenant,
        kept: &KeptRollout,
        event: Option<&Event>,
        now: WallTime,
    ) -> Result<bool, Error> {
        let begun = self.writer.begin_with("BEGIN IMMEDIATE").await;
        let mut transaction = begun.map_err(failed)?;
        let save = sqlx::query(SAVE)
            .bind(tenant.as_str().to_owned())
            .bind(signed(kept.number))
            .bind(signed(kept.revision))
            .bind(i64::from(kept.of.rollout.is_active()))
            .bind(body(&kept.of.rollout)?);
        let saved = save.execute(&mut *transaction).await.map_err(failed)?;
        if saved.rows_affected() == 0 {
            return Ok(false);
        }
        let entry = match event {
            None => None,
            Some(event) => Some(audit::add(&mut transaction, tenant, event, now).await?),
        };
        transaction.commit().await.map_err(failed)?;
        if let Some(entry) = &entry {
            audit::tell(entry);
        }
        Ok(true)
    }

    async fn rollouts(&self, tenant: &Tenant, count_max: u32) -> Result<Vec<KeptRollout>, Error> {
        let query = sqlx::query(ROLLOUTS)
            .bind(tenant.as_str().to_owned())
            .bind(i64::from(count_max));
        let rows = query.fetch_all(&self.readers).await.map_err(failed)?;
        rows.iter().map(kept).collect()
    }

    async fn rollout(&self, tenant: &Tenant, number: u64) -> Result<Option<KeptRollout>, Error> {
        let query = sqlx::query(ROLLOUT)
            .bind(tenant.as_str().to_owned())
            .bind(signed(number.min(COUNT_MAX)));
        let row = query.fetch_optional(&self.readers).await.map_err(failed)?;
        row.as_ref().map(kept).transpose()
    }

    async fn rollouts_of(&self, tenant: &Tenant, group: &Name) -> Result<Vec<KeptRollout>, Error> {
        let query = sqlx::query(OF_GROUP)
            .bind(tenant.as_str().to_owned())
            .bind(group.as_str().to_owned())
            .bind(i64::from(ROLLOUTS_OF_GROUP));
        let rows = query.fetch_all(&self.readers).await.map_err(failed)?;
        rows.iter().map(kept).collect()
    }

    async fn active_rollouts(&self) -> Result<Vec<(Tenant, KeptRollout)>, Error> {
        let rows = sqlx::query(ACTIVE).fetch_all(&self.readers).await;
        let rows = rows.map_err(failed)?;
        let one = |row: &SqliteRow| Ok((Tenant::new(&name(row, "tenant")?), kept(row)?));
        rows.iter().map(one).collect()
    }
}

fn body(rollout: &Rollout) -> Result<String, Error> {
    serde_json::to_string(rollout).map_err(|error| Error::Encode(error.to_string()))
}

fn kept(row: &SqliteRow) -> Result<KeptRollout, Error> {
    let rollout = serde_json::from_str(get(row, "body")?).map_err(|_| Error::Damaged("rollout"))?;
    Ok(KeptRollout {
        number: number(row, "number")?,
        revision: number(row, "revision")?,
        of: NewRollout {
            group: name(row, "target")?,
            rollout,
            started: WallTime(number(row, "started")?),
            by: get(row, "who")?,
        },
    })
}

fn failed(source: sqlx::Error) -> Error {
    Error::Database {
        action: "keep rollouts",
        source,
    }
}
