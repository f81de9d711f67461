//! `POST /v1/rollouts` starts a rollout, `GET /v1/rollouts` lists them, `GET /v1/rollouts/{number}` shows one, and
//! `POST /v1/rollouts/{number}/{command}` pauses, resumes or aborts it.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::{Value, json};
use tidegate_bundle::{Digest, Target};
use tidegate_wire::{Name, WallTime};

use super::fleet::{body, picture};
use super::guard::{Deed, Noted};
use super::read::Answer;
use super::{App, Code, Refusal, rfc3339};
use crate::access::Person;
use crate::conductor::picture::{Deployed, Picture};
use crate::conductor::{self, word};
use crate::rollout::outcome::Outcome;
use crate::rollout::way_back::WayBack;
use crate::rollout::why::end;
use crate::rollout::{Command, Plan, Reach, Rollout, State as RolloutState};
use crate::store::deployments::KeptDeployment;
use crate::store::rollouts::{KeptRollout, NewRollout};
use crate::store::{Store, Tenant};

/// Rollouts in a list: the newest.
const LISTED: u32 = 100;

/// `POST /v1/rollouts`: a plan.
pub(super) async fn start<S: Store>(
    State(app): State<Arc<App<S>>>,
    deed: Deed,
    request: Request,
) -> Result<Response, Refusal> {
    let tenant = &deed.person.tenant;
    let plan: Plan = body(request).await?;
    let new = kept(&app, tenant, plan.deployment).await?;
    let Target::GroupId(group) = &new.target else {
        let message = "this deployment is for one gateway, which has it already";
        return Err(Refusal::new(Code::Malformed, message));
    };
    let group = Name::new(group).map_err(|error| wrong(&error.to_string()))?;
    check_revert(&app, tenant, &plan, &new).await?;
    let picture = picture(&app, tenant).await?;
    check_members(&picture, &group, &plan)?;
    check_newest(&app, tenant, &group, &new).await?;
    let start = NewRollout {
        group: group.clone(),
        rollout: Rollout::new(plan),
        started: app.clock.wall_time(),
        by: deed.person.name.to_string(),
    };
    let event = deed.done(&format!("group {group}, seq {}", new.at.seq));
    let started = app.store.start_rollout(tenant, &start, &event).await?;
    let number = started.ok_or_else(|| {
        let message = format!("group {group} has a rollout that is not at its end: abort it first");
        Refusal::new(Code::WrongState, message)
    })?;
    app.conductor.forget();
    conductor::advance(&app).await?;
    let answer = shown(&app, tenant, number).await?;
    let created = (StatusCode::CREATED, Extension(Noted));
    Ok((created.0, created.1, answer).into_response())
}

