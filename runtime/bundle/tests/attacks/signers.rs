//! Who signs deployments, the time, and leave to go back; and whether it is counted rightly.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tidegate_bundle::{
    DEPLOYMENT_TYPE, Envelope, Nonce, RELEASE_TYPE, Root, SigningKey, TIME_TYPE, Trust,
    VerifiedDeployment, VerifiedRoot, signed_bytes,
};

use crate::fixture::fleet;
use crate::site::{
    CREATED, MODULE, Signed, Site, deployment, downgrade, signed_as, signed_release, site,
};

/// A deployment, signed by these.
fn by(keys: &[&SigningKey]) -> Vec<u8> {
    let release = signed_release(MODULE, 7);
    signed_as(&deployment(1, &[&release]), keys, |_| ())
}

#[test]
fn a_genuine_deployment_is_taken() {
    let mut site = site();
    let release = signed_release(MODULE, 7);
    let taken: VerifiedDeployment = site.takes(&deployment(1, &[&release]), &[&release]);
    assert_eq!(*taken.deployment(), deployment(1, &[&release]));
    assert_eq!((site.trust.seq(), site.trust.counter(MODULE)), (1, Some(7)));
    assert_eq!(site.trust.accepted(), Some(taken.digest()));
    let pairs: Vec<_> = taken.modules().collect();
    assert_eq!(pairs.len(), 1);
    assert_eq!(pairs[0].1.module, MODULE);
}

#[test]
fn only_the_deploy_role_signs_deployments() {
    let mut site = site();
    let release = signed_release(MODULE, 7);
    let fleet = fleet();
    for key in [
        &fleet.stranger,
        &fleet.publishers[0],
        &fleet.roots[0],
        &fleet.timekeeper,
    ] {
        let bytes = by(&[key]);
        site.refuses_bytes(&bytes, &[&release], "wrong-key");
    }
    let bytes = by(&[]);
    site.refuses_bytes(&bytes, &[&release], "unsigned");
    let mut forged: Value = serde_json::from_slice(&by(&[&fleet.deployer])).unwrap();
    forged["signatures"][0]["sig"] = BASE64.encode([0; 64]).into();
    site.refuses_bytes(forged.to_string().as_bytes(), &[&release], "bad-signature");
}

#[test]
fn without_a_role_nobody_signs() {
    let mut site = site();
    let mut root = site.fleet.root();
    (root.roles.deploy, root.roles.time) = (None, None);
    let bytes = root.sign(&[&site.fleet.roots[0], &site.fleet.roots[1]]);
    site.trust = Trust::begin(&bytes.unwrap()).unwrap();
    let release = signed_release(MODULE, 7);
    let bytes = by(&[&fleet().deployer]);
    site.refuses_bytes(&bytes, &[&release], "wrong-key");
    let nonce = Nonce::generate().unwrap();
    let time = site.time(nonce, CREATED).sign(&[&site.fleet.timekeeper]);
    site.refuses_time(nonce, &time.unwrap(), "wrong-key");
}

#[test]
fn a_document_is_never_taken_for_one_of_another_type() {
    let mut site = site();
    let release = signed_release(MODULE, 7);
    let nonce = Nonce::generate().unwrap();
    let time = site.time(nonce, CREATED).sign(&[&site.fleet.timekeeper]);
    let (time, root) = (time.unwrap(), site.fleet.signed_root());
    for bytes in [&time, &root, &release.bytes] {
        site.refuses_bytes(bytes, &[&release], "wrong-type");
    }
    for bytes in [&by(&[&fleet().deployer]), &root, &release.bytes] {
        site.refuses_time(nonce, bytes, "wrong-type");
    }
    let genuine = by(&[&fleet().deployer]);
    site.refuses_root(&genuine, "wrong-type");
    let before = site.memory();
    site.give(&genuine, &[&Signed::of(&genuine)]).unwrap_err();
    assert_eq!(site.memory(), before);

    // Signed as another type by a key of the role, then relabelled.
    let body = serde_json::to_vec(&deployment(1, &[&release])).unwrap();
    for signed_as in [TIME_TYPE, RELEASE_TYPE] {
        let envelope =
            Envelope::sign("x", signed_as, body.clone(), &[&site.fleet.deployer]).unwrap();
        let mut relabelled: Value = serde_json::from_slice(&envelope.write().unwrap()).unwrap();
        relabelled["payloadType"] = DEPLOYMENT_TYPE.into();
        let bytes = relabelled.to_string().into_bytes();
        site.refuses_bytes(&bytes, &[&release], "bad-signature");
    }
}

impl Signed {
    fn of(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.to_vec(),
            digest: tidegate_bundle::Digest::of(bytes),
        }
    }
}

