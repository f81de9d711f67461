//! How far gateways are with the way back.

use super::super::way_back::WayBack;
use super::*;

/// One that five gateways were offered, and that was aborted.
fn aborted(revert: bool) -> Rollout {
    let (mut rollout, mut members) = (Rollout::new(plan(revert, None)), fleet(10));
    rollout.step(&members, at(0));
    report(&rollout, &mut members, &Outcome::Confirmed);
    rollout.step(&members, at(1));
    assert_eq!(
        WayBack::of(&rollout, |_, _| Outcome::Confirmed),
        None,
        "there is none before the end"
    );
    rollout.command(Command::Abort);
    rollout
}

fn told(rollout: &Rollout, wanted: Choice, reports: [Outcome; 5]) -> String {
    let gateways: Vec<_> = rollout.offers.keys().cloned().collect();
    let way_back = WayBack::of(rollout, |gateway, choice| {
        assert_eq!(choice, wanted);
        let index = gateways.iter().position(|name| name == gateway).unwrap();
        reports[index].clone()
    });
    way_back.unwrap().to_string()
}

#[test]
fn after_the_end_it_is_told_how_many_are_back() {
    use Outcome::{Confirmed, RolledBack, Superseded, Trying, Waiting};
    let revert = aborted(true);
    for (reports, words) in [
        ([Waiting, Waiting, Waiting, Waiting, Waiting], "0 of 5 back"),
        (
            [Confirmed, Trying, Waiting, Confirmed, Waiting],
            "2 of 5 back",
        ),
        (
            [Confirmed, Superseded, Confirmed, Confirmed, Confirmed],
            "4 of 4 back",
        ),
        (
            [
                RolledBack,
                refused("not-permitted"),
                Waiting,
                Waiting,
                Confirmed,
            ],
            "1 of 5 back, the way back failed on 2",
        ),
    ] {
        assert_eq!(told(&revert, Choice::Revert, reports), words);
    }
}

#[test]
fn where_no_way_back_was_signed_it_is_told_how_many_keep_it() {
    use Outcome::{Confirmed, RolledBack, Superseded, Trying, Waiting};
    let plain = aborted(false);
    for (reports, words) in [
        (
            [Confirmed, Trying, Waiting, RolledBack, Superseded],
            "no way back was signed, 2 keep it",
        ),
        (
            [RolledBack, Waiting, Waiting, Waiting, Waiting],
            "no gateway keeps it",
        ),
    ] {
        assert_eq!(told(&plain, Choice::New, reports), words);
    }
}
