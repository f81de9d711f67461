//! A small fleet, a genuine release of it, and ways to damage it.

use std::collections::BTreeMap;

use serde_json::Value;
use tidegate_bundle::{
    Artifact, ArtifactKind, Capabilities, Class, Envelope, Error, KeyId, Limits, PublicKey,
    RELEASE_TYPE, Release, ReleaseRole, Role, Roles, Root, SigningKey, Stream, UnverifiedBundle,
    VerifiedRoot, WORLD, seal,
};

pub(crate) const COMPONENT: &[u8] = b"\0asm, as far as a bundle cares";

/// Two root keys of which both sign; two publishers of which one signs; one key for deployments, one for the time.
pub(crate) struct Fleet {
    pub(crate) roots: [SigningKey; 2],
    pub(crate) publishers: [SigningKey; 2],
    pub(crate) deployer: SigningKey,
    pub(crate) timekeeper: SigningKey,
    pub(crate) stranger: SigningKey,
}

pub(crate) fn fleet() -> Fleet {
    let key = |seed| SigningKey::from_seed(&[seed; 32]);
    Fleet {
        roots: [key(1), key(2)],
        publishers: [key(3), key(4)],
        deployer: key(5),
        timekeeper: key(6),
        stranger: key(9),
    }
}

impl Fleet {
    pub(crate) fn root(&self) -> Root {
        let keys = self
            .roots
            .iter()
            .chain(&self.publishers)
            .chain([&self.deployer, &self.timekeeper])
            .map(SigningKey::public_key);
        let ids = |keys: &[SigningKey]| keys.iter().map(id).collect::<Vec<_>>();
        let role = |key_ids, threshold| Role { key_ids, threshold };
        let [first, second] = [id(&self.publishers[0]), id(&self.publishers[1])];
        Root {
            fleet_id: "plant-7".to_owned(),
            version: 1,
            epoch: 1,
            keys: keys.map(|key: PublicKey| (key.id(), key)).collect(),
            roles: Roles {
                root: role(ids(&self.roots), 2),
                release: ReleaseRole {
                    role: role(ids(&self.publishers), 1),
                    modules: BTreeMap::from([
                        (first, vec!["*".to_owned()]),
                        (second, vec!["vibration-*".to_owned(), "pump".to_owned()]),
                    ]),
                },
                deploy: Some(role(vec![id(&self.deployer)], 1)),
                time: Some(role(vec![id(&self.timekeeper)], 1)),
            },
            min_runtime_version: semver::Version::new(0, 1, 0),
            expires: None,
        }
    }

    pub(crate) fn signed_root(&self) -> Vec<u8> {
        self.root().sign(&[&self.roots[0], &self.roots[1]]).unwrap()
    }

    /// Verifies a bundle under this fleet's root.
    pub(crate) fn verify(&self, bundle: Vec<u8>) -> Result<(), Error> {
        let root = VerifiedRoot::open(&self.signed_root())?;
        UnverifiedBundle::open(bundle)?
            .verify(&root)
            .map(|bundle| assert_eq!(bundle.component(), COMPONENT))
    }

    /// Asserts the reason for which a bundle is refused, or `accepted`.
    #[track_caller]
    pub(crate) fn check(&self, bundle: Vec<u8>, reason: &str) {
        assert_eq!(
            self.verify(bundle)
                .map_or_else(|error| error.reason(), |()| "accepted"),
            reason
        );
    }

    pub(crate) fn bundle(&self) -> Vec<u8> {
        seal(&release(), &[COMPONENT], &[&self.publishers[0]]).unwrap()
    }

    /// The genuine body of the release, changed and signed again.
    pub(crate) fn bundle_of_body(&self, body: &str) -> Vec<u8> {
        let envelope = Envelope::sign("release", RELEASE_TYPE, body.into(), &[&self.publishers[0]])
            .unwrap()
            .write()
            .unwrap();
        bundle_of(&envelope)
    }
}

pub(crate) fn id(key: &SigningKey) -> KeyId {
    key.public_key().id()
}

pub(crate) fn release() -> Release {
    Release {
        module: "threshold-alarm".to_owned(),
        version: semver::Version::new(1, 2, 0),
        description: None,
        counter: 7,
        world: WORLD.to_owned(),
        artifacts: vec![Artifact::of(ArtifactKind::Component, COMPONENT)],
        capabilities: Capabilities {
            publish: vec!["alarms/#".to_owned()],
            ..Capabilities::default()
        },
        limits: Limits {
            memory_bytes: 16 << 20,
            state_bytes: 256 << 10,
        },
        streams: vec![Stream {
            name: "alarms".to_owned(),
            class: Class::Alarm,
            unit: Some("Cel".to_owned()),
            description: None,
        }],
        config: BTreeMap::from([("high".to_owned(), "80".to_owned())]),
        sbom: None,
        created: 1_800_000_000,
    }
}

pub(crate) fn release_body() -> String {
    serde_json::to_string(&release()).unwrap()
}

/// The envelope inside a bundle.
pub(crate) fn envelope(bundle: &[u8]) -> Value {
    let mut archive = tar::Archive::new(bundle);
    let entry = archive.entries().unwrap().next().unwrap().unwrap();
    serde_json::from_reader(entry).unwrap()
}

/// A bundle of this envelope and the genuine component, packed by an archiver of another make.
pub(crate) fn bundle_of(envelope: &[u8]) -> Vec<u8> {
    archive(&[
        ("release.dsse.json", envelope),
        (&component_name(), COMPONENT),
    ])
}

pub(crate) fn component_name() -> String {
    format!("artifacts/{}", release().artifacts[0].sha256)
}

pub(crate) fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let files: Vec<_> = entries
        .iter()
        .map(|(name, body)| (tar::EntryType::Regular, *name, *body))
        .collect();
    archive_of(&files)
}

/// An archive of any kind of entries, with names that no honest archiver writes.
pub(crate) fn archive_of(entries: &[(tar::EntryType, &str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (kind, name, body) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(*kind);
        header.set_size(body.len().try_into().unwrap());
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, *body).unwrap();
    }
    builder.into_inner().unwrap()
}
