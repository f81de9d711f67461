//! Signed documents and the module bundle.
//!
//! The only code of the product that verifies a signature. It takes bytes and gives values: no I/O, no clock, no
//! state. What must be remembered between two documents (the highest counter of a module, the current root) is the
//! caller's; this crate hands out the numbers.
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
//! - Only [`UnverifiedBundle::verify`] makes a [`VerifiedBundle`], and only [`VerifiedRoot::open`] a [`VerifiedRoot`].
//! - The bytes of a document are verified before they are parsed. The one exception is a fleet's first root, which
//!   carries its own keys and is trusted because the operator put it there.
//! - Everything is bounded before it is read: a document by [`DOCUMENT_BYTES_MAX`], a bundle by [`BUNDLE_BYTES_MAX`].
//! - A refusal is an [`Error`] with a stable [`Error::reason`]; no input makes this crate panic.
//!
//! The formats are described, with a test vector, in `docs/formats/documents.md` and `docs/formats/bundle.md`.
//!
//! # Layout
//!
//! - `bundle`: the bundle file; opening, verifying, sealing
//! - `release`: the document that says what may run
//! - `root`: the document that says who may sign what
//! - `dsse`: the envelope around every document; signatures and thresholds
//! - `keys`: keys, their ids, their text form
//! - `chain`: what a device signs piece by piece
//! - `sealed`: files that only the centre can read
//! - `tar`: the archive, read strictly
//! - `json`: JSON, read strictly
//! - `text`: what names, topic filters and other texts may be
//! - `digest`: SHA-256
//! - `error`: every reason to refuse

mod bundle;
mod chain;
mod digest;
mod dsse;
mod error;
mod json;
mod keys;
mod release;
mod root;
mod sealed;
mod tar;
pub mod text;

pub use bundle::{BUNDLE_BYTES_MAX, UnverifiedBundle, VerifiedBundle, seal};
pub use chain::{CHAIN_TYPE, Chain, SIGNATURE_BYTES};
pub use digest::Digest;
pub use dsse::{DOCUMENT_BYTES_MAX, Envelope, SIGNATURES_MAX, Signers, signed_bytes};
pub use error::Error;
pub use keys::{KeyId, PublicKey, SigningKey};
pub use release::{
    ARTIFACTS_MAX, Artifact, ArtifactKind, Capabilities, Class, Limits, RELEASE_TYPE, Release,
    Stream, WORLD,
};
pub use root::{ROOT_TYPE, ReleaseRole, Role, Roles, Root, VerifiedRoot};
pub use sealed::{ContentKey, OpeningKey, PREFACE_BYTES, SEAL_BYTES, SealingKey, recipient};
