//! What became of a deployment on one gateway, from what the gateway reports.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};
use tidegate_bundle::{Deployment, Digest, InstalledModule, Phase, Status};

/// The reason code of a deployment that failed on a gateway, or has a release that did.
const DENIED: &str = "denied";

/// What became of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The gateway has not said that it knows of it.
    Waiting,
    /// It was accepted: fetched, in the shadow, or in probation.
    Trying,
    /// It has proven itself.
    Confirmed,
    /// The gateway did not take it.
    Refused(Cause),
    /// It was accepted, tried and given up.
    RolledBack,
    /// The gateway has accepted a newer one.
    Superseded,
}

/// Why a gateway did not take a deployment, in its own words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "KeptCause")]
pub struct Cause {
    /// Reason code.
    pub reason: String,
    /// The sentence beside it, if it has said one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// An older centre kept the code alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum KeptCause {
    Code(String),
    Whole { reason: String, why: Option<String> },
}

impl From<KeptCause> for Cause {
    fn from(kept: KeptCause) -> Self {
        match kept {
            KeptCause::Code(reason) => Self { reason, why: None },
            KeptCause::Whole { reason, why } => Self { reason, why },
        }
    }
}

/// Part of a sentence.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reason, why } = self;
        match why {
            Some(why) => write!(f, "{} (reason code {reason})", why.trim_end_matches('.')),
            None => write!(f, "reason code {reason}"),
        }
    }
}

impl Outcome {
    /// Whether it counts as a failure.
    pub const fn has_failed(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::RolledBack)
    }

    /// Whether nothing follows it.
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Confirmed | Self::RolledBack)
    }
}

/// What of a deployment stands in reports.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The document.
    pub deployment: Deployment,
    /// SHA-256 of its signed body.
    pub digest: Digest,
    /// SHA-256 of its file.
    pub file: Digest,
}

/// What a report says of a deployment.
pub fn outcome(status: Option<&Status>, wanted: &Wanted) -> Outcome {
    let Some(status) = status else {
        return Outcome::Waiting;
    };
    if status.confirmed == Some(wanted.digest) {
        return Outcome::Confirmed;
    }
    let refused = status.refused.iter().rev();
    let refused = refused
        .filter(|refused| refused.sha256 == wanted.file)
        .map(|refused| Cause {
            reason: refused.reason.clone(),
            why: refused.why.clone(),
        })
        .next();
    let asked = (wanted.deployment.epoch, wanted.deployment.seq);
    match (refused, (status.epoch, status.seq).cmp(&asked)) {
        // It is denied what it has accepted: it was tried. What it has not accepted may be denied for a release of it.
        (Some(cause), Ordering::Equal) if cause.reason == DENIED => Outcome::RolledBack,
        (Some(cause), Ordering::Less) => Outcome::Refused(cause),
        (_, Ordering::Equal) => on_trial(status, wanted),
        (_, Ordering::Greater) => Outcome::Superseded,
        (None, Ordering::Less) => Outcome::Waiting,
    }
}

/// Of one that was accepted. A report that names no confirmed deployment is judged by its modules.
fn on_trial(status: &Status, wanted: &Wanted) -> Outcome {
    let modules = &wanted.deployment.modules;
    let newest = |name: &str| -> Option<&InstalledModule> {
        let all = status.modules.iter().filter(|module| module.name == name);
        all.max_by_key(|module| module.generation)
    };
    let is = |release, phase, found: Option<&InstalledModule>| {
        found.is_some_and(|found| found.release == release && found.phase == phase)
    };
    let given_up = modules
        .iter()
        .any(|module| is(module.release, Phase::RolledBack, newest(&module.name)));
    let proven = modules.iter().all(|module| {
        let found = newest(&module.name);
        match module.enabled() {
            true => is(module.release, Phase::Confirmed, found),
            false => found.is_none_or(|found| found.phase == Phase::Off),
        }
    });
    match (given_up, status.confirmed) {
        (true, _) => Outcome::RolledBack,
        (false, None) if proven => Outcome::Confirmed,
        _ => Outcome::Trying,
    }
}
