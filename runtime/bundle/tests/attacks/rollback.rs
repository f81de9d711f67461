//! Old documents, numbers that were run up, and the ways out of both.

use tidegate_bundle::{DENIED_MAX, Deployment, Digest, JUMP_MAX, Root, SigningKey};

use crate::fixture::fleet;
use crate::site::{
    MODULE, Signed, Site, deployment, downgrade, edited_release, signed_as, signed_release, site,
};

/// A small generator; the same seed gives the same sequence.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound).unwrap()).unwrap()
    }
}

/// A history: every other deployment brings a newer release.
fn history() -> Vec<(Vec<u8>, Signed, u64)> {
    let made = |seq: u64| {
        let counter = 1 + seq / 2;
        let release = signed_release(MODULE, counter);
        let bytes = deployment(seq, &[&release]).sign(&[&fleet().deployer]);
        (bytes.unwrap(), release, counter)
    };
    (1..=8).map(made).collect()
}

#[test]
fn no_order_of_genuine_documents_leads_back() {
    let history = history();
    let mut random = Random(20_261_127);
    let mut back_without_memory = 0;
    for sequence in 0..200 {
        let (mut site, mut last, mut highest) = (site(), 0, (0, 0));
        for step in 0..12 {
            let index = random.below(history.len());
            let (bytes, release, counter) = &history[index];
            let seq = u64::try_from(index).unwrap() + 1;
            let before = site.memory();
            let result = site.give(bytes, &[release]);
            let reason = result.map_or_else(|error| error.reason(), |_| "accepted");
            let place = format!("sequence {sequence}, step {step}");
            if seq < highest.0 {
                assert_eq!(reason, "sequence-rollback", "{place}");
                assert_eq!(site.memory(), before, "{place}");
            } else {
                assert_eq!(reason, "accepted", "{place}");
                highest = (seq, *counter);
            }
            let remembered = site.trust.counter(MODULE).unwrap_or(0);
            assert_eq!((site.trust.seq(), remembered), highest, "{place}");
            // Control: who checks the signature alone takes whatever comes.
            assert!(Deployment::verify(bytes, site.trust.root()).is_ok());
            back_without_memory += usize::from(index < last);
            last = index;
        }
    }
    assert!(back_without_memory > 0);
}

#[test]
fn an_older_release_is_refused_in_a_newer_deployment() {
    let mut site = site();
    let (old, new) = (signed_release(MODULE, 6), signed_release(MODULE, 7));
    site.takes(&deployment(1, &[&new]), &[&new]);
    site.refuses(&deployment(2, &[&old]), &[&old], "release-rollback");
    // Under another name as well: the counter is the module's.
    let mut renamed = deployment(2, &[&old]);
    renamed.modules[0].name = "other".to_owned();
    site.refuses(&renamed, &[&old], "release-rollback");
    // Another release with the same counter is a matter of its publishers.
    let same = edited_release(MODULE, 7, |release| release.created += 1);
    site.takes(&deployment(2, &[&same]), &[&same]);
}

#[test]
fn a_number_stands_for_one_deployment() {
    let mut site = site();
    let release = signed_release(MODULE, 7);
    let first = deployment(5, &[&release]);
    site.takes(&first, &[&release]);
    let mut other = first.clone();
    other.modules[0].flags.clear();
    site.refuses(&other, &[&release], "sequence-reused");
    site.refuses(
        &deployment(4, &[&release]),
        &[&release],
        "sequence-rollback",
    );
    let before = site.memory();
    site.takes(&first, &[&release]);
    assert_eq!(site.memory(), before);
}

#[test]
fn a_number_cannot_be_run_up_at_once() {
    let mut site = site();
    let release = signed_release(MODULE, 7);
    site.takes(&deployment(5, &[&release]), &[&release]);
    for seq in [5 + JUMP_MAX + 1, 1 << 63, u64::MAX] {
        site.refuses(&deployment(seq, &[&release]), &[&release], "sequence-jump");
    }
    for counter in [7 + JUMP_MAX + 1, 1 << 63, u64::MAX] {
        let far = signed_release(MODULE, counter);
        site.refuses(&deployment(6, &[&far]), &[&far], "release-jump");
    }
    let (next, edge) = (5 + JUMP_MAX, signed_release(MODULE, 7 + JUMP_MAX));
    site.takes(&deployment(next, &[&edge]), &[&edge]);
}

/// The root that follows, with another deploy key, and the epoch raised or not.
fn next_root(site: &Site, deployer: &SigningKey, epoch: u64) -> Vec<u8> {
    let mut root: Root = site.trust.root().root().clone();
    let id = deployer.public_key().id();
    root.version += 1;
    root.epoch = epoch;
    root.keys.insert(id, deployer.public_key());
    root.roles.deploy.as_mut().unwrap().key_ids = vec![id];
    let fleet = fleet();
    root.sign(&[&fleet.roots[0], &fleet.roots[1]]).unwrap()
}

