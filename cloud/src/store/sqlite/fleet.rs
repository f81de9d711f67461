//! Labels, groups and reports in their tables.

use std::collections::BTreeMap;

use sqlx::sqlite::SqliteRow;
use tidegate_bundle::Status;
use tidegate_wire::{Name, WallTime};

use super::super::audit::Event;
use super::super::fleet::{Fleet, GROUPS_MAX, Known, LABELS_MAX, Labels, Report};
use super::super::{Error, GatewayId, Tenant};
use super::columns::{get, name, number, signed};
use super::{SqliteStore, audit};
use crate::checked::COUNT_MAX;

const SET: &str = "INSERT INTO labels (tenant, gateway, label, value) VALUES (?1, ?2, ?3, ?4) \
    ON CONFLICT DO UPDATE SET value = excluded.value";

const UNSET: &str = "DELETE FROM labels WHERE tenant = ?1 AND gateway = ?2 AND label = ?3";

const LABELS: &str =
    "SELECT gateway, label, value FROM labels WHERE tenant = ?1 AND (?2 = '' OR gateway = ?2)";

const PUT_GROUP: &str = "INSERT INTO fleet_groups (tenant, name, labels) VALUES (?1, ?2, ?3) \
    ON CONFLICT DO UPDATE SET labels = excluded.labels";

const OTHER_GROUPS: &str =
    "SELECT count(*) AS others FROM fleet_groups WHERE tenant = ?1 AND name <> ?2";

const GROUPS: &str = "SELECT name, labels FROM fleet_groups WHERE tenant = ?1";

/// One that is not newer changes nothing.
const REPORT: &str = "INSERT INTO reports (tenant, gateway, epoch_ordinal, counter, received, document) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE SET epoch_ordinal = excluded.epoch_ordinal, \
    counter = excluded.counter, received = excluded.received, document = excluded.document \
    WHERE excluded.epoch_ordinal > epoch_ordinal \
    OR (excluded.epoch_ordinal = epoch_ordinal AND excluded.counter > counter)";

const REPORTS: &str = "SELECT gateway, received, document FROM reports WHERE tenant = ?1 AND (?2 = '' OR gateway = ?2)";

const SEEN: &str =
    "SELECT gateway, last_seen FROM gateways WHERE tenant = ?1 AND (?2 = '' OR gateway = ?2)";

impl Fleet for SqliteStore {
    async fn set_labels(
        &self,
        of: &GatewayId,
        changes: &BTreeMap<Name, Option<String>>,
        event: &Event,
        now: WallTime,
    ) -> Result<Option<Labels>, Error> {
        let begun = self.writer.begin_with("BEGIN IMMEDIATE").await;
        let mut transaction = begun.map_err(failed)?;
        for (label, value) in changes {
            let statement = match value {
                Some(_) => SET,
                None => UNSET,
            };
            let mut query = sqlx::query(statement)
                .bind(of.tenant.as_str().to_owned())
                .bind(of.gateway.as_str().to_owned())
                .bind(label.as_str().to_owned());
            if let Some(value) = value {
                query = query.bind(value.clone());
            }
            query.execute(&mut *transaction).await.map_err(failed)?;
        }
        let query = sqlx::query(LABELS)
            .bind(of.tenant.as_str().to_owned())
            .bind(of.gateway.as_str().to_owned());
        let rows = query.fetch_all(&mut *transaction).await.map_err(failed)?;
        let labels: Labels = rows.iter().map(label).collect::<Result<_, _>>()?;
        if labels.len() > LABELS_MAX {
            return Ok(None);
        }
        let entry = audit::add(&mut transaction, &of.tenant, event, now).await?;
        transaction.commit().await.map_err(failed)?;
        audit::tell(&entry);
        Ok(Some(labels))
    }

