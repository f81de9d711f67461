//! The store in one SQLite file: write-ahead log, `synchronous=FULL`, one writer and a few readers.
//!
//! A commit returns after the log's fsync, so an answered request survives a power cut. The writer's queue is the pool
//! of one connection; readers never wait for it. Statements are constant texts, and values are always bound.
//!
//! # Layout
//! - `commit`: a request into the tables.
//! - `read`: the tables into answers.
//! - `columns`: rows to columns and back.
//! - `lag`: the history of lags.
//! - `credentials`: tokens and sessions.
//! - `devices`: who a gateway is.
//! - `audit`: who did what.
//! - `releases`: what may be rolled out.
//! - `deployments`, `fleet`, `rollouts`: what is to run where, and what does.
//! - `schema`: the tables, step by step.

mod audit;
mod columns;
mod commit;
mod credentials;
mod deployments;
mod devices;
mod fleet;
mod lag;
mod read;
mod releases;
mod rollouts;
mod schema;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use tidegate_wire::{Name, WallTime};

use super::audit::Event;
use super::devices::Heard;
use super::{
    Committed, EntryPosition, Error, Gateway, GatewayId, HeldRow, Loss, Page, Reach, RowCount,
    RowFilter, SeriesRow, Store, Stream, StreamId, Tenant,
};
use crate::Checked;
use crate::lag::{Sample, Step};
use commit::With;

/// Older versions can lose a log that is reset while another connection writes.
const SQLITE_NEEDED: &str = "3.51.3";

/// Another process on the same file: wait this long for its transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Wait for a connection of the pool; the request's own timeout is longer.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(20);

/// Readers at once: more only share the same two or four cores.
const READERS: u32 = 4;

/// The log is cut back to this after a checkpoint, in bytes.
const LOG_BYTES_KEPT: &str = "67108864";

/// Rows in one SQLite file.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
    centre_id: Arc<str>,
}

impl SqliteStore {
    /// Opens `file`, and makes it and its tables where there are none.
    ///
    /// # Errors
    /// When it cannot be opened or is of a newer schema, or SQLite is too old.
    pub async fn open(file: &Path) -> Result<Self, Error> {
        // sqlx sets the busy timeout when it opens the connection, before any pragma.
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .busy_timeout(BUSY_TIMEOUT)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("journal_size_limit", LOG_BYTES_KEPT);
        let pool = |connections| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(ACQUIRE_TIMEOUT)
        };
        let database = |source| Error::Database {
            action: "open the database",
            source,
        };
        let writer = pool(1)
            .connect_with(options.clone())
            .await
            .map_err(database)?;
        check_version(&writer).await?;
        schema::prepare(&writer).await?;
        let readers = pool(READERS)
            .connect_with(options.pragma("query_only", "on"))
            .await
            .map_err(database)?;
        let centre_id = devices::centre_id(&readers).await?.into();
        Ok(Self {
            writer,
            readers,
            centre_id,
        })
    }
}

impl Store for SqliteStore {
    async fn commit(
        &self,
        of: &GatewayId,
        request: &Checked,
        received: WallTime,
    ) -> Result<Committed, Error> {
        commit::commit(&self.writer, of, request, received, With::default()).await
    }

    async fn commit_noted(
        &self,
        of: &GatewayId,
        request: &Checked,
        received: WallTime,
        event: &Event,
    ) -> Result<Committed, Error> {
        let with = With {
            event: Some(event),
            ..With::default()
        };
        commit::commit(&self.writer, of, request, received, with).await
    }

    async fn commit_signed(
        &self,
        of: &GatewayId,
        request: &Checked,
        received: WallTime,
        heard: &Heard,
    ) -> Result<Committed, Error> {
        let with = With {
            heard: Some(heard),
            ..With::default()
        };
        commit::commit(&self.writer, of, request, received, with).await
    }

    async fn gateways(
        &self,
        tenant: &Tenant,
        after: Option<&Name>,
        count_max: u32,
    ) -> Result<Page<Gateway>, Error> {
        read::gateways(&self.readers, tenant, after, count_max).await
    }

