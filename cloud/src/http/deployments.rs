//! `POST /v1/deployments` takes what is to run where, `GET /v1/deployments` lists it, `GET /v1/deployments/{digest}` gives
//! the file.
//!
//! A deployment is verified as a gateway would that has taken none yet, with the releases that are here. One for a gateway
//! is what that gateway is to run from now on; one for a group waits for a rollout.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_bundle::{
    DEPLOYMENT_TYPE, DOCUMENT_BYTES_MAX, Deployment, Digest, Gateway, Now, Target, Trust,
    VerifiedDeployment,
};
use tidegate_wire::Name;

use super::guard::{Deed, Noted};
use super::read::{Answer, NAMES_MAX, bad, limit, query};
use super::roots::{Rooted, current};
use super::sync::read_body;
use super::{App, Code, Refusal, rfc3339};
use crate::access::Person;
use crate::checked::COUNT_MAX;
use crate::store::deployments::{KeptDeployment, PutDeployment, Sequence};
use crate::store::{Store, Tenant};

/// `?after=EPOCH:SEQ&limit=N`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeploymentsQuery {
    after: Option<String>,
    limit: Option<u32>,
}

/// `POST /v1/deployments`.
pub(super) async fn put<S: Store>(
    State(app): State<Arc<App<S>>>,
    deed: Deed,
    request: Request,
) -> Result<Response, Refusal> {
    let tenant = &deed.person.tenant;
    let root = current(&app, tenant).await?;
    let document = read_body(request, DEPLOYMENT_TYPE, DOCUMENT_BYTES_MAX).await?;
    let verified = verify(&app, tenant, &root, &document).await?;
    let deployment = verified.deployment();
    let kept = KeptDeployment {
        at: Sequence {
            epoch: deployment.epoch,
            seq: deployment.seq,
        },
        digest: verified.digest(),
        target: deployment.target.clone(),
        document: document.to_vec(),
        received: app.clock.wall_time(),
        by: deed.person.name.to_string(),
    };
    let event = deed.done(&format!(
        "{}, epoch {}, seq {}",
        target(&kept.target),
        kept.at.epoch,
        kept.at.seq
    ));
    let seq = kept.at.seq;
    let (status, noted) = match app.store.put_deployment(tenant, &kept, &event).await? {
        PutDeployment::Kept => (StatusCode::CREATED, Some(Extension(Noted))),
        PutDeployment::Known => (StatusCode::OK, None),
        PutDeployment::Reused => {
            let message = format!("another deployment has seq {seq}: one count is for all targets");
            return Err(Refusal::new(Code::StaleSequence, message));
        }
        PutDeployment::Stale(newest) => {
            let message = format!(
                "{} has a deployment with seq {} here, and this one has {seq}: no gateway would go back",
                target(&kept.target),
                newest.seq
            );
            return Err(Refusal::new(Code::StaleSequence, message));
        }
    };
    app.conductor.forget();
    let answer = json!({"deployment": json_of(&kept), "new": noted.is_some()});
    Ok((status, noted, Json(answer)).into_response())
}

/// What a new gateway of the target would say.
async fn verify<S: Store>(
    app: &App<S>,
    tenant: &Tenant,
    root: &Rooted,
    document: &[u8],
) -> Result<VerifiedDeployment, Refusal> {
    let refused = |error| Refusal::of_file(Code::DocumentRefused, &error);
    let (deployment, _) = Deployment::verify(document, &root.verified).map_err(refused)?;
    let (Target::GatewayId(name) | Target::GroupId(name)) = &deployment.target;
    Name::new(name).map_err(|error| Refusal::new(Code::Malformed, format!("target: {error}")))?;
    if deployment.seq >= COUNT_MAX || deployment.epoch >= COUNT_MAX {
        let message = format!("seq and epoch are below {COUNT_MAX}");
        return Err(Refusal::new(Code::Malformed, message));
    }
    let mut releases = Vec::new();
    for digest in deployment.releases() {
        let found = app.store.release_document(tenant, digest).await?;
        releases.push(found.ok_or_else(|| {
            let message = format!("release {digest} is not here: bring it with tide push");
            Refusal::new(Code::DocumentRefused, message).with_reason("missing-release")
        })?);
    }
    let releases: Vec<_> = releases.iter().map(Vec::as_slice).collect();
    let gateway = match deployment.target {
        Target::GatewayId(gateway_id) => (gateway_id, None),
        Target::GroupId(group_id) => ("centre".to_owned(), Some(group_id)),
    };
    let gateway = Gateway {
        gateway_id: gateway.0,
        group_id: gateway.1,
        runtime_version: root.verified.root().min_runtime_version.clone(),
        built: 0,
    };
    let now = Now::Synchronised(app.clock.wall_time().0 / 1_000_000_000);
    Deployment::verify_downgrades(document, &root.verified).map_err(refused)?;
    let mut trust = Trust::begin(&root.document).map_err(refused)?;
    let accepted = trust.accept_deployment(&gateway, now, document, &releases);
    accepted.map_err(refused)
}

/// For whom, in words.
pub(crate) fn target(target: &Target) -> String {
    match target {
        Target::GatewayId(gateway) => format!("gateway {gateway}"),
        Target::GroupId(group) => format!("group {group}"),
    }
}

/// `GET /v1/deployments`: the newest first.
pub(super) async fn deployments<S: Store>(
    State(app): State<Arc<App<S>>>,
    person: Person,
    uri: Uri,
) -> Answer {
    let query: DeploymentsQuery = query(&uri)?;
    let after = match &query.after {
        None => None,
        Some(after) => Some(sequence(after).ok_or_else(|| bad("after is EPOCH:SEQ"))?),
    };
    let count_max = limit(query.limit, 100, NAMES_MAX)?;
    let page = app
        .store
        .deployments(&person.tenant, after, count_max)
        .await?;
    let next = page.items.last().filter(|_| page.more);
    let next = next.map(|last| format!("{}:{}", last.at.epoch, last.at.seq));
    let deployments: Vec<_> = page.items.iter().map(json_of).collect();
    Ok(Json(json!({ "deployments": deployments, "next": next })).into_response())
}

/// `GET /v1/deployments/{digest}`.
pub(super) async fn deployment<S: Store>(
    State(app): State<Arc<App<S>>>,
    person: Person,
    Path(digest): Path<String>,
) -> Answer {
    let unknown = || Refusal::new(Code::NotFound, "no deployment has this digest");
    let digest = Digest::parse(&digest).map_err(|_| unknown())?;
    let found = app.store.deployment(&person.tenant, digest).await?;
    let document = found.ok_or_else(unknown)?.document;
    Ok(([(header::CONTENT_TYPE, DEPLOYMENT_TYPE)], document).into_response())
}

fn sequence(text: &str) -> Option<Sequence> {
    let (epoch, seq) = text.split_once(':')?;
    Some(Sequence {
        epoch: epoch.parse().ok()?,
        seq: seq.parse().ok()?,
    })
}

fn json_of(kept: &KeptDeployment) -> Value {
    let (kind, name) = match &kept.target {
        Target::GatewayId(gateway) => ("gateway", gateway),
        Target::GroupId(group) => ("group", group),
    };
    json!({
        "digest": kept.digest,
        kind: name,
        "epoch": kept.at.epoch,
        "seq": kept.at.seq,
        "received": rfc3339(kept.received),
        "by": kept.by,
    })
}
