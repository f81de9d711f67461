//! A small fleet: its keys, and genuine documents of every kind.

use std::collections::BTreeMap;

use serde::Serialize;
use tidegate_bundle::{
    Artifact, ArtifactKind, Capabilities, Check, Class, ClockQuality, ConfigValue, DeployedModule,
    Deployment, Digest, Envelope, Error, Flag, Gateway, Grants, Input, InstalledModule, KeyId,
    Limits, Nonce, Phase, Publish, RefusedDocument, Release, ReleaseRole, Residency, Role, Roles,
    Rollout, Root, SecretRef, Shadow, SigningKey, Status, StoreEpoch, Stream, Target, Time, WORLD,
    seal,
};

use super::Outcome;

/// When the documents were signed.
pub(crate) const CREATED: u64 = 1_800_000_000;
pub(crate) const FLEET: &str = "plant-7";

/// Two root keys of which both sign, two publishers and two deployers of which one signs, a key for the time, the key of a
/// gateway, and one of nobody.
pub(crate) struct Fleet {
    pub(crate) roots: [SigningKey; 2],
    pub(crate) publishers: [SigningKey; 2],
    pub(crate) deployers: [SigningKey; 2],
    pub(crate) timekeeper: SigningKey,
    pub(crate) device: SigningKey,
    pub(crate) stranger: SigningKey,
}

pub(crate) fn fleet() -> Fleet {
    Fleet {
        roots: root_keys(1),
        publishers: [key(3), key(4)],
        deployers: [key(5), key(6)],
        timekeeper: key(7),
        device: key(8),
        stranger: key(9),
    }
}

pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

/// The root keys of a version: no two versions share one.
pub(crate) fn root_keys(version: u64) -> [SigningKey; 2] {
    [1, 2].map(|which: u8| {
        let mut seed = [which; 32];
        let bytes = seed.iter_mut().zip(version.to_le_bytes());
        bytes.for_each(|(to, from)| *to = from);
        SigningKey::from_seed(&seed)
    })
}

pub(crate) fn id(key: &SigningKey) -> KeyId {
    key.public_key().id()
}

/// A signed release, its digest, and the bundle that it comes in.
#[derive(Clone)]
pub(crate) struct Signed {
    pub(crate) bytes: Vec<u8>,
    pub(crate) digest: Digest,
    pub(crate) bundle: Vec<u8>,
}

/// Any JSON, as a document of this type, signed by these.
pub(crate) fn sign_any(
    kind: &str,
    body: &impl Serialize,
    keys: &[&SigningKey],
) -> Outcome<Vec<u8>> {
    let body = serde_json::to_vec(body)?;
    Ok(Envelope::sign("document", kind, body, keys)?.write()?)
}

impl Fleet {
    /// The root of a version, with root keys of its own.
    pub(crate) fn root(&self, version: u64) -> Root {
        let own = root_keys(version);
        let others = [&self.publishers, &self.deployers];
        let all = own
            .iter()
            .chain(others.into_iter().flatten())
            .chain([&self.timekeeper])
            .map(SigningKey::public_key);
        let role = |keys: &[SigningKey], threshold| Role {
            key_ids: keys.iter().map(id).collect(),
            threshold,
        };
        let [everything, some] = &self.publishers;
        let modules = [
            (id(everything), vec!["*".to_owned()]),
            (id(some), vec!["pump".to_owned()]),
        ];
        Root {
            fleet_id: FLEET.to_owned(),
            version,
            epoch: 1,
            keys: all.map(|key| (key.id(), key)).collect(),
            roles: Roles {
                root: role(&own, 2),
                release: ReleaseRole {
                    role: role(&self.publishers, 1),
                    modules: modules.into(),
                },
                deploy: Some(role(&self.deployers, 1)),
                time: Some(role(std::slice::from_ref(&self.timekeeper), 1)),
            },
            min_runtime_version: semver::Version::new(0, 1, 0),
            expires: None,
        }
    }

    /// Signed by the root keys of its own version and of the one before.
    pub(crate) fn sign_root(&self, root: &Root) -> Result<Vec<u8>, Error> {
        let before = root.version.saturating_sub(1);
        let (old, new) = (root_keys(before), root_keys(root.version));
        let keys: Vec<_> = old.iter().chain(&new).collect();
        root.sign(&keys)
    }

    /// The root of a version, signed.
    pub(crate) fn signed_root(&self, version: u64) -> Result<Vec<u8>, Error> {
        self.sign_root(&self.root(version))
    }

    /// A release of a module, by the publisher of everything.
    pub(crate) fn release(&self, module: &str, counter: u64) -> Outcome<Signed> {
        self.edited_release(module, counter, |_| ())
    }

    pub(crate) fn edited_release(
        &self,
        module: &str,
        counter: u64,
        edit: impl FnOnce(&mut Release),
    ) -> Outcome<Signed> {
        let component = component(module, counter);
        let mut release = release(module, counter, &component);
        edit(&mut release);
        let [publisher, _] = &self.publishers;
        let bundle = seal(&release, &[&component], &[publisher])?;
        let bytes = sign_any(tidegate_bundle::RELEASE_TYPE, &release, &[publisher])?;
        let digest = Digest::of(&serde_json::to_vec(&release)?);
        Ok(Signed {
            bytes,
            digest,
            bundle,
        })
    }

