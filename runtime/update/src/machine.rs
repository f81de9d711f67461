//! The update machine: what has happened in, what is to be done out. Pure: it reads no clock, disk or network.
//!
//! ```text
//!              accepted          stored           all passed          activated            minutes
//!   (nothing) ----------> fetching ------> shadow -----------> activating -----> probation -------> confirmed
//!                            ^  ^  lost  |    | rejected,         |  faulted,         |
//!                            |  +--------+    | no attempt left   |  rejected, lost,  |
//!                            |                v                   |  no attempt left, |
//!                            |            given up                |  superseded       |
//!                            |                ^                   v                   v
//!                            +----------------+---- returned --- returning <----------+
//! ```
//!
//! A deployment is one thing: its changed modules are tried together, and confirmed or taken back together. Modules that
//! do not change keep their generation and are left alone.
//!
//! The caller writes the machine to disk after each event and before it does what the commands say. After a crash it
//! hands in [`Event::Started`], and the commands say what the state still needs: each may have been done before, and doing
//! it again has no further effect.
//!
//! # Invariants
//!
//! - Every event is taken in every state. One that does not fit, such as a late word of a generation that is gone, changes
//!   nothing.
//! - Once a set is confirmed there always is one, it is never changed in place, and what it names is never collected.
//! - A trial that ends with the process has used up an attempt, because the attempt was taken, and is on disk, before it
//!   began. When none is left the deployment is given up. An orderly stop gives the attempt back.
//! - What is given up is denied in the same step, unless the site hindered it. A module is denied as it was deployed, and
//!   may be tried with another release or configuration. A power cut looks like a crash: whoever allows one attempt
//!   gives an update up for a power cut in its trial.

mod candidate;
mod event;
mod set;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tidegate_bundle::{Digest, Phase, text};

use crate::store::Blob;

use candidate::{Candidate, Step};
pub use event::{Command, Event, GivenUp, Trial, Why};
pub use set::{Module, Set};

/// What is said of a deployment whose attempts all ended with the process.
const CRASHED: &str = "the gateway ended during its trial, as often as it may be tried";

/// The machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    confirmed: Option<Set>,
    candidate: Option<Candidate>,
    /// The highest generation of each module that there ever was: none is given twice.
    generations: BTreeMap<String, u64>,
    given_up: Option<GivenUp>,
}

impl Machine {
    /// Takes an event; gives what is to be done, in order.
    #[must_use]
    pub fn on(&mut self, event: Event) -> Vec<Command> {
        match event {
            Event::Accepted(set) => self.accepted(set),
            Event::Stored => self.stored(),
            Event::Lost => self.lost(),
            Event::Passed(trial) => self.passed(&trial),
            Event::Faulted(trial, sentence) => self.failed(&trial, Why::Faulted, &sentence),
            Event::Rejected(trial, sentence) => self.failed(&trial, Why::Rejected, &sentence),
            Event::Hindered(trial, sentence) => self.failed(&trial, Why::Hindered, &sentence),
            Event::Activated => self.activated(),
            Event::Returned => self.returned(),
            Event::Minutes(minutes) => self.minutes(minutes),
            Event::Started => self.started(),
            Event::Stopping => self.stopping(),
        }
    }

    /// What is fallen back to.
    #[must_use]
    pub fn confirmed(&self) -> Option<&Set> {
        self.confirmed.as_ref()
    }

    /// What is on its way.
    #[must_use]
    pub fn candidate(&self) -> Option<&Set> {
        self.candidate.as_ref().map(|candidate| &candidate.set)
    }

    /// What runs, or is about to.
    #[must_use]
    pub fn active(&self) -> Option<&Set> {
        match &self.candidate {
            Some(Candidate {
                set,
                step: Step::Activating { .. } | Step::Probation { .. },
                ..
            }) => Some(set),
            _ => self.confirmed(),
        }
    }

    /// What waits for blobs.
    #[must_use]
    pub fn fetching(&self) -> Option<&Set> {
        let candidate = self.candidate.as_ref()?;
        (candidate.step == Step::Fetching).then_some(&candidate.set)
    }

    /// The last deployment that was given up.
    #[must_use]
    pub fn given_up(&self) -> Option<&GivenUp> {
        self.given_up.as_ref()
    }

    /// Every digest that must stay in the store.
    #[must_use]
    pub fn named(&self) -> BTreeSet<Digest> {
        let blobs = self.sets().flat_map(Set::blobs);
        blobs.map(|blob| blob.sha256).collect()
    }

    /// Whether this deployment is confirmed, or on its way.
    #[must_use]
    pub fn knows(&self, deployment: Digest) -> bool {
        self.sets().any(|set| set.deployment == deployment)
    }

    /// The file of a release, if a set names it.
    #[must_use]
    pub fn release(&self, digest: Digest) -> Option<Blob> {
        self.sets()
            .find_map(|set| set.releases.get(&digest).copied())
    }

