//! Roots, deployments and the parts of releases in their tables.

use sqlx::sqlite::SqliteRow;
use sqlx::{Sqlite, Transaction};
use tidegate_bundle::{Digest, Target};
use tidegate_wire::WallTime;

use super::super::audit::Event;
use super::super::deployments::{Deployments, KeptDeployment, Part, PutDeployment, Sequence};
use super::super::{Error, Page, Tenant};
use super::columns::{get, number, signed};
use super::{SqliteStore, audit};
use crate::checked::COUNT_MAX;

const PUT_ROOT: &str = "INSERT INTO roots (tenant, version, document, received, who) VALUES (?1, ?2, ?3, ?4, ?5) \
    ON CONFLICT DO NOTHING";

const ROOTS: &str =
    "SELECT document FROM roots WHERE tenant = ?1 AND version >= ?2 ORDER BY version LIMIT ?3";

const SAME_NUMBER: &str =
    "SELECT digest FROM deployments WHERE tenant = ?1 AND epoch = ?2 AND seq = ?3";

const NEWEST: &str = "SELECT * FROM deployments WHERE tenant = ?1 AND kind = ?2 AND target = ?3 \
    ORDER BY epoch DESC, seq DESC LIMIT 1";

const PUT: &str = "INSERT INTO deployments (tenant, epoch, seq, digest, kind, target, document, received, who) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";

const DEPLOYMENTS: &str = "SELECT * FROM deployments WHERE tenant = ?1 \
    AND (epoch < ?2 OR (epoch = ?2 AND seq < ?3)) ORDER BY epoch DESC, seq DESC LIMIT ?4";

const DEPLOYMENT: &str = "SELECT * FROM deployments WHERE tenant = ?1 AND digest = ?2";

const OWN: &str = "SELECT * FROM deployments AS one WHERE tenant = ?1 AND kind = 0 AND NOT EXISTS \
    (SELECT 1 FROM deployments AS other WHERE other.tenant = ?1 AND other.kind = 0 AND other.target = one.target \
    AND (other.epoch > one.epoch OR (other.epoch = one.epoch AND other.seq > one.seq)))";

const DOCUMENT: &str = "SELECT document FROM release_documents WHERE tenant = ?1 AND identity = ?2";

const ARTIFACT: &str =
    "SELECT blob, start, length FROM artifacts WHERE tenant = ?1 AND digest = ?2";

const PUT_DOCUMENT: &str = "INSERT INTO release_documents (tenant, identity, document) VALUES (?1, ?2, ?3) \
    ON CONFLICT DO NOTHING";

const PUT_ARTIFACT: &str = "INSERT INTO artifacts (tenant, digest, blob, start, length) VALUES (?1, ?2, ?3, ?4, ?5) \
    ON CONFLICT DO NOTHING";

impl Deployments for SqliteStore {
    async fn put_root(
        &self,
        tenant: &Tenant,
        version: u64,
        document: &[u8],
        event: &Event,
        now: WallTime,
    ) -> Result<bool, Error> {
        let begun = self.writer.begin_with("BEGIN IMMEDIATE").await;
        let mut transaction = begun.map_err(failed)?;
        let put = sqlx::query(PUT_ROOT)
            .bind(tenant.as_str().to_owned())
            .bind(signed(version))
            .bind(document.to_vec())
            .bind(signed(now.0))
            .bind(event.who.clone());
        let put = put.execute(&mut *transaction).await.map_err(failed)?;
        if put.rows_affected() == 0 {
            return Ok(false);
        }
        let entry = audit::add(&mut transaction, tenant, event, now).await?;
        transaction.commit().await.map_err(failed)?;
        audit::tell(&entry);
        Ok(true)
    }

    async fn roots(
        &self,
        tenant: &Tenant,
        from: u64,
        count_max: u32,
    ) -> Result<Vec<Vec<u8>>, Error> {
        let query = sqlx::query(ROOTS)
            .bind(tenant.as_str().to_owned())
            .bind(signed(from.min(COUNT_MAX)))
            .bind(i64::from(count_max));
        let rows = query.fetch_all(&self.readers).await.map_err(failed)?;
        rows.iter().map(|row| get(row, "document")).collect()
    }

    async fn put_deployment(
        &self,
        tenant: &Tenant,
        deployment: &KeptDeployment,
        event: &Event,
    ) -> Result<PutDeployment, Error> {
        let begun = self.writer.begin_with("BEGIN IMMEDIATE").await;
        let mut transaction = begun.map_err(failed)?;
        let put = judged(&mut transaction, tenant, deployment).await?;
        if put != PutDeployment::Kept {
            return Ok(put);
        }
        let (kind, target) = to_columns(&deployment.target);
        let insert = sqlx::query(PUT)
            .bind(tenant.as_str().to_owned())
            .bind(signed(deployment.at.epoch))
            .bind(signed(deployment.at.seq))
            .bind(deployment.digest.to_string())
            .bind(kind)
            .bind(target.to_owned())
            .bind(deployment.document.clone())
            .bind(signed(deployment.received.0))
            .bind(deployment.by.clone());
        insert.execute(&mut *transaction).await.map_err(failed)?;
        let entry = audit::add(&mut transaction, tenant, event, deployment.received).await?;
        transaction.commit().await.map_err(failed)?;
        audit::tell(&entry);
        Ok(put)
    }

