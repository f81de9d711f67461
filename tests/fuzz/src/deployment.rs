//! The deployment: what a gateway takes, what it remembers of it, and the target that must be found out.

use tidegate_bundle::{
    DENIED_MAX, DEPLOYMENT_TYPE, Deployment, Digest, Now, Release, TRUST_BYTES_MAX, Trust,
    VerifiedDeployment,
};

use crate::documents::{body, memory};
use crate::fleet::{self, OWN_TRUST, TRUST};
use crate::{Chance, Subject};

/// The deployment document.
#[derive(Debug)]
pub struct DeploymentDocument;

/// What a gateway remembers of its fleet, read from a disk that may have changed it.
#[derive(Debug)]
pub struct Memory;

/// The negative control: claims that nobody holds the key which signs what was changed.
#[derive(Debug)]
pub struct Control;

impl Subject for DeploymentDocument {
    fn seeds() -> Vec<Vec<u8>> {
        fleet::documented(DEPLOYMENT_TYPE)
    }

    fn check(input: &[u8]) {
        let read = Deployment::unverified(input);
        if let Ok((deployment, _)) = &read {
            let again =
                fleet::sign(DEPLOYMENT_TYPE, body(deployment)).expect("no longer than before");
            let (again, _) =
                Deployment::unverified(&again).expect("what was read can be read again");
            assert_eq!(again, *deployment);
        }
        if take(&TRUST, input).is_some() {
            fleet::assert_documented(input);
        }
        if let Some((after, taken)) = take(&OWN_TRUST, input) {
            let (deployment, digest) = read.expect("what is taken can be read");
            assert_eq!((taken.deployment(), taken.digest()), (&deployment, digest));
            check_taken(after, &taken, input);
        }
    }

    fn change(input: &[u8], chance: &mut Chance) -> Option<Vec<u8>> {
        fleet::change(DEPLOYMENT_TYPE, input, chance)
    }
}

/// What a gateway makes of a deployment with exactly those releases that it names.
fn take(trust: &Trust, input: &[u8]) -> Option<(Trust, VerifiedDeployment)> {
    let gateway = fleet::gateway();
    let mut after = trust.clone();
    let releases = named(input);
    let releases: Vec<&[u8]> = releases.iter().map(Vec::as_slice).collect();
    let checked = trust.check_deployment(&gateway, Now::Unsynchronised, input);
    match after.accept_deployment(&gateway, Now::Unsynchronised, input, &releases) {
        Ok(taken) => {
            assert!(checked.is_ok(), "taken against a rule");
            Some((after, taken))
        }
        Err(_) => {
            assert_eq!(memory(trust), memory(&after), "a refusal changes nothing");
            None
        }
    }
}

/// Our releases that a deployment names.
fn named(deployment: &[u8]) -> Vec<Vec<u8>> {
    let named = Deployment::unverified(deployment);
    let named = named
        .map(|(deployment, _)| deployment.releases())
        .unwrap_or_default();
    let is_named = |release: &Vec<u8>| {
        Release::unverified_digest(release).is_ok_and(|digest| named.contains(&digest))
    };
    fleet::releases().into_iter().filter(is_named).collect()
}

/// Counters go up and not far; nothing is granted that was not asked for; and it can be taken again, also after a restart.
fn check_taken(mut after: Trust, taken: &VerifiedDeployment, input: &[u8]) {
    assert_eq!(after.accepted(), Some(taken.digest()));
    assert_eq!(after.seq(), taken.deployment().seq);
    assert!(after.seq() > 0);
    assert_eq!(taken.modules().count(), taken.deployment().modules.len());
    for (module, release) in taken.modules() {
        let granted = module.grants.capabilities();
        assert!(granted.beyond(&release.capabilities).is_empty());
        assert!(after.counter(&release.module) >= Some(release.counter));
    }
    let releases = named(input);
    let releases: Vec<&[u8]> = releases.iter().map(Vec::as_slice).collect();
    let remembered = Trust::from_bytes(&memory(&after)).expect("a memory reads back");
    let again = remembered
        .reopen(input, &releases)
        .expect("what was taken opens again");
    assert_eq!(again.digest(), taken.digest());
    after.deny(taken.digest());
    let refused = after.check_deployment(&fleet::gateway(), Now::Unsynchronised, input);
    assert!(refused.is_err(), "what has failed here is not taken again");
}

impl Subject for Memory {
    fn seeds() -> Vec<Vec<u8>> {
        let mut denied = OWN_TRUST.clone();
        denied.deny(Digest::of(b"a deployment"));
        vec![memory(&TRUST), memory(&denied)]
    }

    fn check(input: &[u8]) {
        let Ok(trust) = Trust::from_bytes(input) else {
            return;
        };
        assert!(input.len() <= TRUST_BYTES_MAX);
        let written = memory(&trust);
        let again = Trust::from_bytes(&written).expect("a memory reads back");
        assert_eq!(memory(&again), written);
        let mut full = again;
        for number in 0..=DENIED_MAX {
            full.deny(Digest::of(&number.to_be_bytes()));
        }
        Trust::from_bytes(&memory(&full)).expect("a full memory reads back");
    }

    fn change(input: &[u8], chance: &mut Chance) -> Option<Vec<u8>> {
        let at = input.iter().position(|byte| *byte == b'\n')?;
        let mut body = input.get(at + 1..)?.to_vec();
        chance.change(&mut body);
        let head = format!("tidegate-trust-1 {}\n", Digest::of(&body));
        Some([head.as_bytes(), &body].concat())
    }
}

impl Subject for Control {
    fn seeds() -> Vec<Vec<u8>> {
        DeploymentDocument::seeds()
    }

    fn check(input: &[u8]) {
        if take(&OWN_TRUST, input).is_some() {
            fleet::assert_documented(input);
        }
    }

    fn change(input: &[u8], chance: &mut Chance) -> Option<Vec<u8>> {
        DeploymentDocument::change(input, chance)
    }
}
