//! How far gateways are with the way back from a rollout that ended badly.

use std::fmt;

use super::outcome::Outcome;
use super::{Choice, Rollout, State};

/// What has become of the gateways that were offered the deployment. Those that have gone on to a newer one count for
/// nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WayBack {
    /// They are offered the deployment that takes it back.
    Offered {
        /// How many.
        of: usize,
        /// Those of them that have confirmed it.
        back: usize,
        /// Those of them on which it failed.
        failed: usize,
    },
    /// None was signed.
    Missing {
        /// Gateways that have the deployment, for good or on trial.
        keep: usize,
    },
}

impl WayBack {
    /// Of a rollout that ended badly; `outcome` is what a gateway reports now of one of its deployments.
    pub fn of(rollout: &Rollout, outcome: impl Fn(&str, Choice) -> Outcome) -> Option<Self> {
        if !matches!(rollout.state, State::Stopped(_)) {
            return None;
        }
        let count = |choice, is: fn(&Outcome) -> bool| {
            let offered = rollout.offers.keys();
            offered
                .filter(|gateway| is(&outcome(gateway, choice)))
                .count()
        };
        Some(match rollout.plan.revert {
            Some(_) => Self::Offered {
                of: count(Choice::Revert, |outcome| *outcome != Outcome::Superseded),
                back: count(Choice::Revert, |outcome| *outcome == Outcome::Confirmed),
                failed: count(Choice::Revert, Outcome::has_failed),
            },
            None => Self::Missing {
                keep: count(Choice::New, |outcome| {
                    matches!(outcome, Outcome::Confirmed | Outcome::Trying)
                }),
            },
        })
    }
}

impl fmt::Display for WayBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offered {
                of,
                back,
                failed: 0,
            } => write!(f, "{back} of {of} back"),
            Self::Offered { of, back, failed } => {
                write!(f, "{back} of {of} back, the way back failed on {failed}")
            }
            Self::Missing { keep: 0 } => f.write_str("no gateway keeps it"),
            Self::Missing { keep } => write!(f, "no way back was signed, {keep} keep it"),
        }
    }
}
