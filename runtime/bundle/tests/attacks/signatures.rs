//! Who signed, how often, and whether the signature proves anything.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use curve25519_dalek::{Scalar, constants};
use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha512};
use tidegate_bundle::{
    Envelope, PublicKey, RELEASE_TYPE, ROOT_TYPE, Root, SigningKey, UnverifiedBundle, VerifiedRoot,
    seal, signed_bytes,
};

use crate::fixture::{
    COMPONENT, Fleet, archive, bundle_of, component_name, envelope, fleet, id, release,
    release_body,
};

/// The genuine bundle with its envelope changed.
fn edited(fleet: &Fleet, edit: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut envelope = envelope(&fleet.bundle());
    edit(&mut envelope);
    bundle_of(envelope.to_string().as_bytes())
}

fn with_signature(fleet: &Fleet, signature: [u8; 64]) -> Vec<u8> {
    edited(fleet, |envelope| {
        envelope["signatures"][0]["sig"] = BASE64.encode(signature).into()
    })
}

fn signed_by(keys: &[&SigningKey]) -> Vec<u8> {
    let envelope =
        Envelope::sign("release", RELEASE_TYPE, release_body().into_bytes(), keys).unwrap();
    bundle_of(&envelope.write().unwrap())
}

fn root_reason(bytes: &[u8]) -> &'static str {
    VerifiedRoot::open(bytes).map_or_else(|error| error.reason(), |_| "accepted")
}

/// A root whose JSON was changed and then signed by both root keys.
fn edited_root(fleet: &Fleet, edit: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut body = serde_json::to_value(fleet.root()).unwrap();
    edit(&mut body);
    let keys = [&fleet.roots[0], &fleet.roots[1]];
    Envelope::sign("root", ROOT_TYPE, body.to_string().into_bytes(), &keys)
        .unwrap()
        .write()
        .unwrap()
}

#[test]
fn a_genuine_bundle_is_accepted() {
    let fleet = fleet();
    fleet.check(fleet.bundle(), "accepted");
    fleet.check(edited(&fleet, |_| ()), "accepted");
    assert_eq!(root_reason(&fleet.signed_root()), "accepted");
}

#[test]
fn unsigned_is_refused() {
    let fleet = fleet();
    fleet.check(
        edited(&fleet, |envelope| envelope["signatures"] = json!([])),
        "unsigned",
    );
    fleet.check(signed_by(&[]), "unsigned");
}

#[test]
fn a_key_of_no_role_or_of_another_role_is_refused() {
    let fleet = fleet();
    for key in [&fleet.stranger, &fleet.deployer, &fleet.roots[0]] {
        fleet.check(signed_by(&[key]), "wrong-key");
    }
    let body = serde_json::to_vec(&fleet.root()).unwrap();
    let root = Envelope::sign("root", ROOT_TYPE, body, &[&fleet.publishers[0]])
        .unwrap()
        .write()
        .unwrap();
    assert_eq!(root_reason(&root), "wrong-key");
}

#[test]
fn a_strangers_signature_beside_a_good_one_changes_nothing() {
    let fleet = fleet();
    fleet.check(
        signed_by(&[&fleet.stranger, &fleet.publishers[0]]),
        "accepted",
    );
}

#[test]
fn a_document_of_another_type_is_refused() {
    let fleet = fleet();
    let root = fleet.signed_root();
    fleet.check(bundle_of(&root), "wrong-type");
    fleet.check(
        edited(&fleet, |envelope| {
            envelope["payloadType"] = "application/json".into()
        }),
        "wrong-type",
    );
    // Signed as another type, then relabelled: the type is in what was signed.
    let key = &fleet.publishers[0];
    let other = Envelope::sign("release", ROOT_TYPE, release_body().into_bytes(), &[key])
        .unwrap()
        .write()
        .unwrap();
    let mut relabelled: Value = serde_json::from_slice(&other).unwrap();
    relabelled["payloadType"] = RELEASE_TYPE.into();
    fleet.check(
        bundle_of(relabelled.to_string().as_bytes()),
        "bad-signature",
    );
    let release: Vec<u8> = envelope(&fleet.bundle()).to_string().into_bytes();
    assert_eq!(root_reason(&release), "wrong-type");
}

#[test]
fn a_signature_of_other_bytes_is_refused() {
    let fleet = fleet();
    let body = release_body().replace("\"counter\":7", "\"counter\":8");
    fleet.check(
        edited(&fleet, |envelope| {
            envelope["payload"] = BASE64.encode(body).into()
        }),
        "bad-signature",
    );
    fleet.check(with_signature(&fleet, [0; 64]), "bad-signature");
    // Under the name of a key that did not sign.
    let other = id(&fleet.publishers[1]).to_string();
    fleet.check(
        edited(&fleet, |envelope| {
            envelope["signatures"][0]["keyid"] = other.into()
        }),
        "bad-signature",
    );
    // One bad signature is enough, whatever the others say.
    let both = signed_by(&[&fleet.publishers[0], &fleet.publishers[1]]);
    let mut envelope = envelope(&both);
    envelope["signatures"][1]["sig"] = envelope["signatures"][0]["sig"].clone();
    fleet.check(bundle_of(envelope.to_string().as_bytes()), "bad-signature");
}

