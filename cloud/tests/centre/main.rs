//! The centre from outside: over HTTP, in a browser's eyes, and as a process that is killed.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "what a test's helper does not find fails the test"
)]

mod access;
mod audit;
mod client;
mod deployments;
mod identity;
mod import;
mod lag;
mod page;
mod process;
mod read;
mod releases;
mod rollouts;
mod samples;
mod sync;
mod time;
mod tokens;
