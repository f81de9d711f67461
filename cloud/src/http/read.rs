//! The read API: gateways, their loss ledger, streams, rows, counts, counters. JSON, paged, bounded.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tidegate_wire::{Class, Name};

use super::json::{
    EntryJson, RowJson, StreamJson, cursor, entry_cursor, entry_position, gateway, loss, position,
    tally,
};
use super::{App, Code, Refusal};
use crate::access::Person;
use crate::store::{Gateway, GatewayId, Reach, RowFilter, Store, StreamId};

/// Most rows of one page.
pub(super) const ROWS_MAX: u32 = 10_000;

/// Rows of a page, unless asked otherwise.
pub(super) const ROWS_DEFAULT: u32 = 1000;

/// Most gateways or streams of one page, and what it has unless asked otherwise.
pub(super) const NAMES_MAX: u32 = 1000;

pub(super) type Answer = Result<Response, Refusal>;

/// Most sums over a loss ledger in one answer: of a thousand streams and more.
const LOSSES_MAX: u32 = 4096;

/// `?after=NAME&limit=N`, or a cursor in the place of the name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NamesQuery {
    after: Option<String>,
    limit: Option<u32>,
}

/// `?after=CURSOR&limit=N&class=CLASS&key=KEY`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RowsQuery {
    after: Option<String>,
    limit: Option<u32>,
    class: Option<String>,
    key: Option<String>,
}

/// Of streams; written straight to text, so that nothing is folded on the way.
#[derive(Debug, Serialize)]
struct StreamsAnswer<'r> {
    streams: Vec<StreamJson<'r>>,
    next: Option<&'r str>,
}

/// Of rows.
#[derive(Debug, Serialize)]
struct RowsAnswer<'r> {
    rows: Vec<RowJson<'r>>,
    next: Option<String>,
}

/// Of a loss ledger: a page of its entries, and the sums over all of them.
#[derive(Debug, Serialize)]
struct LedgerAnswer<'r> {
    entries: Vec<EntryJson<'r>>,
    next: Option<String>,
    totals: Vec<Value>,
    more_totals: bool,
    tallies: Vec<Value>,
}

/// `GET /v1/gateways`.
pub(super) async fn gateways<S: Store>(
    State(app): State<Arc<App<S>>>,
    person: Person,
    uri: Uri,
) -> Answer {
    let (after, count_max) = names_page(&uri)?;
    let page = app
        .store
        .gateways(&person.tenant, after.as_ref(), count_max)
        .await?;
    let next = page
        .items
        .last()
        .filter(|_| page.more)
        .map(|gateway| gateway.name.as_str());
    let gateways: Vec<_> = page.items.iter().map(gateway).collect();
    Ok(Json(json!({ "gateways": gateways, "next": next })).into_response())
}

/// `GET /v1/gateways/{gateway}/streams`.
pub(super) async fn streams<S: Store>(
    State(app): State<Arc<App<S>>>,
    person: Person,
    Path(of): Path<String>,
    uri: Uri,
) -> Answer {
    let (after, count_max) = names_page(&uri)?;
    let (of, _) = known_gateway(&app, &person, &of).await?;
    let page = app.store.streams(&of, after.as_ref(), count_max).await?;
    let next = page
        .items
        .last()
        .filter(|_| page.more)
        .map(|stream| stream.name.as_str());
    let streams = page.items.iter().map(StreamJson::from).collect();
    Ok(Json(StreamsAnswer { streams, next }).into_response())
}

/// `GET /v1/gateways/{gateway}/ledger`: entries newest first.
pub(super) async fn ledger<S: Store>(
    State(app): State<Arc<App<S>>>,
    person: Person,
    Path(of): Path<String>,
    uri: Uri,
) -> Answer {
    let query: NamesQuery = query(&uri)?;
    let after = match &query.after {
        None => None,
        Some(after) => Some(entry_position(after).ok_or_else(bad_cursor)?),
    };
    let count_max = limit(query.limit, ROWS_DEFAULT, ROWS_MAX)?;
    let (of, gateway) = known_gateway(&app, &person, &of).await?;
    let page = app.store.ledger(&of, after.as_ref(), count_max).await?;
    let losses = app.store.losses(&of, LOSSES_MAX).await?;
    let buffer = gateway.status.buffer.unwrap_or_default();
    let last = page.items.last().filter(|_| page.more);
    Ok(Json(LedgerAnswer {
        entries: page.items.iter().map(EntryJson::from).collect(),
        next: last.map(|last| entry_cursor(&last.entry_position())),
        totals: losses.items.iter().map(loss).collect(),
        more_totals: losses.more,
        tallies: buffer.tallies.iter().map(tally).collect(),
    })
    .into_response())
}