/// A fleet in which two distinct keys must sign a deployment.
fn two_of_two() -> (Site, SigningKey) {
    let (mut site, second) = (site(), SigningKey::from_seed(&[10; 32]));
    let mut root: Root = site.fleet.root();
    let id = second.public_key().id();
    root.keys.insert(id, second.public_key());
    let deploy = root.roles.deploy.as_mut().unwrap();
    deploy.key_ids.push(id);
    deploy.threshold = 2;
    let bytes = root.sign(&[&site.fleet.roots[0], &site.fleet.roots[1]]);
    site.trust = Trust::begin(&bytes.unwrap()).unwrap();
    (site, second)
}

/// The control: a verifier that counts signatures that hold, whoever made them.
fn signatures_that_hold(bytes: &[u8], keys: &[&SigningKey]) -> usize {
    let envelope: Value = serde_json::from_slice(bytes).unwrap();
    let payload = BASE64
        .decode(envelope["payload"].as_str().unwrap())
        .unwrap();
    let message = signed_bytes(DEPLOYMENT_TYPE, &payload);
    let genuine: Vec<_> = keys
        .iter()
        .map(|key| BASE64.encode(key.sign(&message)))
        .collect();
    let signatures = envelope["signatures"].as_array().unwrap();
    let holds = |signature: &&Value| genuine.iter().any(|sig| signature["sig"] == *sig);
    signatures.iter().filter(holds).count()
}

#[test]
fn a_threshold_of_deployers_counts_distinct_keys() {
    let (mut site, second) = two_of_two();
    let first = fleet().deployer;
    let release = signed_release(MODULE, 7);
    let bytes = by(&[&first]);
    site.refuses_bytes(&bytes, &[&release], "threshold");
    let bytes = by(&[&first, &fleet().stranger]);
    site.refuses_bytes(&bytes, &[&release], "threshold");

    let twice = by(&[&first, &first]);
    site.refuses_bytes(&twice, &[&release], "duplicate-signature-key");
    assert_eq!(signatures_that_hold(&twice, &[&first]), 2, "control");
    // The first key's signature under the second's id, and under another spelling of its own.
    let mut renamed: Value = serde_json::from_slice(&twice).unwrap();
    renamed["signatures"][1]["keyid"] = second.public_key().id().to_string().into();
    let renamed = renamed.to_string().into_bytes();
    site.refuses_bytes(&renamed, &[&release], "bad-signature");
    assert_eq!(signatures_that_hold(&renamed, &[&first]), 2, "control");
    let mut upper: Value = serde_json::from_slice(&twice).unwrap();
    let id = first.public_key().id().to_string().to_uppercase();
    upper["signatures"][1]["keyid"] = id.into();
    site.refuses_bytes(upper.to_string().as_bytes(), &[&release], "malformed");

    let bytes = by(&[&first, &second]);
    assert!(site.give(&bytes, &[&release]).is_ok());
}

#[test]
fn a_signature_can_be_added_by_a_signer_elsewhere() {
    let (mut site, second) = two_of_two();
    let release = signed_release(MODULE, 7);
    let half = by(&[&fleet().deployer]);
    site.refuses_bytes(&half, &[&release], "threshold");
    let mut envelope = Envelope::read("deployment", &half).unwrap();
    envelope.cosign(&second).unwrap();
    let bytes = envelope.write().unwrap();
    assert!(site.give(&bytes, &[&release]).is_ok());
}

#[test]
fn going_back_needs_a_publisher_of_the_module_as_well() {
    let mut site = site();
    let fleet = fleet();
    let (old, new) = (signed_release(MODULE, 6), signed_release(MODULE, 7));
    site.takes(&deployment(1, &[&new]), &[&new]);

    let back = deployment(2, &[&old]);
    site.refuses(&back, &[&old], "release-rollback");
    let mut granted = back.clone();
    granted.downgrades = vec![downgrade(MODULE, 6)];
    site.refuses(&granted, &[&old], "downgrade-not-signed");
    // The other publisher may sign vibration-* and pump only; the others are no publishers at all.
    for key in [&fleet.publishers[1], &fleet.roots[0], &fleet.timekeeper] {
        let bytes = signed_as(&granted, &[&fleet.deployer, key], |_| ());
        site.refuses_bytes(&bytes, &[&old], "downgrade-not-signed");
    }
    let publisher = &fleet.publishers[0];
    let alone = signed_as(&granted, &[publisher], |_| ());
    site.refuses_bytes(&alone, &[&old], "wrong-key");
    let mut forged: Value =
        serde_json::from_slice(&signed_as(&granted, &[&fleet.deployer, publisher], |_| ()))
            .unwrap();
    forged["signatures"][1]["sig"] = forged["signatures"][0]["sig"].clone();
    site.refuses_bytes(
        forged.to_string().as_bytes(),
        &[&old],
        "downgrade-not-signed",
    );
    // Leave for another counter or module is none.
    for grant in [downgrade(MODULE, 5), downgrade("pump", 6)] {
        granted.downgrades = vec![grant];
        let bytes = signed_as(&granted, &[&fleet.deployer, publisher], |_| ());
        site.refuses_bytes(&bytes, &[&old], "release-rollback");
    }

    granted.downgrades = vec![downgrade(MODULE, 6)];
    let bytes = signed_as(&granted, &[&fleet.deployer, publisher], |_| ());
    site.give(&bytes, &[&old]).unwrap();
    assert_eq!(site.trust.counter(MODULE), Some(6));
    // From there on as ever: on, and not further back.
    site.takes(&deployment(3, &[&old]), &[&old]);
    let older = signed_release(MODULE, 5);
    site.refuses(&deployment(4, &[&older]), &[&older], "release-rollback");
}

