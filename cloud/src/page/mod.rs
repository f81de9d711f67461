//! The pages that people look at: rendered here, without a build step and without any network but ours.
//!
//! Everything that a gateway sent is text: askama escapes it, control characters are made visible, and the content
//! security policy allows no script but `centre.js`. That script only fetches the same page again when something was
//! committed, and draws the chart; without it the page is complete, only not live.
//!
//! # Layout
//! - `releases`: what may be rolled out.
//! - `fleet`: what is to run where and does, and the rollouts that bring it.
//! - `sign_in`: the way in and out.
//! - `view`: what is stored into what is shown; pure.
//! - `lag`: how far the centre is behind into what is shown; pure.
//! - `ledger`: what is missing into what is shown; pure.
//! - `text`: numbers, lengths and text from outside as short words.
//! - `templates/`: the pages. `assets/`: style, script, and uPlot (MIT, `uPlot.LICENSE`).

pub(crate) mod fleet;
mod lag;
mod ledger;
pub(crate) mod releases;
pub(crate) mod sign_in;
mod text;
mod view;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use tidegate_wire::Name;

use crate::access::Person;
use crate::http::{App, Code, Refusal, by_stream};
use crate::lag::Step;
use crate::store::{Gateway, GatewayId, Store};
use lag::LagView;
use ledger::{EntryView, LossView, TallyView};
use view::{AlarmView, GatewayView, Now, SeriesView, StreamView};

/// Shown at once; the read API has them all.
const GATEWAYS_SHOWN: u32 = 500;
const FLEET_ALARMS_SHOWN: u32 = 8;
const ALARMS_SHOWN: u32 = 12;
const SERIES_SHOWN: u32 = 200;
const STREAMS_SHOWN: u32 = 200;
const ENTRIES_SHOWN: u32 = 12;
const LOSSES_SHOWN: u32 = 1000;
const TALLIES_SHOWN: usize = 50;

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    now: Now,
    person: Person,
    footer: Footer,
    gateways: Vec<GatewayView>,
    more_gateways: bool,
    alarms: Vec<AlarmView>,
    online: usize,
    rows_waiting: String,
}

#[derive(Template)]
#[template(path = "gateway.html")]
struct GatewayPage {
    now: Now,
    person: Person,
    footer: Footer,
    gateway: GatewayView,
    rows_held: String,
    alarms: Vec<AlarmView>,
    lags: Vec<LagView>,
    more_alarms: bool,
    series: Vec<SeriesView>,
    more_series: bool,
    streams: Vec<StreamView>,
    more_streams: bool,
    rows_lost: u64,
    rows_lost_text: String,
    losses: Vec<LossView>,
    entries: Vec<EntryView>,
    more_entries: bool,
    tallies: Vec<TallyView>,
}

