//! The test vector of docs/formats/bundle.md, made anew. Ed25519 and the archive leave no freedom, so another
//! implementation must arrive at the same bytes.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    reason = "a test that cannot go on has failed"
)]

use std::collections::BTreeMap;

use tidegate_bundle::{
    Artifact, ArtifactKind, Capabilities, Class, Digest, Limits, Release, ReleaseRole, Role, Roles,
    Root, SigningKey, Stream, UnverifiedBundle, VerifiedRoot, WORLD, seal,
};

const PAGE: &str = include_str!("../../../docs/formats/bundle.md");

/// The text in a code block after a line that begins with these words.
fn block(after: &str) -> &'static str {
    let (_, rest) = PAGE
        .split_once(&format!("\n{after}"))
        .unwrap_or_else(|| panic!("the page lacks {after:?}"));
    let (_, rest) = rest.split_once("```\n").unwrap();
    rest.split_once("\n```").unwrap().0
}

#[test]
fn the_vector_of_the_format_page_is_what_this_code_writes_and_accepts() {
    let (root_key, release_key) = (
        SigningKey::from_seed(&[1; 32]),
        SigningKey::from_seed(&[2; 32]),
    );
    let root = root(&root_key, &release_key).sign(&[&root_key]).unwrap();
    let component = b"\0asm\x0d\0\x01\0";
    let bundle = seal(&release(component), &[component], &[&release_key]).unwrap();
    let verified = VerifiedRoot::open(&root).unwrap();
    let identity = UnverifiedBundle::open(bundle.clone())
        .unwrap()
        .verify(&verified)
        .unwrap()
        .digest();

    let envelope_length =
        usize::from_str_radix(std::str::from_utf8(&bundle[124..135]).unwrap(), 8).unwrap();
    let envelope = std::str::from_utf8(&bundle[512..512 + envelope_length]).unwrap();
    assert_eq!(std::str::from_utf8(&root).unwrap(), block("The root"));
    assert_eq!(envelope, block("The release document"));
    let facts = format!(
        "identity  {identity}\nlength    {}\nsha256    {}\nroot      {}",
        bundle.len(),
        Digest::of(&bundle),
        verified.digest()
    );
    assert_eq!(facts, block("The bundle file"));
}

fn root(root_key: &SigningKey, release_key: &SigningKey) -> Root {
    let (root_id, release_id) = (root_key.public_key().id(), release_key.public_key().id());
    let role = |id| Role {
        key_ids: vec![id],
        threshold: 1,
    };
    Root {
        fleet_id: "example".to_owned(),
        version: 1,
        epoch: 1,
        keys: BTreeMap::from([
            (root_id, root_key.public_key()),
            (release_id, release_key.public_key()),
        ]),
        roles: Roles {
            root: role(root_id),
            release: ReleaseRole {
                role: role(release_id),
                modules: BTreeMap::from([(release_id, vec!["*".to_owned()])]),
            },
            deploy: None,
            time: None,
        },
        min_runtime_version: semver::Version::new(0, 1, 0),
        expires: None,
    }
}

fn release(component: &[u8]) -> Release {
    Release {
        module: "example".to_owned(),
        version: semver::Version::new(1, 0, 0),
        description: None,
        counter: 1,
        world: WORLD.to_owned(),
        artifacts: vec![Artifact::of(ArtifactKind::Component, component)],
        capabilities: Capabilities {
            publish: vec!["alarms/#".to_owned()],
            ..Capabilities::default()
        },
        limits: Limits {
            memory_bytes: 16_777_216,
            state_bytes: 262_144,
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
