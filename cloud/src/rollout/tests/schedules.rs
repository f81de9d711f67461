//! Random schedules of reports, commands and time.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Act {
    /// So many seconds pass.
    Wait(u64),
    /// The clock is set back.
    SetBack,
    /// A gateway reports.
    Report(usize, Outcome),
    /// One joins, or leaves.
    Join,
    Leave(usize),
    /// One tells what its machine is.
    Unfit(usize),
    Say(Command),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let reports = prop_oneof![
        3 => Just(Outcome::Trying),
        8 => Just(Outcome::Confirmed),
        1 => Just(Outcome::RolledBack),
        1 => Just(refused("denied")),
        1 => Just(Outcome::Superseded),
    ];
    let act = prop_oneof![
        8 => (0..30_u64).prop_map(Act::Wait),
        1 => Just(Act::SetBack),
        20 => (0..24_usize, reports).prop_map(|(gateway, outcome)| Act::Report(gateway, outcome)),
        2 => Just(Act::Join),
        1 => (0..24_usize).prop_map(Act::Leave),
        1 => (0..24_usize).prop_map(Act::Unfit),
        1 => Just(Act::Say(Command::Pause)),
        2 => Just(Act::Say(Command::Resume)),
        1 => Just(Act::Say(Command::Abort)),
    ];
    vec(act, 0..200)
}

fn name(members: &BTreeMap<String, Member>, number: usize) -> Option<String> {
    members.keys().nth(number % members.len().max(1)).cloned()
}

proptest! {
    #[test]
    fn whatever_happens_nobody_is_offered_it_who_should_not_be(
        acts in acts(), revert: bool, rate in proptest::option::of(1..120_u32),
    ) {
        let mut rollout = Rollout::new(plan(revert, rate));
        let (mut members, mut now, mut joined) = (fleet(9), 0_u64, 9);
        let mut set_back = false;
        for act in acts {
            match act {
                Act::Wait(seconds) => now += seconds,
                Act::SetBack => (now, set_back) = (now.saturating_sub(50), true),
                Act::Join => {
                    members.insert(format!("gw-{joined}"), member(Outcome::Waiting));
                    joined += 1;
                }
                Act::Leave(number) => {
                    name(&members, number).and_then(|gateway| members.remove(&gateway));
                }
                Act::Unfit(number) => {
                    if let Some(gateway) = name(&members, number) {
                        members.get_mut(&gateway).unwrap().fit = Fit::Unfit(vec![String::new()]);
                    }
                }
                // A gateway can report only on what it was offered.
                Act::Report(number, outcome) => {
                    if let Some(gateway) = name(&members, number)
                        && rollout.offers.contains_key(&gateway)
                    {
                        members.get_mut(&gateway).unwrap().outcome = outcome;
                    }
                }
                Act::Say(command) => {
                    let before = rollout.clone();
                    let possible = rollout.command(command);
                    prop_assert_eq!(possible, rollout != before);
                }
            }
            let before = rollout.clone();
            rollout.step(&members, at(now));
            check(&before, &rollout, &members)?;
            if !set_back {
                check_rate(&rollout)?;
            }
            // A second look changes nothing, and neither does a restart.
            let text = serde_json::to_string(&rollout).unwrap();
            let mut again: Rollout = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&again, &rollout);
            if rollout.plan.rate.is_none() {
                prop_assert!(!again.step(&members, at(now)));
            }
        }
    }

    #[test]
    fn where_all_confirm_it_reaches_everybody(
        count in 1..40_usize, rate in proptest::option::of(30..240_u32),
    ) {
        let (mut rollout, mut members) = (Rollout::new(plan(true, rate)), fleet(count));
        for second in 0..400 {
            rollout.step(&members, at(second));
            report(&rollout, &mut members, &Outcome::Confirmed);
        }
        prop_assert_eq!(&rollout.state, &State::Done);
        prop_assert_eq!(offered(&rollout), count);
        check_rate(&rollout)?;
    }
}

fn check(
    before: &Rollout,
    after: &Rollout,
    members: &BTreeMap<String, Member>,
) -> Result<(), TestCaseError> {
    let news = after.offers.iter();
    let news: Vec<_> = news
        .filter(|(gateway, _)| !before.offers.contains_key(*gateway))
        .collect();
    for (gateway, offer) in &news {
        prop_assert_eq!(&before.state, &State::Running);
        prop_assert!(matches!(members[*gateway].fit, Fit::Fits));
        prop_assert!(!offer.withdrawn);
    }
    prop_assert!(after.offers.len() == before.offers.len() + news.len());
    prop_assert!(after.wave >= before.wave && after.wave < after.plan.waves.len());
    if !before.is_active() {
        prop_assert_eq!(before, after);
    }
    // What lies behind has its confirmations; what failed too often has ended it.
    let counted = |wave: usize, is: &dyn Fn(&Outcome) -> bool| after.count(members, wave, is);
    for wave in before.wave..after.wave {
        let (of, confirmed) = counted(wave, &|outcome| *outcome == Outcome::Confirmed);
        prop_assert!(confirmed * 100 >= of * after.plan.waves[wave].success_percent as usize);
    }
    if after.is_active() {
        for wave in 0..after.wave {
            let (of, failed) = counted(wave, &Outcome::has_failed);
            let most = after.plan.waves[wave].error_percent as usize;
            prop_assert!(failed == 0 || failed * 100 < of * most);
        }
    }
    let fit = members.values().filter(|member| member.fit == Fit::Fits);
    let reach = match after.plan.waves[after.wave].reach {
        Reach::Count(most) => most as usize,
        Reach::Percent(percent) => part(fit.count(), percent),
        Reach::Gateways(_) => usize::MAX,
    };
    let there = after.offers.keys();
    let there = there.filter(|gateway| members.get(*gateway).is_some_and(|m| m.fit == Fit::Fits));
    prop_assert!(news.is_empty() || there.count() <= reach);
    Ok(())
}

/// In no minute more than the rate, and what one second may make up for.
fn check_rate(rollout: &Rollout) -> Result<(), TestCaseError> {
    let Some(rate) = rollout.plan.rate else {
        return Ok(());
    };
    let mut times: Vec<_> = rollout.offers.values().map(|offer| offer.at).collect();
    times.sort_unstable();
    let most = (rate.get() + rate.get().div_ceil(60) + 1) as usize;
    for (index, first) in times.iter().enumerate() {
        let within = times[index..].iter().take_while(|at| **at < first + MINUTE);
        let count = within.count();
        prop_assert!(count <= most, "{count} in a minute at a rate of {rate}");
    }
    Ok(())
}
