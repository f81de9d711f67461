//! Chains of roots: skipped, forked, signed by one side only, or never ending.

use tidegate_bundle::{Root, SigningKey, VerifiedRoot};

use crate::fixture::fleet;
use crate::site::{MODULE, deployment, signed_release, site};

/// The root keys of a version: two of them, none of which any other version has.
fn keys(version: u64) -> [SigningKey; 2] {
    let key = |which: u8| {
        let mut seed = [which; 32];
        seed[..8].copy_from_slice(&version.to_le_bytes());
        SigningKey::from_seed(&seed)
    };
    if version == 1 {
        fleet().roots
    } else {
        [key(101), key(102)]
    }
}

/// The root of a version, which has new root keys and is otherwise that of the fleet.
fn root(version: u64) -> Root {
    let mut root = fleet().root();
    root.version = version;
    let new = keys(version).map(|key| key.public_key());
    root.roles.root.key_ids = new.iter().map(|key| key.id()).collect();
    root.keys.extend(new.map(|key| (key.id(), key)));
    root
}

/// A root, signed by the root keys of these versions.
fn signed(root: &Root, versions: &[u64]) -> Vec<u8> {
    let keys: Vec<_> = versions.iter().flat_map(|version| keys(*version)).collect();
    root.sign(&keys.iter().collect::<Vec<_>>()).unwrap()
}

fn follows(version: u64) -> Vec<u8> {
    signed(&root(version), &[version - 1, version])
}

#[test]
fn a_gateway_that_was_away_takes_forty_roots_one_by_one() {
    let mut site = site();
    let release = signed_release(MODULE, 7);
    site.takes(&deployment(3, &[&release]), &[&release]);
    for version in 2..=41 {
        site.trust.accept_root(&follows(version)).unwrap();
    }
    assert_eq!(site.trust.root().root().version, 41);
    // What it remembered it still does, and a reopened memory goes on from there.
    assert_eq!((site.trust.seq(), site.trust.counter(MODULE)), (3, Some(7)));
    let mut next = deployment(4, &[&release]);
    next.min_root_version = 41;
    site.takes(&next, &[&release]);
    site.trust = tidegate_bundle::Trust::from_bytes(&site.memory()).unwrap();
    site.trust.accept_root(&follows(42)).unwrap();
}

#[test]
fn no_chain_of_up_to_fifty_roots_has_a_hole_a_fork_or_an_end_that_leads_back() {
    let chain: Vec<_> = (2..=51).map(follows).collect();
    let mut site = site();
    for (index, bytes) in chain.iter().enumerate() {
        // Whatever is not the next one is refused, of those before and those after.
        if let Some(before) = index.checked_sub(1) {
            // The root before, by the keys that it names: they are this root's, and the version is not the next.
            site.refuses_root(&chain[before], "root-version");
        }
        if let Some(older) = index.checked_sub(2) {
            site.refuses_root(&chain[older], "wrong-key");
        }
        if let Some(after) = chain.get(index + 1) {
            site.refuses_root(after, "wrong-key");
        }
        site.trust.accept_root(bytes).unwrap();
    }
    assert_eq!(site.trust.root().root().version, 51);
}

#[test]
fn a_root_is_signed_by_both_sides() {
    let mut site = site();
    let next = root(2);
    let [old_one, old_two] = keys(1);
    let [new_one, new_two] = keys(2);
    let by = |keys: &[&SigningKey]| {
        let body = serde_json::to_vec(&next).unwrap();
        let envelope =
            tidegate_bundle::Envelope::sign("root", tidegate_bundle::ROOT_TYPE, body, keys)
                .unwrap();
        envelope.write().unwrap()
    };
    let only_new = by(&[&new_one, &new_two]);
    site.refuses_root(&only_new, "wrong-key");
    // Control: a verifier that asks the new root alone takes it.
    assert!(VerifiedRoot::open(&only_new).is_ok());
    site.refuses_root(&by(&[&old_one, &old_two]), "wrong-key");
    site.refuses_root(&by(&[&old_one, &new_one, &new_two]), "threshold");
    site.refuses_root(&by(&[&old_one, &old_two, &new_one]), "threshold");
    site.refuses_root(
        &by(&[&old_one, &old_one, &new_one, &new_two]),
        "duplicate-signature-key",
    );
    site.refuses_root(&by(&[]), "unsigned");
    site.trust
        .accept_root(&by(&[&old_one, &old_two, &new_one, &new_two]))
        .unwrap();
}

#[test]
fn only_the_next_version_of_this_fleet_follows() {
    let mut site = site();
    // By all keys that could be asked for, so that the number alone decides.
    let numbered = |version| {
        let mut root = root(2);
        root.version = version;
        signed(&root, &[1, 2])
    };
    for version in [1, 3, 41, u64::MAX] {
        site.refuses_root(&numbered(version), "root-version");
    }
    let mut other = root(2);
    other.fleet_id = "plant-8".to_owned();
    site.refuses_root(&signed(&other, &[1, 2]), "wrong-fleet");
    // The root that the gateway has, signed again by the same keys with another content.
    let mut same = root(1);
    same.expires = Some(1);
    site.refuses_root(&signed(&same, &[1]), "root-version");
    site.trust.accept_root(&numbered(2)).unwrap();
    site.refuses_root(&numbered(2), "root-version");
}

#[test]
fn an_epoch_goes_up_by_one_at_most_and_never_down() {
    let mut site = site();
    let with_epoch = |version: u64, epoch| {
        let mut root = root(version);
        root.epoch = epoch;
        signed(&root, &[version - 1, version])
    };
    for epoch in [3, u64::MAX] {
        site.refuses_root(&with_epoch(2, epoch), "root-epoch");
    }
    site.trust.accept_root(&with_epoch(2, 2)).unwrap();
    site.refuses_root(&with_epoch(3, 1), "root-epoch");
    site.trust.accept_root(&with_epoch(3, 2)).unwrap();
}

#[test]
fn a_key_that_was_rotated_out_signs_nothing_any_more() {
    let mut site = site();
    let release = signed_release(MODULE, 7);
    let mut next = root(2);
    let fresh = SigningKey::from_seed(&[12; 32]);
    let id = fresh.public_key().id();
    next.keys.insert(id, fresh.public_key());
    next.roles.deploy.as_mut().unwrap().key_ids = vec![id];
    site.trust.accept_root(&signed(&next, &[1, 2])).unwrap();
    site.refuses(&deployment(1, &[&release]), &[&release], "wrong-key");
    // The root keys of version 1 make no version 3, whatever they sign.
    site.refuses_root(&signed(&root(3), &[1, 3]), "wrong-key");
    site.fleet.deployer = fresh;
    site.takes(&deployment(1, &[&release]), &[&release]);
}

#[test]
fn an_expired_root_still_leads_to_the_next() {
    let mut site = site();
    for version in 2..=3 {
        let mut root = root(version);
        root.expires = Some(1);
        let bytes = signed(&root, &[version - 1, version]);
        site.trust.accept_root(&bytes).unwrap();
    }
}

#[test]
fn no_flipped_bit_of_a_root_that_follows_is_accepted() {
    let mut site = site();
    let bytes = follows(2);
    let before = site.memory();
    for at in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[at / 8] ^= 1 << (at % 8);
        assert!(site.trust.accept_root(&damaged).is_err(), "bit {at}");
    }
    assert_eq!(site.memory(), before);
    site.trust.accept_root(&bytes).unwrap();
}
