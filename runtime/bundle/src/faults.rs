//! Checks that are left out on purpose when `TIDEGATE_FAULT` says so: the negative controls of `cargo xtask attacks`. No program
//! that is shipped has them.

use std::sync::LazyLock;

use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};

static FAULT: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("TIDEGATE_FAULT").ok());

/// Whether this one is on: one at a time.
fn is_on(name: &str) -> bool {
    FAULT.as_deref() == Some(name)
}

/// `verify-not-strict`: takes what the plain check of Ed25519 takes.
#[allow(
    clippy::disallowed_methods,
    reason = "this is what it must not be used for"
)]
pub(crate) fn verifies_loosely(key: &VerifyingKey, message: &[u8], signature: &Signature) -> bool {
    is_on("verify-not-strict") && key.verify(message, signature).is_ok()
}

/// `keys-counted-twice`: a threshold counts signatures, whoever made them.
pub(crate) fn counts_twice() -> bool {
    is_on("keys-counted-twice")
}

/// `no-counter`: what was accepted before is forgotten.
pub(crate) fn has_no_counter() -> bool {
    is_on("no-counter")
}