    async fn deployments(
        &self,
        tenant: &Tenant,
        after: Option<Sequence>,
        count_max: u32,
    ) -> Result<Page<KeptDeployment>, Error> {
        let after = after.unwrap_or(Sequence {
            epoch: COUNT_MAX,
            seq: COUNT_MAX,
        });
        let query = sqlx::query(DEPLOYMENTS)
            .bind(tenant.as_str().to_owned())
            .bind(signed(after.epoch.min(COUNT_MAX)))
            .bind(signed(after.seq.min(COUNT_MAX)))
            .bind(i64::from(count_max) + 1);
        let rows = query.fetch_all(&self.readers).await.map_err(failed)?;
        let mut items: Vec<_> = rows.iter().map(deployment).collect::<Result<_, _>>()?;
        let count_max = usize::try_from(count_max).unwrap_or(usize::MAX);
        let more = items.len() > count_max;
        items.truncate(count_max);
        Ok(Page { items, more })
    }

    async fn deployment(
        &self,
        tenant: &Tenant,
        digest: Digest,
    ) -> Result<Option<KeptDeployment>, Error> {
        let query = sqlx::query(DEPLOYMENT)
            .bind(tenant.as_str().to_owned())
            .bind(digest.to_string());
        let row = query.fetch_optional(&self.readers).await.map_err(failed)?;
        row.as_ref().map(deployment).transpose()
    }

    async fn own_deployments(&self, tenant: &Tenant) -> Result<Vec<KeptDeployment>, Error> {
        let query = sqlx::query(OWN).bind(tenant.as_str().to_owned());
        let rows = query.fetch_all(&self.readers).await.map_err(failed)?;
        rows.iter().map(deployment).collect()
    }

    async fn release_document(
        &self,
        tenant: &Tenant,
        identity: Digest,
    ) -> Result<Option<Vec<u8>>, Error> {
        let query = sqlx::query(DOCUMENT)
            .bind(tenant.as_str().to_owned())
            .bind(identity.to_string());
        let row = query.fetch_optional(&self.readers).await.map_err(failed)?;
        row.map(|row| get(&row, "document")).transpose()
    }

    async fn artifact(&self, tenant: &Tenant, digest: Digest) -> Result<Option<Part>, Error> {
        let query = sqlx::query(ARTIFACT)
            .bind(tenant.as_str().to_owned())
            .bind(digest.to_string());
        let row = query.fetch_optional(&self.readers).await.map_err(failed)?;
        let part = |row: SqliteRow| {
            Ok(Part {
                blob: parsed(&row, "blob")?,
                start: number(&row, "start")?,
                length: number(&row, "length")?,
            })
        };
        row.map(part).transpose()
    }
}

/// Keeps the parts of a release within the transaction that keeps it.
pub(super) async fn put_parts(
    transaction: &mut Transaction<'static, Sqlite>,
    tenant: &Tenant,
    identity: &str,
    document: &[u8],
    artifacts: &[(Digest, Part)],
) -> Result<(), Error> {
    let put = sqlx::query(PUT_DOCUMENT)
        .bind(tenant.as_str().to_owned())
        .bind(identity.to_owned())
        .bind(document.to_vec());
    put.execute(&mut **transaction).await.map_err(failed)?;
    for (digest, part) in artifacts {
        let put = sqlx::query(PUT_ARTIFACT)
            .bind(tenant.as_str().to_owned())
            .bind(digest.to_string())
            .bind(part.blob.to_string())
            .bind(signed(part.start))
            .bind(signed(part.length));
        put.execute(&mut **transaction).await.map_err(failed)?;
    }
    Ok(())
}

async fn judged(
    transaction: &mut Transaction<'static, Sqlite>,
    tenant: &Tenant,
    deployment: &KeptDeployment,
) -> Result<PutDeployment, Error> {
    let same = sqlx::query(SAME_NUMBER)
        .bind(tenant.as_str().to_owned())
        .bind(signed(deployment.at.epoch))
        .bind(signed(deployment.at.seq));
    let same = same.fetch_optional(&mut **transaction).await;
    if let Some(row) = same.map_err(failed)? {
        return Ok(match parsed(&row, "digest")? == deployment.digest {
            true => PutDeployment::Known,
            false => PutDeployment::Reused,
        });
    }
    let (kind, target) = to_columns(&deployment.target);
    let newest = sqlx::query(NEWEST)
        .bind(tenant.as_str().to_owned())
        .bind(kind)
        .bind(target.to_owned());
    let newest = newest.fetch_optional(&mut **transaction).await;
    match newest.map_err(failed)?.as_ref().map(at).transpose()? {
        Some(newest) if newest > deployment.at => Ok(PutDeployment::Stale(newest)),
        _ => Ok(PutDeployment::Kept),
    }
}

fn to_columns(target: &Target) -> (i64, &str) {
    match target {
        Target::GatewayId(gateway) => (0, gateway),
        Target::GroupId(group) => (1, group),
    }
}

fn at(row: &SqliteRow) -> Result<Sequence, Error> {
    Ok(Sequence {
        epoch: number(row, "epoch")?,
        seq: number(row, "seq")?,
    })
}

fn deployment(row: &SqliteRow) -> Result<KeptDeployment, Error> {
    let target = get(row, "target")?;
    Ok(KeptDeployment {
        at: at(row)?,
        digest: parsed(row, "digest")?,
        target: match get::<i64>(row, "kind")? {
            0 => Target::GatewayId(target),
            1 => Target::GroupId(target),
            _ => return Err(Error::Damaged("kind")),
        },
        document: get(row, "document")?,
        received: WallTime(number(row, "received")?),
        by: get(row, "who")?,
    })
}

fn parsed(row: &SqliteRow, column: &'static str) -> Result<Digest, Error> {
    Digest::parse(get(row, column)?).map_err(|_| Error::Damaged(column))
}

fn failed(source: sqlx::Error) -> Error {
    Error::Database {
        action: "keep deployments",
        source,
    }
}
