//! What the machine hears and says.

use std::fmt;

use serde::{Deserialize, Serialize};
use tidegate_bundle::Digest;

use super::Set;

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A deployment was verified, is permitted here, and its documents are in the store.
    Accepted(Set),
    /// All that the candidate names is in the store.
    Stored,
    /// Something that the candidate names is not in the store any more.
    Lost,
    /// A module has done well in the shadow.
    Passed(Trial),
    /// A module could not be started, trapped or hung, for this reason: it may be tried again.
    Faulted(Trial, String),
    /// A module answers otherwise, or takes too much, for this reason: trying again would not help.
    Rejected(Trial, String),
    /// The site lacks what a module needs, such as a secret, for this reason: that says nothing against the module.
    Hindered(Trial, String),
    /// The candidate's generations are the active ones.
    Activated,
    /// The confirmed generations are the active ones again.
    Returned,
    /// The candidate has been active for so many minutes more, without a fault.
    Minutes(u64),
    /// The process begins: nothing runs yet.
    Started,
    /// The process ends in an orderly way, and takes its trial with it.
    Stopping,
}

/// One module on trial.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Trial {
    /// Its name.
    pub module: String,
    /// Its generation.
    pub generation: u64,
}

/// What is to be done. Each can be done again without further effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Bring what the candidate lacks into the store; then [`Event::Stored`].
    Fetch,
    /// Start a module in the shadow of the one before; then [`Event::Passed`] or what went wrong.
    Try(Trial),
    /// End all shadows.
    EndTrials,
    /// Make the candidate's generations the active ones, in one commit, and let those before stand by; then
    /// [`Event::Activated`].
    Activate,
    /// Make the confirmed generations the active ones, in one commit, and end the candidate's; then [`Event::Returned`].
    Return,
    /// End what stood by: it is not needed any more.
    Retire,
    /// Take no deployment with this digest, and none that deploys a module with this digest of its settings.
    Deny(Digest),
    /// This deployment is what a later one falls back to.
    Confirm(Digest),
    /// Remove from the store what [`super::Machine::named`] does not name.
    Collect,
}

/// Why a deployment was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// A module trapped, hung or did not start, as often as it was tried.
    Faulted,
    /// A module answered otherwise than the one before, or took too much.
    Rejected,
    /// The process ended during its trial, as often as it was tried.
    Crashed,
    /// The site lacked what a module needs. It is not denied.
    Hindered,
}

/// A deployment that was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GivenUp {
    /// Its digest.
    pub deployment: Digest,
    /// The module that it was given up for, where that is known.
    pub module: Option<String>,
    /// Why.
    pub why: Why,
    /// The reason in one sentence; empty where an older version of this program has written it.
    #[serde(default)]
    pub sentence: String,
}

impl fmt::Display for GivenUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.module {
            Some(module) => write!(f, "module {module}: {}", self.sentence),
            None => f.write_str(&self.sentence),
        }
    }
}
