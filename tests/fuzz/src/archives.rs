//! Bundle and stick. Both are read by another make's reader as well: what ours takes, it must see in the same way.

use std::io::{Cursor, Read as _};
use std::sync::LazyLock;

use tidegate_bundle::{
    BUNDLE_BYTES_MAX, DEPLOYMENT_TYPE, DOCUMENT_BYTES_MAX, Digest, RELEASE_TYPE, ROOT_TYPE,
    Release, Stick, StickEntry, UnverifiedBundle, seal,
};
use tidegate_update::Source as _;
use tidegate_update::stick::StickFile;

use crate::fleet::{self, KEY, OWN_ROOT, ROOT};
use crate::tar::{self, Entry};
use crate::{Chance, Subject};

/// The bundle.
#[derive(Debug)]
pub struct Bundle;

/// The stick.
#[derive(Debug)]
pub struct StickArchive;

/// What is packed into bundles here: no real component.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// A release of ours for it.
static RELEASE: LazyLock<Release> = LazyLock::new(|| {
    let all = fleet::releases();
    let release = all.first().map(|bytes| Release::unverified(bytes));
    let (mut release, _) = release.expect("a release").expect("a documented release");
    for artifact in &mut release.artifacts {
        *artifact = tidegate_bundle::Artifact::of(artifact.kind.clone(), COMPONENT);
    }
    release.artifacts.truncate(1);
    release
});

impl Subject for Bundle {
    fn seeds() -> Vec<Vec<u8>> {
        let own = seal(&RELEASE, &[COMPONENT], &[&*KEY]).expect("a bundle of ours");
        let documented = fleet::documented(RELEASE_TYPE);
        let documented = documented
            .iter()
            .map(|release| tar::write(&[Entry::new("release.dsse.json", release)]));
        documented.chain([own]).collect()
    }

    fn check(input: &[u8]) {
        let open = || UnverifiedBundle::open(input.to_vec());
        let Ok(bundle) = open() else { return };
        for (index, (name, body)) in entries(input).iter().enumerate() {
            let same = match name.strip_prefix("artifacts/").map(Digest::parse) {
                Some(Ok(digest)) if index > 0 => bundle.unverified_artifact(digest),
                _ => Some(bundle.unverified_document()).filter(|_| index == 0),
            };
            assert_eq!(same, Some(body.as_slice()), "{name}");
        }
        let told = bundle.unverified_release();
        if let Ok(verified) = open().expect("opens again").verify(&ROOT) {
            fleet::assert_documented(verified.document());
        }
        let Ok(verified) = bundle.verify(&OWN_ROOT) else {
            return;
        };
        assert_eq!(
            told.expect("what is verified can be read"),
            *verified.release()
        );
        let artifacts: Vec<&[u8]> = verified.artifacts().collect();
        assert_eq!(artifacts.len(), verified.release().artifacts.len());
        for (artifact, (digest, place)) in artifacts.iter().zip(verified.places()) {
            assert_eq!(Digest::of(artifact), digest);
            assert_eq!(input.get(place), Some(*artifact));
        }
        assert!(artifacts.contains(&verified.component()));
        let again = seal(verified.release(), &artifacts, &[&*KEY]).expect("can be packed again");
        let again = UnverifiedBundle::open(again).and_then(|again| again.verify(&OWN_ROOT));
        assert_eq!(again.expect("and opened").release(), verified.release());
    }

    fn change(input: &[u8], chance: &mut Chance) -> Option<Vec<u8>> {
        tar::change(input, chance, |entry, chance| {
            match fleet::change(RELEASE_TYPE, &entry.body, chance) {
                Some(release) => entry.body = release,
                None => chance.change(&mut entry.body),
            }
        })
    }
}

impl Subject for StickArchive {
    fn seeds() -> Vec<Vec<u8>> {
        let (roots, releases) = ([fleet::own_root(2)], fleet::releases());
        let deployments = fleet::documented(DEPLOYMENT_TYPE);
        let releases: Vec<&[u8]> = releases.iter().map(Vec::as_slice).collect();
        let stick = |deployment: &Vec<u8>| {
            let stick = Stick {
                roots: &roots.each_ref().map(Vec::as_slice),
                deployment,
                releases: &releases,
                blobs: &[COMPONENT, b"another"],
            };
            stick.write().expect("a stick of ours")
        };
        deployments.iter().take(2).map(stick).collect()
    }

    fn check(input: &[u8]) {
        let Ok(mut stick) = StickFile::open(Cursor::new(input)) else {
            return;
        };
        let mut before = None;
        for (name, body) in entries(input) {
            let entry = parse(&name);
            assert!(before < Some(entry), "{name} is not in its place");
            before = Some(entry);
            let found = match entry {
                StickEntry::Root(version) => stick.root(version),
                StickEntry::Deployment => stick.deployment(),
                StickEntry::Release(digest) => stick.release(digest),
                StickEntry::Blob(digest) => blob(&mut stick, digest),
            };
            let found = found.expect("memory can be read").expect("it is there");
            assert!(found == body, "{name} is another");
            let limit = match entry {
                StickEntry::Blob(_) => BUNDLE_BYTES_MAX,
                _ => DOCUMENT_BYTES_MAX,
            };
            assert!(body.len() <= limit);
        }
    }

    fn change(input: &[u8], chance: &mut Chance) -> Option<Vec<u8>> {
        tar::change(input, chance, |entry, chance| {
            let name = entry.name();
            let kind = match name.split('/').next() {
                Some("roots") => ROOT_TYPE,
                Some("deployment") => DEPLOYMENT_TYPE,
                _ => RELEASE_TYPE,
            };
            match fleet::change(kind, &entry.body, chance) {
                Some(document) => entry.body = document,
                None => chance.change(&mut entry.body),
            }
        })
    }
}

fn blob(stick: &mut StickFile<Cursor<&[u8]>>, digest: Digest) -> std::io::Result<Option<Vec<u8>>> {
    let Some(mut reader) = stick.blob(digest)? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn parse(name: &str) -> StickEntry {
    let digest = |text| Digest::parse(text).expect("a digest");
    match name.split_once('/') {
        None => StickEntry::Deployment,
        Some(("roots", version)) => StickEntry::Root(version.parse().expect("a version")),
        Some(("releases", text)) => StickEntry::Release(digest(text)),
        Some((_, text)) => StickEntry::Blob(digest(text)),
    }
}

/// Names and bodies, as a reader of another make has them.
fn entries(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = ::tar::Archive::new(archive);
    let entries = archive.entries().expect("what is taken is an archive");
    let read = |entry: std::io::Result<::tar::Entry<'_, _>>| {
        let mut entry = entry.expect("what is taken has entries");
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let mut body = Vec::new();
        entry.read_to_end(&mut body).expect("memory can be read");
        (name, body)
    };
    entries.map(read).collect()
}