/// What the process did since its start.
struct Footer {
    version: &'static str,
    uptime: String,
    syncs: String,
    rows_new: String,
    rows_known: String,
    gaps: String,
    refused: Vec<(&'static str, u64)>,
}

/// `GET /`.
pub(crate) async fn overview<S: Store>(
    State(app): State<Arc<App<S>>>,
    person: Person,
) -> Result<Response, Refusal> {
    let now = Now(app.clock.wall_time());
    let gateways = app
        .store
        .gateways(&person.tenant, None, GATEWAYS_SHOWN)
        .await?;
    let alarms = app
        .store
        .fleet_alarms(&person.tenant, FLEET_ALARMS_SHOWN)
        .await?;
    let waiting = gateways
        .items
        .iter()
        .map(|gateway| gateway.status.rows_waiting)
        .fold(0, u64::saturating_add);
    let views: Vec<_> = gateways
        .items
        .iter()
        .map(|gateway| now.gateway(gateway))
        .collect();
    render(&Overview {
        footer: footer(&app),
        online: views
            .iter()
            .filter(|gateway| gateway.presence.word == "online")
            .count(),
        rows_waiting: text::grouped(waiting),
        more_gateways: gateways.more,
        alarms: alarms.items.iter().map(|alarm| now.alarm(alarm)).collect(),
        gateways: views,
        now,
        person,
    })
}

/// `GET /gateways/{gateway}`.
pub(crate) async fn gateway<S: Store>(
    State(app): State<Arc<App<S>>>,
    person: Person,
    Path(gateway): Path<String>,
) -> Result<Response, Refusal> {
    let unknown = || Refusal::new(Code::NotFound, "no gateway of this name was ever heard of");
    let of = person.gateway_id(Name::new(&gateway).map_err(|_| unknown())?);
    let gateway = app.store.gateway(&of).await?.ok_or_else(unknown)?;
    let alarms = app.store.alarms(&of, ALARMS_SHOWN).await?;
    let series = app.store.newest(&of, SERIES_SHOWN).await?;
    let streams = app.store.streams(&of, None, STREAMS_SHOWN).await?;
    let losses = app.store.losses(&of, LOSSES_SHOWN).await?.items;
    let newest = app.store.ledger(&of, None, ENTRIES_SHOWN).await?;
    let rows_lost = losses
        .iter()
        .map(|loss| loss.rows)
        .fold(0, u64::saturating_add);
    let tallies = gateway
        .status
        .buffer
        .iter()
        .flat_map(|buffer| &buffer.tallies);
    let now = Now(app.clock.wall_time());
    let lags = lags(&app, &of, &gateway, now).await?;
    render(&GatewayPage {
        footer: footer(&app),
        lags,
        gateway: now.gateway(&gateway),
        rows_held: text::grouped(
            streams
                .items
                .iter()
                .map(|stream| stream.rows)
                .fold(0, u64::saturating_add),
        ),
        alarms: alarms.items.iter().map(|alarm| now.alarm(alarm)).collect(),
        more_alarms: alarms.more,
        series: series.items.iter().map(|row| now.series(row)).collect(),
        more_series: series.more,
        streams: now.streams(&streams.items, &losses),
        more_streams: streams.more,
        rows_lost,
        rows_lost_text: text::grouped(rows_lost),
        losses: losses.iter().map(|loss| ledger::loss(now, loss)).collect(),
        entries: newest
            .items
            .iter()
            .filter_map(|entry| ledger::entry(now, entry))
            .collect(),
        more_entries: newest.more,
        tallies: tallies
            .take(TALLIES_SHOWN)
            .map(|tally| ledger::tally(now, tally))
            .collect(),
        now,
        person,
    })
}

/// How far the centre is behind with each stream, those that miss their objective first.
async fn lags<S: Store>(
    app: &App<S>,
    of: &GatewayId,
    gateway: &Gateway,
    now: Now,
) -> Result<Vec<LagView>, Refusal> {
    let mut lags = crate::lag::now(gateway, now.0);
    lags.sort_by_key(|lag| std::cmp::Reverse((lag.missed(), lag.objective.is_some())));
    let first = Step::Hour.bucket(now.0).saturating_sub(lag::HOURS);
    let known = app.store.lags(of, Step::Hour, Step::Hour.begin(first));
    let known = by_stream(known.await?);
    let view = |lag: &crate::lag::Lag| {
        let known = known.get(&lag.stream).map(Vec::as_slice);
        lag::view(now, lag, known.unwrap_or_default())
    };
    Ok(lags.iter().map(view).collect())
}

/// `GET /assets/{file}`: what is built into the program.
pub(crate) async fn asset(Path(file): Path<String>) -> Result<Response, Refusal> {
    let (content_type, text) = match file.as_str() {
        "centre.css" => (
            "text/css; charset=utf-8",
            include_str!("../../assets/centre.css"),
        ),
        "centre.js" => (
            "text/javascript; charset=utf-8",
            include_str!("../../assets/centre.js"),
        ),
        "uPlot.min.css" => (
            "text/css; charset=utf-8",
            include_str!("../../assets/uPlot.min.css"),
        ),
        "uPlot.iife.min.js" => (
            "text/javascript; charset=utf-8",
            include_str!("../../assets/uPlot.iife.min.js"),
        ),
        "uPlot.LICENSE" => (
            "text/plain; charset=utf-8",
            include_str!("../../assets/uPlot.LICENSE"),
        ),
        _ => return Err(Refusal::new(Code::NotFound, "there is no such asset")),
    };
    Ok(([(header::CONTENT_TYPE, content_type)], text).into_response())
}

fn render(page: &impl Template) -> Result<Response, Refusal> {
    let html = page.render().map_err(|error| {
        tracing::error!(%error, "cannot render a page");
        Refusal::new(Code::Storage, "the page cannot be rendered")
    })?;
    Ok((StatusCode::OK, Html(html)).into_response())
}

fn footer<S: Store>(app: &App<S>) -> Footer {
    let counters = &app.counters;
    let counted =
        |counter: &std::sync::atomic::AtomicU64| text::grouped(counter.load(Ordering::Relaxed));
    Footer {
        version: env!("CARGO_PKG_VERSION"),
        uptime: text::length(app.uptime()),
        syncs: counted(&counters.syncs),
        rows_new: counted(&counters.rows_new),
        rows_known: counted(&counters.rows_known),
        gaps: counted(&counters.gaps),
        refused: counters
            .refusals()
            .filter(|(_, n)| *n > 0)
            .map(|(code, n)| (code.as_str(), n))
            .collect(),
    }
}