#[test]
fn a_run_up_number_is_forgotten_with_the_epoch_and_a_counter_is_not() {
    let mut site = site();
    let release = signed_release(MODULE, 7);
    // Whoever stole the deploy key runs its numbers up, jump by jump, and at last to the end.
    let mut seq = 1;
    for _ in 0..3 {
        site.takes(&deployment(seq, &[&release]), &[&release]);
        seq += JUMP_MAX;
    }
    let stolen = site.sign(&deployment(seq, &[&release]));
    let fresh = SigningKey::from_seed(&[11; 32]);
    let (same, raised) = (next_root(&site, &fresh, 1), next_root(&site, &fresh, 2));
    let mut with_same = Site {
        trust: site.trust.clone(),
        ..crate::site::site()
    };
    with_same.trust.accept_root(&same).unwrap();
    with_same.fleet.deployer = SigningKey::from_seed(&[11; 32]);
    let first = deployment(1, &[&release]);
    with_same.refuses(&first, &[&release], "sequence-rollback");

    site.trust.accept_root(&raised).unwrap();
    site.refuses_bytes(&stolen, &[&release], "wrong-key");
    site.fleet.deployer = fresh;
    site.refuses(&first, &[&release], "old-epoch");
    let mut first = first;
    first.epoch = 3;
    site.refuses(&first, &[&release], "unknown-epoch");
    first.epoch = 2;
    let older = signed_release(MODULE, 6);
    let mut back = deployment(1, &[&older]);
    back.epoch = 2;
    site.refuses(&back, &[&older], "release-rollback");
    site.takes(&first, &[&release]);
    assert_eq!(site.trust.seq(), 1);
}

#[test]
fn a_run_up_counter_is_taken_back_by_a_downgrade_that_both_roles_sign() {
    let mut site = site();
    let far = signed_release(MODULE, 7 + JUMP_MAX);
    let good = signed_release(MODULE, 8);
    site.takes(
        &deployment(1, &[&signed_release(MODULE, 7)]),
        &[&signed_release(MODULE, 7)],
    );
    site.takes(&deployment(2, &[&far]), &[&far]);
    site.refuses(&deployment(3, &[&good]), &[&good], "release-rollback");
    let mut back = deployment(3, &[&good]);
    back.downgrades = vec![downgrade(MODULE, 8)];
    let fleet = fleet();
    let bytes = signed_as(&back, &[&fleet.deployer, &fleet.publishers[0]], |_| ());
    site.give(&bytes, &[&good]).unwrap();
    assert_eq!(site.trust.counter(MODULE), Some(8));
}

#[test]
fn a_deployment_waits_for_its_root_and_its_runtime() {
    let mut site = site();
    let release = signed_release(MODULE, 7);
    let mut later = deployment(1, &[&release]);
    later.min_root_version = 2;
    site.refuses(&later, &[&release], "root-too-old");

    // The next root asks for a newer runtime: it is taken, and holds against an older one.
    let mut root = site.fleet.root();
    root.version = 2;
    root.min_runtime_version = semver::Version::new(0, 2, 0);
    let fleet = fleet();
    let root = root.sign(&[&fleet.roots[0], &fleet.roots[1]]).unwrap();
    site.trust.accept_root(&root).unwrap();
    for old in ["0.1.0", "0.1.99", "0.2.0-rc.1"] {
        site.gateway.runtime_version = old.parse().unwrap();
        site.refuses(&later, &[&release], "runtime-too-old");
    }
    site.gateway.runtime_version = semver::Version::new(0, 2, 0);
    site.takes(&later, &[&release]);
}

#[test]
fn what_failed_here_is_not_tried_again() {
    let mut site = site();
    let (good, bad) = (signed_release(MODULE, 7), signed_release(MODULE, 8));
    let first = site.takes(&deployment(1, &[&good]), &[&good]);
    site.trust.confirm(&first).unwrap();
    let second = deployment(2, &[&bad]);
    let failed = site.takes(&second, &[&bad]);
    site.trust.deny(failed.digest());
    site.refuses(&second, &[&bad], "denied");
    // Another deployment may try the module again, until that itself is denied.
    let third = deployment(3, &[&bad]);
    let tried = site.takes(&third, &[&bad]);
    site.trust
        .deny(tried.deployment().modules[0].digest().unwrap());
    site.refuses(&third, &[&bad], "denied");
    site.refuses(&deployment(4, &[&bad]), &[&bad], "denied");
    // The same release with another configuration is another try, and so is another release.
    let mut mended = deployment(4, &[&bad]);
    mended.modules[0].config.clear();
    site.takes(&mended, &[&bad]);
    let newer = signed_release(MODULE, 9);
    site.takes(&deployment(5, &[&newer]), &[&newer]);
    // What has proven itself opens as before.
    let bytes = site.sign(&deployment(1, &[&good]));
    assert!(site.trust.reopen(&bytes, &[&good.bytes]).is_ok());
    // Denials are bounded, and the same one counts once.
    for index in 0..DENIED_MAX {
        site.trust.deny(Digest::of(&index.to_le_bytes()));
        site.trust.deny(Digest::of(&index.to_le_bytes()));
    }
    site.takes(&deployment(6, &[&newer]), &[&newer]);
}

#[test]
fn after_a_restart_only_what_was_accepted_opens_whatever_the_keys_are_now() {
    let mut site = site();
    let release = signed_release(MODULE, 7);
    let bytes = site.sign(&deployment(1, &[&release]));
    let never = site.sign(&deployment(2, &[&release]));
    site.give(&bytes, &[&release]).unwrap();
    let fresh = SigningKey::from_seed(&[11; 32]);
    let root = next_root(&site, &fresh, 2);
    site.trust.accept_root(&root).unwrap();
    site.refuses_bytes(&bytes, &[&release], "wrong-key");
    let reason = |bytes: &[u8], releases: &[&[u8]]| {
        let opened = site.trust.reopen(bytes, releases);
        opened.map_or_else(|error| error.reason(), |_| "accepted")
    };
    assert_eq!(reason(&bytes, &[&release.bytes]), "accepted");
    assert_eq!(reason(&never, &[&release.bytes]), "not-remembered");
    assert_eq!(reason(&bytes, &[]), "missing-release");
    let other = signed_release(MODULE, 8);
    assert_eq!(reason(&bytes, &[&other.bytes]), "unexpected-release");
    assert_eq!(reason(&release.bytes, &[]), "wrong-type");
}
