//! What gateways ask and say of updates: `GET /v1/desired` and `POST /v1/status`.
//!
//! The deployment is answered from memory; a gateway that has it already shows its digest and gets 304. What a gateway
//! reports is signed by its device key, and the newest report is kept.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tidegate_bundle::{
    DEPLOYMENT_TYPE, DOCUMENT_BYTES_MAX, PublicKey, STATUS_TYPE, Status, VerifiedStatus,
};
use tidegate_wire::Name;

use super::blobs::matches;
use super::device::Claimed;
use super::guard::gateway_of;
use super::import::device_keys;
use super::sync::read_body;
use super::{App, Code, Refusal};
use crate::conductor;
use crate::store::Store;
use crate::store::fleet::Report;

/// `GET /v1/desired`: the deployment that the gateway is to run. 204 where there is none.
pub(super) async fn desired<S: Store>(
    State(app): State<Arc<App<S>>>,
    request: Request,
) -> Result<Response, Refusal> {
    let claimed = Claimed::read(&request);
    let of = gateway_of(&app, &claimed, request.uri(), &[]).await?;
    let Some(desired) = conductor::desired(&app, &of).await? else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let tag = format!("\"{}\"", desired.digest);
    let known = request.headers().get(header::IF_NONE_MATCH);
    let known = known.and_then(|known| known.to_str().ok());
    let etag = [(header::ETAG, tag.clone())];
    if known.is_some_and(|known| matches(known, &tag)) {
        return Ok((StatusCode::NOT_MODIFIED, etag).into_response());
    }
    let now = app.clock.wall_time();
    app.conductor.fetches(&of, desired.digest, now);
    let content_type = [(header::CONTENT_TYPE, DEPLOYMENT_TYPE)];
    Ok((etag, content_type, desired.document.clone()).into_response())
}

/// `POST /v1/status`: how a gateway is.
pub(super) async fn status<S: Store>(
    State(app): State<Arc<App<S>>>,
    request: Request,
) -> Result<Response, Refusal> {
    let (claimed, uri) = (Claimed::read(&request), request.uri().clone());
    let document = read_body(request, STATUS_TYPE, DOCUMENT_BYTES_MAX).await?;
    let of = gateway_of(&app, &claimed, &uri, &document).await?;
    let keys = match app.store.identity(&of).await? {
        Some(_) => Some(app.store.device_keys(&of).await?),
        None => None,
    };
    let (gateway, folder) = (of.gateway.clone(), app.device_keys.clone());
    let bytes = document.clone();
    let opened = tokio::task::spawn_blocking(move || {
        let keys = match (keys, folder) {
            (Some(keys), _) => Some(keys),
            (None, Some(folder)) => Some(device_keys(&gateway, Some(&folder))?),
            (None, None) => None,
        };
        open(&gateway, keys, &bytes)
    })
    .await;
    let status =
        opened.map_err(|_| Refusal::new(Code::Malformed, "the report could not be read"))??;
    let fleet = app.root.as_ref().map(|root| &root.verified.root().fleet_id);
    if fleet.is_some_and(|fleet| *fleet != status.fleet_id) {
        let message = format!("the report is of fleet {}", status.fleet_id);
        return Err(Refusal::new(Code::DocumentRefused, message).with_reason("wrong-fleet"));
    }
    let report = Report {
        status,
        document: document.to_vec(),
        received: app.clock.wall_time(),
    };
    let new = app.store.put_report(&of, &report).await?;
    if new {
        app.conductor.wake();
    }
    Ok(Json(json!({ "new": new })).into_response())
}

/// The report of this gateway, signed by one of its keys. Where it has none that is known here, it is believed as an open
/// centre believes its rows.
fn open(gateway: &Name, keys: Option<Vec<PublicKey>>, document: &[u8]) -> Result<Status, Refusal> {
    let refused = |error| Refusal::of_file(Code::DocumentRefused, &error);
    let status = match keys {
        None => Status::unverified(document).map_err(refused)?,
        Some(keys) => {
            let nobody = format!("gateway {gateway} has no device key here");
            let mut opened = Err(Refusal::new(Code::UnknownDevice, nobody));
            for key in keys {
                opened = VerifiedStatus::open(document, &key)
                    .map(|verified| verified.status().clone())
                    .map_err(refused);
                if opened.is_ok() {
                    break;
                }
            }
            opened?
        }
    };
    if status.gateway_id != gateway.as_str() {
        let message = format!(
            "the report is of gateway {}, not of {gateway}",
            status.gateway_id
        );
        return Err(Refusal::new(Code::DocumentRefused, message).with_reason("wrong-gateway"));
    }
    Ok(status)
}