    /// A deployment of these releases for the gateway, signed by the first deployer.
    pub(crate) fn deploy(&self, seq: u64, releases: &[&Signed]) -> Outcome<Vec<u8>> {
        self.sign_deployment(&deployment(seq, releases))
    }

    pub(crate) fn sign_deployment(&self, deployment: &Deployment) -> Outcome<Vec<u8>> {
        let [deployer, _] = &self.deployers;
        Ok(deployment.sign(&[deployer])?)
    }

    pub(crate) fn sign_time(&self, time: &Time) -> Outcome<Vec<u8>> {
        Ok(time.sign(&[&self.timekeeper])?)
    }
}

/// What a module is made of, as far as a bundle cares: each version other bytes of another length.
pub(crate) fn component(module: &str, counter: u64) -> Vec<u8> {
    format!("\0asm {module} {counter}").into_bytes()
}

fn release(module: &str, counter: u64, component: &[u8]) -> Release {
    let text = |text: &str| text.to_owned();
    Release {
        module: text(module),
        version: semver::Version::new(1, counter, 0),
        description: Some(text("Tells when it is too warm")),
        counter,
        world: text(WORLD),
        artifacts: vec![Artifact::of(ArtifactKind::Component, component)],
        capabilities: Capabilities {
            publish: vec![text("alarms/#")],
            actuate: vec![text("valve-1")],
            wasi: vec![],
        },
        limits: Limits {
            memory_bytes: 16 << 20,
            state_bytes: 256 << 10,
        },
        streams: vec![Stream {
            name: text("alarms"),
            class: Class::Alarm,
            unit: Some(text("Cel")),
            description: None,
        }],
        config: BTreeMap::from([(text("high"), text("80"))]),
        sbom: None,
        created: CREATED,
    }
}

/// With everything in it that a deployment can have.
pub(crate) fn deployment(seq: u64, releases: &[&Signed]) -> Deployment {
    let modules = releases.iter().enumerate();
    Deployment {
        fleet_id: FLEET.to_owned(),
        target: Target::GatewayId("gateway-1".to_owned()),
        epoch: 1,
        seq,
        min_root_version: 1,
        modules: modules
            .map(|(index, release)| deployed(format!("module-{index}"), release.digest))
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

fn deployed(name: String, release: Digest) -> DeployedModule {
    let text = |text: &str| text.to_owned();
    let secret = ConfigValue::Secret(SecretRef::File(text("pump-token")));
    DeployedModule {
        name,
        release,
        inputs: vec![Input {
            from: text("plant"),
            topic: text("sensors/+/temperature"),
        }],
        grants: Grants {
            publish: vec![Publish {
                to: text("plant"),
                topic: text("alarms/pump"),
            }],
            actuate: vec![text("valve-1")],
            wasi: vec![],
        },
        config: BTreeMap::from([
            (text("high"), ConfigValue::Text(text("75"))),
            (text("token"), secret),
        ]),
        flags: BTreeMap::from([(text("enabled"), Flag::Switch(true))]),
        streams: vec![Residency {
            name: text("alarms"),
            region: Some(text("eu")),
            may_leave_site: true,
        }],
    }
}

pub(crate) fn gateway() -> Gateway {
    Gateway {
        gateway_id: "gateway-1".to_owned(),
        group_id: Some("pumps".to_owned()),
        runtime_version: semver::Version::new(0, 1, 0),
        built: 1_700_000_000,
    }
}

/// A question of the gateway: another number, another question.
pub(crate) fn nonce(number: u64) -> Result<Nonce, Error> {
    Nonce::parse(&format!("{number:064x}"))
}

/// The answer to it, for a gateway that has this deployment of root 1.
pub(crate) fn time(nonce: Nonce, time: u64, seq: u64) -> Time {
    Time {
        fleet_id: FLEET.to_owned(),
        gateway_id: "gateway-1".to_owned(),
        nonce,
        time,
        epoch: 1,
        seq,
        root_version: 1,
        valid_for: 3600,
    }
}

/// A report of the gateway.
pub(crate) fn status(release: Digest) -> Status {
    Status {
        fleet_id: FLEET.to_owned(),
        gateway_id: "gateway-1".to_owned(),
        store_epoch: StoreEpoch {
            ordinal: 3,
            random: 77,
        },
        counter: 12,
        root_version: 1,
        epoch: 1,
        seq: 5,
        modules: vec![InstalledModule {
            name: "module-0".to_owned(),
            release,
            version: semver::Version::new(1, 7, 0),
            generation: 2,
            phase: Phase::Confirmed,
        }],
        refused: vec![RefusedDocument {
            sha256: release,
            reason: "sequence-rollback".to_owned(),
            why: Some("a newer deployment has been accepted".to_owned()),
        }],
        clock: ClockQuality::Synced,
        missing_protection: vec!["no Landlock in this kernel".to_owned()],
        confirmed: None,
        facts: None,
        frozen: None,
    }
}
