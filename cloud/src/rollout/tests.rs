//! A rollout on a fleet in small.

mod reports;
mod schedules;
mod way_back;
mod words;

use super::*;

pub(super) fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

pub(super) fn at(seconds: u64) -> WallTime {
    WallTime((1_800_000_000 + seconds) * SECOND)
}

fn wave(reach: Reach, success_percent: u32, error_percent: u32) -> Wave {
    Wave {
        reach,
        success_percent,
        error_percent,
    }
}

/// One gateway, then half, then all; each must confirm, and a fifth may fail.
pub(super) fn plan(revert: bool, rate: Option<u32>) -> Plan {
    Plan {
        deployment: digest("new"),
        revert: revert.then(|| digest("revert")),
        waves: vec![
            wave(Reach::Count(1), 100, 1),
            wave(Reach::Percent(50), 80, 20),
            wave(Reach::Percent(100), 80, 20),
        ],
        rate: rate.and_then(std::num::NonZeroU32::new),
    }
}

pub(super) fn member(outcome: Outcome) -> Member {
    Member {
        outcome,
        fit: Fit::Fits,
        online: true,
        looked: None,
    }
}

pub(super) fn refused(reason: &str) -> Outcome {
    Outcome::Refused(Cause {
        reason: reason.to_owned(),
        why: None,
    })
}

fn fleet(count: usize) -> BTreeMap<String, Member> {
    let name = |number| (format!("gw-{number}"), member(Outcome::Waiting));
    (0..count).map(name).collect()
}

/// All that were offered it report this.
fn report(rollout: &Rollout, members: &mut BTreeMap<String, Member>, outcome: &Outcome) {
    for (gateway, member) in members {
        if rollout.offers.contains_key(gateway) {
            member.outcome = outcome.clone();
        }
    }
}

fn offered(rollout: &Rollout) -> usize {
    rollout.offers.len()
}

#[test]
fn a_wave_begins_when_the_one_before_it_is_confirmed_and_the_last_one_reaches_all() {
    let (mut rollout, mut members) = (Rollout::new(plan(false, None)), fleet(10));
    for (wave, count) in [(0, 1), (1, 5), (2, 10)] {
        rollout.step(&members, at(0));
        assert_eq!((rollout.wave, offered(&rollout)), (wave, count));
        assert!(!rollout.step(&members, at(1)), "nothing new was reported");
        report(&rollout, &mut members, &Outcome::Trying);
        rollout.step(&members, at(2));
        assert_eq!(rollout.wave, wave, "a trial is no confirmation");
        report(&rollout, &mut members, &Outcome::Confirmed);
    }
    rollout.step(&members, at(3));
    assert_eq!(rollout.state, State::Done);
    // One that joins later gets what the group runs.
    assert_eq!(rollout.choice("gw-99"), Some(Choice::New));
}

#[test]
fn a_canary_that_fails_stops_it_and_nobody_further_is_offered_it() {
    let failures = [Outcome::RolledBack, refused("not-permitted")];
    for failure in failures {
        let (mut rollout, mut members) = (Rollout::new(plan(false, None)), fleet(10));
        rollout.step(&members, at(0));
        report(&rollout, &mut members, &failure);
        rollout.step(&members, at(1));
        let end = End::Failures {
            wave: 0,
            failed: 1,
            of: 1,
        };
        assert_eq!(rollout.state, State::Stopped(end));
        assert!(!rollout.step(&fleet(20), at(100)));
        assert_eq!(offered(&rollout), 1);
        let canary = rollout.offers.keys().next().unwrap();
        let choices = members
            .keys()
            .map(|gateway| (gateway, rollout.choice(gateway)));
        for (gateway, choice) in choices {
            assert_eq!(choice, (gateway == canary).then_some(Choice::New));
        }
    }
}

