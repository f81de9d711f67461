//! A gateway of the small fleet, what it remembers, and genuine documents for it.

use std::collections::BTreeMap;

use serde_json::Value;
use tidegate_bundle::{
    Artifact, ArtifactKind, Capabilities, Check, ConfigValue, DEPLOYMENT_TYPE, DeployedModule,
    Deployment, Digest, Downgrade, Envelope, Error, Flag, Gateway, Grants, Input, Nonce, Now,
    Publish, RELEASE_TYPE, Release, Residency, Rollout, SecretRef, Shadow, SigningKey, Target,
    Time, Trust, VerifiedDeployment,
};

use crate::fixture::{Fleet, fleet, release};

/// When the documents of these tests were signed.
pub(crate) const CREATED: u64 = 1_800_000_000;
pub(crate) const MODULE: &str = "threshold-alarm";

/// One gateway.
pub(crate) struct Site {
    pub(crate) fleet: Fleet,
    pub(crate) gateway: Gateway,
    pub(crate) trust: Trust,
    pub(crate) now: Now,
}

pub(crate) fn gateway() -> Gateway {
    Gateway {
        gateway_id: "gateway-1".to_owned(),
        group_id: Some("pumps".to_owned()),
        runtime_version: semver::Version::new(0, 1, 0),
        built: 1_700_000_000,
    }
}

/// A gateway that has its first root and nothing else.
pub(crate) fn site() -> Site {
    let fleet = fleet();
    Site {
        trust: Trust::begin(&fleet.signed_root()).unwrap(),
        gateway: gateway(),
        now: Now::Unsynchronised,
        fleet,
    }
}

/// A signed release document, and its digest.
#[derive(Clone)]
pub(crate) struct Signed {
    pub(crate) bytes: Vec<u8>,
    pub(crate) digest: Digest,
}

/// A release of a module, signed by the publisher of everything.
pub(crate) fn signed_release(module: &str, counter: u64) -> Signed {
    edited_release(module, counter, |_| ())
}

pub(crate) fn edited_release(
    module: &str,
    counter: u64,
    edit: impl FnOnce(&mut Release),
) -> Signed {
    let mut release = Release {
        module: module.to_owned(),
        counter,
        artifacts: vec![Artifact::of(ArtifactKind::Component, module.as_bytes())],
        capabilities: Capabilities {
            publish: vec!["alarms/#".to_owned()],
            actuate: vec!["valve-1".to_owned()],
            wasi: vec![],
        },
        ..release()
    };
    edit(&mut release);
    let body = serde_json::to_vec(&release).unwrap();
    let digest = Digest::of(&body);
    let key = &fleet().publishers[0];
    let envelope = Envelope::sign("release", RELEASE_TYPE, body, &[key]).unwrap();
    let bytes = envelope.write().unwrap();
    Signed { bytes, digest }
}

/// A deployment for the gateway, with everything in it that one can have.
pub(crate) fn deployment(seq: u64, releases: &[&Signed]) -> Deployment {
    let modules = releases.iter().enumerate();
    Deployment {
        fleet_id: "plant-7".to_owned(),
        target: Target::GatewayId("gateway-1".to_owned()),
        epoch: 1,
        seq,
        min_root_version: 1,
        modules: modules
            .map(|(index, release)| deployed(&format!("module-{index}"), release.digest))
            .collect(),
        rollout: Rollout {
            check: Check::Tolerance { tolerance_ppm: 10 },
            shadow: Shadow::Messages(1000),
            cpu_percent_max: 150,
            latency_percent_max: 200,
            probation_minutes: 60,
            attempts: 3,
        },
        downgrades: vec![],
        created: CREATED,
        expires: None,
    }
}

fn deployed(name: &str, release: Digest) -> DeployedModule {
    let text = |text: &str| text.to_owned();
    let (from, to) = (text("plant"), text("plant"));
    DeployedModule {
        name: text(name),
        release,
        inputs: vec![Input {
            from,
            topic: text("sensors/+/temperature"),
        }],
        grants: Grants {
            publish: vec![Publish {
                to,
                topic: text("alarms/pump"),
            }],
            actuate: vec![text("valve-1")],
            wasi: vec![],
        },
        config: BTreeMap::from([
            (text("high"), ConfigValue::Text(text("75"))),
            (
                text("token"),
                ConfigValue::Secret(SecretRef::File(text("pump-token"))),
            ),
        ]),
        flags: BTreeMap::from([
            (text("enabled"), Flag::Switch(true)),
            (text("mode"), Flag::Text(text("fast"))),
        ]),
        streams: vec![Residency {
            name: text("alarms"),
            region: Some(text("eu")),
            may_leave_site: true,
        }],
    }
}