    async fn put_group(
        &self,
        tenant: &Tenant,
        name: &Name,
        labels: &Labels,
        event: &Event,
        now: WallTime,
    ) -> Result<bool, Error> {
        let begun = self.writer.begin_with("BEGIN IMMEDIATE").await;
        let mut transaction = begun.map_err(failed)?;
        let others = sqlx::query(OTHER_GROUPS)
            .bind(tenant.as_str().to_owned())
            .bind(name.as_str().to_owned());
        let others = others.fetch_one(&mut *transaction).await.map_err(failed)?;
        let most = u64::try_from(GROUPS_MAX).unwrap_or(u64::MAX);
        if number(&others, "others")? >= most {
            return Ok(false);
        }
        let texts: BTreeMap<_, _> = labels
            .iter()
            .map(|(label, value)| (label.as_str(), value))
            .collect();
        let text = serde_json::to_string(&texts);
        let put = sqlx::query(PUT_GROUP)
            .bind(tenant.as_str().to_owned())
            .bind(name.as_str().to_owned())
            .bind(text.map_err(|error| Error::Encode(error.to_string()))?);
        put.execute(&mut *transaction).await.map_err(failed)?;
        let entry = audit::add(&mut transaction, tenant, event, now).await?;
        transaction.commit().await.map_err(failed)?;
        audit::tell(&entry);
        Ok(true)
    }

    async fn groups(&self, tenant: &Tenant) -> Result<BTreeMap<Name, Labels>, Error> {
        let query = sqlx::query(GROUPS).bind(tenant.as_str().to_owned());
        let rows = query.fetch_all(&self.readers).await.map_err(failed)?;
        let group = |row: &SqliteRow| {
            let labels: BTreeMap<String, String> =
                serde_json::from_str(get(row, "labels")?).map_err(|_| Error::Damaged("labels"))?;
            let label = |(label, value): (String, String)| {
                let label = Name::new(&label).map_err(|_| Error::Damaged("labels"))?;
                Ok((label, value))
            };
            let labels = labels.into_iter().map(label);
            Ok((name(row, "name")?, labels.collect::<Result<_, Error>>()?))
        };
        rows.iter().map(group).collect()
    }

    async fn put_report(&self, of: &GatewayId, report: &Report) -> Result<bool, Error> {
        let status = &report.status;
        let put = sqlx::query(REPORT)
            .bind(of.tenant.as_str().to_owned())
            .bind(of.gateway.as_str().to_owned())
            .bind(signed(status.store_epoch.ordinal.min(COUNT_MAX)))
            .bind(signed(status.counter.min(COUNT_MAX)))
            .bind(signed(report.received.0))
            .bind(report.document.clone());
        let put = put.execute(&self.writer).await.map_err(failed)?;
        Ok(put.rows_affected() > 0)
    }

    async fn fleet(&self, tenant: &Tenant) -> Result<BTreeMap<Name, Known>, Error> {
        self.all(tenant, "").await
    }

    async fn known(&self, of: &GatewayId) -> Result<Option<Known>, Error> {
        let mut all = self.all(&of.tenant, of.gateway.as_str()).await?;
        Ok(all.remove(&of.gateway))
    }
}

impl SqliteStore {
    /// Of one gateway, or of all where none is named.
    async fn all(&self, tenant: &Tenant, gateway: &str) -> Result<BTreeMap<Name, Known>, Error> {
        let rows = async |statement: &'static str| {
            let query = sqlx::query(statement)
                .bind(tenant.as_str().to_owned())
                .bind(gateway.to_owned());
            query.fetch_all(&self.readers).await.map_err(failed)
        };
        let mut fleet = BTreeMap::<Name, Known>::new();
        for row in rows(SEEN).await? {
            let known = fleet.entry(name(&row, "gateway")?).or_default();
            known.seen = Some(WallTime(number(&row, "last_seen")?));
        }
        for row in rows(LABELS).await? {
            let known = fleet.entry(name(&row, "gateway")?).or_default();
            known.labels.extend([label(&row)?]);
        }
        for row in rows(REPORTS).await? {
            let known = fleet.entry(name(&row, "gateway")?).or_default();
            let report = report(&row)?;
            known.seen = known.seen.max(Some(report.received));
            known.report = Some(report);
        }
        Ok(fleet)
    }
}

fn label(row: &SqliteRow) -> Result<(Name, String), Error> {
    Ok((name(row, "label")?, get(row, "value")?))
}

fn report(row: &SqliteRow) -> Result<Report, Error> {
    let document: Vec<u8> = get(row, "document")?;
    Ok(Report {
        status: Status::unverified(&document).map_err(|_| Error::Damaged("report"))?,
        document,
        received: WallTime(number(row, "received")?),
    })
}

fn failed(source: sqlx::Error) -> Error {
    Error::Database {
        action: "keep what is known of gateways",
        source,
    }
}
