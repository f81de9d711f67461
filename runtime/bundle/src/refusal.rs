//! Every reason to refuse a document that is genuine: signed by who may sign it, well-formed, and still not for this
//! gateway, not now, or not any more.

use crate::Digest;

/// The rule that a genuine document breaks. Nothing of the document has been used, and nothing was remembered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The document is another fleet's.
    #[error("the {document} is for fleet {found}, this is fleet {expected}")]
    WrongFleet {
        /// Which document.
        document: &'static str,
        /// The fleet of the root.
        expected: String,
        /// The fleet in the document.
        found: String,
    },
    /// The document is another gateway's.
    #[error("the {document} is for gateway {found}, this is gateway {expected}")]
    WrongGateway {
        /// Which document.
        document: &'static str,
        /// This gateway.
        expected: String,
        /// The gateway in the document.
        found: String,
    },
    /// The document is for a group that this gateway is not in.
    #[error("the deployment document is for group {found}, this gateway is in {}", group(.expected))]
    WrongGroup {
        /// The gateway's group, if it is in one.
        expected: Option<String>,
        /// The group in the document.
        found: String,
    },
    /// A root follows the one before by exactly one.
    #[error("the root document has version {found}, only version {expected} can follow")]
    RootVersion {
        /// One more than the version of the current root.
        expected: u64,
        /// The version in the document.
        found: u64,
    },
    /// A root may raise the epoch by one, and never lower it.
    #[error(
        "the root document has epoch {found}, after epoch {current} it must be that or one more"
    )]
    RootEpoch {
        /// The epoch of the current root.
        current: u64,
        /// The epoch in the document.
        found: u64,
    },
    /// The deployment needs a root that has not been presented yet.
    #[error("the deployment document needs root {needed}, this gateway has root {current}")]
    RootTooOld {
        /// Oldest root version that will do.
        needed: u64,
        /// The version of the current root.
        current: u64,
    },
    /// The root asks for a newer runtime.
    #[error("this runtime has version {current}, the fleet needs {needed}")]
    RuntimeTooOld {
        /// Oldest version that will do.
        needed: semver::Version,
        /// This version.
        current: semver::Version,
    },
    /// The deployment is of an epoch that the fleet has left.
    #[error("the deployment document is of epoch {found}, the fleet is in epoch {current}")]
    OldEpoch {
        /// The epoch of the root.
        current: u64,
        /// The epoch in the document.
        found: u64,
    },
    /// The deployment is of an epoch of which no root has told.
    #[error(
        "the deployment document is of epoch {found}, this gateway's root is of epoch {current}"
    )]
    UnknownEpoch {
        /// The epoch of the root.
        current: u64,
        /// The epoch in the document.
        found: u64,
    },
    /// A newer deployment has been accepted.
    #[error("the deployment document has seq {found}, {remembered} has been accepted")]
    SequenceRollback {
        /// Highest accepted.
        remembered: u64,
        /// The number in the document.
        found: u64,
    },
    /// Another deployment has been accepted under the same number.
    #[error("another deployment document with seq {seq} has been accepted")]
    SequenceReused {
        /// The number of both.
        seq: u64,
    },
    /// The number is so high that it would use up those of the years to come.
    #[error("the deployment document has seq {found}, more than {limit} above {remembered}")]
    SequenceJump {
        /// Highest accepted.
        remembered: u64,
        /// The number in the document.
        found: u64,
        /// Largest jump.
        limit: u64,
    },
    /// It was tried here, and failed.
    #[error("{} has failed on this gateway and is not tried again ({digest})", denied(.module.as_deref()))]
    Denied {
        /// The module, if it is not all of the deployment.
        module: Option<String>,
        /// Of the deployment, or of all that it says of the module.
        digest: Digest,
    },
    /// A clock that is to be believed says that its time is over.
    #[error("the deployment document expired at {expires}, it is {now} (unix seconds)")]
    Expired {
        /// The time in the document.
        expires: u64,
        /// The time now.
        now: u64,
    },
    /// A release that the deployment names was not presented.
    #[error("release {digest} of the deployment is missing")]
    MissingRelease {
        /// Its digest.
        digest: Digest,
    },
    /// A release was presented that the deployment does not name, or twice.
    #[error("release {digest} was presented and the deployment does not name it, or it came twice")]
    UnexpectedRelease {
        /// Its digest.
        digest: Digest,
    },
    /// Two releases of one module in one deployment.
    #[error("the deployment has two releases of module {module}")]
    ConflictingReleases {
        /// The module.
        module: String,
    },
    /// A newer release of the module has been accepted.
    #[error("the release of module {module} has counter {found}, {remembered} has been accepted")]
    ReleaseRollback {
        /// The module.
        module: String,
        /// Highest accepted.
        remembered: u64,
        /// The counter in the release.
        found: u64,
    },
    /// The counter is so high that it would use up those of the years to come.
    #[error(
        "the release of module {module} has counter {found}, more than {limit} above {remembered}"
    )]
    ReleaseJump {
        /// The module.
        module: String,
        /// Highest accepted.
        remembered: u64,
        /// The counter in the release.
        found: u64,
        /// Largest jump.
        limit: u64,
    },
    /// The deployment grants a downgrade that no publisher of the module has signed.
    #[error(
        "the downgrade of module {module} to counter {to_counter} is not signed by its publishers"
    )]
    DowngradeNotSigned {
        /// The module.
        module: String,
        /// The counter in the grant.
        to_counter: u64,
    },
    /// The deployment grants what the release does not ask for.
    #[error("module {module} is granted {what} {text:?}, its release does not ask for that")]
    NotAsked {
        /// Name in the deployment.
        module: String,
        /// Field of the capabilities.
        what: &'static str,
        /// What is granted.
        text: String,
    },
    /// The deployment speaks of a stream that the release does not have.
    #[error("module {module} has no stream {stream}")]
    UnknownStream {
        /// Name in the deployment.
        module: String,
        /// Name of the stream.
        stream: String,
    },
    /// There is no room to remember the counters of more modules.
    #[error("this gateway would have to remember more than {limit} modules")]
    TooManyModules {
        /// How many it remembers.
        limit: usize,
    },
    /// The time document answers another question.
    #[error("the time document does not have the nonce that was asked with")]
    WrongNonce,
    /// The deployment is neither the accepted one nor the confirmed one.
    #[error("deployment {digest} is not one that this gateway has accepted")]
    NotRemembered {
        /// Its digest.
        digest: Digest,
    },
    /// What this gateway remembers cannot be read.
    #[error("the trust memory is damaged: {problem}")]
    MemoryDamaged {
        /// What is wrong with it.
        problem: String,
    },
}

