//! `GET /metrics`: the centre's counters, and how its gateways are, as OpenMetrics text.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use tidegate_record::openmetrics::{CONTENT_TYPE, Exposition, Kind};
use tidegate_wire::WallTime;

use super::{App, Refusal};
use crate::access::Person;
use crate::lag::{self, Lag};
use crate::store::{Gateway, Store};

/// Gateways that are told of, by name.
const GATEWAYS_MAX: u32 = 1000;
/// Streams that are told of, over all gateways: those beyond are counted.
const STREAMS_MAX: usize = 10_000;

/// Name, help, and the value itself, if there is one.
type Told<T, V> = (&'static str, &'static str, fn(&T) -> Option<V>);

const GATEWAY: [Told<Gateway, u64>; 6] = [
    (
        "tidegate_gateway_rows_waiting",
        "Rows that wait there.",
        |gateway| Some(gateway.status.rows_waiting),
    ),
    (
        "tidegate_gateway_buffer_used_bytes",
        "What its buffer takes on disk.",
        |gateway| Some(gateway.status.buffer.as_ref()?.bytes_used),
    ),
    (
        "tidegate_gateway_buffer_quota_bytes",
        "What it may take.",
        |gateway| Some(gateway.status.buffer.as_ref()?.bytes_max),
    ),
    (
        "tidegate_gateway_conflicts",
        "Requests with another row under a known identity.",
        |gateway| Some(gateway.conflicts),
    ),
    (
        "tidegate_gateway_enrolled",
        "Whether it is believed by its signature alone: 0 if it was revoked or never enrolled.",
        |gateway| Some(gateway.identity.map_or(0, |of| of.revoked.is_none().into())),
    ),
    (
        "tidegate_gateway_identity_alarm",
        "Whether another machine seems to have its identity.",
        |gateway| Some(gateway.identity?.alarm.is_some().into()),
    ),
];

const STREAM: [Told<Lag, f64>; 3] = [
    (
        "tidegate_stream_lag_seconds",
        "Time since the commit of the oldest row that the centre lacks.",
        |lag| Some(lag.lag.as_secs_f64()),
    ),
    (
        "tidegate_stream_lag_objective_seconds",
        "How long a row may wait.",
        |lag| Some(lag.objective?.as_secs_f64()),
    ),
    (
        "tidegate_stream_lag_objective_missed",
        "Whether the objective is missed.",
        |lag| {
            lag.objective
                .map(|_| f64::from(u8::from(lag.missed().is_some())))
        },
    ),
];

pub(super) async fn metrics<S: Store>(
    State(app): State<Arc<App<S>>>,
    person: Person,
) -> Result<Response, Refusal> {
    let gateways_of = app.store.gateways(&person.tenant, None, GATEWAYS_MAX);
    let page = gateways_of.await?;
    let now = app.clock.wall_time();
    let mut exposition = Exposition::default();
    centre(&mut exposition, &app);
    let help = "Whether there are gateways beyond those of which this tells.";
    let more = u8::from(page.more);
    exposition.single("tidegate_centre_more_gateways", Kind::Gauge, help, more);
    gateways(&mut exposition, &page.items, now);
    streams(&mut exposition, &page.items, now);
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], exposition.finish()).into_response())
}

fn centre<S: Store>(exposition: &mut Exposition, app: &App<S>) {
    let help = "The centre.";
    let mut info = exposition.family("tidegate_centre", Kind::Info, help);
    info.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    let (help, uptime) = ("Time since the start.", app.uptime().as_secs_f64());
    exposition.single("tidegate_centre_uptime_seconds", Kind::Gauge, help, uptime);
    let counters = &app.counters;
    for (name, help, counter) in [
        (
            "tidegate_centre_syncs",
            "Requests of gateways that were taken.",
            &counters.syncs,
        ),
        (
            "tidegate_centre_received_bytes",
            "Bytes of these requests.",
            &counters.bytes,
        ),
        (
            "tidegate_centre_new_rows",
            "Rows that were new.",
            &counters.rows_new,
        ),
        (
            "tidegate_centre_known_rows",
            "Rows that were here already.",
            &counters.rows_known,
        ),
        (
            "tidegate_centre_gaps",
            "Entries of requests that began beyond what is held.",
            &counters.gaps,
        ),
    ] {
        exposition.single(name, Kind::Counter, help, counter.load(Ordering::Relaxed));
    }
    let help = "Requests that were refused.";
    let mut refused = exposition.family("tidegate_centre_refusals", Kind::Counter, help);
    for (code, count) in counters.refusals() {
        refused.sample(&[("code", code.as_str())], count);
    }
}

/// Of each gateway, what it said last.
fn gateways(exposition: &mut Exposition, gateways: &[Gateway], now: WallTime) {
    let silence = |gateway: &Gateway| now.0.saturating_sub(gateway.last_seen.0);
    let help = "Time since the gateway was heard of.";
    let mut family = exposition.family("tidegate_gateway_silence_seconds", Kind::Gauge, help);
    for gateway in gateways {
        let silence = Duration::from_nanos(silence(gateway)).as_secs_f64();
        family.sample(&[("gateway", gateway.name.as_str())], silence);
    }
    for (name, help, value) in GATEWAY {
        let mut family = exposition.family(name, Kind::Gauge, help);
        for gateway in gateways {
            if let Some(value) = value(gateway) {
                family.sample(&[("gateway", gateway.name.as_str())], value);
            }
        }
    }
}

/// Of each stream, by the centre's clock.
fn streams(exposition: &mut Exposition, gateways: &[Gateway], now: WallTime) {
    let all = gateways.iter().flat_map(|gateway| {
        let lags = lag::now(gateway, now).into_iter();
        lags.map(move |lag| (gateway.name.as_str(), lag))
    });
    let mut streams: Vec<_> = all.collect();
    let beyond = streams.len().saturating_sub(STREAMS_MAX);
    streams.truncate(STREAMS_MAX);
    let help = "Streams of these gateways of which this does not tell.";
    exposition.single("tidegate_centre_more_streams", Kind::Gauge, help, beyond);
    for (name, help, value) in STREAM {
        let mut family = exposition.family(name, Kind::Gauge, help);
        for (gateway, lag) in &streams {
            if let Some(value) = value(lag) {
                family.sample(
                    &[("gateway", gateway), ("stream", lag.stream.as_str())],
                    value,
                );
            }
        }
    }
}
