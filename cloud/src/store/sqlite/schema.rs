//! The tables, and how those of an older program become ours.
//!
//! Step N makes schema N out of N - 1 and ends with its number in `user_version`. A new database takes every step, so that
//! it is the same as one that grew up. All that a database needs are one transaction: after a failure it is what it was. A
//! step that was released is never changed.

use sqlx::sqlite::SqlitePool;

use super::super::Error;

const STEPS: [&str; 6] = [
    include_str!("schema/1.sql"),
    include_str!("schema/2.sql"),
    include_str!("schema/3.sql"),
    include_str!("schema/4.sql"),
    include_str!("schema/5.sql"),
    include_str!("schema/6.sql"),
];

/// Makes the tables those of this program.
pub(super) async fn prepare(pool: &SqlitePool) -> Result<(), Error> {
    let database = |source| Error::Database {
        action: "prepare the tables",
        source,
    };
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await.map_err(database)?;
    let found: i64 = sqlx::query_scalar("PRAGMA user_version")
        .fetch_one(&mut *transaction)
        .await
        .map_err(database)?;
    let missing = usize::try_from(found).ok().and_then(|n| STEPS.get(n..));
    let Some(missing) = missing else {
        return Err(Error::Schema {
            found,
            known: STEPS.len(),
        });
    };
    for step in missing {
        sqlx::raw_sql(*step)
            .execute(&mut *transaction)
            .await
            .map_err(database)?;
    }
    transaction.commit().await.map_err(database)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use sqlx::sqlite::SqliteConnectOptions;
    use tidegate_wire::WallTime;

    use super::*;
    use crate::Checked;
    use crate::samples::{START_NS, epoch, name, request, row, rows};
    use crate::store::{
        GatewayId, Reach, RowCount, RowFilter, SqliteStore, Store, StreamId, Tenant,
    };

    /// Written by the program of schema 1, with the samples of these tests.
    const SCHEMA_1: &str = include_str!("../../../tests/fixtures/schema-1.sql");

    async fn execute(file: &Path, statements: &'static str) {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true);
        let pool = SqlitePool::connect_with(options).await.unwrap();
        sqlx::raw_sql(statements).execute(&pool).await.unwrap();
        pool.close().await;
    }

    /// Every table and index, as SQLite keeps their text, and the number.
    async fn shape(file: &Path) -> (Vec<String>, i64) {
        let options = SqliteConnectOptions::new().filename(file);
        let pool = SqlitePool::connect_with(options).await.unwrap();
        let texts = sqlx::query_scalar("SELECT sql FROM sqlite_schema ORDER BY name");
        let version = sqlx::query_scalar("PRAGMA user_version");
        let shape = (
            texts.fetch_all(&pool).await.unwrap(),
            version.fetch_one(&pool).await.unwrap(),
        );
        pool.close().await;
        shape
    }

    fn file(folder: &tempfile::TempDir) -> PathBuf {
        folder.path().join("centre.db")
    }

    #[tokio::test]
    async fn a_database_of_schema_1_keeps_its_rows_and_takes_more() {
        let folder = tempfile::tempdir().unwrap();
        execute(&file(&folder), SCHEMA_1).await;
        let store = SqliteStore::open(&file(&folder)).await.unwrap();
        let gateway = GatewayId {
            tenant: Tenant::default(),
            gateway: name("gw-1"),
        };
        let stream = StreamId {
            of: gateway.clone(),
            stream: name("a"),
        };
        let held = store
            .rows(&stream, &RowFilter::default(), Reach::First, 10)
            .await
            .unwrap();
        let held: Vec<_> = held.items.into_iter().map(|held| held.row).collect();
        assert_eq!(held, [1, 2, 3, 1, 2].map(row));
        assert_eq!(store.alarms(&gateway, 10).await.unwrap().items.len(), 1);

        // Rows that come again are known, and those that follow are taken.
        let sent = request("gw-1", vec![rows("a", epoch(2), 1..=4)]);
        let committed = store
            .commit(&gateway, &Checked::new(sent).unwrap(), WallTime(START_NS))
            .await
            .unwrap();
        assert_eq!((committed.rows_known, committed.rows_new), (2, 2));
        let expected = RowCount {
            rows: 7,
            entries: 0,
            covered: 7,
            marks: 7,
        };
        assert_eq!(store.count(&stream).await.unwrap(), expected);
        let streams = store.streams(&gateway, None, 10).await.unwrap();
        assert_eq!((streams.items[0].rows, streams.items[0].marks), (7, 7));
    }

    #[tokio::test]
    async fn a_database_that_grew_up_is_the_same_as_a_new_one() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        execute(&file(&folders[0]), SCHEMA_1).await;
        for folder in &folders {
            SqliteStore::open(&file(folder))
                .await
                .unwrap()
                .close()
                .await;
        }
        let grown = shape(&file(&folders[0])).await;
        assert_eq!(grown, shape(&file(&folders[1])).await);
        assert_eq!(grown.1, 6);
    }

    #[tokio::test]
    async fn a_database_of_a_newer_program_is_refused_unchanged() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&file(&folder)).await.unwrap();
        store.close().await;
        execute(&file(&folder), "PRAGMA user_version = 7").await;
        let before = shape(&file(&folder)).await;
        let error = SqliteStore::open(&file(&folder)).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "database has schema 7, this program knows up to 6"
        );
        assert_eq!(shape(&file(&folder)).await, before);
    }

    /// The rules that keep a table spreadable over machines, read from the schema itself.
    #[test]
    fn every_key_of_what_gateways_send_starts_with_the_tenant_and_the_gateway() {
        let keys = |schema: &'static str| {
            let lines = schema.lines();
            lines.filter(|line| line.contains("PRIMARY KEY (") || line.contains(" ON "))
        };
        let (rows, people) = STEPS.split_at(3);
        let mut count = 0;
        for key in rows.iter().copied().flat_map(keys) {
            assert!(key.contains("(tenant, gateway"), "{key}");
            count += 1;
        }
        assert_eq!(count, 9);
        // A secret or a device key is what says the tenant.
        let known = ["(tenant, ", "(secret)", "(key_id)", "PRIMARY KEY (id)"];
        for key in people.iter().copied().flat_map(keys) {
            assert!(known.iter().any(|known| key.contains(known)), "{key}");
        }
        let schema = STEPS.concat();
        for word in ["AUTOINCREMENT", "TRIGGER", "REAL", "NUMERIC", "UNIQUE"] {
            assert!(!schema.contains(word), "{word}");
        }
    }
}
