//! Attacks on documents and bundles. Each row is a genuine bundle with one thing wrong, and asserts the reason code;
//! the same fixture untouched is accepted, so that no row is refused for another reason than its own.

mod archives;
mod documents;
mod fixture;
mod signatures;
