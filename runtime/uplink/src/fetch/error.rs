//! Why a centre's answer is not taken.

use std::time::Duration;

use crate::error::Error as Broken;

/// Why a centre's answer is not taken. What came of a blob until then is good to go on from.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The exchange failed.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// It refused.
    #[error("the centre answered {status}: {text}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The start of its answer.
        text: String,
        /// When it is to be asked again, if it says so.
        retry_after: Option<Duration>,
    },
    /// It wants the gateway to ask elsewhere.
    #[error(
        "the centre answered {0}, which leads elsewhere: the gateway asks only where it was told to"
    )]
    Redirected(u16),
    /// What it gives is something else.
    #[error("the centre answered with {found:?} in place of {expected}")]
    WrongType {
        /// The type asked for.
        expected: &'static str,
        /// The type that it says.
        found: String,
    },
    /// An answer broke off, or is too long.
    #[error("cannot read the centre's answer, of which at most {bytes_max} bytes are taken")]
    Body {
        /// The bound in bytes.
        bytes_max: usize,
        /// The reason.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It was not done in time.
    #[error("the centre was not done within {} s", .0.as_secs())]
    Late(Duration),
    /// It gives another part of a file than was asked for.
    #[error("the centre answered with another part of the file than {expected}")]
    WrongPart {
        /// What was asked for.
        expected: String,
    },
    /// The file goes on after its end.
    #[error("the centre sends more than the {0} bytes of the file")]
    Long(u64),
    /// The file ends before its end.
    #[error("the file ends after {found} of {expected} bytes")]
    Short {
        /// Its length in bytes.
        expected: u64,
        /// Where it ended.
        found: u64,
    },
    /// Nothing came.
    #[error("nothing came for {} s", .0.as_secs())]
    Silent(Duration),
    /// Too little came.
    #[error("{bytes} bytes came in {} s, which is too slow", .time.as_secs())]
    Slow {
        /// What came.
        bytes: u64,
        /// In this time.
        time: Duration,
    },
    /// The byte budget has nothing for updates.
    #[error("the byte budget leaves nothing for updates for another {} min", .0.as_secs().div_ceil(60))]
    Budget(Duration),
}

impl Error {
    /// For how long the centre asks not to be asked again.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}