    /// All sets that are of use: what is confirmed, what is on its way, what comes after that.
    pub fn sets(&self) -> impl Iterator<Item = &Set> {
        let next = match &self.candidate {
            Some(Candidate {
                step: Step::Returning { next: Some(next) },
                ..
            }) => Some(&next.set),
            _ => None,
        };
        let sets = [self.confirmed(), self.candidate(), next];
        sets.into_iter().flatten()
    }

    /// All modules, and how far each has come.
    #[must_use]
    pub fn phases(&self) -> Vec<(&Module, Phase)> {
        let of = |module: &Module, phase| if module.enabled { phase } else { Phase::Off };
        let confirmed = self.confirmed.iter().flat_map(|set| &set.modules);
        let mut phases: Vec<_> = confirmed
            .map(|module| (module, of(module, Phase::Confirmed)))
            .collect();
        let Some(candidate) = &self.candidate else {
            return phases;
        };
        let phase = match candidate.step {
            Step::Fetching => return phases,
            Step::Shadow { .. } => Phase::Shadow,
            Step::Activating { .. } | Step::Probation { .. } => Phase::Probation,
            Step::Returning { .. } => Phase::RolledBack,
        };
        let changed = candidate.set.changed(self.confirmed());
        phases.extend(changed.map(|module| (module, of(module, phase))));
        phases
    }

    fn accepted(&mut self, mut set: Set) -> Vec<Command> {
        if self.knows(set.deployment) {
            return Vec::new();
        }
        set.number(self.confirmed.as_ref(), &mut self.generations);
        let next = Candidate::new(set);
        match self.candidate.take() {
            None => self.fetch(next, false),
            Some(mut old) => match old.step {
                Step::Fetching => self.fetch(next, false),
                Step::Shadow { .. } => self.fetch(next, true),
                // What is active goes back first: there is one set to fall back to, and it stays that one.
                Step::Activating { .. } | Step::Probation { .. } => self.go_back(old, Some(next)),
                Step::Returning { .. } => {
                    old.step = Step::Returning {
                        next: Some(Box::new(next)),
                    };
                    self.candidate = Some(old);
                    Vec::new()
                }
            },
        }
    }

    fn stored(&mut self) -> Vec<Command> {
        match self.candidate.take() {
            Some(candidate) if candidate.step == Step::Fetching => self.begin(candidate),
            other => self.unchanged(other),
        }
    }

    fn lost(&mut self) -> Vec<Command> {
        match self.candidate.take() {
            Some(mut candidate) => match candidate.step {
                Step::Fetching => self.fetch(candidate, false),
                Step::Shadow { .. } => {
                    candidate.pause();
                    candidate.step = Step::Fetching;
                    self.fetch(candidate, true)
                }
                Step::Activating { .. } | Step::Probation { .. } => {
                    let mut again = candidate.clone();
                    again.pause();
                    again.step = Step::Fetching;
                    let (before, highest) = (self.confirmed.as_ref(), &mut self.generations);
                    again.set.number(before, highest);
                    self.go_back(candidate, Some(again))
                }
                Step::Returning { .. } => self.unchanged(Some(candidate)),
            },
            None => Vec::new(),
        }
    }

    fn passed(&mut self, trial: &Trial) -> Vec<Command> {
        if !self.is_on_trial(trial) {
            return Vec::new();
        }
        let wanted = self.trials().len();
        let Some(candidate) = &mut self.candidate else {
            return Vec::new();
        };
        let Step::Shadow { passed } = &mut candidate.step else {
            return Vec::new();
        };
        passed.insert(trial.module.clone());
        if passed.len() < wanted {
            return Vec::new();
        }
        candidate.step = Step::activating(&candidate.set);
        vec![Command::Activate]
    }

    fn failed(&mut self, trial: &Trial, why: Why, sentence: &str) -> Vec<Command> {
        if !self.is_on_trial(trial) {
            return Vec::new();
        }
        let blamed = Some(trial.module.clone());
        match self.candidate.take() {
            Some(mut candidate) => match &mut candidate.step {
                Step::Shadow { passed } if why == Why::Faulted && candidate.attempts_left > 0 => {
                    passed.remove(&trial.module);
                    candidate.attempts_left -= 1;
                    self.candidate = Some(candidate);
                    vec![Command::Try(trial.clone())]
                }
                Step::Shadow { .. } | Step::Activating { .. } | Step::Probation { .. } => {
                    self.give_up(candidate, blamed, why, sentence)
                }
                Step::Fetching | Step::Returning { .. } => self.unchanged(Some(candidate)),
            },
            None => Vec::new(),
        }
    }

    fn activated(&mut self) -> Vec<Command> {
        let Some(candidate) = &mut self.candidate else {
            return Vec::new();
        };
        let Step::Activating { minutes_left } = candidate.step else {
            return Vec::new();
        };
        candidate.step = Step::Probation { minutes_left };
        self.minutes(0)
    }

