//! Root, release, time and status.

use serde::Serialize;
use serde_json::Value;
use tidegate_bundle::{
    ARTIFACTS_MAX, ArtifactKind, RELEASE_TYPE, ROOT_TYPE, Release, STATUS_TYPE, Status, TIME_TYPE,
    Trust, UnverifiedBundle, VerifiedRoot, VerifiedStatus,
};

use crate::fleet::{self, KEY, OWN_ROOT, OWN_TRUST, ROOT, TRUST};
use crate::{Chance, Subject, tar};

/// The root document, as a gateway's first one and as the one that follows.
#[derive(Debug)]
pub struct RootDocument;

/// The release document.
#[derive(Debug)]
pub struct ReleaseDocument;

/// The time document.
#[derive(Debug)]
pub struct TimeDocument;

/// The status document.
#[derive(Debug)]
pub struct StatusDocument;

impl Subject for RootDocument {
    fn seeds() -> Vec<Vec<u8>> {
        let own = [1, 2].map(fleet::own_root);
        fleet::documented(ROOT_TYPE)
            .into_iter()
            .chain(own)
            .collect()
    }

    fn check(input: &[u8]) {
        let first = VerifiedRoot::open(input);
        if let Ok(opened) = &first {
            check_root(opened);
        }
        if let Ok(next) = ROOT.next(input) {
            fleet::assert_documented(input);
            check_next(&ROOT, &next);
        }
        if let Ok(next) = OWN_ROOT.next(input) {
            let opened = first.expect("what follows a root is one");
            assert_eq!(opened.digest(), next.digest());
            check_next(&OWN_ROOT, &next);
        }
    }

    fn change(input: &[u8], chance: &mut Chance) -> Option<Vec<u8>> {
        fleet::change(ROOT_TYPE, input, chance)
    }
}

/// A role can be filled by the keys that it names, each of them under its own id; and what is written reads the same.
fn check_root(opened: &VerifiedRoot) {
    let root = opened.root();
    for (id, key) in &root.keys {
        assert_eq!(*id, key.id());
    }
    let roles = &root.roles;
    let optional = [&roles.deploy, &roles.time].into_iter().flatten();
    for role in [&roles.root, &roles.release.role]
        .into_iter()
        .chain(optional)
    {
        assert!((1..=role.key_ids.len()).contains(&role.threshold));
        assert_eq!(root.signers(role).keys.len(), role.key_ids.len());
    }
    if roles.root.key_ids.contains(&KEY.public_key().id()) && roles.root.threshold == 1 {
        let again = root
            .sign(&[&*KEY])
            .expect("a root that was read can be written");
        let again = VerifiedRoot::open(&again).expect("and read again");
        assert_eq!(value(again.root()), value(root));
    }
}

fn check_next(before: &VerifiedRoot, next: &VerifiedRoot) {
    let (before, next) = (before.root(), next.root());
    assert_eq!(next.fleet_id, before.fleet_id);
    assert_eq!(next.version, before.version + 1);
    assert!((before.epoch..=before.epoch + 1).contains(&next.epoch));
}

impl Subject for ReleaseDocument {
    fn seeds() -> Vec<Vec<u8>> {
        fleet::documented(RELEASE_TYPE)
    }

    fn check(input: &[u8]) {
        if verifies(input, &ROOT) {
            fleet::assert_documented(input);
        }
        let read = Release::unverified(input);
        assert!(read.is_ok() || !verifies(input, &OWN_ROOT));
        let Ok((release, _)) = read else { return };
        let is_component = |kind: &ArtifactKind| *kind == ArtifactKind::Component;
        let kinds = release.artifacts.iter().map(|artifact| &artifact.kind);
        assert_eq!(kinds.filter(|kind| is_component(kind)).count(), 1);
        assert!(release.artifacts.len() <= ARTIFACTS_MAX);
        let again = fleet::sign(RELEASE_TYPE, body(&release)).expect("no longer than before");
        let (again, _) = Release::unverified(&again).expect("what was read can be read again");
        assert_eq!(again, release);
    }

    fn change(input: &[u8], chance: &mut Chance) -> Option<Vec<u8>> {
        fleet::change(RELEASE_TYPE, input, chance)
    }
}

/// Whether a release's own signatures hold: alone in a bundle, it lacks its component and nothing else.
fn verifies(release: &[u8], root: &VerifiedRoot) -> bool {
    let archive = tar::write(&[tar::Entry::new("release.dsse.json", release)]);
    let bundle = UnverifiedBundle::open(archive).expect("an archive of ours is one");
    let error = bundle
        .verify(root)
        .expect_err("a bundle without a component is none");
    error.reason() == "missing-entry"
}

impl Subject for TimeDocument {
    fn seeds() -> Vec<Vec<u8>> {
        fleet::documented(TIME_TYPE)
    }

    fn check(input: &[u8]) {
        let (gateway, nonce) = (fleet::gateway(), fleet::nonce());
        let trusts: [(&Trust, bool); 2] = [(&TRUST, true), (&OWN_TRUST, false)];
        for (trust, documented) in trusts {
            let mut after = trust.clone();
            let taken = after.accept_time(&gateway, nonce, input);
            let floors = [trust, &after].map(|trust| trust.time_floor(&gateway));
            match taken {
                Ok(_) if documented => fleet::assert_documented(input),
                Ok(taken) => assert!(floors[1] >= floors[0].max(taken.time().time)),
                Err(_) => assert_eq!(memory(trust), memory(&after), "a refusal changes nothing"),
            }
        }
    }

    fn change(input: &[u8], chance: &mut Chance) -> Option<Vec<u8>> {
        fleet::change(TIME_TYPE, input, chance)
    }
}

impl Subject for StatusDocument {
    fn seeds() -> Vec<Vec<u8>> {
        fleet::documented(STATUS_TYPE)
    }

    fn check(input: &[u8]) {
        if VerifiedStatus::open(input, &fleet::device()).is_ok() {
            fleet::assert_documented(input);
        }
        let (read, own) = (Status::unverified(input), KEY.public_key());
        let verified = VerifiedStatus::open(input, &own);
        assert!(read.is_ok() || verified.is_err());
        let Ok(status) = read else { return };
        let again = status.sign(&KEY).expect("what was read can be written");
        let again = VerifiedStatus::open(&again, &own).expect("and read again");
        assert_eq!(*again.status(), status);
    }

    fn change(input: &[u8], chance: &mut Chance) -> Option<Vec<u8>> {
        fleet::change(STATUS_TYPE, input, chance)
    }
}

/// What a gateway remembers, as bytes.
pub(crate) fn memory(trust: &Trust) -> Vec<u8> {
    trust.to_bytes().expect("a memory can be written")
}

/// The body of a document.
pub(crate) fn body(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(document).expect("a document is JSON")
}

fn value(document: &impl Serialize) -> Value {
    serde_json::to_value(document).expect("a document is JSON")
}
