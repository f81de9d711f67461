//! Labels, groups, and the fleet as it is to be and as it is.
//!
//! `POST /v1/gateways/{gateway}/labels`, `POST` and `GET /v1/groups`, `GET /v1/fleet`, `GET /v1/fleet/{gateway}` and
//! `GET /v1/fleet/{gateway}/why`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tidegate_bundle::{Digest, Release, Target};
use tidegate_wire::Name;

use super::guard::{Deed, Noted};
use super::read::{Answer, bad, names_page, query};
use super::sync::read_body;
use super::{App, Code, Refusal, rfc3339};
use crate::access::Person;
use crate::conductor::picture::{Deployed, Picture};
use crate::rollout::outcome::Outcome;
use crate::store::fleet::{GROUPS_MAX, Known, LABELS_MAX, Labels};
use crate::store::{Store, Tenant};

/// What people send in these routes.
pub(super) const JSON: &str = "application/json";

/// Largest body of these routes.
const BODY_BYTES_MAX: usize = 64 << 10;

/// Longest value of a label, in bytes.
const VALUE_BYTES_MAX: usize = 64;

/// Deployments among which a version is looked for.
const SEARCHED: u32 = 100;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupBody {
    name: String,
    labels: BTreeMap<String, String>,
}

/// `?deployment=DIGEST`, or `?module=NAME&version=VERSION`, or nothing for what is to run there.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WhyQuery {
    deployment: Option<String>,
    module: Option<String>,
    version: Option<String>,
}

/// A body that is JSON of this shape.
pub(super) async fn body<T: DeserializeOwned>(request: Request) -> Result<T, Refusal> {
    let body = read_body(request, JSON, BODY_BYTES_MAX).await?;
    serde_json::from_slice(&body).map_err(|error| Refusal::new(Code::Malformed, error.to_string()))
}

fn checked_name(what: &str, text: &str) -> Result<Name, Refusal> {
    Name::new(text).map_err(|error| Refusal::new(Code::Malformed, format!("{what}: {error}")))
}

fn checked_value(value: String) -> Result<String, Refusal> {
    let plain = |c: char| c.is_ascii_graphic();
    match (1..=VALUE_BYTES_MAX).contains(&value.len()) && value.chars().all(plain) {
        true => Ok(value),
        false => {
            let message = format!(
                "the value of a label is 1 to {VALUE_BYTES_MAX} visible ASCII characters without spaces"
            );
            Err(Refusal::new(Code::Malformed, message))
        }
    }
}

/// `POST /v1/gateways/{gateway}/labels`: `{"site": "north", "old": null}`.
pub(super) async fn labels<S: Store>(
    State(app): State<Arc<App<S>>>,
    deed: Deed,
    Path(gateway): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let of = deed.person.gateway_id(checked_name("gateway", &gateway)?);
    let asked: BTreeMap<String, Option<String>> = body(request).await?;
    let mut changes = BTreeMap::new();
    let mut said = Vec::new();
    for (label, value) in asked {
        let label = checked_name("label", &label)?;
        let value = value.map(checked_value).transpose()?;
        said.push(format!("{label}={}", value.as_deref().unwrap_or("")));
        changes.insert(label, value);
    }
    let event = deed.done(&format!("{gateway} {}", said.join(" ")));
    let now = app.clock.wall_time();
    let set = app.store.set_labels(&of, &changes, &event, now).await?;
    let Some(labels) = set else {
        let message = format!("a gateway has at most {LABELS_MAX} labels");
        return Err(Refusal::new(Code::TooLarge, message));
    };
    app.conductor.forget();
    let answer = Json(json!({ "gateway": gateway, "labels": labels_json(&labels) }));
    Ok((Extension(Noted), answer).into_response())
}

