//! The generation that runs beside the active one: on trial before it takes over, or standing by after it was taken over
//! from.
//!
//! It is given the messages that the active one was given, at the same times, and keeps a state of its own. Its outputs
//! go nowhere. A call is a function of state, configuration and batch: so what stands by is in the state in which it
//! would be had it stayed active, and what is on trial answers as the active one does unless its code differs.

use std::time::Duration;

use tidegate_record::{BootTime, Record, StandBy};

use crate::compare::Outputs;
use crate::error::Failure;
use crate::module::{Called, Cost, Failed, Module, Now};
use crate::order::News;
use crate::trial::{Outcome, Terms, Trial};

/// A generation beside the active one.
#[derive(Debug)]
pub(crate) struct Companion {
    pub(crate) module: Box<Module>,
    role: Role,
    wake_at: Option<BootTime>,
}

#[derive(Debug)]
enum Role {
    Trial(Trial),
    StandBy,
}

/// What the active one made of a batch, to be compared.
#[derive(Debug)]
pub(crate) struct Shown {
    records: Vec<Record>,
    now: Now,
    made: (Outputs, Cost),
}

impl Companion {
    /// Starts a trial of a module that follows the active one's state.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) async fn on_trial(
        mut module: Box<Module>,
        terms: Terms,
        now: Now,
    ) -> Result<Self, Failure> {
        let wake_at = module.start_at(now).await?;
        Ok(Self {
            module,
            role: Role::Trial(Trial::begin(terms, now.1)),
            wake_at,
        })
    }

    /// Stands by with the state that it has. It starts with its first message.
    pub(crate) const fn standing_by(module: Box<Module>) -> Self {
        Self {
            module,
            role: Role::StandBy,
            wake_at: None,
        }
    }

    /// Whether it stands by, and so can take over at any time.
    pub(crate) const fn stands_by(&self) -> bool {
        matches!(self.role, Role::StandBy)
    }

    /// When it wants to be called next, at the latest.
    pub(crate) const fn wake_at(&self) -> Option<BootTime> {
        self.wake_at
    }

    /// It is called now, whatever comes of that: it says again when it wants to be.
    pub(crate) const fn woken(&mut self) {
        self.wake_at = None;
    }

    /// Gives what stands by the messages of a call; what of its state changes belongs to the same commit. A message that
    /// it fails at changes nothing, as it did when it was active.
    pub(crate) async fn follow(&mut self, called: &mut Called) -> Option<StandBy> {
        if !self.stands_by() || never_follows() {
            return None;
        }
        let mut todo = vec![std::mem::take(&mut called.records)];
        let mut state = Vec::new();
        while let Some(records) = todo.pop() {
            match self.module.call_at(records, called.now).await {
                Ok(followed) => {
                    self.wake_at = followed.wake_at;
                    state.extend(followed.applied.state);
                }
                Err(Failed { mut records, .. }) if records.len() > 1 => {
                    let second = records.split_off(records.len() / 2);
                    todo.extend([second, records]);
                }
                Err(_) => {}
            }
        }
        let version = self.module.version().clone();
        Some(StandBy { version, state })
    }

    /// What a trial is to be shown of a call.
    pub(crate) fn shown(&self, called: &mut Called) -> Option<Shown> {
        (!self.stands_by()).then(|| Shown {
            made: (Outputs::of(called), called.cost),
            records: std::mem::take(&mut called.records),
            now: called.now,
        })
    }

    /// Gives what is on trial the same batch, and says once what came of it.
    pub(crate) async fn compare(&mut self, shown: Shown) -> Option<News> {
        let (now, cost) = (shown.now, shown.made.1);
        let called = match self.module.call_at(shown.records, now).await {
            Ok(called) => called,
            Err(Failed { failure, .. }) => return Some(News::Faulted(failure.to_string())),
        };
        self.wake_at = called.wake_at;
        let Role::Trial(trial) = &mut self.role else {
            return None;
        };
        let ended = BootTime(now.1.0.saturating_add(nanos(cost.wall + called.cost.wall)));
        match trial.compare(&shown.made, &called, ended)? {
            Outcome::Passed => Some(News::Passed),
            Outcome::Rejected(text) => Some(News::Rejected(text)),
        }
    }

    /// Gives what is on trial messages that the active one failed at: there is nothing to compare with.
    pub(crate) async fn pass_over(&mut self, records: &[Record], now: Now) {
        if self.stands_by() {
            return;
        }
        for record in records {
            // If it fails as well, that is no news.
            if let Ok(called) = self.module.call_at(vec![record.without_ack()], now).await {
                self.wake_at = called.wake_at;
            }
        }
    }
}

#[cfg(not(feature = "faults"))]
const fn never_follows() -> bool {
    false
}

/// The negative control of the update drill: what stands by stays where it was at the switch.
#[cfg(feature = "faults")]
fn never_follows() -> bool {
    std::env::var_os("TIDEGATE_FAULT").is_some_and(|fault| fault == "never-follow")
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
