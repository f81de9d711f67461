//! `GET /v1/gateways/{gateway}/lag`: how far the centre is behind with each stream, now and before.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_wire::{Name, WallTime};

use super::read::{Answer, bad, known_gateway, query};
use super::{App, rfc3339};
use crate::access::Person;
use crate::lag::{self, Lag, Sample, Step};
use crate::store::Store;

/// `?step=minute` for the last day, or `hour` for the last 31 days.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LagQuery {
    step: Option<String>,
}

pub(super) async fn lag<S: Store>(
    State(app): State<Arc<App<S>>>,
    person: Person,
    Path(of): Path<String>,
    uri: Uri,
) -> Answer {
    let query: LagQuery = query(&uri)?;
    let step = match query.step.as_deref() {
        None | Some("minute") => Step::Minute,
        Some("hour") => Step::Hour,
        Some(_) => return Err(bad("step is minute or hour")),
    };
    let (of, gateway) = known_gateway(&app, &person, &of).await?;
    let now = app.clock.wall_time();
    let since = step.begin(step.oldest(now));
    let samples = by_stream(app.store.lags(&of, step, since).await?);
    let streams = lag::now(&gateway, now);
    let streams = streams.iter().map(|lag| {
        let known = samples.get(&lag.stream).into_iter().flatten().copied();
        let worst = lag::history(step, step.kept(), now, known.chain([(now, lag.lag)]));
        stream(lag, now, &worst)
    });
    let streams: Vec<_> = streams.collect();
    Ok(Json(json!({
        "silent": lag::is_silent(&gateway, now),
        "step_s": step.length().as_secs(),
        "since": rfc3339(since),
        "streams": streams,
    }))
    .into_response())
}

/// What is kept of each stream.
pub(crate) fn by_stream(samples: Vec<Sample>) -> HashMap<Name, Vec<(WallTime, Duration)>> {
    let mut streams: HashMap<_, Vec<_>> = HashMap::new();
    for Sample { stream, at, lag } in samples {
        streams.entry(stream).or_default().push((at, lag));
    }
    streams
}

fn stream(lag: &Lag, now: WallTime, worst: &[Duration]) -> Value {
    let missed_since = lag.missed().map(|missed| {
        let nanoseconds = u64::try_from(missed.as_nanos()).unwrap_or(u64::MAX);
        rfc3339(WallTime(now.0.saturating_sub(nanoseconds)))
    });
    json!({
        "stream": lag.stream.as_str(),
        "rows_waiting": lag.rows_waiting,
        "lag_s": lag.lag.as_secs_f64(),
        "measured": lag.measured.as_str(),
        "objective_s": lag.objective.map(|objective| objective.as_secs_f64()),
        "missed_since": missed_since,
        "worst_s": worst.iter().map(Duration::as_secs).collect::<Vec<_>>(),
    })
}
