//! Why a gateway does not run a deployment, in words.

use std::time::Duration;

use super::fit::Fit;
use super::outcome::{Cause, Outcome};
use super::{End, Member, Rollout, State};

/// What is known, for one gateway and one deployment of a group.
#[derive(Debug)]
pub struct Case<'c> {
    /// The gateway.
    pub gateway: &'c str,
    /// The group that the deployment is for.
    pub group: &'c str,
    /// Labels of the group that the gateway does not have; none if it is in the group.
    pub missing: Vec<String>,
    /// The newest rollout of the deployment, and its number.
    pub rollout: Option<(u64, &'c Rollout)>,
    /// What is known of the gateway.
    pub member: &'c Member,
    /// Since it was last heard of; none if it never was.
    pub silent: Option<Duration>,
}

/// The answer: one sentence, and what might matter beside it.
pub fn why(case: &Case<'_>) -> String {
    let mut words = answer(case);
    let known = matches!(case.member.outcome, Outcome::Waiting);
    if known && !case.member.online {
        match case.silent {
            None => words.push_str(". It was never heard of"),
            Some(silent) => words.push_str(&format!(". It was last heard of {} ago", ago(silent))),
        }
    }
    if known && case.member.fit == Fit::Unknown {
        words.push_str(". What its machine is, it has not said");
    }
    words.push('.');
    words
}

fn answer(case: &Case<'_>) -> String {
    let (gateway, group) = (case.gateway, case.group);
    match &case.member.outcome {
        Outcome::Confirmed => return format!("{gateway} runs it, and has confirmed it"),
        Outcome::Trying => {
            return format!("{gateway} has accepted it, and has it on trial");
        }
        Outcome::RolledBack => {
            return format!("{gateway} has tried it and returned to what ran before");
        }
        Outcome::Refused(cause) => return refused(case, cause),
        Outcome::Superseded => {
            return format!("{gateway} has accepted a deployment with a higher number");
        }
        Outcome::Waiting => {}
    }
    if !case.missing.is_empty() {
        let missing = case.missing.join(", ");
        return format!("{gateway} is not in group {group}, which has the gateways with {missing}");
    }
    let Some((number, rollout)) = case.rollout else {
        return format!("no rollout offers it to group {group}");
    };
    match rollout.offers.get(gateway) {
        Some(offer) if offer.withdrawn => format!(
            "rollout {number} {}; it was offered to {gateway} before and was taken back in time",
            end(&rollout.state)
        ),
        Some(offer) => format!(
            "rollout {number} offers it in wave {}, and {gateway} has not said that it has it",
            offer.wave + 1
        ),
        None => not_offered(case, number, rollout),
    }
}

fn refused(case: &Case<'_>, cause: &Cause) -> String {
    let gateway = case.gateway;
    let offered = case.rollout.and_then(|(number, rollout)| {
        let offer = rollout.offers.get(gateway)?;
        (rollout.is_active() && offer.before.as_ref() == Some(cause)).then_some(number)
    });
    match offered {
        None => format!("{gateway} refuses it: {cause}"),
        Some(number) => format!(
            "{gateway} has refused it before rollout {number} offered it, and looks at it again within 15 minutes: {cause}"
        ),
    }
}

fn not_offered(case: &Case<'_>, number: u64, rollout: &Rollout) -> String {
    let gateway = case.gateway;
    if let Fit::Unfit(reasons) = &case.member.fit {
        return format!("it does not fit {gateway}: {}", reasons.join("; "));
    }
    let (wave, waves) = (rollout.wave + 1, rollout.plan.waves.len());
    match &rollout.state {
        State::Paused => format!("rollout {number} is paused in wave {wave} of {waves}"),
        State::Running => {
            let [offered, confirmed, _] = rollout.progress(rollout.wave);
            format!(
                "rollout {number} has not reached {gateway}: it is in wave {wave} of {waves}, which {confirmed} of {offered} \
                 gateways have confirmed so far"
            )
        }
        State::Done => format!(
            "rollout {number} is done and offers it to all of the group, and {gateway} has not said that it has it"
        ),
        State::Stopped(_) => {
            format!(
                "rollout {number} {} before it reached {gateway}",
                end(&rollout.state)
            )
        }
    }
}

/// How a rollout is, as part of a sentence.
pub fn end(state: &State) -> String {
    match state {
        State::Running => "is running".to_owned(),
        State::Paused => "is paused".to_owned(),
        State::Done => "is done".to_owned(),
        State::Stopped(End::Aborted) => "was aborted".to_owned(),
        State::Stopped(end) => format!("was stopped, because it {}", reason(end)),
    }
}

/// Why a rollout ended badly, in a few words.
pub fn reason(end: &End) -> String {
    match end {
        End::Aborted => "aborted".to_owned(),
        End::Failures { wave, failed, of } => {
            format!("failed on {failed} of {of} gateways of wave {}", wave + 1)
        }
    }
}

fn ago(length: Duration) -> String {
    match length.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}
