//! How a machine becomes a gateway, changes its key, and is one no more.
//!
//! `POST /v1/enrolments` gives a token; `POST /v1/enrol` takes it, from whoever shows it and holds a device key;
//! `POST /v1/device-keys` lets a key follow another. `POST /v1/gateways/{gateway}/revoke` ends all keys of a gateway, and
//! `DELETE /v1/gateways/{gateway}/alarm` takes an alarm back.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tidegate_bundle::{Enrolment, KeyChange, KeyId, PublicKey, SIGNATURE_BYTES};
use tidegate_wire::Name;

use super::guard::{Deed, Noted, too_many, untold};
use super::sync::read_body;
use super::{App, Code, Refusal, rfc3339};
use crate::access::{Secret, digest};
use crate::gateways::{HOURS_DEFAULT, HOURS_MAX};
use crate::store::audit::Event;
use crate::store::devices::{Applicant, Enrolled, EnrolmentToken, Followed};
use crate::store::{GatewayId, Store, Tenant};
use crate::tokens::after;

/// Largest body.
const BODY_BYTES_MAX: usize = 4096;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenWanted {
    gateway: Option<String>,
    hours: Option<u32>,
}

/// `POST /v1/enrolments`.
pub(super) async fn give<S: Store>(
    State(app): State<Arc<App<S>>>,
    deed: Deed,
    request: Request,
) -> Result<Response, Refusal> {
    let wanted: TokenWanted = read(request).await?;
    let gateway = wanted.gateway.as_deref().map(name).transpose()?;
    let hours = wanted.hours.unwrap_or(HOURS_DEFAULT);
    if !(1..=HOURS_MAX).contains(&hours) {
        let message = format!("hours must be 1 to {HOURS_MAX}");
        return Err(Refusal::new(Code::Malformed, message));
    }
    let secret = Secret::enrolment(app.store.centre_id()).map_err(|error| {
        tracing::error!("no random numbers for a token: {error}");
        Refusal::new(Code::Storage, "the centre has no random numbers")
    })?;
    let now = app.clock.wall_time();
    let token = EnrolmentToken {
        tenant: deed.person.tenant.clone(),
        gateway,
        created: now,
        expires: after(now, Duration::from_secs(u64::from(hours) * 3600)),
    };
    let event = deed.done(token.gateway.as_ref().map_or("any gateway", Name::as_str));
    let added = app
        .store
        .add_enrolment_token(&token, secret.digest(), &event);
    if !added.await? {
        let message = "there are too many tokens that have not come to their end";
        return Err(Refusal::new(Code::Conflict, message));
    }
    let answer = json!({
        "token": secret.reveal(),
        "gateway": token.gateway.as_ref().map(Name::as_str),
        "expires": rfc3339(token.expires),
    });
    Ok((StatusCode::CREATED, Extension(Noted), Json(answer)).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Application {
    token: String,
    gateway: String,
    device_key: String,
    signature: String,
}

/// `POST /v1/enrol`.
pub(super) async fn enrol<S: Store>(
    State(app): State<Arc<App<S>>>,
    request: Request,
) -> Result<Response, Refusal> {
    let application: Application = read(request).await?;
    let applicant = Applicant {
        token: digest(&application.token),
        gateway: name(&application.gateway)?,
        key: public_key(&application.device_key)?,
    };
    let asked = Enrolment {
        centre: app.store.centre_id(),
        token: applicant.token,
        gateway: applicant.gateway.as_str(),
    };
    let signature = signature(&application.signature)?;
    asked
        .verify(&applicant.key, &signature)
        .map_err(|error| Refusal::new(Code::BadSignature, error.to_string()))?;
    let of = match app.store.enrol(&applicant, app.clock.wall_time()).await? {
        Enrolled::Done(of) => of,
        refused => return Err(refuse(&app, &applicant, refused).await),
    };
    let root = app.root.as_ref();
    let root = root.map(|root| BASE64.encode(&root.document));
    let answer = json!({
        "tenant": of.tenant.as_str(), "gateway": of.gateway.as_str(), "root": root,
    });
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// Why an applicant is no gateway. What a guess could find out is bounded as wrong tokens of people are.
async fn refuse<S: Store>(app: &App<S>, applicant: &Applicant, refused: Enrolled) -> Refusal {
    let gateway = &applicant.gateway;
    let (code, message) = match refused {
        Enrolled::Done(_) | Enrolled::UnknownToken => (
            Code::BadToken,
            "this centre has given no such token".to_owned(),
        ),
        Enrolled::Expired => (
            Code::TokenExpired,
            "the token has come to its end: ask for another".to_owned(),
        ),
        Enrolled::Used => (
            Code::TokenUsed,
            "another machine or name has used this token: if nobody of yours has, revoke that gateway".to_owned(),
        ),
        Enrolled::OtherGateway(other) => (
            Code::WrongGateway,
            format!("the token is for gateway {other}, not for {gateway}"),
        ),
        Enrolled::NameTaken => (
            Code::NameTaken,
            format!("another machine is gateway {gateway}: a token for this name lets this one take its place"),
        ),
        Enrolled::KeyInUse => (
            Code::KeyInUse,
            "this device key is that of another gateway, so this disk is a copy: make a new key with `tidegate enrol --new-key`".to_owned(),
        ),
        Enrolled::KeyEnded => (
            Code::Revoked,
            "this device key was revoked or followed by another: make a new one with `tidegate enrol --new-key`".to_owned(),
        ),
        Enrolled::TooManyKeys => (Code::Conflict, format!("gateway {gateway} has had too many keys")),
    };
    let Some(before) = app.attempts.wrong(app.clock.boot_time()) else {
        return too_many();
    };
    let object = format!("{gateway} {}", untold(before));
    let event = Event::of_nobody("POST /v1/enrol", &object, code.as_str());
    let now = app.clock.wall_time();
    if let Err(error) = app.store.note(&Tenant::default(), &event, now).await {
        return error.into();
    }
    Refusal::new(code, message)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    gateway: String,
    old: String,
    new: String,
    signatures: [String; 2],
}

/// `POST /v1/device-keys`.
pub(super) async fn follow<S: Store>(
    State(app): State<Arc<App<S>>>,
    request: Request,
) -> Result<Response, Refusal> {
    let change: Change = read(request).await?;
    let (gateway, new) = (name(&change.gateway)?, public_key(&change.new)?);
    let old = KeyId::parse(&change.old).map_err(malformed)?;
    let Some(device) = app.store.device(old).await? else {
        let message = format!("no gateway has the device key {old}");
        return Err(Refusal::new(Code::UnknownDevice, message));
    };
    let wanted = KeyChange {
        centre: app.store.centre_id(),
        gateway: gateway.as_str(),
        old,
        new: &new,
    };
    for (signer, text) in [&device.key, &new].into_iter().zip(&change.signatures) {
        wanted
            .verify(signer, &signature(text)?)
            .map_err(|error| Refusal::new(Code::BadSignature, error.to_string()))?;
    }
    if device.of.gateway != gateway {
        let message = format!("the device key {old} is not that of gateway {gateway}");
        return Err(Refusal::new(Code::WrongGateway, message));
    }
    let now = app.clock.wall_time();
    match app.store.follow_key(&device, &new, now).await? {
        Followed::Done => {}
        Followed::KeyInUse => {
            let message = "the new key was a device's before: make another";
            return Err(Refusal::new(Code::KeyInUse, message));
        }
        Followed::TooManyKeys => {
            let message = format!("gateway {gateway} has had too many keys");
            return Err(Refusal::new(Code::Conflict, message));
        }
    }
    let answer = json!({"gateway": gateway.as_str(), "key_id": new.id().to_string()});
    Ok(Json(answer).into_response())
}

/// `POST /v1/gateways/{gateway}/revoke`.
pub(super) async fn revoke<S: Store>(
    State(app): State<Arc<App<S>>>,
    deed: Deed,
    Path(gateway): Path<String>,
) -> Result<Response, Refusal> {
    let of = deed.person.gateway_id(name(&gateway)?);
    let (event, now) = (deed.done(of.gateway.as_str()), app.clock.wall_time());
    match app.store.revoke_gateway(&of, &event, now).await? {
        true => Ok((StatusCode::NO_CONTENT, Extension(Noted)).into_response()),
        false => Err(unknown(&of, "was never enrolled")),
    }
}

/// `DELETE /v1/gateways/{gateway}/alarm`.
pub(super) async fn dismiss<S: Store>(
    State(app): State<Arc<App<S>>>,
    deed: Deed,
    Path(gateway): Path<String>,
) -> Result<Response, Refusal> {
    let of = deed.person.gateway_id(name(&gateway)?);
    let (event, now) = (deed.done(of.gateway.as_str()), app.clock.wall_time());
    match app.store.dismiss(&of, &event, now).await? {
        true => Ok((StatusCode::NO_CONTENT, Extension(Noted)).into_response()),
        false => Err(unknown(&of, "has no alarm")),
    }
}

fn unknown(of: &GatewayId, what: &str) -> Refusal {
    Refusal::new(Code::NotFound, format!("gateway {} {what}", of.gateway))
}

async fn read<T: DeserializeOwned>(request: Request) -> Result<T, Refusal> {
    let body = read_body(request, "application/json", BODY_BYTES_MAX).await?;
    serde_json::from_slice(&body).map_err(malformed)
}

fn name(text: &str) -> Result<Name, Refusal> {
    Name::new(text).map_err(|error| Refusal::new(Code::Malformed, format!("gateway: {error}")))
}

fn public_key(text: &str) -> Result<PublicKey, Refusal> {
    PublicKey::parse(text).map_err(malformed)
}

fn signature(text: &str) -> Result<[u8; SIGNATURE_BYTES], Refusal> {
    let bytes = BASE64.decode(text).ok();
    let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| malformed("a signature is 64 bytes in base64"))
}

fn malformed(problem: impl std::fmt::Display) -> Refusal {
    Refusal::new(Code::Malformed, problem.to_string())
}
