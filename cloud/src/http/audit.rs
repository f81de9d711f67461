//! `GET /v1/audit`: who did what, newest first.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::{Value, json};

use super::read::{Answer, ROWS_DEFAULT, ROWS_MAX, limit, query};
use super::{App, rfc3339};
use crate::access::Person;
use crate::audit::hex;
use crate::store::Store;
use crate::store::audit::Entry;

/// `?after=NUMBER&limit=N`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AuditQuery {
    after: Option<u64>,
    limit: Option<u32>,
}

pub(super) async fn audit<S: Store>(
    State(app): State<Arc<App<S>>>,
    person: Person,
    uri: Uri,
) -> Answer {
    let query: AuditQuery = query(&uri)?;
    let count_max = limit(query.limit, ROWS_DEFAULT, ROWS_MAX)?;
    let before = query.after.unwrap_or(u64::MAX);
    let page = app
        .store
        .entries_before(&person.tenant, before, count_max)
        .await?;
    let next = page.items.last().filter(|_| page.more);
    let next = next.map(|entry| entry.number);
    let entries: Vec<_> = page.items.iter().map(entry).collect();
    Ok(Json(json!({ "entries": entries, "next": next })).into_response())
}

fn entry(entry: &Entry) -> Value {
    let event = &entry.event;
    json!({
        "number": entry.number,
        "time": rfc3339(entry.time),
        "who": event.who,
        "role": event.role,
        "action": event.action,
        "object": event.object,
        "outcome": event.outcome,
        "hash": hex(&entry.hash),
    })
}
