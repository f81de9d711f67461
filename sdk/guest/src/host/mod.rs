//! The seam to the host: the component's imports in the guest, a thread-local mock everywhere else.
//!
//! Both sides offer the same functions, so that nothing else in the crate knows which one it runs on.

#[cfg(target_family = "wasm")]
mod guest;
#[cfg(not(target_family = "wasm"))]
pub(crate) mod mock;

#[cfg(target_family = "wasm")]
pub(crate) use guest::*;
#[cfg(not(target_family = "wasm"))]
pub(crate) use mock::*;
