//! A rollout: one deployment of a group, offered to its gateways in waves.
//!
//! Pure: it is given what gateways report and what time it is, and says to whom the deployment is offered. It cannot take
//! anything back that a gateway has accepted, because gateways refuse older numbers. So it ends badly in one of two ways:
//! without a revert deployment nobody further is offered it, and who has it on trial returns by itself where it fails;
//! with one, whoever was offered the new deployment is offered that, which was signed with a higher number beforehand.
//!
//! # Invariants
//! - Nothing is offered but while it runs, and never to a gateway that it does not fit.
//! - A wave begins when the one before it has its confirmations, and ends everything when it has its failures.
//! - In a minute no more gateways are offered it than the rate says (and a second's worth).
//! - The same reports at the same time change nothing a second time.
//! - A refusal that a gateway had reported before it was offered the deployment counts once it has looked at it again.
//!
//! # Layout
//! - `plan`: what an operator asks for, checked.
//! - [`outcome`]: what became of a deployment on one gateway, from its report.
//! - [`fit`]: whether a deployment can run on a gateway, from what its machine is.
//! - [`why`]: why a gateway does not run it, in words.
//! - [`way_back`]: how far gateways are with the way back.

pub mod fit;
pub mod outcome;
mod plan;
#[cfg(test)]
mod tests;
pub mod way_back;
pub mod why;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidegate_bundle::Digest;
use tidegate_wire::WallTime;

use fit::Fit;
use outcome::{Cause, Outcome};
pub use plan::{Plan, Reach, WAVES_MAX, Wave};

const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;

/// A rollout. Gateways are named by text that was checked where it came in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// What was asked for.
    pub plan: Plan,
    /// How it is.
    pub state: State,
    /// The wave that it is in, counted from 0.
    pub wave: usize,
    /// To whom it was offered.
    pub offers: BTreeMap<String, Offer>,
    /// Nanoseconds since 1970 before which nobody further is offered it.
    next_offer: u64,
}

/// How a rollout is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It goes on.
    Running,
    /// Somebody halted it: nobody further is offered it.
    Paused,
    /// The last wave has its confirmations: every gateway of the group is offered it, and those that join later.
    Done,
    /// It ended badly.
    Stopped(End),
}

/// Why a rollout ended badly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// So many gateways of a wave failed.
    Failures {
        /// The wave, counted from 0.
        wave: usize,
        /// Gateways on which it failed.
        failed: usize,
        /// Gateways of the wave.
        of: usize,
    },
    /// Somebody ended it.
    Aborted,
}

/// That a gateway was offered the deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// In this wave.
    pub wave: usize,
    /// When, in nanoseconds since 1970.
    pub at: u64,
    /// What became of it.
    pub outcome: Outcome,
    /// It was taken back before the gateway had reported that it knows of it.
    pub withdrawn: bool,
    /// Why the gateway had refused it before it was offered it, until it says anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Cause>,
}

/// What is known of a gateway of the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// What became of the deployment there.
    pub outcome: Outcome,
    /// Whether it can run there.
    pub fit: Fit,
    /// Whether it was heard of lately.
    pub online: bool,
    /// When it has last fetched the deployment, if it has reported since.
    pub looked: Option<WallTime>,
}

/// What a person can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Offer it to nobody further for now.
    Pause,
    /// Go on.
    Resume,
    /// End it.
    Abort,
}

/// Which deployment of a rollout a gateway is to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The new one.
    New,
    /// The one that takes it back.
    Revert,
}

impl Offer {
    fn new(wave: usize, at: WallTime, outcome: Outcome) -> Self {
        let (outcome, before) = match outcome {
            Outcome::Refused(cause) => (Outcome::Waiting, Some(cause)),
            other => (other, None),
        };
        Self {
            wave,
            at: at.0,
            outcome,
            withdrawn: false,
            before,
        }
    }

    /// Takes what the gateway reports, unless it says again what it said before the offer.
    fn hear(&mut self, member: &Member) {
        if !self.is_old(member) {
            self.outcome = member.outcome.clone();
            self.before = None;
        }
    }

