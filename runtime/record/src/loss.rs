//! What stands in place of rows that the gateway had to give up: summaries of them, and the loss ledger's entries.
//!
//! Nothing is given up silently: thinned rows and ledger entries together say how many rows there were, and the least and
//! greatest of each of their values, exactly.
//!
//! The `#[n(…)]` numbers are part of the stored and the synced format (docs/formats/wire.md): never reuse one.

use minicbor::{Decode, Encode};

use crate::Scalar;

/// What several rows of one series said.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct Thinned {
    /// How many rows there were.
    #[n(0)]
    pub rows: u64,
    /// Their values, by name.
    #[n(1)]
    pub values: Vec<ThinnedValue>,
}

/// What several rows said of one value.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct ThinnedValue {
    /// Its name within the stream.
    #[n(0)]
    pub name: String,
    /// How many rows had it.
    #[n(1)]
    pub count: u64,
    /// In the first of them, in the order in which they were kept.
    #[n(2)]
    pub first: Scalar,
    /// In the last of them.
    #[n(3)]
    pub last: Scalar,
    /// Of those that are numbers, if there are any. `true` counts as 1.
    #[n(4)]
    pub numbers: Option<Numbers>,
}

/// Numbers, without those that are not finite.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct Numbers {
    /// How many.
    #[n(0)]
    pub count: u64,
    /// The least.
    #[n(1)]
    pub min: f64,
    /// The greatest.
    #[n(2)]
    pub max: f64,
    /// Their mean.
    #[n(3)]
    pub mean: f64,
    /// Sum of the squared distances from the mean.
    #[n(4)]
    pub squares: f64,
    /// Their quantiles within 1 %.
    #[n(5)]
    pub sketch: Bins,
}

/// A histogram whose bins are at most 2.02 % wide (docs/formats/wire.md says where they begin).
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
pub struct Bins {
    /// Numbers closer to zero than 1e-12.
    #[n(0)]
    pub zeros: u64,
    /// Bins of numbers above zero, with their counts, in ascending order.
    #[n(1)]
    pub positive: Vec<(i32, u64)>,
    /// Bins of the sizes of numbers below zero.
    #[n(2)]
    pub negative: Vec<(i32, u64)>,
}

/// An entry of the loss ledger: rows that are gone. Which ones is said by the numbers that its row covers.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct Lost {
    /// Why.
    #[n(0)]
    pub reason: Reason,
    /// How many rows there were, before any thinning.
    #[n(1)]
    pub rows: u64,
    /// Their bytes on disk.
    #[n(2)]
    pub bytes: u64,
    /// What is known of their values: at most [`Lost::VALUES_MAX`] names.
    #[n(3)]
    pub values: Vec<LostValue>,
}

impl Lost {
    /// Names of values that an entry holds; what further ones were is not known.
    pub const VALUES_MAX: usize = 64;
}

/// The bounds of one value of rows that are gone.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct LostValue {
    /// Its name within the stream.
    #[n(0)]
    pub name: String,
    /// How many rows had it as a finite number.
    #[n(1)]
    pub count: u64,
    /// The least.
    #[n(2)]
    pub min: f64,
    /// The greatest.
    #[n(3)]
    pub max: f64,
}

/// Why rows are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Reason {
    /// The buffer was full.
    #[n(0)]
    Evicted,
    /// The centre held them and they were deleted; then it was restored from a backup that does not.
    #[n(1)]
    Forgotten,
    /// The database was damaged and set aside.
    #[n(2)]
    Quarantined,
    /// Another centre holds them, because this one did not answer at the time, or a file that was exported.
    #[n(3)]
    Elsewhere,
}

impl Reason {
    /// The word for it in documents and pages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Evicted => "evicted",
            Self::Forgotten => "forgotten",
            Self::Quarantined => "quarantined",
            Self::Elsewhere => "elsewhere",
        }
    }
}
