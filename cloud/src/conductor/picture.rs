//! A fleet with all that decides what runs where, read at once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use tidegate_bundle::{Digest, Release, Target};
use tidegate_wire::{Name, WallTime};

use super::Desired;
use crate::rollout::fit::{Fit, fit};
use crate::rollout::outcome::{Outcome, Wanted, outcome};
use crate::rollout::way_back::WayBack;
use crate::rollout::why::{Case, why};
use crate::rollout::{Member, Rollout, State};
use crate::store::deployments::{KeptDeployment, Sequence};
use crate::store::fleet::{Known, Labels};
use crate::store::rollouts::KeptRollout;
use crate::store::{Error, Store, Tenant};

/// A gateway that was heard of within this is online.
const ONLINE: Duration = Duration::from_secs(60);

/// A fleet.
#[derive(Debug)]
pub struct Picture {
    /// Its gateways.
    pub fleet: BTreeMap<Name, Known>,
    /// Its groups.
    pub groups: BTreeMap<Name, Labels>,
    /// Rollouts of each group, the newest first, as far back as they decide anything.
    pub rollouts: BTreeMap<Name, Vec<KeptRollout>>,
    /// The newest deployment of each gateway that has one by its name.
    own: BTreeMap<Name, Digest>,
    deployments: HashMap<Digest, Deployed>,
    now: WallTime,
}

/// A deployment and its releases.
#[derive(Debug)]
pub struct Deployed {
    /// Its place.
    pub at: Sequence,
    /// For whom it is.
    pub target: Target,
    wanted: Wanted,
    releases: BTreeMap<Digest, Release>,
    desired: Arc<Desired>,
}

impl Deployed {
    /// SHA-256 of its signed body.
    pub fn digest(&self) -> Digest {
        self.wanted.digest
    }

    /// Module and version of each release that is here.
    pub fn versions(&self) -> Vec<String> {
        let releases = self.releases.values();
        let version = |release: &Release| format!("{} {}", release.module, release.version);
        let mut versions: Vec<_> = releases.map(version).collect();
        versions.sort();
        versions
    }
}

