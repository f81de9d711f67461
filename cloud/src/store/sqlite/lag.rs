//! The history of lags: into its table, within the transaction of a request, and out of it.

use std::time::Duration;

use futures_util::TryStreamExt;
use sqlx::SqliteConnection;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use tidegate_wire::{GatewayStatus, WallTime};

use super::super::{Error, GatewayId};
use super::columns::{Statement, name, number, signed};
use crate::lag::{Sample, Step, noted};

const PUT_LAG: &str = "INSERT INTO lags (tenant, gateway, step, bucket, stream, at, lag) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
    ON CONFLICT (tenant, gateway, step, bucket, stream) DO UPDATE SET at = excluded.at, lag = excluded.lag \
    WHERE excluded.lag > lags.lag";

const FORGET_LAGS: &str =
    "DELETE FROM lags WHERE tenant = ?1 AND gateway = ?2 AND step = ?3 AND bucket < ?4";

pub(super) const LAGS: &str = "SELECT stream, at, lag FROM lags \
    WHERE tenant = ?1 AND gateway = ?2 AND step = ?3 AND bucket >= ?4 ORDER BY bucket, stream";

/// Keeps what a status says, and forgets what is too old. A gateway that is up to date costs no statement.
pub(super) async fn keep(
    connection: &mut SqliteConnection,
    of: &GatewayId,
    status: &GatewayStatus,
    received: WallTime,
) -> Result<(), Error> {
    let failed = |source| Error::Database {
        action: "keep a lag",
        source,
    };
    let samples: Vec<_> = noted(status, received).collect();
    if samples.is_empty() {
        return Ok(());
    }
    for step in Step::ALL {
        for sample in &samples {
            let lag = u64::try_from(sample.lag.as_millis()).unwrap_or(u64::MAX);
            let put = keyed(PUT_LAG, of, step)
                .bind(signed(step.bucket(sample.at)))
                .bind(sample.stream.as_str().to_owned())
                .bind(signed(sample.at.0))
                .bind(signed(lag));
            put.execute(&mut *connection).await.map_err(failed)?;
        }
        let forget = keyed(FORGET_LAGS, of, step).bind(signed(step.oldest(received)));
        forget.execute(&mut *connection).await.map_err(failed)?;
    }
    Ok(())
}

/// See [`super::super::Store::lags`].
pub(super) async fn lags(
    pool: &SqlitePool,
    of: &GatewayId,
    step: Step,
    since: WallTime,
) -> Result<Vec<Sample>, Error> {
    let failed = |source| Error::Database {
        action: "read lags",
        source,
    };
    let query = keyed(LAGS, of, step).bind(signed(step.bucket(since)));
    let mut rows = query.fetch(pool);
    let mut samples = Vec::new();
    while let Some(columns) = rows.try_next().await.map_err(failed)? {
        samples.push(sample(&columns)?);
    }
    Ok(samples)
}

fn sample(columns: &SqliteRow) -> Result<Sample, Error> {
    Ok(Sample {
        stream: name(columns, "stream")?,
        at: WallTime(number(columns, "at")?),
        lag: Duration::from_millis(number(columns, "lag")?),
    })
}

fn keyed(statement: &'static str, of: &GatewayId, step: Step) -> Statement {
    let step: i64 = match step {
        Step::Minute => 0,
        Step::Hour => 1,
    };
    sqlx::query(statement)
        .bind(of.tenant.as_str().to_owned())
        .bind(of.gateway.as_str().to_owned())
        .bind(step)
}