#[test]
fn a_malleated_signature_is_refused() {
    // L, the order of the group: with s + L in place of s the equation holds as well.
    const L: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let fleet = fleet();
    let mut signature =
        fleet.publishers[0].sign(&signed_bytes(RELEASE_TYPE, release_body().as_bytes()));
    fleet.check(with_signature(&fleet, signature), "accepted");
    let mut carry = 0_u16;
    for (byte, add) in signature[32..].iter_mut().zip(L) {
        carry += u16::from(*byte) + u16::from(add);
        *byte = carry.to_le_bytes()[0];
        carry >>= 8;
    }
    fleet.check(with_signature(&fleet, signature), "bad-signature");
}

#[test]
#[allow(
    clippy::disallowed_methods,
    reason = "the control: a verifier that is not strict"
)]
fn a_signature_with_a_point_of_small_order_is_refused() {
    let fleet = fleet();
    let key = ed25519_dalek::SigningKey::from_bytes(&[3; 32]);
    let message = signed_bytes(RELEASE_TYPE, release_body().as_bytes());
    // R is the neutral point, s = k a: what a signer with a broken nonce would write.
    let point = constants::EIGHT_TORSION[0].compress().to_bytes();
    let challenge = Sha512::new()
        .chain_update(point)
        .chain_update(key.verifying_key().as_bytes());
    let k = Scalar::from_bytes_mod_order_wide(&challenge.chain_update(&message).finalize().into());
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&point);
    signature[32..].copy_from_slice((k * key.to_scalar()).as_bytes());
    fleet.check(with_signature(&fleet, signature), "bad-signature");
    // Control: a verifier that is not strict takes it.
    key.verifying_key()
        .verify(&message, &Signature::from_bytes(&signature))
        .unwrap();
}

#[test]
#[allow(
    clippy::disallowed_methods,
    reason = "the control: a verifier that is not strict"
)]
fn a_weak_key_is_refused_at_import() {
    for point in constants::EIGHT_TORSION {
        let bytes = point.compress().to_bytes();
        assert_eq!(
            PublicKey::from_bytes(&bytes).unwrap_err().reason(),
            "weak-key"
        );
    }
    let fleet = fleet();
    let weak = constants::EIGHT_TORSION[0].compress().to_bytes();
    let root = edited_root(&fleet, |root| {
        let id = tidegate_bundle::Digest::of(&weak).to_string();
        root["keys"][id] = format!("tidegate-ed25519-public:{}", BASE64.encode(weak)).into();
    });
    assert_eq!(root_reason(&root), "weak-key");
    // Control: under such a key, a verifier that is not strict takes one signature for every message.
    let key = VerifyingKey::from_bytes(&weak).unwrap();
    let s = Scalar::from(5_u8);
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(
        (constants::ED25519_BASEPOINT_POINT * s)
            .compress()
            .as_bytes(),
    );
    signature[32..].copy_from_slice(s.as_bytes());
    for message in ["one", "another"] {
        key.verify(message.as_bytes(), &Signature::from_bytes(&signature))
            .unwrap();
    }
}

#[test]
fn a_second_encoding_of_a_key_is_refused_at_import() {
    // y = p + k, for all k for which that fits into 255 bits, with either sign of x.
    let mut taken_by_the_library = 0;
    for (k, sign) in (0..19_u8).flat_map(|k| [(k, 0x7f_u8), (k, 0xff)]) {
        let mut bytes = [0xff; 32];
        bytes[0] = 0xed + k;
        bytes[31] = sign;
        assert!(PublicKey::from_bytes(&bytes).is_err(), "p + {k}");
        taken_by_the_library +=
            usize::from(VerifyingKey::from_bytes(&bytes).is_ok_and(|key| !key.is_weak()));
    }
    // Control: without our check some of them would pass.
    assert!(taken_by_the_library > 0);
}

#[test]
fn a_threshold_is_reached_by_distinct_keys_only() {
    let mut root: Root = fleet().root();
    root.roles.release.role.threshold = 2;
    root.roles
        .release
        .modules
        .values_mut()
        .for_each(|patterns| *patterns = vec!["*".to_owned()]);
    let fleet = fleet();
    let root =
        VerifiedRoot::open(&root.sign(&[&fleet.roots[0], &fleet.roots[1]]).unwrap()).unwrap();
    let check = |bundle: Vec<u8>, reason: &str| {
        let result = UnverifiedBundle::open(bundle).unwrap().verify(&root);
        assert_eq!(
            result.map_or_else(|error| error.reason(), |_| "accepted"),
            reason
        );
    };
    let [first, second] = &fleet.publishers;
    check(signed_by(&[first, second]), "accepted");
    check(signed_by(&[first]), "threshold");
    check(signed_by(&[first, &fleet.stranger]), "threshold");
    check(signed_by(&[first, first]), "duplicate-signature-key");
    // One key under a second spelling of its id.
    let mut envelope = envelope(&signed_by(&[first, first]));
    envelope["signatures"][1]["keyid"] = id(first).to_string().to_uppercase().into();
    check(bundle_of(envelope.to_string().as_bytes()), "malformed");
}

