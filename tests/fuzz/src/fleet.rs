//! Two fleets: the documented one, whose keys nobody here has, and one with the same names, whose only key signs what was
//! changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;
use tidegate_bundle::{
    Envelope, Gateway, Nonce, PublicKey, ReleaseRole, Role, Roles, Root, SigningKey, Trust,
    VerifiedRoot,
};

use crate::Chance;

/// The vectors of docs/formats/deployment.md.
static VECTORS: LazyLock<Value> = LazyLock::new(|| {
    let text = include_str!("../../../docs/formats/vectors/documents.json");
    serde_json::from_str(text).expect("the vectors are JSON")
});

/// The documented root.
pub static ROOT: LazyLock<VerifiedRoot> =
    LazyLock::new(|| VerifiedRoot::open(&vector("root")).expect("the documented root opens"));

/// What the documented gateway remembers.
pub static TRUST: LazyLock<Trust> = LazyLock::new(|| {
    let memory = VECTORS["memory"].as_str().expect("a text");
    Trust::from_bytes(memory.as_bytes()).expect("the documented memory opens")
});

/// Bodies of all documents that are documented.
static BODIES: LazyLock<BTreeSet<Vec<u8>>> = LazyLock::new(|| {
    let all = every_document();
    all.iter()
        .filter_map(|bytes| Some(parts(bytes)?.1))
        .collect()
});

/// The key that signs what was changed.
pub static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::from_seed(&[77; 32]));

/// The root under which it may sign everything.
pub static OWN_ROOT: LazyLock<VerifiedRoot> =
    LazyLock::new(|| VerifiedRoot::open(&own_root(1)).expect("our root opens"));

/// A gateway under that root which has taken nothing yet.
pub static OWN_TRUST: LazyLock<Trust> =
    LazyLock::new(|| Trust::begin(&own_root(1)).expect("our root opens"));

/// The documented gateway.
#[must_use]
pub fn gateway() -> Gateway {
    Gateway {
        gateway_id: "gateway-1".to_owned(),
        group_id: Some("pumps".to_owned()),
        runtime_version: "0.1.0".parse().expect("a version"),
        built: 1_700_000_000,
    }
}

/// What the documented gateway asks the time with.
#[must_use]
pub fn nonce() -> Nonce {
    Nonce::parse(&"5a".repeat(32)).expect("a nonce")
}

/// The documented device key.
#[must_use]
pub fn device() -> PublicKey {
    SigningKey::from_seed(&[0x14; 32]).public_key()
}

/// Our root of this version.
#[must_use]
pub fn own_root(version: u64) -> Vec<u8> {
    let key = KEY.public_key();
    let role = || Role {
        key_ids: vec![key.id()],
        threshold: 1,
    };
    let root = Root {
        fleet_id: "plant-7".to_owned(),
        version,
        epoch: 1,
        keys: BTreeMap::from([(key.id(), key.clone())]),
        roles: Roles {
            root: role(),
            release: ReleaseRole {
                role: role(),
                modules: BTreeMap::from([(key.id(), vec!["*".to_owned()])]),
            },
            deploy: Some(role()),
            time: Some(role()),
        },
        min_runtime_version: "0.1.0".parse().expect("a version"),
        expires: Some(1_900_000_000),
    };
    root.sign(&[&*KEY]).expect("our root is one")
}

/// A vector of this name.
#[must_use]
pub fn vector(name: &str) -> Vec<u8> {
    VECTORS[name].to_string().into_bytes()
}

/// All documented documents of a type, and all of them signed by our key instead.
#[must_use]
pub fn documented(kind: &str) -> Vec<Vec<u8>> {
    let all = every_document();
    let of_kind = all
        .into_iter()
        .filter(|bytes| parts(bytes).is_some_and(|(found, _)| found == kind));
    of_kind
        .flat_map(|bytes| {
            let own = parts(&bytes).and_then(|(_, body)| sign(kind, body));
            [Some(bytes), own].into_iter().flatten()
        })
        .collect()
}

/// All documented releases, signed by our key.
#[must_use]
pub fn releases() -> Vec<Vec<u8>> {
    let all = documented(tidegate_bundle::RELEASE_TYPE);
    all.into_iter().skip(1).step_by(2).collect()
}

fn every_document() -> Vec<Vec<u8>> {
    let releases = VECTORS["releases"].as_object().into_iter().flatten();
    let cases = VECTORS["cases"].as_array().into_iter().flatten();
    let single = ["root", "deployment", "status"].map(|name| &VECTORS[name]);
    let all = releases
        .map(|(_, value)| value)
        .chain(cases.map(|case| &case["document"]));
    all.chain(single)
        .map(|value| value.to_string().into_bytes())
        .collect()
}

/// Type and body of an envelope, whoever signed it.
#[must_use]
pub fn parts(envelope: &[u8]) -> Option<(String, Vec<u8>)> {
    let envelope: Value = serde_json::from_slice(envelope).ok()?;
    let body = BASE64.decode(envelope["payload"].as_str()?).ok()?;
    Some((envelope["payloadType"].as_str()?.to_owned(), body))
}

/// A body, signed by our key.
#[must_use]
pub fn sign(kind: &str, body: Vec<u8>) -> Option<Vec<u8>> {
    let envelope = Envelope::sign("document", kind, body, &[&*KEY]).ok()?;
    envelope.write().ok()
}

/// A document with its body changed, signed by our key.
pub fn change(kind: &str, envelope: &[u8], chance: &mut Chance) -> Option<Vec<u8>> {
    let (_, mut body) = parts(envelope)?;
    chance.change(&mut body);
    sign(kind, body)
}

/// Holds that a document that was taken under the documented root, or key, is documented.
///
/// # Panics
///
/// When it is not.
pub fn assert_documented(envelope: &[u8]) {
    let body = parts(envelope).map(|(_, body)| body);
    let known = body.is_some_and(|body| BODIES.contains(&body));
    assert!(
        known,
        "taken without the signature of a key that may sign it"
    );
}
