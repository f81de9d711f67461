//! Signed documents and the module bundle.
//!
//! The only code of the product that verifies a signature. It takes bytes and gives values: no I/O and no clock. What must
//! be remembered between two documents (the current root, the highest numbers) is [`Trust`], a value that the caller
//! keeps and writes to disk.
//!
//! ```
//! use tidegate_bundle::{Error, UnverifiedBundle, VerifiedRoot};
//!
//! /// The component of a bundle that this fleet's release keys signed.
//! fn component(root: &[u8], bundle: Vec<u8>) -> Result<Vec<u8>, Error> {
//!     let root = VerifiedRoot::open(root)?;
//!     let bundle = UnverifiedBundle::open(bundle)?.verify(&root)?;
//!     Ok(bundle.component().to_vec())
//! }
//! ```
//!
//! # Invariants
//!
//! - Only an [`UnverifiedBundle`] that was verified becomes a [`VerifiedBundle`], and only [`Trust`] makes a
//!   [`VerifiedDeployment`]. A [`VerifiedRoot`] is the operator's ([`VerifiedRoot::open`]) or follows one
//!   ([`VerifiedRoot::next`]).
//! - The bytes of a document are verified before they are parsed. The one exception is a fleet's first root, which
//!   carries its own keys and is trusted because the operator put it there. What was accepted once may be known again
//!   by its digest.
//! - Everything is bounded before it is read: a document by [`DOCUMENT_BYTES_MAX`], a bundle by [`BUNDLE_BYTES_MAX`].
//! - A refusal is an [`Error`] with a stable [`Error::reason`]; no input makes this crate panic.
//!
//! The formats are described, with test vectors, in `docs/formats/documents.md`, `docs/formats/deployment.md`,
//! `docs/formats/bundle.md`, `docs/formats/device.md` and `docs/formats/stick.md`.
//!
//! # Layout
//!
//! - `bundle`: the bundle file; opening, verifying, sealing
//! - `release`: the document that says what may run
//! - `deployment`: the document that says what runs where
//! - `permissions`: what is asked for, granted and permitted, and how they differ
//! - `root`: the document that says who may sign what
//! - `rotation`: how one root follows another
//! - `time`: the document that says what time it is, and what is newest
//! - `status`: the document that a gateway sends up
//! - `stick`: the file that brings an update to a gateway without a link
//! - `trust`: what a gateway remembers, and the rules by which it takes the next document
//! - `dsse`: the envelope around every document; signatures and thresholds
//! - `keys`: keys, their ids, their text form; what signs
//! - `chain`: what a device signs piece by piece
//! - `device`: what a device signs so that a centre knows it
//! - `sealed`: files that only the centre can read
//! - `tar`: the archive, read strictly
//! - `json`: JSON, read strictly
//! - `text`: what names, topic filters and other texts may be
//! - `digest`: SHA-256
//! - `faults`: checks left out on purpose, for negative controls; not compiled into anything that is shipped
//! - `error`: every reason to refuse bytes; `refusal`: every reason to refuse a genuine document

mod bundle;
mod chain;
mod deployment;
mod device;
mod digest;
mod dsse;
mod error;
#[cfg(feature = "faults")]
mod faults;
mod json;
mod keys;
mod permissions;
mod refusal;
mod release;
mod root;
mod rotation;
mod sealed;
mod status;
mod stick;
mod tar;
pub mod text;
mod time;
mod trust;

pub use bundle::{BUNDLE_BYTES_MAX, UnverifiedBundle, VerifiedBundle, seal};
pub use chain::{CHAIN_TYPE, Chain, SIGNATURE_BYTES};
pub use deployment::{
    Check, ConfigValue, DEPLOYMENT_TYPE, DeployedModule, Deployment, Downgrade, Flag, Grants,
    Input, Publish, Residency, Rollout, SecretRef, Shadow, Target,
};
pub use device::{Asked, Claim, Enrolment, KeyChange};
pub use digest::Digest;
pub use dsse::{DOCUMENT_BYTES_MAX, Envelope, SIGNATURES_MAX, Signers, signed_bytes};
pub use error::Error;
pub use keys::{KeyId, PublicKey, Sign, SigningKey};
pub use permissions::PermissionDiff;
pub use refusal::Refusal;
pub use release::{
    ARTIFACTS_MAX, Artifact, ArtifactKind, Capabilities, Class, Limits, RELEASE_TYPE, Release,
    Stream, WORLD,
};
pub use root::{ROOT_TYPE, ReleaseRole, Role, Roles, Root, VerifiedRoot};
pub use sealed::{ContentKey, OpeningKey, PREFACE_BYTES, SEAL_BYTES, SealingKey, recipient};
pub use status::{
    ClockQuality, Facts, InstalledModule, Phase, RefusedDocument, STATUS_TYPE, Status, StoreEpoch,
    VerifiedStatus,
};
pub use stick::{STICK_BLOCK_BYTES, STICK_BYTES_MAX, STICK_ENTRIES_MAX, Stick, StickEntry};
pub use time::{Nonce, TIME_TYPE, Time};
pub use trust::{
    DENIED_MAX, Expiry, Freshness, Gateway, JUMP_MAX, Now, TRUST_BYTES_MAX, Trust,
    VerifiedDeployment, VerifiedTime,
};
