//! Lets rollouts go on, and knows what each gateway is to run.
//!
//! What each gateway is to run follows from labels, groups, deployments and rollouts. It is worked out for a whole fleet at
//! once, kept in memory, and thrown away when one of these changes here; another process on the same database is noticed
//! after [`ANSWER_LIFE`]. Rollouts are taken on by one task, when a gateway has reported and once a second: each step
//! is pure ([`crate::rollout`]) and is one row before anybody is offered anything by it.
//!
//! # Layout
//! - [`picture`]: a fleet with all that decides what runs where.

pub mod picture;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use tidegate_bundle::Digest;
use tidegate_record::BootTime;
use tidegate_wire::{Name, WallTime};
use tokio::sync::Notify;

use crate::http::{App, Refusal, Rooted, current_root};
use crate::rollout::why::end;
use crate::rollout::{Rollout, State};
use crate::store::audit::Event;
use crate::store::deployments::Sequence;
use crate::store::rollouts::KeptRollout;
use crate::store::{Error, GatewayId, Store, Tenant};
use picture::Picture;

/// How old an answer from memory may be.
pub const ANSWER_LIFE: Duration = Duration::from_secs(10);

/// Rollouts are taken on at least so often: rates and silences need no report.
const TICK: Duration = Duration::from_secs(1);

/// And at most so often, however many gateways report.
const PAUSE: Duration = Duration::from_millis(250);

/// Times that a rollout is changed anew because another process changed it meanwhile.
const TRIES: u32 = 5;

/// What is in memory.
#[derive(Debug, Default)]
pub struct Conductor {
    answers: Mutex<Answers>,
    /// One works answers out at a time.
    turn: tokio::sync::Mutex<()>,
    /// Which deployment each gateway has last fetched, and when. What is lost with the process a gateway makes up for: it
    /// fetches again what it refuses.
    fetched: Mutex<HashMap<GatewayId, (Digest, WallTime)>>,
    /// One change of rollouts at a time.
    baton: tokio::sync::Mutex<()>,
    woken: Notify,
}

#[derive(Debug, Default)]
struct Answers {
    /// Counts what made answers worthless, so that one worked out before is not kept.
    changes: u64,
    fleets: HashMap<Tenant, Arc<FleetAnswer>>,
}

/// What all gateways of a fleet are to run, as of a moment.
#[derive(Debug)]
struct FleetAnswer {
    at: BootTime,
    desired: HashMap<Name, Arc<Desired>>,
    root: Result<Arc<Rooted>, Refusal>,
}

/// What a gateway is to run.
#[derive(Debug)]
pub struct Desired {
    /// Its place.
    pub at: Sequence,
    /// SHA-256 of the signed body.
    pub digest: Digest,
    /// The file.
    pub document: Bytes,
}

impl Conductor {
    /// Something has changed that decides what runs where.
    pub fn forget(&self) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.changes = answers.changes.wrapping_add(1);
        answers.fleets.clear();
        drop(answers);
        self.wake();
    }

    /// Rollouts may be able to go on.
    pub fn wake(&self) {
        self.woken.notify_one();
    }

    /// A gateway is given a deployment to look at.
    pub fn fetches(&self, of: &GatewayId, deployment: Digest, now: WallTime) {
        let mut fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        fetched.insert(of.clone(), (deployment, now));
    }

    /// When gateways have last fetched this deployment.
    fn fetched(&self, tenant: &Tenant, deployment: Digest) -> BTreeMap<Name, WallTime> {
        let fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        let these = fetched
            .iter()
            .filter(|(of, (digest, _))| of.tenant == *tenant && *digest == deployment);
        these
            .map(|(of, (_, when))| (of.gateway.clone(), *when))
            .collect()
    }

    fn known(&self, tenant: &Tenant, now: BootTime) -> (u64, Option<Arc<FleetAnswer>>) {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let fleet = answers.fleets.get(tenant).cloned();
        let fleet = fleet.filter(|fleet| now.since(fleet.at) < ANSWER_LIFE);
        (answers.changes, fleet)
    }

    fn keep(&self, tenant: &Tenant, changes: u64, fleet: Arc<FleetAnswer>) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.changes == changes {
            answers.fleets.insert(tenant.clone(), fleet);
        }
    }
}

/// What a gateway is to run, if anything.
///
/// # Errors
/// When the store fails.
pub async fn desired<S: Store>(
    app: &App<S>,
    of: &GatewayId,
) -> Result<Option<Arc<Desired>>, Error> {
    let fleet = fleet_of(app, &of.tenant).await?;
    Ok(fleet.desired.get(&of.gateway).cloned())
}

/// What is the newest for a gateway: the root, and what it is to run.
///
/// # Errors
/// When the store fails, or there is no root.
pub async fn newest<S: Store>(
    app: &App<S>,
    of: &GatewayId,
) -> Result<(Arc<Rooted>, Option<Arc<Desired>>), Refusal> {
    let fleet = fleet_of(app, &of.tenant).await?;
    let desired = fleet.desired.get(&of.gateway).cloned();
    Ok((fleet.root.clone()?, desired))
}