/// `POST /v1/rollouts/{number}/{command}`.
pub(super) async fn command<S: Store>(
    State(app): State<Arc<App<S>>>,
    deed: Deed,
    Path((number, command)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let number = parsed(&number)?;
    act(&app, &deed, number, &command).await?;
    let answer = shown(&app, &deed.person.tenant, number).await?;
    Ok((Extension(Noted), answer).into_response())
}

/// Does what a person says to a rollout.
pub(crate) async fn act<S: Store>(
    app: &App<S>,
    deed: &Deed,
    number: u64,
    said: &str,
) -> Result<(), Refusal> {
    let command = match said {
        "pause" => Command::Pause,
        "resume" => Command::Resume,
        "abort" => Command::Abort,
        _ => return Err(Refusal::new(Code::NotFound, "pause, resume or abort")),
    };
    let event = deed.done(&format!("rollout {number}"));
    let tenant = &deed.person.tenant;
    let change = |rollout: &mut Rollout| rollout.command(command);
    let done = conductor::command(app, tenant, number, change, &event).await?;
    let (kept, possible) = done.ok_or_else(unknown)?;
    if !possible {
        let message = format!("rollout {number} {}", end(&kept.of.rollout.state));
        return Err(Refusal::new(Code::WrongState, message));
    }
    Ok(conductor::advance(app).await?)
}

/// `GET /v1/rollouts`: the newest first.
pub(super) async fn rollouts<S: Store>(State(app): State<Arc<App<S>>>, person: Person) -> Answer {
    let rollouts = app.store.rollouts(&person.tenant, LISTED).await?;
    let mut picture = picture(&app, &person.tenant).await?;
    for kept in &rollouts {
        let rollout = &kept.of.rollout;
        picture
            .want_all(&app.store, &person.tenant, rollout)
            .await?;
    }
    let rollouts: Vec<_> = rollouts
        .iter()
        .map(|kept| json_of(&picture, kept))
        .collect();
    Ok(Json(json!({ "rollouts": rollouts })).into_response())
}

/// `GET /v1/rollouts/{number}`.
pub(super) async fn rollout<S: Store>(
    State(app): State<Arc<App<S>>>,
    person: Person,
    Path(number): Path<String>,
) -> Answer {
    let answer = shown(&app, &person.tenant, parsed(&number)?).await?;
    Ok(answer.into_response())
}

pub(crate) fn parsed(number: &str) -> Result<u64, Refusal> {
    number.parse().map_err(|_| unknown())
}

fn unknown() -> Refusal {
    Refusal::new(Code::NotFound, "there is no such rollout")
}

fn wrong(message: &str) -> Refusal {
    Refusal::new(Code::Malformed, message)
}

async fn kept<S: Store>(
    app: &App<S>,
    tenant: &Tenant,
    digest: Digest,
) -> Result<KeptDeployment, Refusal> {
    let found = app.store.deployment(tenant, digest).await?;
    found.ok_or_else(|| {
        let message = format!("deployment {digest} is not here");
        Refusal::new(Code::NotFound, message)
    })
}

/// A deployment takes another one back only where gateways take it after that.
async fn check_revert<S: Store>(
    app: &App<S>,
    tenant: &Tenant,
    plan: &Plan,
    new: &KeptDeployment,
) -> Result<(), Refusal> {
    let Some(revert) = plan.revert else {
        return Ok(());
    };
    let revert = kept(app, tenant, revert).await?;
    match revert.target == new.target && revert.at > new.at {
        true => Ok(()),
        false => Err(wrong(
            "the deployment that reverts is for the same group and has a higher number",
        )),
    }
}

/// A rollout to nobody would be done at once, and reach whoever comes later unproven.
fn check_members(picture: &Picture, group: &Name, plan: &Plan) -> Result<(), Refusal> {
    if !picture.groups.contains_key(group) {
        let message = format!("there is no group {group}: say which labels it has");
        return Err(Refusal::new(Code::NotFound, message));
    }
    let is_member = |gateway: &str| picture.is_in(gateway, group);
    if !picture.fleet.keys().any(|name| is_member(name.as_str())) {
        let message = format!("no gateway is in group {group}");
        return Err(Refusal::new(Code::WrongState, message));
    }
    let named = plan.waves.iter().filter_map(|wave| match &wave.reach {
        Reach::Gateways(named) => Some(named),
        _ => None,
    });
    match named.flatten().find(|name| !is_member(name)) {
        None => Ok(()),
        Some(name) => Err(wrong(&format!("gateway {name:?} is not in group {group}"))),
    }
}

/// Nobody would take a deployment that is older than what the group was offered before.
async fn check_newest<S: Store>(
    app: &App<S>,
    tenant: &Tenant,
    group: &Name,
    new: &KeptDeployment,
) -> Result<(), Refusal> {
    for rollout in app.store.rollouts_of(tenant, group).await? {
        let plan = &rollout.of.rollout.plan;
        let stopped = matches!(rollout.of.rollout.state, RolloutState::Stopped(_));
        let reverted = plan.revert.filter(|_| stopped);
        for digest in [Some(plan.deployment), reverted].into_iter().flatten() {
            let offered = app.store.deployment(tenant, digest).await?;
            if let Some(offered) = offered.filter(|offered| offered.at > new.at) {
                let message = format!(
                    "rollout {} has offered group {group} seq {}, and gateways do not go back to {}",
                    rollout.number, offered.at.seq, new.at.seq
                );
                return Err(Refusal::new(Code::StaleSequence, message));
            }
        }
    }
    Ok(())
}

async fn shown<S: Store>(
    app: &App<S>,
    tenant: &Tenant,
    number: u64,
) -> Result<Json<Value>, Refusal> {
    let kept = app.store.rollout(tenant, number).await?;
    let kept = kept.ok_or_else(unknown)?;
    let (mut picture, rollout) = (picture(app, tenant).await?, &kept.of.rollout);
    picture.want_all(&app.store, tenant, rollout).await?;
    let mut answer = json_of(&picture, &kept);
    let offers = rollout.offers.iter().map(|(gateway, offer)| {
        let cause = match &offer.outcome {
            Outcome::Refused(cause) => Some(cause),
            _ => None,
        };
        json!({
            "gateway": gateway,
            "wave": offer.wave + 1,
            "offered": rfc3339(WallTime(offer.at)),
            "state": offer.outcome.word(),
            "reason": cause.map(|cause| &cause.reason),
            "why": cause.and_then(|cause| cause.why.as_ref()),
            "withdrawn": offer.withdrawn,
        })
    });
    let offers: Vec<_> = offers.collect();
    if let Some(answer) = answer.as_object_mut() {
        answer.insert("offers".to_owned(), offers.into());
    }
    Ok(Json(answer))
}

fn json_of(picture: &Picture, kept: &KeptRollout) -> Value {
    let rollout = &kept.of.rollout;
    let waves = rollout.plan.waves.iter().enumerate().map(|(index, wave)| {
        let [offered, confirmed, failed] = rollout.progress(index);
        json!({
            "reach": wave.reach.to_string(),
            "success_percent": wave.success_percent,
            "error_percent": wave.error_percent,
            "offered": offered,
            "confirmed": confirmed,
            "failed": failed,
        })
    });
    let deployed = picture.deployed(rollout.plan.deployment);
    json!({
        "number": kept.number,
        "group": kept.of.group.as_str(),
        "state": word(&rollout.state),
        "says": end(&rollout.state),
        "wave": rollout.wave + 1,
        "waves": waves.collect::<Vec<_>>(),
        "seq": deployed.map(|deployed| deployed.at.seq),
        "versions": deployed.map(Deployed::versions),
        "back": picture.way_back(rollout).map(back),
        "deployment": rollout.plan.deployment,
        "revert": rollout.plan.revert,
        "rate": rollout.plan.rate,
        "started": rfc3339(kept.of.started),
        "by": kept.of.by,
    })
}

fn back(back: WayBack) -> Value {
    let mut answer = match back {
        WayBack::Offered { of, back, failed } => json!({"of": of, "back": back, "failed": failed}),
        WayBack::Missing { keep } => json!({"keep": keep}),
    };
    if let Some(answer) = answer.as_object_mut() {
        answer.insert("says".to_owned(), back.to_string().into());
    }
    answer
}