#[test]
fn a_root_cannot_list_one_key_twice_or_ask_for_nothing() {
    let fleet = fleet();
    let (first, second) = (
        id(&fleet.roots[0]).to_string(),
        id(&fleet.roots[1]).to_string(),
    );
    let check = |edit: &dyn Fn(&mut Value), reason| {
        assert_eq!(root_reason(&edited_root(&fleet, edit)), reason)
    };
    check(&|_| (), "accepted");
    check(
        &|root| root["keys"][&second] = root["keys"][&first].clone(),
        "key-id-mismatch",
    );
    check(
        &|root| root["roles"]["root"]["key_ids"] = json!([first, first]),
        "malformed",
    );
    check(
        &|root| root["roles"]["root"]["key_ids"] = json!([first, "0".repeat(64)]),
        "malformed",
    );
    check(
        &|root| root["roles"]["root"]["threshold"] = json!(0),
        "malformed",
    );
    check(
        &|root| root["roles"]["root"]["threshold"] = json!(3),
        "malformed",
    );
    check(
        &|root| root["roles"]["release"]["modules"] = json!({}),
        "malformed",
    );
    check(
        &|root| root["roles"]["deploy"]["key_ids"] = json!([]),
        "malformed",
    );
    check(&|root| root["version"] = json!(0), "malformed");
    check(
        &|root| root["roles"]["reviewer"] = json!({}),
        "unknown-field",
    );
}

#[test]
fn a_root_needs_the_threshold_of_its_own_keys() {
    let fleet = fleet();
    assert_eq!(
        fleet.root().sign(&[&fleet.roots[0]]).unwrap_err().reason(),
        "threshold"
    );
    assert_eq!(
        fleet.root().sign(&[&fleet.stranger]).unwrap_err().reason(),
        "wrong-key"
    );
}

#[test]
fn a_publisher_signs_only_its_own_modules() {
    let fleet = fleet();
    let sealed = |module: &str, key: &SigningKey| {
        let mut release = release();
        release.module = module.to_owned();
        seal(&release, &[COMPONENT], &[key]).unwrap()
    };
    let narrow = &fleet.publishers[1];
    fleet.check(sealed("vibration-anomaly", narrow), "accepted");
    fleet.check(sealed("pump", narrow), "accepted");
    fleet.check(sealed("pump-2", narrow), "module-not-allowed");
    fleet.check(sealed("threshold-alarm", narrow), "module-not-allowed");
}

#[test]
fn base64_has_one_spelling() {
    let fleet = fleet();
    for edit in [
        |sig: &str| sig.trim_end_matches('=').to_owned(),
        |sig: &str| format!("{sig}\n"),
        |sig: &str| sig.replace("==", "="),
        // The last character of 64 bytes in base64 has four unused bits.
        |sig: &str| format!("{}h==", sig.trim_end_matches('=').split_at(85).0),
    ] {
        let change = |envelope: &mut Value| {
            let sig = edit(envelope["signatures"][0]["sig"].as_str().unwrap());
            envelope["signatures"][0]["sig"] = sig.into();
        };
        fleet.check(edited(&fleet, change), "malformed");
    }
}

#[test]
fn no_flipped_bit_anywhere_is_accepted() {
    let fleet = fleet();
    let root = VerifiedRoot::open(&fleet.signed_root()).unwrap();
    let bundle = fleet.bundle();
    let accepted = |bytes| {
        UnverifiedBundle::open(bytes)
            .and_then(|bundle| bundle.verify(&root))
            .is_ok()
    };
    assert!(accepted(bundle.clone()));
    for (byte, bit) in (0..bundle.len()).flat_map(|byte| (0..8).map(move |bit| (byte, bit))) {
        let mut damaged = bundle.clone();
        damaged[byte] ^= 1 << bit;
        assert!(!accepted(damaged), "byte {byte}, bit {bit}");
    }
    // The same of the root, which decides everything else.
    let root = fleet.signed_root();
    for (byte, bit) in (0..root.len()).flat_map(|byte| (0..8).map(move |bit| (byte, bit))) {
        let mut damaged = root.clone();
        damaged[byte] ^= 1 << bit;
        assert!(
            VerifiedRoot::open(&damaged).is_err(),
            "byte {byte}, bit {bit}"
        );
    }
}

#[test]
fn a_release_cannot_borrow_the_artifacts_of_another() {
    let fleet = fleet();
    let other = b"another component, of the same publisher";
    let envelope = envelope(&fleet.bundle()).to_string();
    let swapped = archive(&[
        ("release.dsse.json", envelope.as_bytes()),
        (&component_name(), other),
    ]);
    fleet.check(swapped, "length");
    let named = format!("artifacts/{}", tidegate_bundle::Digest::of(other));
    fleet.check(
        archive(&[("release.dsse.json", envelope.as_bytes()), (&named, other)]),
        "missing-entry",
    );
}
