//! Every reason to refuse a key, a document or a bundle.
//!
//! The sentence is for people and may change; [`Error::reason`] is for programs, reports and tests and does not.

use crate::{Digest, KeyId, Refusal};

/// Why something was refused. Nothing of what was refused has been used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The envelope carries no signature at all.
    #[error("the {document} has no signature")]
    Unsigned {
        /// Which document.
        document: &'static str,
    },
    /// No signature is by a key of the role that must sign this document.
    #[error("no signature of the {document} is by a key that may sign it")]
    WrongKey {
        /// Which document.
        document: &'static str,
    },
    /// A key of the role is named, and its signature does not hold.
    #[error("the signature of the {document} by key {key_id} does not hold")]
    BadSignature {
        /// Which document.
        document: &'static str,
        /// The key that is said to have signed.
        key_id: KeyId,
    },
    /// Too few distinct keys of the role have signed.
    #[error("the {document} is signed by {signed} of the {threshold} distinct keys needed")]
    Threshold {
        /// Which document.
        document: &'static str,
        /// Distinct keys whose signature holds.
        signed: usize,
        /// Distinct keys needed.
        threshold: usize,
    },
    /// One key id stands at two signatures.
    #[error("the {document} names key {key_id} twice among its signatures")]
    DuplicateSignatureKey {
        /// Which document.
        document: &'static str,
        /// The repeated key.
        key_id: KeyId,
    },
    /// The envelope holds another kind of document.
    #[error("expected a document of type {expected}, found {found:?}")]
    WrongType {
        /// Payload type that the caller asked for.
        expected: &'static str,
        /// Payload type in the envelope.
        found: String,
    },
    /// The keys that signed may sign releases, but not of this module.
    #[error("the keys that signed this release may not sign module {module}")]
    ModuleNotAllowed {
        /// Module name in the release.
        module: String,
    },
    /// The module is built for a contract that this version does not know.
    #[error("unsupported world {found:?}, supported is {supported}")]
    UnsupportedWorld {
        /// World in the release.
        found: String,
        /// The newest supported one.
        supported: &'static str,
    },
    /// A public key that lets anybody sign, or that has a second encoding.
    #[error("public key {key_id} is weak: signatures under it prove nothing")]
    WeakKey {
        /// Digest of the refused key.
        key_id: KeyId,
    },
    /// A key stands in the root under another id than its digest.
    #[error("key {found} stands under id {listed}, the id of a key is the SHA-256 of its bytes")]
    KeyIdMismatch {
        /// Id in the root.
        listed: KeyId,
        /// Digest of the key.
        found: KeyId,
    },
    /// An artifact is not the one that the release names.
    #[error("artifact {expected} has digest {found}")]
    DigestMismatch {
        /// Digest in the release.
        expected: Digest,
        /// Digest of the bytes in the bundle.
        found: Digest,
    },
    /// An artifact is not as long as the release says.
    #[error("artifact {artifact} is {found} bytes long, the release says {expected}")]
    Length {
        /// Digest in the release.
        artifact: Digest,
        /// Bytes, by the release.
        expected: u64,
        /// Bytes, in the bundle.
        found: u64,
    },
    /// The input ends too early.
    #[error("the {what} ends after {length} bytes, in the middle of {inside}")]
    Truncated {
        /// Bundle or document.
        what: &'static str,
        /// Its length in bytes.
        length: usize,
        /// What was being read.
        inside: String,
    },
    /// Something follows the end.
    #[error("the {what} has bytes after its end, from byte {offset} on")]
    TrailingData {
        /// Bundle or document.
        what: &'static str,
        /// Where the first such byte stands.
        offset: usize,
    },
    /// The archive has an entry that is no regular file, has a forbidden name, is repeated or is not in the release.
    #[error("the archive has an entry that does not belong there, {name:?}: {why}")]
    UnexpectedEntry {
        /// Name in the archive.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The archive lacks an entry.
    #[error("the bundle has no entry {name}")]
    MissingEntry {
        /// The name that should be there.
        name: String,
    },
    /// A field that this version does not know, and that does not start with `x-`.
    #[error("the {document} has an unknown field {path}")]
    UnknownField {
        /// Which document.
        document: &'static str,
        /// Where it stands, such as `artifacts[0].size`.
        path: String,
    },
    /// A JSON object names one field twice.
    #[error("the {document} has field {path} twice")]
    DuplicateField {
        /// Which document.
        document: &'static str,
        /// Where it stands.
        path: String,
    },
    /// Larger than the bound for its kind.
    #[error("the {what} is {length} bytes long, the limit is {limit}")]
    TooLarge {
        /// Which input.
        what: &'static str,
        /// Its length in bytes.
        length: u64,
        /// The bound in bytes.
        limit: u64,
    },
    /// Not what the format says, at one place.
    #[error("{place} {problem}")]
    Malformed {
        /// Where, such as `the release document, version`.
        place: String,
        /// What is wrong, to be read after the place.
        problem: String,
    },
    /// The JSON cannot be read.
    #[error("the {document} is not JSON")]
    NotJson {
        /// Which document.
        document: &'static str,
        /// Line and column.
        source: serde_json::Error,
    },
    /// Sealed to another key than the one at hand.
    #[error("the file is sealed to key {expected}, this is key {found}")]
    WrongRecipient {
        /// Whose it is.
        expected: KeyId,
        /// The key at hand.
        found: KeyId,
    },
    /// Sealed under another key, or changed since.
    #[error("the {what} does not open: it was changed, or is of another file")]
    Unsealable {
        /// Preface or piece.
        what: &'static str,
    },
    /// A key that is kept elsewhere was asked for a signature, and none came.
    #[error("key {key_id} does not sign")]
    Signer {
        /// The key.
        key_id: KeyId,
        /// Why, as whoever asked it says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The system has no random numbers for a new key or nonce.
    #[error("no random numbers: {0}")]
    NoRandom(String),
    /// Genuine, and against a rule: not for this gateway, not now, or not any more.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl Error {
    /// The stable code of this refusal, for reports and programs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unsigned { .. } => "unsigned",
            Self::WrongKey { .. } => "wrong-key",
            Self::BadSignature { .. } => "bad-signature",
            Self::Threshold { .. } => "threshold",
            Self::DuplicateSignatureKey { .. } => "duplicate-signature-key",
            Self::WrongType { .. } => "wrong-type",
            Self::ModuleNotAllowed { .. } => "module-not-allowed",
            Self::UnsupportedWorld { .. } => "unsupported-world",
            Self::WeakKey { .. } => "weak-key",
            Self::KeyIdMismatch { .. } => "key-id-mismatch",
            Self::DigestMismatch { .. } => "digest-mismatch",
            Self::Length { .. } => "length",
            Self::Truncated { .. } => "truncated",
            Self::TrailingData { .. } => "trailing-data",
            Self::UnexpectedEntry { .. } => "unexpected-entry",
            Self::MissingEntry { .. } => "missing-entry",
            Self::UnknownField { .. } => "unknown-field",
            Self::DuplicateField { .. } => "duplicate-field",
            Self::TooLarge { .. } => "too-large",
            Self::Malformed { .. } | Self::NotJson { .. } => "malformed",
            Self::WrongRecipient { .. } => "wrong-recipient",
            Self::Unsealable { .. } => "unsealable",
            Self::Signer { .. } => "signer",
            Self::NoRandom(_) => "no-random",
            Self::Refused(refusal) => refusal.reason(),
        }
    }

    pub(crate) fn malformed(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Malformed {
            place: place.into(),
            problem: problem.into(),
        }
    }
}
