//! A small fleet for tests: its keys, its documents, sticks of them.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_bundle::{
    Artifact, ArtifactKind, Capabilities, Check, Class, DeployedModule, Deployment, Digest,
    Envelope, Gateway, Grants, Limits, Publish, RELEASE_TYPE, Release, ReleaseRole, Role, Roles,
    Rollout, Root, Shadow, SigningKey, Stick, Stream, Target, WORLD,
};
use tidegate_record::{BootId, BootTime, Clock, ClockQuality, WallTime};

use crate::{Policy, STORE_BYTES_DEFAULT, Site, Source};

/// A clock that tests turn.
#[derive(Debug, Default)]
pub(crate) struct TestClock(pub(crate) AtomicU64);

impl Clock for TestClock {
    fn wall_time(&self) -> WallTime {
        WallTime(self.0.load(Ordering::Relaxed))
    }

    fn quality(&self) -> ClockQuality {
        ClockQuality::Unset
    }

    fn boot_time(&self) -> BootTime {
        BootTime(self.0.load(Ordering::Relaxed))
    }

    fn boot(&self) -> BootId {
        BootId(1)
    }
}

pub(crate) fn clock() -> Arc<dyn Clock> {
    Arc::new(TestClock::default())
}

/// Keys of every role.
pub(crate) struct Fleet {
    pub(crate) root: SigningKey,
    pub(crate) publisher: SigningKey,
    pub(crate) deployer: SigningKey,
    pub(crate) time: SigningKey,
}

/// A release and what it is made of.
#[derive(Debug, Clone)]
pub(crate) struct Module {
    pub(crate) name: String,
    pub(crate) release: Vec<u8>,
    pub(crate) digest: Digest,
    pub(crate) component: Vec<u8>,
}

pub(crate) fn fleet() -> Fleet {
    let key = |seed| SigningKey::from_seed(&[seed; 32]);
    Fleet {
        root: key(1),
        publisher: key(2),
        deployer: key(3),
        time: key(4),
    }
}

/// Code as large as a small component.
pub(crate) fn component(module: &str, counter: u64) -> Vec<u8> {
    format!("code of {module} {counter} ")
        .repeat(1_000)
        .into_bytes()
}

impl Fleet {
    pub(crate) fn root(&self, version: u64) -> Vec<u8> {
        let keys = [&self.root, &self.publisher, &self.deployer, &self.time];
        let keys = keys.map(SigningKey::public_key);
        let [root, publisher, deployer, time] = keys.each_ref().map(tidegate_bundle::PublicKey::id);
        let role = |id| Role {
            key_ids: vec![id],
            threshold: 1,
        };
        let document = Root {
            fleet_id: "plant-7".to_owned(),
            version,
            epoch: 1,
            keys: keys.into_iter().map(|key| (key.id(), key)).collect(),
            roles: Roles {
                root: role(root),
                release: ReleaseRole {
                    role: role(publisher),
                    modules: BTreeMap::from([(publisher, vec!["*".to_owned()])]),
                },
                deploy: Some(role(deployer)),
                time: Some(role(time)),
            },
            min_runtime_version: semver::Version::new(0, 1, 0),
            expires: None,
        };
        document.sign(&[&self.root]).unwrap()
    }

    pub(crate) fn module(&self, name: &str, counter: u64) -> Module {
        self.module_of(name, counter, |_| {})
    }

    /// A release, changed before it is signed.
    pub(crate) fn module_of(
        &self,
        name: &str,
        counter: u64,
        change: impl FnOnce(&mut Release),
    ) -> Module {
        let component = component(name, counter);
        let mut release = release(name, counter, &component);
        change(&mut release);
        let payload = serde_json::to_vec(&release).unwrap();
        let digest = Digest::of(&payload);
        let envelope =
            Envelope::sign("release", RELEASE_TYPE, payload, &[&self.publisher]).unwrap();
        Module {
            name: name.to_owned(),
            release: envelope.write().unwrap(),
            digest,
            component,
        }
    }

    pub(crate) fn deployment(&self, seq: u64, modules: &[Module]) -> Vec<u8> {
        self.deployment_of(seq, modules, |_| {})
    }

