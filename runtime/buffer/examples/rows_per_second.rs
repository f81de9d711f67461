//! Durable rows a second: through the buffer, and into bare SQLite by the same library with the same settings, schema,
//! row bodies and rows per commit. Prints one line of JSON.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, SqliteConnection};
use tidegate_buffer::{Buffer, Config, Opened, Profile};
use tidegate_record::{
    Applied, Class, Clock, Content, Limits, Name, NamedValue, Row, Scalar, SystemClock, WallTime,
};

const ROWS: usize = 256_000;
/// Rows of one call of a module. The buffer groups calls; bare SQLite gets as many rows a commit as the buffer took.
const ROWS_PER_CALL: usize = 128;
/// About what the rows of [`call`] have, encoded.
const BODY_BYTES: usize = 160;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let folder = tempfile::tempdir()?;
    let (ours, rows_per_commit) = runtime.block_on(ours(folder.path(), &clock))?;
    let raw = runtime.block_on(raw(folder.path(), clock.as_ref(), rows_per_commit))?;
    #[allow(clippy::print_stdout, reason = "its result")]
    {
        println!("{{\"ours\":{ours:.0},\"raw\":{raw:.0},\"rows_per_commit\":{rows_per_commit}}}");
    }
    Ok(())
}

async fn ours(folder: &Path, clock: &Arc<dyn Clock>) -> Result<(f64, usize), Failure> {
    let config = Config {
        path: folder.join("ours.db"),
        profile: Profile::Latency,
        quota_bytes: 1 << 30,
        second: None,
        policies: HashMap::new(),
    };
    let buffer = Buffer::open(&config, Arc::new(Limits::DEFAULT), clock.clone()).await?;
    let Opened {
        writer,
        applied,
        handle,
    } = buffer.start();
    let mut writers = tokio::task::JoinSet::new();
    writers.spawn(writer.run());
    let start = clock.boot_time();
    for _ in 0..ROWS / ROWS_PER_CALL {
        applied.send(call()?).await?;
    }
    handle.flushed().await?;
    let seconds = clock.boot_time().since(start).as_secs_f64();
    let commits = usize::try_from(handle.counters().commits.load(Ordering::Relaxed))?;
    drop((applied, handle));
    writers.join_next().await.ok_or("the writer is gone")???;
    Ok((rate(seconds), ROWS / commits.max(1)))
}

async fn raw(folder: &Path, clock: &dyn Clock, rows_per_commit: usize) -> Result<f64, Failure> {
    let mut connection = SqliteConnectOptions::new()
        .filename(folder.join("raw.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .connect()
        .await?;
    let table = "CREATE TABLE row (stream INTEGER NOT NULL, epoch INTEGER NOT NULL, seq INTEGER NOT NULL, \
                 class INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (stream, epoch, seq)) WITHOUT ROWID";
    sqlx::query(table).execute(&mut connection).await?;
    let start = clock.boot_time();
    for first in (0..ROWS).step_by(rows_per_commit) {
        insert(&mut connection, first, rows_per_commit.min(ROWS - first)).await?;
    }
    Ok(rate(clock.boot_time().since(start).as_secs_f64()))
}

async fn insert(
    connection: &mut SqliteConnection,
    first: usize,
    rows: usize,
) -> Result<(), Failure> {
    let mut transaction = connection.begin().await?;
    for start in (first..first + rows).step_by(64) {
        let count = 64.min(first + rows - start);
        let values = vec!["(1, 1, ?, 2, ?)"; count].join(", ");
        let sql = format!("INSERT INTO row (stream, epoch, seq, class, body) VALUES {values}");
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for seq in start..start + count {
            query = query.bind(i64::try_from(seq)?).bind(vec![7_u8; BODY_BYTES]);
        }
        query.execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(())
}

fn call() -> Result<Applied, Failure> {
    let value = |name: &str, number| NamedValue {
        name: name.into(),
        value: Scalar::Number(number),
    };
    let row = Row {
        stream: Name::new("readings")?,
        class: Class::Raw,
        key: "press-7".into(),
        time: WallTime(1_700_000_000_000_000_000),
        duration_ns: 0,
        content: Content::Values(vec![
            value("celsius", 21.5),
            value("vibration", 0.027),
            value("rpm", 1480.5),
        ]),
    };
    Ok(Applied {
        rows: vec![(row, None); ROWS_PER_CALL],
        ..Applied::new(Name::new("bench")?, 1, "1.0.0".into())
    })
}

#[allow(clippy::cast_precision_loss, reason = "a rate")]
fn rate(seconds: f64) -> f64 {
    ROWS as f64 / seconds
}