pub(crate) fn downgrade(module: &str, to_counter: u64) -> Downgrade {
    let module = module.to_owned();
    Downgrade { module, to_counter }
}

/// A deployment as JSON that was changed and then signed, by whatever keys.
pub(crate) fn signed_as(
    deployment: &Deployment,
    keys: &[&SigningKey],
    edit: impl FnOnce(&mut Value),
) -> Vec<u8> {
    let mut body = serde_json::to_value(deployment).unwrap();
    edit(&mut body);
    let body = body.to_string().into_bytes();
    let envelope = Envelope::sign("deployment", DEPLOYMENT_TYPE, body, keys).unwrap();
    envelope.write().unwrap()
}

impl Site {
    /// What the gateway remembers, to the byte.
    pub(crate) fn memory(&self) -> Vec<u8> {
        self.trust.to_bytes().unwrap()
    }

    pub(crate) fn sign(&self, deployment: &Deployment) -> Vec<u8> {
        deployment.sign(&[&self.fleet.deployer]).unwrap()
    }

    pub(crate) fn give(
        &mut self,
        bytes: &[u8],
        releases: &[&Signed],
    ) -> Result<VerifiedDeployment, Error> {
        let releases: Vec<&[u8]> = releases.iter().map(|release| &*release.bytes).collect();
        self.trust
            .accept_deployment(&self.gateway, self.now, bytes, &releases)
    }

    /// Signs the deployment and asserts that it is taken.
    #[track_caller]
    pub(crate) fn takes(
        &mut self,
        deployment: &Deployment,
        releases: &[&Signed],
    ) -> VerifiedDeployment {
        let bytes = self.sign(deployment);
        self.give(&bytes, releases).unwrap()
    }

    /// Signs the deployment and asserts the reason for which it is refused.
    #[track_caller]
    pub(crate) fn refuses(&mut self, deployment: &Deployment, releases: &[&Signed], reason: &str) {
        let bytes = self.sign(deployment);
        self.refuses_bytes(&bytes, releases, reason);
    }

    /// Asserts the reason, and that nothing was remembered.
    #[track_caller]
    pub(crate) fn refuses_bytes(&mut self, bytes: &[u8], releases: &[&Signed], reason: &str) {
        let before = self.memory();
        let result = self.give(bytes, releases);
        assert_eq!(
            result.map_or_else(|error| error.reason(), |_| "accepted"),
            reason
        );
        assert_eq!(self.memory(), before);
    }

    /// What the fleet's clock says in answer to a nonce: nothing newer than what this gateway has.
    pub(crate) fn time(&self, nonce: Nonce, time: u64) -> Time {
        Time {
            fleet_id: "plant-7".to_owned(),
            gateway_id: "gateway-1".to_owned(),
            nonce,
            time,
            epoch: self.trust.root().root().epoch,
            seq: self.trust.seq(),
            root_version: self.trust.root().root().version,
            valid_for: 3600,
        }
    }

    #[track_caller]
    pub(crate) fn refuses_time(&mut self, nonce: Nonce, bytes: &[u8], reason: &str) {
        let before = self.memory();
        let result = self.trust.accept_time(&self.gateway, nonce, bytes);
        assert_eq!(
            result.map_or_else(|error| error.reason(), |_| "accepted"),
            reason
        );
        assert_eq!(self.memory(), before);
    }

    #[track_caller]
    pub(crate) fn refuses_root(&mut self, bytes: &[u8], reason: &str) {
        let before = self.memory();
        let result = self.trust.accept_root(bytes);
        assert_eq!(
            result.map_or_else(|error| error.reason(), |()| "accepted"),
            reason
        );
        assert_eq!(self.memory(), before);
    }
}