impl Picture {
    /// Reads it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn load<S: Store>(store: &S, tenant: &Tenant, now: WallTime) -> Result<Self, Error> {
        let mut picture = Self {
            fleet: store.fleet(tenant).await?,
            groups: store.groups(tenant).await?,
            rollouts: BTreeMap::new(),
            own: BTreeMap::new(),
            deployments: HashMap::new(),
            now,
        };
        for kept in store.own_deployments(tenant).await? {
            if let Target::GatewayId(gateway) = &kept.target {
                let gateway = Name::new(gateway).map_err(|_| Error::Damaged("target"))?;
                picture.own.insert(gateway.clone(), kept.digest);
                picture.fleet.entry(gateway).or_default();
            }
            picture.add(store, tenant, kept).await?;
        }
        for group in picture.groups.keys().cloned().collect::<Vec<_>>() {
            let mut rollouts = store.rollouts_of(tenant, &group).await?;
            let done = rollouts
                .iter()
                .position(|kept| kept.of.rollout.state == State::Done);
            rollouts.truncate(done.map_or(usize::MAX, |done| done + 1));
            for kept in &rollouts {
                picture.want_all(store, tenant, &kept.of.rollout).await?;
            }
            picture.rollouts.insert(group, rollouts);
        }
        Ok(picture)
    }

    /// Reads a deployment that is not there yet.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn want<S: Store>(
        &mut self,
        store: &S,
        tenant: &Tenant,
        digest: Digest,
    ) -> Result<(), Error> {
        if self.deployments.contains_key(&digest) {
            return Ok(());
        }
        match store.deployment(tenant, digest).await? {
            Some(kept) => self.add(store, tenant, kept).await,
            None => Ok(()),
        }
    }

    /// The same of both deployments of a rollout.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn want_all<S: Store>(
        &mut self,
        store: &S,
        tenant: &Tenant,
        rollout: &Rollout,
    ) -> Result<(), Error> {
        let plan = &rollout.plan;
        for digest in [Some(plan.deployment), plan.revert].into_iter().flatten() {
            self.want(store, tenant, digest).await?;
        }
        Ok(())
    }

    async fn add<S: Store>(
        &mut self,
        store: &S,
        tenant: &Tenant,
        kept: KeptDeployment,
    ) -> Result<(), Error> {
        let deployment = kept.open()?;
        let mut releases = BTreeMap::new();
        for digest in deployment.releases() {
            if let Some(document) = store.release_document(tenant, digest).await? {
                let (release, _) =
                    Release::unverified(&document).map_err(|_| Error::Damaged("release"))?;
                releases.insert(digest, release);
            }
        }
        let deployed = Deployed {
            at: kept.at,
            target: kept.target,
            wanted: Wanted {
                deployment,
                digest: kept.digest,
                file: Digest::of(&kept.document),
            },
            releases,
            desired: Arc::new(Desired {
                at: kept.at,
                digest: kept.digest,
                document: Bytes::from(kept.document),
            }),
        };
        self.deployments.insert(kept.digest, deployed);
        Ok(())
    }

    /// Whether a gateway is in a group.
    pub fn is_in(&self, gateway: &str, group: &Name) -> bool {
        let gateway = Name::new(gateway).ok();
        let known = gateway.and_then(|gateway| self.fleet.get(&gateway));
        let labels = self.groups.get(group);
        matches!((known, labels), (Some(known), Some(labels)) if known.is_in(labels))
    }

    /// A deployment that was read.
    pub fn deployed(&self, digest: Digest) -> Option<&Deployed> {
        self.deployments.get(&digest)
    }

    /// The gateways of a group, as a rollout of this deployment sees them, and when they have fetched it.
    pub fn members(
        &self,
        group: &Name,
        deployment: Digest,
        fetched: &BTreeMap<Name, WallTime>,
    ) -> BTreeMap<String, Member> {
        let (Some(labels), Some(deployed)) =
            (self.groups.get(group), self.deployments.get(&deployment))
        else {
            return BTreeMap::new();
        };
        let members = self.fleet.iter().filter(|(_, known)| known.is_in(labels));
        let member = |(name, known): (&Name, &Known)| {
            let reported = known.report.as_ref().map(|report| report.received);
            let looked = fetched.get(name).copied();
            let member = Member {
                looked: looked.filter(|looked| reported > Some(*looked)),
                ..self.member(name, known, deployed)
            };
            (name.to_string(), member)
        };
        members.map(member).collect()
    }

    fn member(&self, name: &Name, known: &Known, deployed: &Deployed) -> Member {
        let status = known.status();
        let own = self.own.get(name).and_then(|own| self.deployments.get(own));
        let fit = match own.filter(|own| own.at > deployed.at) {
            Some(own) => {
                let reason = format!("it has a deployment of its own with seq {}", own.at.seq);
                Fit::Unfit(vec![reason])
            }
            None => {
                let facts = status.and_then(|status| status.facts.as_ref());
                fit(&deployed.wanted.deployment, &deployed.releases, facts)
            }
        };
        Member {
            outcome: outcome(status, &deployed.wanted),
            fit,
            online: self.silent(known).is_some_and(|silent| silent < ONLINE),
            looked: None,
        }
    }

    /// Since a gateway was last heard of.
    fn silent(&self, known: &Known) -> Option<Duration> {
        let seen = known.seen?;
        Some(Duration::from_nanos(self.now.0.saturating_sub(seen.0)))
    }

    /// What a gateway is to run: of what it has by its name and by its groups, the newest.
    pub fn desired(&self, gateway: &Name) -> Option<&Deployed> {
        let known = self.fleet.get(gateway)?;
        let own = self.own.get(gateway).copied();
        let groups = self.groups.iter().filter(|(_, labels)| known.is_in(labels));
        let by_groups = groups.filter_map(|(group, _)| {
            self.rollouts.get(group)?.iter().find_map(|kept| {
                let rollout = &kept.of.rollout;
                let choice = rollout.choice(gateway.as_str())?;
                Some(rollout.digest(choice))
            })
        });
        by_groups
            .chain(own)
            .filter_map(|digest| self.deployments.get(&digest))
            .max_by_key(|deployed| deployed.at)
    }

    /// The same of all gateways.
    pub(super) fn all_desired(&self) -> HashMap<Name, Arc<Desired>> {
        let each = self.fleet.keys().filter_map(|gateway| {
            let desired = self.desired(gateway)?.desired.clone();
            Some((gateway.clone(), desired))
        });
        each.collect()
    }

    /// What became of a deployment on a gateway.
    pub fn outcome(&self, gateway: &Name, deployed: &Deployed) -> Outcome {
        let known = self.fleet.get(gateway);
        outcome(known.and_then(Known::status), &deployed.wanted)
    }

    /// How far gateways are with the way back from a rollout, if it ended badly and its deployments were read.
    pub fn way_back(&self, rollout: &Rollout) -> Option<WayBack> {
        WayBack::of(rollout, |gateway, choice| {
            let deployed = self.deployments.get(&rollout.digest(choice));
            let name = Name::new(gateway).ok();
            let both = name.zip(deployed);
            both.map_or(Outcome::Waiting, |(name, deployed)| {
                self.outcome(&name, deployed)
            })
        })
    }

    /// Why a gateway does not run a deployment, or that it does.
    pub fn why(&self, gateway: &Name, digest: Digest) -> Option<String> {
        let known = self.fleet.get(gateway)?;
        let mut words = self.answer(gateway, known, digest)?;
        if let Some(frozen) = known.status().and_then(|status| status.frozen.as_ref()) {
            let frozen = frozen.trim_end_matches('.');
            words.push_str(&format!(" It takes nothing any more: {frozen}."));
        }
        Some(words)
    }

    fn answer(&self, gateway: &Name, known: &Known, digest: Digest) -> Option<String> {
        let deployed = self.deployments.get(&digest)?;
        let member = self.member(gateway, known, deployed);
        let group = match &deployed.target {
            Target::GroupId(group) => Name::new(group).ok()?,
            Target::GatewayId(of) => {
                return Some(match of == gateway.as_str() {
                    true => own(&member, of),
                    false => format!("it is for gateway {of}, and not for {gateway}."),
                });
            }
        };
        let labels = self.groups.get(&group);
        let missing = match labels {
            None => vec!["labels that nobody has said: there is no such group".to_owned()],
            Some(labels) => labels
                .iter()
                .filter(|(label, value)| known.labels.get(*label) != Some(*value))
                .map(|(label, value)| format!("{label}={value}"))
                .collect(),
        };
        let rollouts = self.rollouts.get(&group).into_iter().flatten();
        let mut offering = rollouts.filter(|kept| {
            let plan = &kept.of.rollout.plan;
            plan.deployment == digest || plan.revert == Some(digest)
        });
        Some(why(&Case {
            gateway: gateway.as_str(),
            group: group.as_str(),
            missing,
            rollout: offering.next().map(|kept| (kept.number, &kept.of.rollout)),
            member: &member,
            silent: self.silent(known),
        }))
    }
}

/// Of a deployment that is for one gateway alone there is less to say.
fn own(member: &Member, gateway: &str) -> String {
    let words = match &member.outcome {
        Outcome::Waiting => "is offered it, and has not said that it has it",
        Outcome::Trying => "has accepted it, and has it on trial",
        Outcome::Confirmed => "runs it, and has confirmed it",
        Outcome::RolledBack => "has tried it and returned to what ran before",
        Outcome::Superseded => "has accepted a deployment with a higher number",
        Outcome::Refused(cause) => return format!("{gateway} refuses it: {cause}."),
    };
    format!("{gateway} {words}.")
}
