//! Sticks: written whole, and only when a gateway would take them.

use std::collections::BTreeMap;
use std::fs;

use tidegate_bundle::{
    Digest, Gateway, Now, STICK_BLOCK_BYTES, SigningKey, StickEntry, Trust, VerifiedRoot,
};

use crate::deploy::{FILE, deploy, release, workshop};
use crate::fixture::{Ran, Workshop};

const BUNDLE: &str = "pump-1.2.0.tidegate";

fn bundle_usb(workshop: &Workshop, further: &[&str]) -> Ran {
    let stick = ["bundle-usb", "--to", "update.tidegate-stick"];
    let deployment = ["--root", "root.json", "--deployment", "deployment.json"];
    workshop.tide(&[&stick[..], &deployment[..], further].concat())
}

/// What stands on the stick, as a gateway reads its headers.
fn contents(workshop: &Workshop) -> BTreeMap<StickEntry, Vec<u8>> {
    let bytes = fs::read(workshop.path("update.tidegate-stick")).unwrap();
    let (mut contents, mut rest) = (BTreeMap::new(), bytes.as_slice());
    while let Some((header, after)) = rest.split_first_chunk::<STICK_BLOCK_BYTES>() {
        let Some((entry, length)) = StickEntry::read(header).unwrap() else {
            break;
        };
        let length = usize::try_from(length).unwrap();
        contents.insert(entry, after[..length].to_vec());
        rest = &after[length.next_multiple_of(STICK_BLOCK_BYTES)..];
    }
    contents
}

/// A second root, as the holder of the root key makes it.
fn root_2(workshop: &Workshop, change: impl FnOnce(&mut tidegate_bundle::Root)) {
    let first = VerifiedRoot::open(&fs::read(workshop.path("root.json")).unwrap()).unwrap();
    let key = fs::read_to_string(workshop.path("root.key")).unwrap();
    let mut root = first.root().clone();
    root.version = 2;
    change(&mut root);
    let bytes = root.sign(&[&SigningKey::parse(&key).unwrap()]).unwrap();
    fs::write(workshop.path("root-2.json"), bytes).unwrap();
}

#[test]
fn a_stick_has_all_that_a_gateway_needs_to_accept_the_deployment() {
    let workshop = workshop();
    root_2(&workshop, |_| {});
    deploy(&workshop, &[]).check(0, &[]);
    let further = ["--root", "root-2.json", "--bundle", BUNDLE];
    bundle_usb(&workshop, &further).check(
        0,
        &[
            "update.tidegate-stick",
            "group pumps of fleet plant",
            "pump-1: pump 1.2.0, counter 7",
        ],
    );
    let contents = contents(&workshop);
    let mut trust = Trust::begin(&contents[&StickEntry::Root(1)]).unwrap();
    trust.accept_root(&contents[&StickEntry::Root(2)]).unwrap();
    let gateway = Gateway {
        gateway_id: "gateway-1".to_owned(),
        group_id: Some("pumps".to_owned()),
        runtime_version: semver::Version::new(0, 1, 0),
        built: 0,
    };
    let releases = contents.iter().filter_map(|(entry, bytes)| match entry {
        StickEntry::Release(_) => Some(bytes.as_slice()),
        _ => None,
    });
    let releases: Vec<_> = releases.collect();
    let bytes = &contents[&StickEntry::Deployment];
    let accepted = trust.accept_deployment(&gateway, Now::Unsynchronised, bytes, &releases);
    let accepted = accepted.unwrap();
    for (_, release) in accepted.modules() {
        for artifact in &release.artifacts {
            let blob = &contents[&StickEntry::Blob(artifact.sha256)];
            assert_eq!(Digest::of(blob), artifact.sha256);
        }
    }
    // The same contents give the same bytes, in whatever order the roots are named.
    let before = fs::read(workshop.path("update.tidegate-stick")).unwrap();
    let stick = [
        "bundle-usb",
        "--to",
        "again",
        "--root",
        "root-2.json",
        "--root",
        "root.json",
    ];
    let rest = ["--deployment", "deployment.json", "--bundle", BUNDLE];
    workshop
        .tide(&[&stick[..], &rest[..]].concat())
        .check(0, &[]);
    assert_eq!(fs::read(workshop.path("again")).unwrap(), before);
}

#[test]
fn what_a_gateway_would_refuse_is_not_written() {
    let workshop = workshop();
    deploy(&workshop, &[]).check(0, &[]);
    let refused = |further: &[&str], words: &[&str]| {
        bundle_usb(&workshop, further).check(3, words);
        assert!(!workshop.path("update.tidegate-stick").exists());
    };
    refused(
        &[],
        &["deployment.json is refused", "reason code missing-release"],
    );
    let twice = ["--bundle", BUNDLE, "--bundle", BUNDLE];
    refused(&twice, &["reason code unexpected-release"]);
    let whole = ["--bundle", BUNDLE, "--root", "root-2.json"];
    root_2(&workshop, |root| root.version = 3);
    refused(
        &whole,
        &["root-2.json is refused", "reason code root-version"],
    );
    root_2(&workshop, |root| root.epoch = 2);
    refused(
        &whole,
        &["deployment.json is refused", "reason code old-epoch"],
    );
    root_2(&workshop, |root| root.roles.deploy = None);
    refused(
        &whole,
        &["deployment.json is refused", "reason code wrong-key"],
    );
    // Another release than the one that was deployed.
    release(&workshop, 8);
    refused(&["--bundle", BUNDLE], &["reason code unexpected-release"]);
    let damaged = fs::read(workshop.path(BUNDLE)).unwrap();
    fs::write(workshop.path(BUNDLE), &damaged[..2048]).unwrap();
    refused(
        &["--bundle", BUNDLE],
        &["pump-1.2.0.tidegate is refused", "reason code truncated"],
    );
}

#[test]
fn a_deployment_that_has_expired_is_not_put_on_a_stick() {
    let workshop = workshop();
    let file = FILE.replace("seq = 12", "seq = 12\nexpires-after = \"0s\"");
    workshop.write("deployments/pumps.toml", &file);
    deploy(&workshop, &[]).check(0, &[]);
    bundle_usb(&workshop, &["--bundle", BUNDLE]).check(3, &["reason code expired"]);
}