#[test]
fn leave_to_go_back_counts_distinct_publishers() {
    let mut site = site();
    let fleet = fleet();
    let mut root = fleet.root();
    root.roles.release.role.threshold = 2;
    let everything = |patterns: &mut Vec<String>| *patterns = vec!["*".to_owned()];
    root.roles.release.modules.values_mut().for_each(everything);
    let (one, two) = (&fleet.publishers[0], &fleet.publishers[1]);
    let by_both = |counter| {
        let release = signed_release(MODULE, counter);
        let mut envelope = Envelope::read("release", &release.bytes).unwrap();
        envelope.cosign(two).unwrap();
        Signed {
            bytes: envelope.write().unwrap(),
            ..release
        }
    };
    let bytes = root.sign(&[&fleet.roots[0], &fleet.roots[1]]).unwrap();
    site.trust = Trust::begin(&bytes).unwrap();
    let (old, new) = (by_both(6), by_both(7));
    site.takes(&deployment(1, &[&new]), &[&new]);

    let mut back = deployment(2, &[&old]);
    back.downgrades = vec![downgrade(MODULE, 6)];
    for keys in [
        vec![&fleet.deployer, one],
        vec![&fleet.deployer, one, &fleet.stranger],
    ] {
        let bytes = signed_as(&back, &keys, |_| ());
        site.refuses_bytes(&bytes, &[&old], "downgrade-not-signed");
    }
    let bytes = signed_as(&back, &[&fleet.deployer, one, one], |_| ());
    site.refuses_bytes(&bytes, &[&old], "duplicate-signature-key");
    let bytes = signed_as(&back, &[&fleet.deployer, one, two], |_| ());
    site.give(&bytes, &[&old]).unwrap();
}

#[test]
fn no_flipped_bit_of_a_deployment_or_time_is_accepted() {
    let mut site = site();
    let release = signed_release(MODULE, 7);
    let nonce = Nonce::generate().unwrap();
    let time = site.time(nonce, CREATED).sign(&[&site.fleet.timekeeper]);
    let genuine = [by(&[&fleet().deployer]), time.unwrap()];
    let before = site.memory();
    let [deployed, time] = &genuine;
    for at in 0..deployed.len() * 8 {
        let mut damaged = deployed.clone();
        damaged[at / 8] ^= 1 << (at % 8);
        assert!(site.give(&damaged, &[&release]).is_err(), "bit {at}");
    }
    for at in 0..time.len() * 8 {
        let mut damaged = time.clone();
        damaged[at / 8] ^= 1 << (at % 8);
        let taken = site.trust.accept_time(&site.gateway, nonce, &damaged);
        assert!(taken.is_err(), "bit {at}");
    }
    assert_eq!(site.memory(), before);
    assert!(site.give(deployed, &[&release]).is_ok());
    assert!(site.trust.accept_time(&site.gateway, nonce, time).is_ok());
}

#[test]
fn a_release_beside_a_deployment_is_verified_like_any_other() {
    let mut site = site();
    let genuine = signed_release(MODULE, 7);
    let body = |signed: &Signed| -> Vec<u8> {
        let envelope: Value = serde_json::from_slice(&signed.bytes).unwrap();
        BASE64
            .decode(envelope["payload"].as_str().unwrap())
            .unwrap()
    };
    let deployed = deployment(1, &[&genuine]);
    for (key, reason) in [
        (&fleet().stranger, "wrong-key"),
        (&fleet().deployer, "wrong-key"),
        (&fleet().publishers[1], "module-not-allowed"),
    ] {
        let envelope = Envelope::sign("release", RELEASE_TYPE, body(&genuine), &[key]).unwrap();
        let forged = Signed {
            bytes: envelope.write().unwrap(),
            digest: genuine.digest,
        };
        site.refuses(&deployed, &[&forged], reason);
    }
    let mut unsigned: Value = serde_json::from_slice(&genuine.bytes).unwrap();
    unsigned["signatures"] = json!([]);
    let unsigned = Signed::of(unsigned.to_string().as_bytes());
    site.refuses(&deployed, &[&unsigned], "unsigned");
    // Without the root that lets its key sign, no verifier takes it at all.
    assert!(VerifiedRoot::open(&genuine.bytes).is_err());
    site.takes(&deployed, &[&genuine]);
}
