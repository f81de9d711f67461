//! Attacks on documents and bundles. Each row is a genuine bundle or document with one thing wrong, and asserts the reason
//! code; the same fixture untouched is accepted, so that no row is refused for another reason than its own. What a
//! gateway remembers is the same, to the byte, after a refusal as before.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    reason = "a test that cannot go on has failed"
)]

mod archives;
mod clocks;
mod documents;
mod fixture;
mod forms;
mod memory;
mod rollback;
mod rotation;
mod signatures;
mod signers;
mod site;
mod targets;
mod vectors;