#[test]
fn with_a_revert_whoever_was_offered_the_new_one_is_offered_that_instead() {
    for abort in [false, true] {
        let (mut rollout, mut members) = (Rollout::new(plan(true, None)), fleet(10));
        rollout.step(&members, at(0));
        report(&rollout, &mut members, &Outcome::Confirmed);
        rollout.step(&members, at(1));
        assert_eq!(offered(&rollout), 5);
        if abort {
            assert!(rollout.command(Command::Abort));
        } else {
            report(&rollout, &mut members, &Outcome::RolledBack);
            rollout.step(&members, at(2));
        }
        assert!(matches!(rollout.state, State::Stopped(_)), "{abort}");
        for gateway in members.keys() {
            let was_offered = rollout.offers.contains_key(gateway);
            let expected = was_offered.then_some(Choice::Revert);
            assert_eq!(rollout.choice(gateway), expected, "{gateway}");
        }
        assert_eq!(rollout.digest(Choice::Revert), digest("revert"));
    }
}

#[test]
fn a_refusal_from_before_the_offer_counts_once_the_gateway_has_looked_again() {
    let told = |member: Member| -> BTreeMap<_, _> { [("gw-1".to_owned(), member)].into() };
    let old = || member(refused("not-permitted"));
    let looked = |seconds| Member {
        looked: Some(at(seconds)),
        ..old()
    };
    let mut rollout = Rollout::new(plan(false, None));
    rollout.step(&told(old()), at(10));
    // It says so again in each of its reports, and it was fetched before the offer.
    for repeated in [old(), looked(9)] {
        rollout.step(&told(repeated), at(11));
        assert_eq!(rollout.state, State::Running);
        assert_eq!(rollout.offers["gw-1"].outcome, Outcome::Waiting);
    }
    let read: Rollout = serde_json::from_str(&serde_json::to_string(&rollout).unwrap()).unwrap();
    assert_eq!(read, rollout, "a restart of the centre makes it no newer");
    let news = [
        vec![looked(10)],
        vec![member(refused("limit-not-permitted"))],
        // Its list was empty in between, as after a start.
        vec![member(Outcome::Waiting), old()],
    ];
    for reports in news {
        let mut rollout = rollout.clone();
        for report in reports {
            assert_eq!(rollout.state, State::Running);
            rollout.step(&told(report), at(12));
        }
        assert!(matches!(rollout.state, State::Stopped(_)));
    }
    rollout.step(&told(member(Outcome::Confirmed)), at(12));
    assert_eq!(rollout.state, State::Done);
}

#[test]
fn a_rollout_that_an_older_centre_kept_is_read() {
    let mut rollout = Rollout::new(plan(false, None));
    rollout.step(&fleet(1), at(0));
    rollout.step(
        &[("gw-0".to_owned(), member(refused("denied")))].into(),
        at(1),
    );
    let mut kept = serde_json::to_value(&rollout).unwrap();
    let outcome = kept.pointer_mut("/offers/gw-0/outcome").unwrap();
    assert_eq!(outcome["refused"]["reason"], "denied");
    outcome["refused"] = "denied".into();
    assert_eq!(serde_json::from_value::<Rollout>(kept).unwrap(), rollout);
}

#[test]
fn what_no_gateway_has_reported_to_know_is_taken_back_at_the_end() {
    let (mut rollout, mut members) = (Rollout::new(plan(false, None)), fleet(10));
    rollout.step(&members, at(0));
    report(&rollout, &mut members, &Outcome::Confirmed);
    rollout.step(&members, at(1));
    let waiting = rollout.offers.iter();
    let waiting: Vec<_> = waiting
        .filter(|(_, offer)| offer.outcome == Outcome::Waiting)
        .map(|(gateway, _)| gateway.clone())
        .collect();
    assert_eq!(waiting.len(), 4);
    rollout.command(Command::Abort);
    for (gateway, offer) in &rollout.offers {
        assert_eq!(offer.withdrawn, waiting.contains(gateway));
        let expected = (!offer.withdrawn).then_some(Choice::New);
        assert_eq!(rollout.choice(gateway), expected);
    }
}

#[test]
fn each_state_takes_the_commands_that_mean_something_in_it() {
    let run = Rollout::new(plan(false, None));
    let paused = Rollout {
        state: State::Paused,
        ..run.clone()
    };
    let done = Rollout {
        state: State::Done,
        ..run.clone()
    };
    let stopped = Rollout {
        state: State::Stopped(End::Aborted),
        ..run.clone()
    };
    for (rollout, possible) in [
        (run, [true, false, true]),
        (paused, [false, true, true]),
        (done, [false; 3]),
        (stopped, [false; 3]),
    ] {
        let commands = [Command::Pause, Command::Resume, Command::Abort];
        for (command, possible) in commands.into_iter().zip(possible) {
            let mut changed = rollout.clone();
            assert_eq!(changed.command(command), possible, "{:?}", rollout.state);
            assert_eq!(changed != rollout, possible);
        }
    }
}

