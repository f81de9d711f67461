//! Taking a deployment: the rules, in the order in which they are held.

use std::collections::BTreeMap;

use super::{Gateway, JUMP_MAX, Now, Trust, check_gateway};
use crate::deployment::{self, DEPLOYMENT_TYPE, DeployedModule, Deployment, Target};
use crate::{Digest, Envelope, Error, Refusal, Release, VerifiedRoot, release};

/// Releases by the digest of their signed body.
type Releases = BTreeMap<Digest, Release>;
/// The highest counter of each module.
type Counters = BTreeMap<String, u64>;

/// A deployment that keys of the deploy role signed, for this gateway, with all releases that it names. Only
/// [`Trust`] makes one.
#[derive(Debug, Clone)]
pub struct VerifiedDeployment {
    deployment: Deployment,
    digest: Digest,
    releases: Releases,
}

impl VerifiedDeployment {
    /// The document.
    #[must_use]
    pub fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// The SHA-256 of its signed body.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// A release that it names.
    #[must_use]
    pub fn release(&self, digest: Digest) -> Option<&Release> {
        self.releases.get(&digest)
    }

    /// All modules, each with its release.
    pub fn modules(&self) -> impl Iterator<Item = (&DeployedModule, &Release)> {
        let modules = self.deployment.modules.iter();
        modules.filter_map(|module| Some((module, self.release(module.release)?)))
    }
}

impl Trust {
    /// Holds a deployment against every rule that needs no release, and remembers nothing: what it says is to be
    /// fetched, not to be acted upon.
    ///
    /// # Errors
    ///
    /// Any reason of the envelope, of its signatures under the deploy role or of the document's form; `wrong-fleet`,
    /// `wrong-gateway`, `wrong-group`, `root-too-old`, `runtime-too-old`, `old-epoch`, `unknown-epoch`,
    /// `sequence-rollback`, `sequence-reused`, `sequence-jump`, `denied`, `expired`.
    pub fn check_deployment(
        &self,
        gateway: &Gateway,
        now: Now,
        bytes: &[u8],
    ) -> Result<Deployment, Error> {
        let signed = self.checked(gateway, now, bytes)?;
        Ok(signed.deployment)
    }

    /// Epoch and number of a deployment that keys of the deploy role signed for this gateway, whatever else speaks against
    /// it.
    ///
    /// # Errors
    ///
    /// As [`Trust::check_deployment`], up to its target.
    pub fn place(&self, gateway: &Gateway, bytes: &[u8]) -> Result<(u64, u64), Error> {
        let signed = Signed::open(bytes, &self.root)?;
        self.check_target(gateway, &signed.deployment)?;
        Ok((signed.deployment.epoch, signed.deployment.seq))
    }

    /// Takes a deployment with the release documents that it names, each once and no others, and moves the memory up to
    /// it. One that was taken before is taken again, and changes nothing.
    ///
    /// # Errors
    ///
    /// As [`Trust::check_deployment`]; any reason of a release document; `missing-release`, `unexpected-release`,
    /// `conflicting-releases`, `not-asked`, `unknown-stream`, `release-rollback`, `release-jump`,
    /// `downgrade-not-signed`, `too-many-modules`.
    pub fn accept_deployment(
        &mut self,
        gateway: &Gateway,
        now: Now,
        bytes: &[u8],
        releases: &[&[u8]],
    ) -> Result<VerifiedDeployment, Error> {
        let signed = self.checked(gateway, now, bytes)?;
        let open = |bytes: &[u8]| release::verify(bytes, &self.root);
        let releases = resolve(&signed.deployment, releases, open)?;
        let counters = self.counters_after(&signed, &releases)?;
        let created = releases.values().map(|release| release.created);
        let newest = created.fold(signed.deployment.created, u64::max);
        let verified = VerifiedDeployment {
            digest: signed.digest,
            deployment: signed.deployment,
            releases,
        };
        self.memory = self.memory.with_deployment(&verified, counters, newest)?;
        Ok(verified)
    }

