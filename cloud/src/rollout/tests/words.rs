//! Why a gateway does not run a deployment.

use std::time::Duration;

use super::super::why::{Case, why};
use super::*;

#[test]
fn every_reason_has_its_words() {
    let (mut rollout, mut members) = (Rollout::new(plan(false, None)), fleet(10));
    rollout.step(&members, at(0));
    let canary = rollout.offers.keys().next().unwrap().clone();
    let others: Vec<_> = members.keys().filter(|name| **name != canary).collect();
    let other = others[0].clone();
    let said = |gateway: &str, rollout: Option<&Rollout>, member: &Member, missing: &[&str]| {
        why(&Case {
            gateway,
            group: "pumps",
            missing: missing.iter().map(|label| (*label).to_owned()).collect(),
            rollout: rollout.map(|rollout| (3, rollout)),
            member,
            silent: Some(Duration::from_secs(7200)),
        })
    };
    let waiting = member(Outcome::Waiting);
    let silent = Member {
        online: false,
        fit: Fit::Unknown,
        ..waiting.clone()
    };
    let unfit = Member {
        fit: Fit::Unfit(vec!["too little memory".to_owned()]),
        ..waiting.clone()
    };
    let after = |command| {
        let mut rollout = rollout.clone();
        rollout.command(command);
        rollout
    };
    let (paused, aborted) = (after(Command::Pause), after(Command::Abort));
    let mut failed = rollout.clone();
    report(&failed, &mut members, &Outcome::RolledBack);
    failed.step(&members, at(1));
    let in_words = Outcome::Refused(Cause {
        reason: "denied".to_owned(),
        why: Some("release 7f has failed on this gateway and is not tried again".to_owned()),
    });
    let mut again = rollout.clone();
    let offer = again.offers.get_mut(&canary).unwrap();
    *offer = Offer::new(0, at(0), refused("not-permitted"));
    for (found, words) in [
        (
            said(&other, Some(&rollout), &waiting, &["site=north"]),
            "is not in group pumps, which has the gateways with site=north",
        ),
        (
            said(&other, None, &waiting, &[]),
            "no rollout offers it to group pumps",
        ),
        (
            said(&other, Some(&rollout), &waiting, &[]),
            "it is in wave 1 of 3, which 0 of 1 gateways have confirmed",
        ),
        (
            said(&other, Some(&paused), &waiting, &[]),
            "rollout 3 is paused in wave 1 of 3",
        ),
        (
            said(&other, Some(&aborted), &waiting, &[]),
            "rollout 3 was aborted before it reached",
        ),
        (
            said(&other, Some(&failed), &waiting, &[]),
            "rollout 3 was stopped, because it failed on 1 of 1 gateways of wave 1 before it reached",
        ),
        (said(&other, Some(&rollout), &unfit, &[]), "it does not fit"),
        (
            said(&canary, Some(&rollout), &waiting, &[]),
            "rollout 3 offers it in wave 1",
        ),
        (
            said(&canary, Some(&rollout), &silent, &[]),
            "It was last heard of 2 h ago. What its machine is, it has not said.",
        ),
        (
            said(&canary, Some(&aborted), &waiting, &[]),
            "was taken back in time",
        ),
        (
            said(&canary, Some(&rollout), &member(Outcome::Trying), &[]),
            "has it on trial",
        ),
        (
            said(&canary, Some(&rollout), &member(Outcome::Confirmed), &[]),
            "runs it",
        ),
        (
            said(&canary, Some(&rollout), &member(Outcome::RolledBack), &[]),
            "returned to what ran before",
        ),
        (
            said(
                &canary,
                Some(&rollout),
                &member(refused("not-permitted")),
                &[],
            ),
            "refuses it: reason code not-permitted",
        ),
        (
            said(&canary, Some(&rollout), &member(in_words), &[]),
            "refuses it: release 7f has failed on this gateway and is not tried again (reason code denied)",
        ),
        (
            said(
                &canary,
                Some(&again),
                &member(refused("not-permitted")),
                &[],
            ),
            "has refused it before rollout 3 offered it, and looks at it again within 15 minutes: reason code not-permitted",
        ),
        (
            said(&canary, Some(&rollout), &member(Outcome::Superseded), &[]),
            "a higher number",
        ),
    ] {
        assert!(found.contains(words), "{words:?} is not in {found:?}");
        assert!(found.ends_with('.') && !found.contains(".."), "{found}");
    }
}