impl Refusal {
    /// The stable code of this refusal, for reports and programs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::WrongFleet { .. } => "wrong-fleet",
            Self::WrongGateway { .. } => "wrong-gateway",
            Self::WrongGroup { .. } => "wrong-group",
            Self::RootVersion { .. } => "root-version",
            Self::RootEpoch { .. } => "root-epoch",
            Self::RootTooOld { .. } => "root-too-old",
            Self::RuntimeTooOld { .. } => "runtime-too-old",
            Self::OldEpoch { .. } => "old-epoch",
            Self::UnknownEpoch { .. } => "unknown-epoch",
            Self::SequenceRollback { .. } => "sequence-rollback",
            Self::SequenceReused { .. } => "sequence-reused",
            Self::SequenceJump { .. } => "sequence-jump",
            Self::Denied { .. } => "denied",
            Self::Expired { .. } => "expired",
            Self::MissingRelease { .. } => "missing-release",
            Self::UnexpectedRelease { .. } => "unexpected-release",
            Self::ConflictingReleases { .. } => "conflicting-releases",
            Self::ReleaseRollback { .. } => "release-rollback",
            Self::ReleaseJump { .. } => "release-jump",
            Self::DowngradeNotSigned { .. } => "downgrade-not-signed",
            Self::NotAsked { .. } => "not-asked",
            Self::UnknownStream { .. } => "unknown-stream",
            Self::TooManyModules { .. } => "too-many-modules",
            Self::WrongNonce => "wrong-nonce",
            Self::NotRemembered { .. } => "not-remembered",
            Self::MemoryDamaged { .. } => "memory-damaged",
        }
    }
}

fn denied(module: Option<&str>) -> String {
    module.map_or_else(
        || "the deployment".to_owned(),
        |name| format!("module {name} with this release and configuration"),
    )
}

fn group(name: &Option<String>) -> String {
    name.as_ref()
        .map_or_else(|| "none".to_owned(), |name| format!("group {name}"))
}