#[test]
fn a_rollout_that_is_paused_offers_nothing_and_still_stops_where_it_fails() {
    let (mut rollout, mut members) = (Rollout::new(plan(false, None)), fleet(10));
    rollout.step(&members, at(0));
    rollout.command(Command::Pause);
    report(&rollout, &mut members, &Outcome::Confirmed);
    rollout.step(&members, at(1));
    assert_eq!((rollout.wave, offered(&rollout)), (0, 1));
    rollout.command(Command::Resume);
    rollout.step(&members, at(2));
    assert_eq!(offered(&rollout), 5);
    rollout.command(Command::Pause);
    for member in members.values_mut() {
        member.outcome = Outcome::RolledBack;
    }
    rollout.step(&members, at(3));
    assert!(matches!(rollout.state, State::Stopped(_)));
}

#[test]
fn nobody_whom_it_does_not_fit_is_offered_it_or_counted() {
    let (mut rollout, mut members) = (Rollout::new(plan(false, None)), fleet(10));
    for gateway in ["gw-1", "gw-2", "gw-3", "gw-4"] {
        members.get_mut(gateway).unwrap().fit = Fit::Unfit(vec!["no".to_owned()]);
    }
    for expected in [1, 3, 6] {
        rollout.step(&members, at(0));
        assert_eq!(offered(&rollout), expected);
        report(&rollout, &mut members, &Outcome::Confirmed);
    }
    rollout.step(&members, at(1));
    assert_eq!(rollout.state, State::Done);
}

#[test]
fn nothing_is_proven_by_nobody() {
    let mut rollout = Rollout::new(plan(false, None));
    assert!(!rollout.step(&BTreeMap::new(), at(0)));
    let mut members = fleet(3);
    for member in members.values_mut() {
        member.fit = Fit::Unfit(vec!["no".to_owned()]);
    }
    rollout.step(&members, at(1));
    assert_eq!((rollout.state, rollout.wave), (State::Running, 0));
}

#[test]
fn gateways_that_are_there_go_first() {
    let (mut rollout, mut members) = (Rollout::new(plan(false, None)), fleet(10));
    for (gateway, member) in &mut members {
        member.online = gateway == "gw-7";
    }
    rollout.step(&members, at(0));
    assert_eq!(rollout.offers.keys().collect::<Vec<_>>(), ["gw-7"]);
}

#[test]
fn what_a_plan_may_not_say_is_refused() {
    let deployment = digest("new");
    let read = |waves: &str, more: &str| {
        let text = format!(r#"{{"deployment":"{deployment}","waves":[{waves}]{more}}}"#);
        serde_json::from_str::<Plan>(&text)
    };
    let all = r#"{"percent":100}"#;
    let good = read(
        &format!(r#"{{"gateways":["gw-1"]}},{{"count":3}},{all}"#),
        "",
    );
    let good = good.unwrap();
    assert_eq!(
        (good.waves[0].success_percent, good.waves[0].error_percent),
        (100, 1)
    );
    let text = serde_json::to_string(&good).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), good);
    let same = format!(r#","revert":"{deployment}""#);
    for (waves, more) in [
        ("", ""),
        (r#"{"percent":50}"#, ""),
        (r#"{"percent":100,"count":1}"#, ""),
        (r#"{"count":0},{"percent":100}"#, ""),
        (r#"{"gateways":[]},{"percent":100}"#, ""),
        (r#"{"percent":101}"#, ""),
        (r#"{"percent":100,"success_percent":101}"#, ""),
        (r#"{"percent":100,"error_percent":0}"#, ""),
        (r#"{"percent":100,"colour":1}"#, ""),
        (all, r#","rate":0"#),
        (all, same.as_str()),
        (&[all; WAVES_MAX + 1].join(","), ""),
    ] {
        assert!(read(waves, more).is_err(), "{waves} {more}");
    }
}
