//! A deployment on its way, and its attempts.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Set;

/// How far a candidate has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Step {
    Fetching,
    Shadow {
        passed: BTreeSet<String>,
    },
    /// Until the word comes that it is done. The minutes are those that its probation will take.
    Activating {
        minutes_left: u64,
    },
    Probation {
        minutes_left: u64,
    },
    /// To the confirmed set; after that on with the next candidate, if there is one.
    Returning {
        next: Option<Box<Candidate>>,
    },
}

impl Step {
    /// For the first time.
    pub(super) fn activating(set: &Set) -> Self {
        Self::Activating {
            minutes_left: set.probation_minutes,
        }
    }
}

/// A deployment on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Candidate {
    pub(super) set: Set,
    pub(super) step: Step,
    pub(super) attempts_left: u64,
    /// Whether an attempt is under way. If it still is when the process begins, the process ended in it.
    pub(super) trying: bool,
}

impl Candidate {
    pub(super) fn new(set: Set) -> Self {
        Self {
            attempts_left: set.attempts,
            set,
            step: Step::Fetching,
            trying: false,
        }
    }

    /// False when none is left.
    pub(super) fn take_attempt(&mut self) -> bool {
        let Some(left) = self.attempts_left.checked_sub(1) else {
            return false;
        };
        self.attempts_left = left;
        self.trying = true;
        true
    }

    /// Gives the attempt under way back: it ended for another reason than the candidate.
    pub(super) fn pause(&mut self) {
        if std::mem::take(&mut self.trying) {
            self.attempts_left = self.attempts_left.saturating_add(1);
        }
    }
}