    async fn gateway(&self, of: &GatewayId) -> Result<Option<Gateway>, Error> {
        read::gateway(&self.readers, of).await
    }

    async fn streams(
        &self,
        of: &GatewayId,
        after: Option<&Name>,
        count_max: u32,
    ) -> Result<Page<Stream>, Error> {
        read::streams(&self.readers, of, after, count_max).await
    }

    async fn rows(
        &self,
        of: &StreamId,
        filter: &RowFilter,
        reach: Reach,
        count_max: u32,
    ) -> Result<Page<HeldRow>, Error> {
        read::rows(&self.readers, of, filter, reach, count_max).await
    }

    async fn count(&self, of: &StreamId) -> Result<RowCount, Error> {
        read::count(&self.readers, of).await
    }

    async fn ledger(
        &self,
        of: &GatewayId,
        after: Option<&EntryPosition>,
        count_max: u32,
    ) -> Result<Page<SeriesRow>, Error> {
        read::ledger(&self.readers, of, after, count_max).await
    }

    async fn losses(&self, of: &GatewayId, count_max: u32) -> Result<Page<Loss>, Error> {
        read::losses(&self.readers, of, count_max).await
    }

    async fn newest(&self, of: &GatewayId, count_max: u32) -> Result<Page<SeriesRow>, Error> {
        read::newest(&self.readers, of, count_max).await
    }

    async fn alarms(&self, of: &GatewayId, count_max: u32) -> Result<Page<SeriesRow>, Error> {
        read::alarms(&self.readers, of, count_max).await
    }

    async fn fleet_alarms(
        &self,
        tenant: &Tenant,
        count_max: u32,
    ) -> Result<Page<SeriesRow>, Error> {
        read::fleet_alarms(&self.readers, tenant, count_max).await
    }

    async fn lags(
        &self,
        of: &GatewayId,
        step: Step,
        since: WallTime,
    ) -> Result<Vec<Sample>, Error> {
        lag::lags(&self.readers, of, step, since).await
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

async fn check_version(pool: &SqlitePool) -> Result<(), Error> {
    let found: String = sqlx::query_scalar("SELECT sqlite_version()")
        .fetch_one(pool)
        .await
        .map_err(|source| Error::Database {
            action: "ask SQLite for its version",
            source,
        })?;
    let numbers = |text: &str| {
        text.split('.')
            .map(|part| part.parse::<u32>().unwrap_or(0))
            .collect::<Vec<_>>()
    };
    if numbers(&found) < numbers(SQLITE_NEEDED) {
        return Err(Error::OldSqlite {
            found,
            needed: SQLITE_NEEDED,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn open() -> (tempfile::TempDir, SqliteStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("centre.db"))
            .await
            .unwrap();
        (folder, store)
    }

    #[tokio::test]
    async fn a_commit_is_on_disk_before_it_returns() {
        let (_folder, store) = open().await;
        let journal: String = sqlx::query_scalar("PRAGMA journal_mode")
            .fetch_one(&store.writer)
            .await
            .unwrap();
        let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous")
            .fetch_one(&store.writer)
            .await
            .unwrap();
        assert_eq!((journal.as_str(), synchronous), ("wal", 2));
    }

    #[tokio::test]
    async fn readers_cannot_write() {
        let (_folder, store) = open().await;
        assert!(
            sqlx::query("DELETE FROM rows")
                .execute(&store.readers)
                .await
                .is_err()
        );
        assert!(
            sqlx::query("DELETE FROM rows")
                .execute(&store.writer)
                .await
                .is_ok()
        );
    }

    #[tokio::test]
    async fn a_file_that_is_no_database_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("centre.db");
        std::fs::write(
            &file,
            "not a database, but longer than the header of one, which has a hundred bytes "
                .repeat(9),
        )
        .unwrap();
        assert!(matches!(
            SqliteStore::open(&file).await,
            Err(Error::Database { .. })
        ));
    }
}