    /// Opens a deployment that this gateway has taken before, for a restart: the newest that it accepted, or the newest
    /// that has proven itself. The memory knows their digests, so neither a rotated key nor a newer rule stops what runs.
    ///
    /// # Errors
    ///
    /// Any reason of the documents' form, `not-remembered`, `missing-release`, `unexpected-release`.
    pub fn reopen(&self, bytes: &[u8], releases: &[&[u8]]) -> Result<VerifiedDeployment, Error> {
        let envelope = Envelope::read(deployment::DOCUMENT, bytes)?;
        envelope.check_type(DEPLOYMENT_TYPE)?;
        let payload = envelope.unverified_payload();
        let digest = Digest::of(payload);
        self.check_remembered(digest)?;
        let deployment = deployment::read(payload)?;
        let releases = resolve(&deployment, releases, release::read_unverified)?;
        Ok(VerifiedDeployment {
            deployment,
            digest,
            releases,
        })
    }

    /// Remembers that the deployment has proven itself: it is what a later one falls back to.
    ///
    /// # Errors
    ///
    /// `not-remembered` if another has been accepted since.
    pub fn confirm(&mut self, deployment: &VerifiedDeployment) -> Result<(), Error> {
        self.check_remembered(deployment.digest)?;
        self.memory.confirmed = Some(deployment.digest);
        Ok(())
    }

    fn check_remembered(&self, digest: Digest) -> Result<(), Refusal> {
        if [self.memory.accepted, self.memory.confirmed].contains(&Some(digest)) {
            return Ok(());
        }
        Err(Refusal::NotRemembered { digest })
    }

    /// Opens a deployment and holds it against every rule that needs no release.
    fn checked(&self, gateway: &Gateway, now: Now, bytes: &[u8]) -> Result<Signed, Error> {
        let signed = Signed::open(bytes, &self.root)?;
        self.check_target(gateway, &signed.deployment)?;
        self.check_versions(gateway, &signed.deployment)?;
        self.check_order(&signed)?;
        self.check_denied(&signed)?;
        self.check_expiry(gateway, now, &signed.deployment)?;
        Ok(signed)
    }

    fn check_target(&self, gateway: &Gateway, deployment: &Deployment) -> Result<(), Refusal> {
        self.check_fleet(deployment::DOCUMENT, &deployment.fleet_id)?;
        match &deployment.target {
            Target::GatewayId(id) => check_gateway(deployment::DOCUMENT, gateway, id),
            Target::GroupId(id) if gateway.group_id.as_ref() == Some(id) => Ok(()),
            Target::GroupId(id) => Err(Refusal::WrongGroup {
                expected: gateway.group_id.clone(),
                found: id.clone(),
            }),
        }
    }

    fn check_versions(&self, gateway: &Gateway, deployment: &Deployment) -> Result<(), Refusal> {
        let root = self.root.root();
        if deployment.min_root_version > root.version {
            return Err(Refusal::RootTooOld {
                needed: deployment.min_root_version,
                current: root.version,
            });
        }
        if gateway.runtime_version < root.min_runtime_version {
            return Err(Refusal::RuntimeTooOld {
                needed: root.min_runtime_version.clone(),
                current: gateway.runtime_version.clone(),
            });
        }
        Ok(())
    }

    fn check_order(&self, signed: &Signed) -> Result<(), Refusal> {
        let (current, remembered) = (self.root.root().epoch, self.memory.seq);
        let Deployment { epoch, seq, .. } = signed.deployment;
        if epoch < current {
            let found = epoch;
            return Err(Refusal::OldEpoch { current, found });
        }
        if epoch > current {
            let found = epoch;
            return Err(Refusal::UnknownEpoch { current, found });
        }
        #[cfg(feature = "faults")]
        if crate::faults::has_no_counter() {
            return Ok(());
        }
        if seq < remembered {
            let found = seq;
            return Err(Refusal::SequenceRollback { remembered, found });
        }
        if seq == remembered && self.memory.accepted != Some(signed.digest) {
            return Err(Refusal::SequenceReused { seq });
        }
        if remembered > 0 && seq - remembered > JUMP_MAX {
            return Err(Refusal::SequenceJump {
                remembered,
                found: seq,
                limit: JUMP_MAX,
            });
        }
        Ok(())
    }

