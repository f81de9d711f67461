//! How a generation on trial does, beside the active one: equal, quick enough, and for long enough.

use std::time::Duration;

use tidegate_record::BootTime;

use crate::compare::{Check, Outputs};
use crate::module::{Called, Cost};

/// Calls after which what they took is judged while the trial goes on: fewer say little.
const CALLS_TO_JUDGE: u32 = 100;

/// What a trial is to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How outputs are compared.
    pub check: Check,
    /// How long it takes.
    pub length: Length,
    /// Most processor time, in percent of what the active one takes.
    pub cpu_percent_max: u64,
    /// Longest time that calls may take, in percent of those of the active one.
    pub latency_percent_max: u64,
}

/// How long a trial takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// For so many messages.
    Messages(u64),
    /// For so long.
    Time(Duration),
}

/// What came of a trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It has done well, for as long as was asked.
    Passed,
    /// It answers otherwise, or takes too much. In words.
    Rejected(String),
}

/// A trial under way.
#[derive(Debug)]
pub(crate) struct Trial {
    terms: Terms,
    begun: BootTime,
    messages: u64,
    calls: u32,
    ours: Spent,
    theirs: Spent,
    /// It has passed, and goes on until it is taken over or ended.
    over: bool,
}

/// What the calls of one generation took.
#[derive(Debug, Default)]
struct Spent {
    cpu: Duration,
    wall: Duration,
}

impl Spent {
    fn add(&mut self, cost: Cost) {
        self.cpu += cost.cpu;
        self.wall += cost.wall;
    }
}

impl Trial {
    pub(crate) fn begin(terms: Terms, now: BootTime) -> Self {
        Self {
            terms,
            begun: now,
            messages: 0,
            calls: 0,
            ours: Spent::default(),
            theirs: Spent::default(),
            over: false,
        }
    }

    /// Holds a call of the candidate against the active one's. Says once what came of the trial.
    pub(crate) fn compare(
        &mut self,
        (outputs, cost): &(Outputs, Cost),
        candidate: &Called,
        now: BootTime,
    ) -> Option<Outcome> {
        if self.over {
            return None;
        }
        self.calls += 1;
        self.messages += u64::try_from(candidate.records.len()).unwrap_or(u64::MAX);
        self.ours.add(*cost);
        self.theirs.add(candidate.cost);
        let outcome = self.judge(outputs, candidate, now)?;
        self.over = true;
        Some(outcome)
    }

    fn judge(&self, outputs: &Outputs, candidate: &Called, now: BootTime) -> Option<Outcome> {
        let difference = outputs.difference(&Outputs::of(candidate), self.terms.check);
        if let Some(difference) = difference {
            let text = format!("after {} messages: {difference}", self.messages);
            return Some(Outcome::Rejected(text));
        }
        let done = match self.terms.length {
            Length::Messages(messages) => self.messages >= messages,
            Length::Time(time) => now.since(self.begun) >= time,
        };
        let sure = done || self.calls >= CALLS_TO_JUDGE;
        match self.beyond().filter(|_| sure) {
            Some(text) => Some(Outcome::Rejected(text)),
            None => done.then_some(Outcome::Passed),
        }
    }

    /// Where it takes more than it may.
    fn beyond(&self) -> Option<String> {
        let bounds = [
            (
                "processor time",
                self.ours.cpu,
                self.theirs.cpu,
                self.terms.cpu_percent_max,
            ),
            (
                "time",
                self.ours.wall,
                self.theirs.wall,
                self.terms.latency_percent_max,
            ),
        ];
        let found = bounds.into_iter().find(|(_, ours, theirs, percent)| {
            theirs.as_nanos() * 100 > ours.as_nanos() * u128::from(*percent)
        });
        found.map(|(what, ours, theirs, percent)| {
            format!(
                "takes {} us of {what} for {} messages, the one before {} us, limit is {percent} percent of that",
                theirs.as_micros(),
                self.messages,
                ours.as_micros()
            )
        })
    }
}
