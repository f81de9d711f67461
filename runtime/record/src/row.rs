//! Rows for the centre: what a module keeps, the identity that makes it unique for ever, and the outbox it waits in.
//!
//! The `#[n(…)]` numbers are part of the stored and the synced format (docs/formats/wire.md): never reuse one.

use std::future::Future;
use std::sync::Arc;

use minicbor::{Decode, Encode};

use crate::{BootId, BootTime, ClockQuality, Lost, Name, Thinned, WallTime};

/// What becomes of a row near the quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Class {
    /// Given up last of all.
    #[n(0)]
    Alarm,
    /// Given up after `Raw`.
    #[n(1)]
    Summary,
    /// Thinned out, and then given up, first.
    #[n(2)]
    Raw,
}

impl Class {
    /// The word for it in documents and pages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alarm => "alarm",
            Self::Summary => "summary",
            Self::Raw => "raw",
        }
    }
}

/// A row as a module asks for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Declared in the release, with its units.
    pub stream: Name,
    /// What becomes of it near the quota.
    pub class: Class,
    /// Series within the stream, such as the machine; may be empty.
    pub key: Arc<str>,
    /// Start of what it describes.
    pub time: WallTime,
    /// Its length in nanoseconds, 0 for an instant.
    pub duration_ns: u64,
    /// What it says.
    pub content: Content,
}

/// What a row says.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub enum Content {
    /// Named values, which the gateway can thin out and the centre can chart.
    #[n(0)]
    Values(#[n(0)] Vec<NamedValue>),
    /// An opaque document, kept whole or dropped with a ledger entry.
    #[n(1)]
    Document(#[n(0)] Document),
    /// Written by the gateway near its quota: what several rows of one series said.
    #[n(2)]
    Thinned(#[n(0)] Thinned),
    /// Written by the gateway in place of rows that are gone: an entry of the loss ledger.
    #[n(3)]
    Lost(#[n(0)] Lost),
}

/// One value of a row.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct NamedValue {
    /// Its name within the stream.
    #[n(0)]
    pub name: String,
    /// The value.
    #[n(1)]
    pub value: Scalar,
}

/// A single value.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub enum Scalar {
    /// On or off.
    #[n(0)]
    Boolean(#[n(0)] bool),
    /// A count or code.
    #[n(1)]
    Integer(#[n(0)] i64),
    /// A measured value.
    #[n(2)]
    Number(#[n(0)] f64),
    /// A word.
    #[n(3)]
    Text(#[n(0)] String),
}

/// An opaque document.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Document {
    /// MIME type.
    #[n(0)]
    pub content_type: String,
    /// The document.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub bytes: Vec<u8>,
}

/// One opening of a gateway's database. The random part keeps a restored backup from reusing an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Epoch {
    /// Counts the openings: orders the epochs of one gateway.
    #[n(0)]
    pub ordinal: u64,
    /// Drawn anew at each opening.
    #[n(1)]
    pub random: u64,
}

/// When and in which boot a row was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Stamp {
    /// The gateway's boot.
    #[n(0)]
    pub boot: BootId,
    /// Since that boot.
    #[n(1)]
    pub boot_time: BootTime,
    /// By the gateway's wall clock.
    #[n(2)]
    pub wall_time: WallTime,
    /// How far to trust `wall_time`.
    #[n(3)]
    pub clock: ClockQuality,
}

/// A row on disk and on its way to the centre. Its identity is `(stream, epoch, seq)` on this gateway.
///
/// Rows cover the numbers of their stream and epoch without gaps: each begins where the one before ended. One that
/// stands for others, because they were thinned out or are gone, covers their numbers as well.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct StoredRow {
    /// Position in its stream and epoch, from 1.
    #[n(0)]
    pub seq: u64,
    /// What becomes of it near the quota.
    #[n(1)]
    pub class: Class,
    /// The module that kept it.
    #[n(2)]
    pub module: Name,
    /// Which activation of that module.
    #[n(3)]
    pub generation: u64,
    /// Series within the stream; may be empty.
    #[n(4)]
    pub key: String,
    /// Start of what it describes.
    #[n(5)]
    pub time: WallTime,
    /// Its length in nanoseconds.
    #[n(6)]
    pub duration_ns: u64,
    /// What it says.
    #[n(7)]
    pub content: Content,
    /// When it was committed.
    #[n(8)]
    pub stamp: Stamp,
    /// Trace id of the message that caused it.
    #[n(9)]
    #[cbor(with = "minicbor::bytes")]
    pub trace: Option<[u8; 16]>,
    /// The first number that it covers, where that is not its own.
    #[n(10)]
    pub from: Option<u64>,
}

impl StoredRow {
    /// The first number that it covers.
    pub fn first(&self) -> u64 {
        self.from.unwrap_or(self.seq)
    }
}

/// A stream within one epoch: the space in which `seq` counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct StreamEpoch {
    /// The stream.
    #[n(0)]
    pub stream: Name,
    /// The epoch.
    #[n(1)]
    pub epoch: Epoch,
}

/// How far the centre holds a stream: every row up to `seq`, without a gap.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Mark {
    /// Which stream and epoch.
    #[n(0)]
    pub of: StreamEpoch,
    /// Highest contiguous `seq` that the centre has committed; 0 for none.
    #[n(1)]
    pub seq: u64,
}

/// Rows not yet acknowledged by a centre. The buffer implements it, the uplink drains it, and neither knows the other.
pub trait Outbox: Send + Sync {
    /// Why the outbox could not be read or marked.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The epoch in which rows are numbered now.
    fn epoch(&self) -> Epoch;

    /// Streams and epochs of which there are rows, whether or not the centre holds them, the newest epoch first. With
    /// `current`, only those of the current epoch.
    fn known(&self, current: bool) -> Vec<StreamEpoch>;

    /// Whether there is no row that the centre lacks.
    fn is_empty(&self) -> bool;

    /// The centre answers again. Where a backlog waits, a new epoch begins, so that what is kept from now on can overtake it.
    fn connected(&self) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Rows that the centre lacks, the oldest of each stream and epoch, in order of `seq`: at most `rows_max`, and as many
    /// while there are more. Only of streams with rows of class `least` or one that gives way later: all of them with
    /// [`Class::Raw`], those with alarms with [`Class::Alarm`].
    fn next(
        &self,
        rows_max: usize,
        least: Class,
    ) -> impl Future<Output = Result<Vec<(StreamEpoch, Vec<StoredRow>)>, Self::Error>> + Send;

    /// How far the centre holds these. A mark that went back means that the centre was restored from a backup: rows that
    /// are still here come out again. Answers whether one did.
    fn acknowledged(
        &self,
        marks: &[Mark],
    ) -> impl Future<Output = Result<bool, Self::Error>> + Send;

    /// Resolves when rows may have been added since the last call of [`Outbox::next`].
    fn changed(&self) -> impl Future<Output = ()> + Send;
}