/// `GET /v1/gateways/{gateway}/streams/{stream}/rows`: oldest first.
pub(super) async fn rows<S: Store>(
    State(app): State<Arc<App<S>>>,
    person: Person,
    Path((gateway, stream)): Path<(String, String)>,
    uri: Uri,
) -> Answer {
    let query: RowsQuery = query(&uri)?;
    let reach = match &query.after {
        None => Reach::First,
        Some(after) => Reach::After(position(after).ok_or_else(bad_cursor)?),
    };
    let of = known_stream(&app, &person, &gateway, &stream).await?;
    let page = app
        .store
        .rows(
            &of,
            &filter(&query)?,
            reach,
            limit(query.limit, ROWS_DEFAULT, ROWS_MAX)?,
        )
        .await?;
    let next = page
        .items
        .last()
        .filter(|_| page.more)
        .map(|last| cursor(last.position()));
    Ok(Json(RowsAnswer {
        rows: page.items.iter().map(RowJson::from).collect(),
        next,
    })
    .into_response())
}

/// `GET /v1/gateways/{gateway}/streams/{stream}/recent`: the newest rows, newest first.
pub(super) async fn recent<S: Store>(
    State(app): State<Arc<App<S>>>,
    person: Person,
    Path((gateway, stream)): Path<(String, String)>,
    uri: Uri,
) -> Answer {
    let query: RowsQuery = query(&uri)?;
    if query.after.is_some() {
        return Err(bad("recent rows have no cursor, page them with rows"));
    }
    let of = known_stream(&app, &person, &gateway, &stream).await?;
    let count_max = limit(query.limit, ROWS_DEFAULT, ROWS_MAX)?;
    let page = app
        .store
        .rows(&of, &filter(&query)?, Reach::Last, count_max)
        .await?;
    Ok(Json(RowsAnswer {
        rows: page.items.iter().map(RowJson::from).collect(),
        next: None,
    })
    .into_response())
}

/// `GET /v1/gateways/{gateway}/streams/{stream}/count`.
pub(super) async fn count<S: Store>(
    State(app): State<Arc<App<S>>>,
    person: Person,
    Path((gateway, stream)): Path<(String, String)>,
) -> Answer {
    let count = app
        .store
        .count(&known_stream(&app, &person, &gateway, &stream).await?)
        .await?;
    Ok(Json(json!({
        "rows": count.rows, "entries": count.entries, "covered": count.covered, "marks": count.marks,
    }))
    .into_response())
}

/// `GET /v1/stats`: since the start of this process.
pub(super) async fn stats<S: Store>(State(app): State<Arc<App<S>>>) -> Response {
    let counters = &app.counters;
    let refused: Map<_, _> = counters
        .refusals()
        .map(|(code, count)| (code.as_str().to_owned(), count.into()))
        .collect();
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_s": app.uptime().as_secs(),
        "syncs": counters.syncs.load(Ordering::Relaxed),
        "bytes": counters.bytes.load(Ordering::Relaxed),
        "rows_new": counters.rows_new.load(Ordering::Relaxed),
        "rows_known": counters.rows_known.load(Ordering::Relaxed),
        "gaps": counters.gaps.load(Ordering::Relaxed),
        "refused": refused,
    }))
    .into_response()
}

pub(super) async fn known_gateway<S: Store>(
    app: &App<S>,
    person: &Person,
    gateway: &str,
) -> Result<(GatewayId, Gateway), Refusal> {
    let unknown = || Refusal::new(Code::NotFound, "no gateway of this name was ever heard of");
    let of = person.gateway_id(Name::new(gateway).map_err(|_| unknown())?);
    let gateway = app.store.gateway(&of).await?.ok_or_else(unknown)?;
    Ok((of, gateway))
}

/// A stream that has no rows yet is not told from one that never will.
async fn known_stream<S: Store>(
    app: &App<S>,
    person: &Person,
    gateway: &str,
    stream: &str,
) -> Result<StreamId, Refusal> {
    let (of, _) = known_gateway(app, person, gateway).await?;
    let stream = Name::new(stream).map_err(|error| bad(&format!("stream: {error}")))?;
    Ok(StreamId { of, stream })
}

pub(super) fn names_page(uri: &Uri) -> Result<(Option<Name>, u32), Refusal> {
    let query: NamesQuery = query(uri)?;
    let after = query
        .after
        .as_deref()
        .map(Name::new)
        .transpose()
        .map_err(|error| bad(&format!("after: {error}")))?;
    Ok((after, limit(query.limit, NAMES_MAX, NAMES_MAX)?))
}

fn filter(query: &RowsQuery) -> Result<RowFilter, Refusal> {
    let class = match query.class.as_deref() {
        None => None,
        Some("alarm") => Some(Class::Alarm),
        Some("summary") => Some(Class::Summary),
        Some("raw") => Some(Class::Raw),
        Some(_) => return Err(bad("class is alarm, summary or raw")),
    };
    Ok(RowFilter {
        class,
        key: query.key.clone(),
    })
}

pub(super) fn limit(asked: Option<u32>, default: u32, max: u32) -> Result<u32, Refusal> {
    match asked.unwrap_or(default) {
        limit if (1..=max).contains(&limit) => Ok(limit),
        limit => Err(bad(&format!("limit is 1 to {max}, not {limit}"))),
    }
}

pub(super) fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Refusal> {
    Query::try_from_uri(uri)
        .map(|Query(query)| query)
        .map_err(|error| bad(&error.body_text()))
}

fn bad_cursor() -> Refusal {
    bad("after is not a cursor of this service")
}

pub(super) fn bad(message: &str) -> Refusal {
    Refusal::new(Code::BadQuery, message)
}