    /// Whether the gateway repeats a refusal without having looked at the deployment since it was offered it: it keeps
    /// what it has refused in its reports, and looks again after some time.
    fn is_old(&self, member: &Member) -> bool {
        let looked = member.looked.is_some_and(|looked| looked.0 >= self.at);
        let same = matches!((&member.outcome, &self.before),
            (Outcome::Refused(cause), Some(before)) if cause == before);
        same && !looked
    }
}

impl Rollout {
    /// One that has offered nothing yet.
    pub const fn new(plan: Plan) -> Self {
        Self {
            plan,
            state: State::Running,
            wave: 0,
            offers: BTreeMap::new(),
            next_offer: 0,
        }
    }

    /// Whether it may still change by itself or by a command.
    pub const fn is_active(&self) -> bool {
        matches!(self.state, State::Running | State::Paused)
    }

    /// Does what a person says. Gives whether that is possible in this state.
    pub fn command(&mut self, command: Command) -> bool {
        match (&self.state, command) {
            (State::Running, Command::Pause) => self.state = State::Paused,
            (State::Paused, Command::Resume) => self.state = State::Running,
            (State::Running | State::Paused, Command::Abort) => self.stop(End::Aborted),
            _ => return false,
        }
        true
    }

    /// Takes what is known of the group's gateways now and goes as far as that allows. Gives whether anything changed.
    pub fn step(&mut self, members: &BTreeMap<String, Member>, now: WallTime) -> bool {
        if !self.is_active() || members.is_empty() {
            return false;
        }
        let before = self.clone();
        self.learn(members);
        if let Some(end) = self.failed(members) {
            self.stop(end);
        }
        while self.state == State::Running {
            self.offer(members, now);
            if !self.has_succeeded(members) {
                break;
            }
            match self.wave.saturating_add(1) {
                next if next < self.plan.waves.len() => self.wave = next,
                _ => self.state = State::Done,
            }
        }
        *self != before
    }

    /// Which deployment a gateway of the group is to run by this rollout, if it says so.
    pub fn choice(&self, gateway: &str) -> Option<Choice> {
        match (&self.state, self.offers.get(gateway)) {
            (State::Done, _) => Some(Choice::New),
            (_, None) => None,
            (State::Running | State::Paused, Some(_)) => Some(Choice::New),
            (State::Stopped(_), Some(_)) if self.plan.revert.is_some() => Some(Choice::Revert),
            (State::Stopped(_), Some(offer)) => (!offer.withdrawn).then_some(Choice::New),
        }
    }

    /// The digest of the deployment that is meant.
    pub fn digest(&self, choice: Choice) -> Digest {
        match (choice, self.plan.revert) {
            (Choice::Revert, Some(revert)) => revert,
            _ => self.plan.deployment,
        }
    }

    /// What is final on a gateway stays: its list of what it refused forgets, and a newer deployment hides an older one.
    fn learn(&mut self, members: &BTreeMap<String, Member>) {
        for (gateway, offer) in &mut self.offers {
            if let Some(member) = members.get(gateway)
                && !offer.outcome.is_final()
            {
                offer.hear(member);
            }
        }
    }

    /// The first wave in which too many gateways failed.
    fn failed(&self, members: &BTreeMap<String, Member>) -> Option<End> {
        let waves = self.plan.waves.iter().enumerate();
        waves.take(self.wave + 1).find_map(|(wave, asked)| {
            let (offered, failed) = self.count(members, wave, Outcome::has_failed);
            let due = match wave == self.wave {
                true => self.due(members).len(),
                false => 0,
            };
            let of = offered + due;
            let reached = failed > 0 && at_least(failed, asked.error_percent, of);
            reached.then_some(End::Failures { wave, failed, of })
        })
    }

    /// Whether the wave has been offered whole, and enough of it has confirmed.
    fn has_succeeded(&self, members: &BTreeMap<String, Member>) -> bool {
        let Some(asked) = self.plan.waves.get(self.wave) else {
            return true;
        };
        let is_confirmed = |outcome: &Outcome| *outcome == Outcome::Confirmed;
        let (offered, confirmed) = self.count(members, self.wave, is_confirmed);
        // A wave that adds nobody rests on those before it; where there are none, nothing is proven.
        let mut before = self.offers.values();
        let proven = offered > 0 || before.any(|offer| is_confirmed(&offer.outcome));
        let enough = at_least(confirmed, asked.success_percent, offered);
        proven && enough && self.due(members).is_empty()
    }