async fn fleet_of<S: Store>(app: &App<S>, tenant: &Tenant) -> Result<Arc<FleetAnswer>, Error> {
    let now = app.clock.boot_time();
    match app.conductor.known(tenant, now).1 {
        Some(fleet) => Ok(fleet),
        None => work_out(app, tenant, now).await,
    }
}

/// Works the answers of a fleet out, once for all who wait for them.
async fn work_out<S: Store>(
    app: &App<S>,
    tenant: &Tenant,
    now: BootTime,
) -> Result<Arc<FleetAnswer>, Error> {
    let _turn = app.conductor.turn.lock().await;
    let (changes, known) = app.conductor.known(tenant, now);
    if let Some(fleet) = known {
        return Ok(fleet);
    }
    let picture = Picture::load(&app.store, tenant, app.clock.wall_time()).await?;
    let fleet = Arc::new(FleetAnswer {
        at: now,
        desired: picture.all_desired(),
        root: current_root(app, tenant).await.map(Arc::new),
    });
    app.conductor.keep(tenant, changes, fleet.clone());
    Ok(fleet)
}

/// Takes rollouts on until it is dropped.
pub async fn conduct<S: Store>(app: Arc<App<S>>) {
    loop {
        // Whether it was woken or the time is up, there is the same to do.
        let _woken = tokio::time::timeout(TICK, app.conductor.woken.notified()).await;
        if let Err(error) = advance(&app).await {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(cause, "cannot take rollouts on: {error}");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Takes each rollout as far as it goes now.
///
/// # Errors
/// When the store fails. Those before it went on.
pub async fn advance<S: Store>(app: &App<S>) -> Result<(), Error> {
    let _baton = app.conductor.baton.lock().await;
    let active = app.store.active_rollouts().await?;
    let mut pictures = HashMap::<Tenant, Picture>::new();
    let mut changed = false;
    for (tenant, kept) in active {
        let now = app.clock.wall_time();
        if !pictures.contains_key(&tenant) {
            let picture = Picture::load(&app.store, &tenant, now).await?;
            pictures.insert(tenant.clone(), picture);
        }
        let Some(picture) = pictures.get(&tenant) else {
            continue;
        };
        let mut next = kept.clone();
        let deployment = kept.of.rollout.plan.deployment;
        let fetched = app.conductor.fetched(&tenant, deployment);
        let members = picture.members(&kept.of.group, deployment, &fetched);
        if next.of.rollout.step(&members, now) {
            let event = told(&kept, &next.of.rollout);
            let save = app.store.save_rollout(&tenant, &next, event.as_ref(), now);
            // Where another process was before, the next step is taken from what that has left.
            changed |= save.await? && decides(&kept.of.rollout, &next.of.rollout);
        }
    }
    if changed {
        app.conductor.forget();
    }
    Ok(())
}

/// Changes a rollout as a person says. Gives it as it is then, whether that was possible, or none if there is no such.
///
/// # Errors
/// When the store fails.
pub async fn command<S: Store>(
    app: &App<S>,
    tenant: &Tenant,
    number: u64,
    change: impl Fn(&mut Rollout) -> bool,
    event: &Event,
) -> Result<Option<(KeptRollout, bool)>, Error> {
    let baton = app.conductor.baton.lock().await;
    let now = app.clock.wall_time();
    for _ in 0..TRIES {
        let Some(mut kept) = app.store.rollout(tenant, number).await? else {
            return Ok(None);
        };
        if !change(&mut kept.of.rollout) {
            return Ok(Some((kept, false)));
        }
        let save = app.store.save_rollout(tenant, &kept, Some(event), now);
        if save.await? {
            drop(baton);
            app.conductor.forget();
            return Ok(Some((kept, true)));
        }
    }
    let kept = app.store.rollout(tenant, number).await?;
    Ok(kept.map(|kept| (kept, false)))
}

/// Whether a step changes what anybody is to run. What gateways have reported alone does not.
fn decides(before: &Rollout, after: &Rollout) -> bool {
    before.state != after.state || before.offers.len() != after.offers.len()
}

/// What of a step is worth a row of the audit log.
fn told(before: &KeptRollout, after: &Rollout) -> Option<Event> {
    let was = &before.of.rollout;
    let outcome = match (was.state == after.state, was.wave == after.wave) {
        (false, _) => end(&after.state),
        (true, false) => format!("wave {} of {}", after.wave + 1, after.plan.waves.len()),
        (true, true) => return None,
    };
    let action = format!("rollout {}", before.number);
    let object = format!("group {}", before.of.group);
    Some(Event::of_centre(&action, &object, &outcome))
}

/// The word for a state in answers and pages.
pub const fn word(state: &State) -> &'static str {
    match state {
        State::Running => "running",
        State::Paused => "paused",
        State::Done => "done",
        State::Stopped(_) => "stopped",
    }
}