/// `POST /v1/groups`: `{"name": "pumps-north", "labels": {"site": "north"}}`.
pub(super) async fn put_group<S: Store>(
    State(app): State<Arc<App<S>>>,
    deed: Deed,
    request: Request,
) -> Result<Response, Refusal> {
    let asked: GroupBody = body(request).await?;
    let name = checked_name("name", &asked.name)?;
    if asked.labels.len() > LABELS_MAX {
        let message = format!("a group has at most {LABELS_MAX} labels");
        return Err(Refusal::new(Code::TooLarge, message));
    }
    let label = |(label, value): (String, String)| {
        Ok((checked_name("label", &label)?, checked_value(value)?))
    };
    let labels = asked.labels.into_iter().map(label);
    let labels = labels.collect::<Result<Labels, Refusal>>()?;
    let event = deed.done(&format!("group {name}"));
    let (tenant, now) = (&deed.person.tenant, app.clock.wall_time());
    let put = app.store.put_group(tenant, &name, &labels, &event, now);
    if !put.await? {
        let message = format!("there are {GROUPS_MAX} groups already");
        return Err(Refusal::new(Code::TooLarge, message));
    }
    app.conductor.forget();
    let answer = Json(json!({ "group": asked.name, "labels": labels_json(&labels) }));
    Ok((Extension(Noted), answer).into_response())
}

/// `GET /v1/groups`.
pub(super) async fn groups<S: Store>(State(app): State<Arc<App<S>>>, person: Person) -> Answer {
    let picture = picture(&app, &person.tenant).await?;
    let groups = picture.groups.iter().map(|(name, labels)| {
        let members = picture.fleet.values().filter(|known| known.is_in(labels));
        json!({ "name": name.as_str(), "labels": labels_json(labels), "gateways": members.count() })
    });
    Ok(Json(json!({ "groups": groups.collect::<Vec<_>>() })).into_response())
}

/// `GET /v1/fleet`: gateways by name, what each is to run, and how far it is with that.
pub(super) async fn fleet<S: Store>(
    State(app): State<Arc<App<S>>>,
    person: Person,
    uri: Uri,
) -> Answer {
    let (after, count_max) = names_page(&uri)?;
    let count_max = usize::try_from(count_max).unwrap_or(usize::MAX);
    let picture = picture(&app, &person.tenant).await?;
    let rest = picture.fleet.iter();
    let mut rest = rest.filter(|(name, _)| after.as_ref().is_none_or(|after| *name > after));
    let page: Vec<_> = rest.by_ref().take(count_max).collect();
    let next = rest.next().and(page.last());
    let next = next.map(|(name, _)| name.as_str());
    let gateways = page.iter();
    let gateways: Vec<_> = gateways
        .map(|(name, known)| gateway_json(&picture, name, known))
        .collect();
    Ok(Json(json!({ "gateways": gateways, "next": next })).into_response())
}

/// `GET /v1/fleet/{gateway}`: the same of one, and what it reports.
pub(super) async fn gateway<S: Store>(
    State(app): State<Arc<App<S>>>,
    person: Person,
    Path(gateway): Path<String>,
) -> Answer {
    let picture = picture(&app, &person.tenant).await?;
    let (name, known) = find(&picture, &gateway)?;
    let mut answer = gateway_json(&picture, &name, known);
    let why = picture
        .desired(&name)
        .and_then(|desired| picture.why(&name, desired.digest()));
    if let Some(answer) = answer.as_object_mut() {
        answer.insert("why".to_owned(), why.into());
        answer.insert("reported".to_owned(), json!(known.status()));
    }
    Ok(Json(answer).into_response())
}

/// `GET /v1/fleet/{gateway}/why`: why it does not run a deployment or a version, or that it does.
pub(super) async fn why<S: Store>(
    State(app): State<Arc<App<S>>>,
    person: Person,
    Path(gateway): Path<String>,
    uri: Uri,
) -> Answer {
    let asked: WhyQuery = query(&uri)?;
    let mut picture = picture(&app, &person.tenant).await?;
    let name = find(&picture, &gateway)?.0;
    let digest = match (asked.deployment, asked.module, asked.version) {
        (Some(digest), None, None) => {
            Some(Digest::parse(&digest).map_err(|_| bad("deployment is a digest of 64 digits"))?)
        }
        (None, Some(module), Some(version)) => {
            let found = find_version(&app, &person.tenant, &name, &picture, &module, &version);
            let missing = format!("no deployment here has {module} {version} for {gateway}");
            let found = found.await?;
            Some(found.ok_or_else(|| Refusal::new(Code::NotFound, missing))?)
        }
        (None, None, None) => newest(&picture, &name),
        _ => return Err(bad("ask by deployment, or by module and version")),
    };
    let Some(digest) = digest else {
        let known = picture.fleet.get(&name);
        let grouped = known.is_some_and(|known| {
            let mut groups = picture.groups.values();
            groups.any(|labels| known.is_in(labels))
        });
        let why = match grouped {
            true => format!("no deployment is offered to {gateway} or a group that it is in."),
            false => format!("{gateway} is in no group, and has no deployment of its own."),
        };
        return Ok(Json(json!({ "gateway": gateway, "why": why })).into_response());
    };
    picture.want(&app.store, &person.tenant, digest).await?;
    let why = picture.why(&name, digest).ok_or_else(|| {
        let message = "no deployment has this digest";
        Refusal::new(Code::NotFound, message)
    })?;
    Ok(Json(json!({ "gateway": gateway, "deployment": digest, "why": why })).into_response())
}