    fn minutes(&mut self, minutes: u64) -> Vec<Command> {
        let Some(candidate) = &mut self.candidate else {
            return Vec::new();
        };
        let Step::Probation { minutes_left } = &mut candidate.step else {
            return Vec::new();
        };
        *minutes_left = minutes_left.saturating_sub(minutes);
        if *minutes_left > 0 {
            return Vec::new();
        }
        let confirmed = candidate.set.clone();
        let digest = confirmed.deployment;
        self.confirmed = Some(confirmed);
        self.candidate = None;
        vec![Command::Confirm(digest), Command::Retire, Command::Collect]
    }

    fn returned(&mut self) -> Vec<Command> {
        match self.candidate.take() {
            Some(Candidate {
                step: Step::Returning { next },
                ..
            }) => match next {
                Some(next) => self.fetch(*next, false),
                None => vec![Command::Collect],
            },
            other => self.unchanged(other),
        }
    }

    fn started(&mut self) -> Vec<Command> {
        let Some(mut candidate) = self.candidate.take() else {
            return vec![Command::Collect];
        };
        match candidate.step {
            Step::Fetching => self.fetch(candidate, false),
            Step::Shadow { .. } => self.begin(candidate),
            // Whatever the buffer says is active, nothing of it runs yet: until it does, no minute counts.
            Step::Activating { minutes_left } | Step::Probation { minutes_left } => {
                match candidate.take_attempt() {
                    true => {
                        candidate.step = Step::Activating { minutes_left };
                        self.candidate = Some(candidate);
                        vec![Command::Activate]
                    }
                    false => self.give_up(candidate, None, Why::Crashed, CRASHED),
                }
            }
            Step::Returning { .. } => {
                self.candidate = Some(candidate);
                vec![Command::Return]
            }
        }
    }

    fn stopping(&mut self) -> Vec<Command> {
        if let Some(candidate) = &mut self.candidate {
            candidate.pause();
        }
        Vec::new()
    }

    /// Takes an attempt and starts all that changes, or gives up.
    fn begin(&mut self, mut candidate: Candidate) -> Vec<Command> {
        if !candidate.take_attempt() {
            return self.give_up(candidate, None, Why::Crashed, CRASHED);
        }
        candidate.step = Step::Shadow {
            passed: BTreeSet::new(),
        };
        let shadowed = candidate.set.shadowed;
        self.candidate = Some(candidate);
        let trials = self.trials();
        if shadowed && !trials.is_empty() {
            return trials.into_iter().map(Command::Try).collect();
        }
        if let Some(candidate) = &mut self.candidate {
            candidate.step = Step::activating(&candidate.set);
        }
        vec![Command::Activate]
    }

    fn fetch(&mut self, candidate: Candidate, trials_run: bool) -> Vec<Command> {
        self.candidate = Some(candidate);
        let end = trials_run.then_some(Command::EndTrials);
        end.into_iter()
            .chain([Command::Collect, Command::Fetch])
            .collect()
    }

    fn go_back(&mut self, mut candidate: Candidate, next: Option<Candidate>) -> Vec<Command> {
        candidate.trying = false;
        candidate.step = Step::Returning {
            next: next.map(Box::new),
        };
        self.candidate = Some(candidate);
        vec![Command::Return]
    }

    /// Back to what is confirmed, and never again unless the site hindered it.
    fn give_up(
        &mut self,
        candidate: Candidate,
        module: Option<String>,
        why: Why,
        sentence: &str,
    ) -> Vec<Command> {
        let blamed = match &module {
            Some(name) => candidate.set.module(name),
            // Of several that changed nobody can tell which one ended the process.
            None => candidate.set.only_changed(self.confirmed()),
        };
        let mut commands = Vec::new();
        if why != Why::Hindered {
            let settings = blamed.map(|module| module.settings);
            let denied = [Some(candidate.set.deployment), settings];
            commands.extend(denied.into_iter().flatten().map(Command::Deny));
        }
        self.given_up = Some(GivenUp {
            deployment: candidate.set.deployment,
            module,
            why,
            sentence: text::sentence(sentence),
        });
        match candidate.step {
            Step::Activating { .. } | Step::Probation { .. } => {
                commands.extend(self.go_back(candidate, None));
            }
            _ => commands.extend([Command::EndTrials, Command::Collect]),
        }
        commands
    }

    fn unchanged(&mut self, candidate: Option<Candidate>) -> Vec<Command> {
        self.candidate = candidate;
        Vec::new()
    }

    /// What the candidate changes and is to run.
    fn trials(&self) -> Vec<Trial> {
        let candidate = self.candidate.iter();
        let changed = candidate.flat_map(|candidate| candidate.set.changed(self.confirmed()));
        changed
            .filter(|module| module.enabled)
            .map(|module| Trial {
                module: module.name.clone(),
                generation: module.generation,
            })
            .collect()
    }

    fn is_on_trial(&self, trial: &Trial) -> bool {
        self.trials().contains(trial)
    }
}

#[cfg(test)]
mod tests;