    /// A deployment, changed before it is signed.
    pub(crate) fn deployment_of(
        &self,
        seq: u64,
        modules: &[Module],
        change: impl FnOnce(&mut Deployment),
    ) -> Vec<u8> {
        let mut document = Deployment {
            fleet_id: "plant-7".to_owned(),
            target: Target::GatewayId("gateway-1".to_owned()),
            epoch: 1,
            seq,
            min_root_version: 1,
            modules: modules.iter().map(deployed).collect(),
            rollout: Rollout {
                check: Check::Equal,
                shadow: Shadow::Messages(100),
                cpu_percent_max: 150,
                latency_percent_max: 150,
                probation_minutes: 10,
                attempts: 3,
            },
            downgrades: Vec::new(),
            created: 1_800_000_000,
            expires: None,
        };
        change(&mut document);
        document.sign(&[&self.deployer]).unwrap()
    }

    /// A stick with everything.
    pub(crate) fn stick(&self, seq: u64, modules: &[Module]) -> Vec<u8> {
        let releases: Vec<_> = modules.iter().map(|it| it.release.as_slice()).collect();
        let blobs: Vec<_> = modules.iter().map(|it| it.component.as_slice()).collect();
        let stick = Stick {
            roots: &[],
            deployment: &self.deployment(seq, modules),
            releases: &releases,
            blobs: &blobs,
        };
        stick.write().unwrap()
    }
}

pub(crate) fn release(name: &str, counter: u64, component: &[u8]) -> Release {
    Release {
        module: name.to_owned(),
        version: semver::Version::new(1, counter, 0),
        description: None,
        counter,
        world: WORLD.to_owned(),
        artifacts: vec![Artifact::of(ArtifactKind::Component, component)],
        capabilities: Capabilities {
            publish: vec!["alarms/#".to_owned()],
            ..Capabilities::default()
        },
        limits: Limits {
            memory_bytes: 16 << 20,
            state_bytes: 64 << 10,
        },
        streams: vec![Stream {
            name: "alarms".to_owned(),
            class: Class::Alarm,
            unit: None,
            description: None,
        }],
        config: BTreeMap::from([("high".to_owned(), "80".to_owned())]),
        sbom: None,
        created: 1_800_000_000,
    }
}

pub(crate) fn deployed(module: &Module) -> DeployedModule {
    DeployedModule {
        name: module.name.clone(),
        release: module.digest,
        inputs: Vec::new(),
        grants: Grants {
            publish: vec![Publish {
                to: "plant".to_owned(),
                topic: "alarms/pump".to_owned(),
            }],
            ..Grants::default()
        },
        config: BTreeMap::new(),
        flags: BTreeMap::new(),
        streams: Vec::new(),
    }
}

pub(crate) fn site(folder: &Path) -> Site {
    Site {
        gateway: Gateway {
            gateway_id: "gateway-1".to_owned(),
            group_id: None,
            runtime_version: semver::Version::new(0, 1, 0),
            built: 1_790_000_000,
        },
        folder: folder.join("update"),
        store_bytes_max: STORE_BYTES_DEFAULT,
        code: ("x86_64-unknown-linux-gnu".to_owned(), "engine-1".to_owned()),
    }
}

/// Permits alarms to everybody.
pub(crate) fn policy() -> Policy {
    let text = "new-permissions = \"covered\"\n[[module]]\nname = \"*\"\n\
                publish = [{ to = \"plant\", topic = \"alarms/#\" }]";
    Policy::parse(text).unwrap()
}

/// A source that fails or lies as it is told.
pub(crate) struct Toxic<'a> {
    pub(crate) deployment: Vec<u8>,
    pub(crate) releases: BTreeMap<Digest, Vec<u8>>,
    pub(crate) blob: Box<dyn FnMut(Digest) -> Option<Box<dyn Read>> + 'a>,
}

impl Source for Toxic<'_> {
    fn name(&self) -> String {
        "a source in a test".to_owned()
    }

    fn root(&mut self, _version: u64) -> io::Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn deployment(&mut self) -> io::Result<Option<Vec<u8>>> {
        Ok(Some(self.deployment.clone()))
    }

    fn release(&mut self, digest: Digest) -> io::Result<Option<Vec<u8>>> {
        Ok(self.releases.get(&digest).cloned())
    }

    fn blob(&mut self, digest: Digest) -> io::Result<Option<Box<dyn Read + '_>>> {
        Ok((self.blob)(digest).map(|reader| reader as Box<dyn Read>))
    }
}