/// The newest deployment that could reach a gateway: of its groups' newest rollouts, and its own.
fn newest(picture: &Picture, gateway: &Name) -> Option<Digest> {
    let known = picture.fleet.get(gateway)?;
    let groups = picture.groups.iter();
    let groups = groups.filter(|(_, labels)| known.is_in(labels));
    let newest = groups.filter_map(|(group, _)| {
        let kept = picture.rollouts.get(group)?.first()?;
        picture.deployed(kept.of.rollout.plan.deployment)
    });
    let all = newest.chain(picture.desired(gateway));
    all.max_by_key(|deployed| deployed.at).map(Deployed::digest)
}

/// The newest deployment with this version that is for the gateway or one of its groups, or else for any other.
async fn find_version<S: Store>(
    app: &App<S>,
    tenant: &Tenant,
    gateway: &Name,
    picture: &Picture,
    module: &str,
    version: &str,
) -> Result<Option<Digest>, Refusal> {
    let is_for = |target: &Target| match target {
        Target::GatewayId(of) => of == gateway.as_str(),
        Target::GroupId(group) => {
            let group = Name::new(group);
            group.is_ok_and(|group| picture.is_in(gateway.as_str(), &group))
        }
    };
    let mut elsewhere = None;
    for kept in app.store.deployments(tenant, None, SEARCHED).await?.items {
        for digest in kept.open()?.releases() {
            let document = app.store.release_document(tenant, digest).await?;
            let release = document.and_then(|document| Release::unverified(&document).ok());
            let Some((release, _)) = release else {
                continue;
            };
            if release.module == module && release.version.to_string() == version {
                match is_for(&kept.target) {
                    true => return Ok(Some(kept.digest)),
                    false => elsewhere = elsewhere.or(Some(kept.digest)),
                }
            }
        }
    }
    Ok(elsewhere)
}

pub(super) async fn picture<S: Store>(app: &App<S>, tenant: &Tenant) -> Result<Picture, Refusal> {
    let now = app.clock.wall_time();
    Ok(Picture::load(&app.store, tenant, now).await?)
}

fn find<'p>(picture: &'p Picture, gateway: &str) -> Result<(Name, &'p Known), Refusal> {
    let unknown = || Refusal::new(Code::NotFound, "no gateway of this name is known");
    let name = Name::new(gateway).map_err(|_| unknown())?;
    let known = picture.fleet.get(&name).ok_or_else(unknown)?;
    Ok((name, known))
}

fn labels_json(labels: &Labels) -> Value {
    labels
        .iter()
        .map(|(label, value)| (label.to_string(), Value::from(value.as_str())))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn gateway_json(picture: &Picture, name: &Name, known: &Known) -> Value {
    let desired = picture.desired(name);
    let groups = picture.groups.iter();
    let groups = groups.filter(|(_, labels)| known.is_in(labels));
    let groups: Vec<_> = groups.map(|(group, _)| group.as_str()).collect();
    json!({
        "name": name.as_str(),
        "labels": labels_json(&known.labels),
        "groups": groups,
        "seen": known.seen.map(rfc3339),
        "desired": desired.map(|desired| json!({
            "deployment": desired.digest(),
            "epoch": desired.at.epoch,
            "seq": desired.at.seq,
        })),
        "seq": known.status().map(|status| status.seq),
        "state": desired.map(|desired| picture.outcome(name, desired).word()),
    })
}

impl Outcome {
    /// The word for it in answers and pages.
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Trying => "trying",
            Self::Confirmed => "confirmed",
            Self::Refused(_) => "refused",
            Self::RolledBack => "rolled-back",
            Self::Superseded => "superseded",
        }
    }
}
