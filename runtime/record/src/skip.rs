//! Messages that are taken and lead to nothing: how many, from whom and why.
//!
//! Nobody asks for them, or nobody can use them, so the source is told that they are done with; but only after the count
//! is on disk, so that no message goes without a trace.

use crate::{Ack, Name};

/// Why a message led to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SkipReason {
    /// No module asks for its topic.
    Unrouted,
    /// It is larger than a message may be.
    Oversized,
    /// It is no message.
    Malformed,
    /// It wanted no acknowledgement, and came faster than it could be taken.
    Overflow,
    /// It waited on disk and came back damaged.
    Damaged,
}

impl SkipReason {
    /// The word for it in documents and pages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unrouted => "unrouted",
            Self::Oversized => "oversized",
            Self::Malformed => "malformed",
            Self::Overflow => "overflow",
            Self::Damaged => "damaged",
        }
    }
}

/// Messages of one source or for one module that led to nothing, with one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skip {
    /// The source or module.
    pub of: Name,
    /// Why.
    pub reason: SkipReason,
    /// How many.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Where messages that lead to nothing are counted. Does not wait.
pub trait SkipSink: std::fmt::Debug + Send + Sync {
    /// Counts one message. `ack` is fired when the count is on disk.
    fn skipped(&self, of: &Name, reason: SkipReason, bytes: u64, ack: Ack);
}