    /// A module may be tried again with another release, or as it is configured otherwise.
    fn check_denied(&self, signed: &Signed) -> Result<(), Error> {
        let is_denied = |digest: Digest| self.memory.denied.contains(&digest);
        let denied = |module: Option<&str>, digest: Digest| Refusal::Denied {
            module: module.map(str::to_owned),
            digest,
        };
        if is_denied(signed.digest) {
            return Err(denied(None, signed.digest).into());
        }
        for module in &signed.deployment.modules {
            let digest = module.digest()?;
            if is_denied(digest) {
                return Err(denied(Some(&module.name), digest).into());
            }
        }
        Ok(())
    }

    /// One that was taken before it expired stays taken.
    fn check_expiry(
        &self,
        gateway: &Gateway,
        now: Now,
        deployment: &Deployment,
    ) -> Result<(), Refusal> {
        let (Some(expires), Now::Synchronised(now)) = (deployment.expires, now) else {
            return Ok(());
        };
        let believed = now >= self.time_floor(gateway);
        if believed && now >= expires && deployment.seq > self.memory.seq {
            return Err(Refusal::Expired { expires, now });
        }
        Ok(())
    }

    /// What is remembered of release counters once this deployment is taken.
    fn counters_after(&self, signed: &Signed, releases: &Releases) -> Result<Counters, Refusal> {
        let mut counters = self.memory.counters.clone();
        #[cfg(feature = "faults")]
        if crate::faults::has_no_counter() {
            counters.clear();
        }
        for release in releases.values() {
            let (module, found) = (&release.module, release.counter);
            if let Some(&remembered) = counters.get(module) {
                if found < remembered {
                    signed.check_downgrade(&self.root, release, remembered)?;
                } else if found - remembered > JUMP_MAX {
                    return Err(Refusal::ReleaseJump {
                        module: module.clone(),
                        remembered,
                        found,
                        limit: JUMP_MAX,
                    });
                }
            }
            counters.insert(module.clone(), found);
        }
        Ok(counters)
    }
}

/// A deployment whose signatures by the deploy role hold.
struct Signed {
    envelope: Envelope,
    deployment: Deployment,
    digest: Digest,
}

impl Signed {
    fn open(bytes: &[u8], root: &VerifiedRoot) -> Result<Self, Error> {
        let (envelope, deployment, digest) = deployment::open(bytes, root)?;
        Ok(Self {
            envelope,
            deployment,
            digest,
        })
    }

    /// A module goes back only where the deployment says so by name and counter, and its publishers have signed that.
    fn check_downgrade(
        &self,
        root: &VerifiedRoot,
        release: &Release,
        remembered: u64,
    ) -> Result<(), Refusal> {
        let (module, found) = (release.module.clone(), release.counter);
        let mut grants = self.deployment.downgrades.iter();
        match grants.find(|grant| grant.module == module && grant.to_counter == found) {
            Some(grant) => deployment::check_downgrade_signed(&self.envelope, root.root(), grant),
            None => Err(Refusal::ReleaseRollback {
                module,
                remembered,
                found,
            }),
        }
    }
}

/// Opens the releases presented and holds them against the deployment: exactly those that it names, one for a module.
fn resolve(
    deployment: &Deployment,
    presented: &[&[u8]],
    open: impl Fn(&[u8]) -> Result<(Release, Digest), Error>,
) -> Result<Releases, Error> {
    let named = deployment.releases();
    let mut releases = Releases::new();
    for bytes in presented {
        let (release, digest) = open(bytes)?;
        if !named.contains(&digest) || releases.insert(digest, release).is_some() {
            return Err(Refusal::UnexpectedRelease { digest }.into());
        }
    }
    if let Some(&digest) = named.iter().find(|digest| !releases.contains_key(digest)) {
        return Err(Refusal::MissingRelease { digest }.into());
    }
    deployment.check_releases(&releases)?;
    Ok(releases)
}
