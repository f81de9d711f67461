//! `tide` as its users run it: arguments in; exit code, stdout and stderr out.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    reason = "a test that cannot go on has failed"
)]

mod bundle_usb;
mod deploy;
mod fixture;
mod fleet;
mod keys;
mod module;
mod signing;
mod trusted;
mod usage;
