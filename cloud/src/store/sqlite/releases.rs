//! Releases in their table.

use sqlx::sqlite::SqliteRow;
use sqlx::{Executor, Sqlite};
use tidegate_bundle::Digest;
use tidegate_wire::WallTime;

use super::super::audit::Event;
use super::super::releases::{KeptRelease, Parts, Put, ReleasePosition};
use super::super::{Error, Page, Releases, Tenant};
use super::columns::{get, name, number, signed, unsigned};
use super::deployments::put_parts;
use super::{SqliteStore, audit};

const HELD: &str = "SELECT max(counter) AS highest, max(blob = ?3) AS known FROM releases \
    WHERE tenant = ?1 AND module = ?2";

const PUT: &str = "INSERT INTO releases (tenant, module, counter, version, identity, blob, bytes, received, who) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";

const RELEASES: &str = "SELECT * FROM releases WHERE tenant = ?1 \
    AND (module > ?2 OR (module = ?2 AND counter < ?3)) ORDER BY module, counter DESC LIMIT ?4";

const HAS_BLOB: &str = "SELECT 1 FROM releases WHERE tenant = ?1 AND blob = ?2 LIMIT 1";

impl Releases for SqliteStore {
    async fn put_release(
        &self,
        tenant: &Tenant,
        release: &KeptRelease,
        parts: &Parts,
        event: &Event,
    ) -> Result<Put, Error> {
        let begun = self.writer.begin_with("BEGIN IMMEDIATE").await;
        let mut transaction = begun.map_err(failed)?;
        let put = judged(&mut *transaction, tenant, release).await?;
        if let Put::Stale(_) = put {
            return Ok(put);
        }
        let (document, artifacts) = (&parts.document, &parts.artifacts);
        put_parts(
            &mut transaction,
            tenant,
            &release.identity,
            document,
            artifacts,
        )
        .await?;
        if put == Put::Known {
            transaction.commit().await.map_err(failed)?;
            return Ok(put);
        }
        let insert = sqlx::query(PUT)
            .bind(tenant.as_str().to_owned())
            .bind(release.module.as_str().to_owned())
            .bind(signed(release.counter))
            .bind(release.version.clone())
            .bind(release.identity.clone())
            .bind(release.blob.clone())
            .bind(signed(release.bytes))
            .bind(signed(release.received.0))
            .bind(release.by.clone());
        insert.execute(&mut *transaction).await.map_err(failed)?;
        let entry = audit::add(&mut transaction, tenant, event, release.received).await?;
        transaction.commit().await.map_err(failed)?;
        audit::tell(&entry);
        Ok(put)
    }

    async fn would_put(&self, tenant: &Tenant, release: &KeptRelease) -> Result<Put, Error> {
        judged(&self.readers, tenant, release).await
    }

    async fn releases(
        &self,
        tenant: &Tenant,
        after: Option<&ReleasePosition>,
        count_max: u32,
    ) -> Result<Page<KeptRelease>, Error> {
        let (module, counter) = match after {
            None => (String::new(), 0),
            Some(after) => (after.module.as_str().to_owned(), after.counter),
        };
        let query = sqlx::query(RELEASES)
            .bind(tenant.as_str().to_owned())
            .bind(module)
            .bind(signed(counter.min(crate::checked::COUNT_MAX)))
            .bind(i64::from(count_max) + 1);
        let rows = query.fetch_all(&self.readers).await.map_err(failed)?;
        let mut items: Vec<_> = rows.iter().map(release).collect::<Result<_, _>>()?;
        let count_max = usize::try_from(count_max).unwrap_or(usize::MAX);
        let more = items.len() > count_max;
        items.truncate(count_max);
        Ok(Page { items, more })
    }

    async fn has_blob(&self, tenant: &Tenant, blob: Digest) -> Result<bool, Error> {
        let query = sqlx::query(HAS_BLOB)
            .bind(tenant.as_str().to_owned())
            .bind(blob.to_string());
        let found = query.fetch_optional(&self.readers).await;
        Ok(found.map_err(failed)?.is_some())
    }
}

async fn judged<'c>(
    connection: impl Executor<'c, Database = Sqlite>,
    tenant: &Tenant,
    release: &KeptRelease,
) -> Result<Put, Error> {
    let query = sqlx::query(HELD)
        .bind(tenant.as_str().to_owned())
        .bind(release.module.as_str().to_owned())
        .bind(release.blob.clone());
    let held = query.fetch_one(connection).await.map_err(failed)?;
    if get::<Option<bool>>(&held, "known")? == Some(true) {
        return Ok(Put::Known);
    }
    match get::<Option<i64>>(&held, "highest")?.map(unsigned) {
        Some(highest) if highest >= release.counter => Ok(Put::Stale(highest)),
        _ => Ok(Put::Kept),
    }
}

fn release(columns: &SqliteRow) -> Result<KeptRelease, Error> {
    Ok(KeptRelease {
        module: name(columns, "module")?,
        counter: number(columns, "counter")?,
        version: get(columns, "version")?,
        identity: get(columns, "identity")?,
        blob: get(columns, "blob")?,
        bytes: number(columns, "bytes")?,
        received: WallTime(number(columns, "received")?),
        by: get(columns, "who")?,
    })
}

fn failed(source: sqlx::Error) -> Error {
    Error::Database {
        action: "keep releases",
        source,
    }
}
