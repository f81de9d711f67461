//! Why the update client did not do what it was asked.

use std::io;

use crate::policy::Denial;
use crate::{state, stick, store};

/// Why nothing was taken. What runs runs on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A document is not to be believed, or breaks a rule.
    #[error("a document is refused")]
    Document(#[from] tidegate_bundle::Error),
    /// The site does not permit it, or does not have what it needs.
    #[error("the site does not take it: {}", sentences(.0))]
    NotPermitted(Vec<Denial>),
    /// The file is no stick.
    #[error("the stick is refused")]
    Stick(#[from] stick::Error),
    /// There is nothing to take.
    #[error("{source_name} has no deployment")]
    NoDeployment {
        /// What was asked.
        source_name: String,
    },
    /// Whoever was asked failed.
    #[error("{source_name} cannot give the {what}")]
    Source {
        /// What was asked.
        source_name: String,
        /// For what.
        what: &'static str,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// A blob could not be stored or loaded.
    #[error("a blob is refused")]
    Store(#[from] store::Error),
    /// The state could not be opened or written.
    #[error("the state of the update fails")]
    State(#[from] state::Error),
    /// The audit log could not be written: nothing is done that is not noted.
    #[error("the audit log cannot be written")]
    Audit(#[source] io::Error),
    /// No module can be loaded of a set that is not there.
    #[error("nothing is {0}")]
    Nothing(&'static str),
}

impl Error {
    /// Whether the disk under the client's files has failed: a later start may do better.
    #[must_use]
    pub fn is_storage(&self) -> bool {
        matches!(
            self,
            Self::Store(store::Error::Disk { .. })
                | Self::State(state::Error::Disk { .. })
                | Self::Audit(_)
        )
    }

    /// The stable code of this reason, for reports and programs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Document(error) => error.reason(),
            Self::NotPermitted(denials) => denials.first().map_or("not-permitted", Denial::reason),
            Self::Stick(error) => error.reason(),
            Self::NoDeployment { .. } => "missing-deployment",
            Self::Source { .. } => "source-failed",
            Self::Store(error) => error.reason(),
            Self::State(_) | Self::Audit(_) => "disk-failed",
            Self::Nothing(_) => "nothing",
        }
    }
}

fn sentences(denials: &[Denial]) -> String {
    let sentences: Vec<_> = denials.iter().map(Denial::to_string).collect();
    sentences.join("; ")
}

/// An error and its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}
