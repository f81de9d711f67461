//! Attacks on documents and bundles. Each row is a genuine bundle with one thing wrong, and asserts the reason code;
//! the same fixture untouched is accepted, so that no row is refused for another reason than its own.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    reason = "a test that cannot go on has failed"
)]

mod archives;
mod documents;
mod fixture;
mod signatures;