    /// Gateways of a wave, and those of them with such an outcome. Those that left the group or went on to a newer
    /// deployment count no more.
    fn count(
        &self,
        members: &BTreeMap<String, Member>,
        wave: usize,
        is: impl Fn(&Outcome) -> bool,
    ) -> (usize, usize) {
        let of = self.offers.iter().filter(|(gateway, offer)| {
            let counts = offer.outcome != Outcome::Superseded && members.contains_key(*gateway);
            offer.wave == wave && counts
        });
        let found = of.clone().filter(|(_, offer)| is(&offer.outcome)).count();
        (of.count(), found)
    }

    /// Where a wave stands, for people: its gateways so far, those that confirmed, and those on which it failed.
    pub fn progress(&self, wave: usize) -> [usize; 3] {
        let of = self.offers.values().filter(|offer| offer.wave == wave);
        let confirmed = of
            .clone()
            .filter(|offer| offer.outcome == Outcome::Confirmed);
        let failed = of.clone().filter(|offer| offer.outcome.has_failed());
        [of.clone().count(), confirmed.count(), failed.count()]
    }

    fn offer(&mut self, members: &BTreeMap<String, Member>, now: WallTime) {
        for gateway in self.due(members) {
            if !self.may_offer(now) {
                break;
            }
            let outcome = members
                .get(&gateway)
                .map_or(Outcome::Waiting, |member| member.outcome.clone());
            self.offers
                .insert(gateway, Offer::new(self.wave, now, outcome));
        }
    }

    /// Takes one place of the rate, if there is one. What was not used is lost, but for the last second's; a clock that
    /// was set back costs no more than one pause.
    fn may_offer(&mut self, now: WallTime) -> bool {
        let Some(rate) = self.plan.rate else {
            return true;
        };
        let pause = MINUTE / u64::from(rate.get());
        let earliest = now.0.saturating_sub(SECOND);
        let next = self.next_offer.clamp(earliest, now.0.saturating_add(pause));
        if next > now.0 {
            return false;
        }
        self.next_offer = next.saturating_add(pause);
        true
    }

    /// Whom this wave has still to reach, in the order in which it does.
    fn due(&self, members: &BTreeMap<String, Member>) -> Vec<String> {
        let Some(asked) = self.plan.waves.get(self.wave) else {
            return Vec::new();
        };
        let fit = members
            .iter()
            .filter(|(_, member)| !matches!(member.fit, Fit::Unfit(_)));
        let count = fit.clone().count();
        let offered = |gateway: &String| self.offers.contains_key(gateway);
        let there = fit.clone().filter(|(gateway, _)| offered(gateway)).count();
        let open = fit.filter(|(gateway, _)| !offered(gateway));
        let left = match &asked.reach {
            Reach::Gateways(named) => {
                let named = open.filter(|(gateway, _)| named.contains(gateway));
                return named.map(|(gateway, _)| gateway.clone()).collect();
            }
            Reach::Count(most) => usize::try_from(*most).unwrap_or(usize::MAX),
            Reach::Percent(percent) => part(count, *percent),
        };
        let mut open: Vec<_> = open.collect();
        open.sort_by_cached_key(|(gateway, member)| {
            let turn = Digest::of(format!("{} {gateway}", self.plan.deployment).as_bytes());
            (!member.online, *turn.as_bytes())
        });
        let next = open.into_iter().take(left.saturating_sub(there));
        next.map(|(gateway, _)| gateway.clone()).collect()
    }

    fn stop(&mut self, end: End) {
        self.state = State::Stopped(end);
        for offer in self.offers.values_mut() {
            offer.withdrawn = offer.outcome == Outcome::Waiting;
        }
    }
}

/// So many percent of a number, rounded up.
fn part(of: usize, percent: u32) -> usize {
    let percent = usize::try_from(percent).unwrap_or(usize::MAX);
    of.saturating_mul(percent).div_ceil(100)
}

/// Whether `count` is at least so many percent of `of`.
fn at_least(count: usize, percent: u32, of: usize) -> bool {
    let percent = usize::try_from(percent).unwrap_or(usize::MAX);
    count.saturating_mul(100) >= of.saturating_mul(percent)
}
