//! `GET /fleet`: what gateways are to run and what they run, and the rollouts that bring it.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};

use super::text::{clean, plain};
use super::view::{Moment, Now};
use super::{Footer, footer, render};
use crate::access::{Person, Role};
use crate::conductor::picture::{Deployed, Picture};
use crate::conductor::word;
use crate::http::guard::{Deed, Noted};
use crate::http::rollouts::{act, parsed};
use crate::http::{App, Refusal};
use crate::rollout::{Rollout, State as RolloutState, why};
use crate::store::Store;
use crate::store::rollouts::KeptRollout;

/// Shown at once; the API has more.
const GATEWAYS_SHOWN: usize = 500;
const ROLLOUTS_SHOWN: u32 = 12;

#[derive(Template)]
#[template(path = "fleet.html")]
struct Fleet {
    now: Now,
    person: Person,
    footer: Footer,
    /// Whether the person may pause, resume and abort.
    may: bool,
    rollouts: Vec<RolloutView>,
    gateways: Vec<RowView>,
    more: bool,
    drifting: usize,
}

struct RolloutView {
    number: u64,
    group: String,
    /// Of its deployment.
    seq: Option<u64>,
    versions: String,
    word: &'static str,
    /// Beside the word.
    reason: String,
    /// How far gateways are with the way back.
    back: String,
    waves: Vec<WaveView>,
    active: bool,
    paused: bool,
    started: Moment,
    by: String,
}

struct WaveView {
    reach: String,
    current: bool,
    offered: usize,
    confirmed: usize,
    failed: usize,
}

struct RowView {
    name: String,
    labels: String,
    groups: String,
    desired: Option<u64>,
    reported: Option<u64>,
    state: &'static str,
    mood: &'static str,
    why: String,
    seen: Option<Moment>,
}

/// `GET /fleet`.
pub(crate) async fn fleet<S: Store>(
    State(app): State<Arc<App<S>>>,
    person: Person,
) -> Result<Response, Refusal> {
    let time = app.clock.wall_time();
    let mut picture = Picture::load(&app.store, &person.tenant, time).await?;
    let rollouts = app.store.rollouts(&person.tenant, ROLLOUTS_SHOWN).await?;
    for kept in &rollouts {
        let rollout = &kept.of.rollout;
        picture
            .want_all(&app.store, &person.tenant, rollout)
            .await?;
    }
    let now = Now(time);
    let gateways = rows(&picture, now);
    render(&Fleet {
        footer: footer(&app),
        may: person.role >= Role::Operator,
        rollouts: rollouts
            .iter()
            .map(|kept| rollout(&picture, now, kept))
            .collect(),
        drifting: gateways.iter().filter(|row| row.mood == "bad").count(),
        more: picture.fleet.len() > GATEWAYS_SHOWN,
        gateways: gateways.into_iter().take(GATEWAYS_SHOWN).collect(),
        now,
        person,
    })
}

/// `POST /fleet/rollouts/{number}/{command}`: a button of the page.
pub(crate) async fn press<S: Store>(
    State(app): State<Arc<App<S>>>,
    deed: Deed,
    Path((number, command)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    act(&app, &deed, parsed(&number)?, &command).await?;
    Ok((Extension(Noted), Redirect::to("/fleet")).into_response())
}

fn rollout(picture: &Picture, now: Now, kept: &KeptRollout) -> RolloutView {
    let rollout = &kept.of.rollout;
    let waves = rollout.plan.waves.iter().enumerate().map(|(index, wave)| {
        let [offered, confirmed, failed] = rollout.progress(index);
        WaveView {
            reach: clean(&wave.reach.to_string()),
            current: rollout.is_active() && index == rollout.wave,
            offered,
            confirmed,
            failed,
        }
    });
    let deployed = picture.deployed(rollout.plan.deployment);
    let versions = deployed.map(Deployed::versions).unwrap_or_default();
    let back = picture.way_back(rollout);
    RolloutView {
        number: kept.number,
        seq: deployed.map(|deployed| deployed.at.seq),
        versions: clean(&versions.join(", ")),
        group: kept.of.group.to_string(),
        word: word(&rollout.state),
        reason: reason(rollout),
        back: back.map(|back| back.to_string()).unwrap_or_default(),
        waves: waves.collect(),
        active: rollout.is_active(),
        paused: rollout.state == RolloutState::Paused,
        started: now.moment(kept.of.started),
        by: kept.of.by.clone(),
    }
}

fn reason(rollout: &Rollout) -> String {
    match &rollout.state {
        RolloutState::Stopped(end) => why::reason(end),
        RolloutState::Running | RolloutState::Paused => {
            format!("wave {} of {}", rollout.wave + 1, rollout.plan.waves.len())
        }
        RolloutState::Done => String::new(),
    }
}

fn rows(picture: &Picture, now: Now) -> Vec<RowView> {
    let row = |(name, known): (&tidegate_wire::Name, &crate::store::fleet::Known)| {
        let desired = picture.desired(name);
        let state = desired.map_or("", |desired| picture.outcome(name, desired).word());
        let groups = picture.groups.iter();
        let groups = groups.filter(|(_, labels)| known.is_in(labels));
        let groups: Vec<_> = groups.map(|(group, _)| group.as_str()).collect();
        let labels = known.labels.iter();
        let labels: Vec<_> = labels
            .map(|(label, value)| format!("{label}={value}"))
            .collect();
        RowView {
            name: name.to_string(),
            labels: clean(&labels.join(" ")),
            groups: clean(&groups.join(" ")),
            desired: desired.map(|desired| desired.at.seq),
            reported: known.status().map(|status| status.seq),
            state,
            mood: match state {
                "confirmed" | "" => "good",
                "waiting" | "trying" => "uneasy",
                _ => "bad",
            },
            why: desired
                .and_then(|desired| picture.why(name, desired.digest()))
                .map(|why| plain(&why))
                .unwrap_or_default(),
            seen: known.seen.map(|seen| now.moment(seen)),
        }
    };
    picture.fleet.iter().map(row).collect()
}
