//! `GET /v1/time?nonce=…`: what the time is, and what is the newest for the gateway that asks.
//!
//! The one thing that the centre signs. It answers one question of one gateway, so that whoever keeps documents from it can
//! show it no older answer.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use tidegate_bundle::{Nonce, SigningKey, TIME_TYPE, Time, VerifiedRoot};

use super::device::Claimed;
use super::guard::{gateway_of, parameter};
use super::{App, Code, Refusal};
use crate::conductor;
use crate::store::Store;

/// Seconds for which a gateway may take it that nothing newer has come: those that pay by the byte ask seldom.
const VALID_FOR_S: u64 = 24 * 3600;

/// `GET /v1/time`. 404 where nobody here may say it, which is no refusal: every gateway asks.
pub(super) async fn time<S: Store>(
    State(app): State<Arc<App<S>>>,
    request: Request,
) -> Result<Response, Refusal> {
    let claimed = Claimed::read(&request);
    let of = gateway_of(&app, &claimed, request.uri(), &[]).await?;
    let nonce = parameter(request.uri(), "nonce").unwrap_or_default();
    let bad = |error| Refusal::new(Code::BadQuery, format!("nonce: {error}"));
    let nonce = Nonce::parse(nonce).map_err(bad)?;
    let without = "this centre was started without --time-key: it cannot say what is the newest";
    let Some(key) = app.time_key.as_ref() else {
        return Ok(Refusal::new(Code::NoTimeKey, without).uncounted());
    };
    let (root, desired) = conductor::newest(&app, &of).await?;
    if !may_sign(&root.verified, key) {
        let message = "the newest root does not let the time key of this centre sign alone";
        return Ok(Refusal::new(Code::NoTimeKey, message).uncounted());
    }
    let root = root.verified.root();
    // Of an older epoch no gateway takes anything any more.
    let desired = desired.filter(|desired| desired.at.epoch == root.epoch);
    let time = Time {
        fleet_id: root.fleet_id.clone(),
        gateway_id: of.gateway.to_string(),
        nonce,
        time: app.clock.wall_time().0 / 1_000_000_000,
        epoch: root.epoch,
        seq: desired.map_or(0, |desired| desired.at.seq),
        root_version: root.version,
        valid_for: VALID_FOR_S,
    };
    let signed = time.sign(&[key]);
    let signed = signed.map_err(|error| Refusal::of_file(Code::Malformed, &error))?;
    Ok(([(header::CONTENT_TYPE, TIME_TYPE)], signed).into_response())
}

fn may_sign(root: &VerifiedRoot, key: &SigningKey) -> bool {
    let role = root.root().roles.time.as_ref();
    let id = key.public_key().id();
    role.is_some_and(|role| role.threshold == 1 && role.key_ids.contains(&id))
}
