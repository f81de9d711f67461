//! Rows to the centre over HTTPS, trimmed on its acknowledgement.
//!
//! The gateway always begins; the centre only answers. After a start or a failure it first asks for the marks, so that
//! nothing is sent again that the centre holds. Rows leave the outbox only when a reply moves their mark. Whatever
//! happens on the way (no link, a lost or repeated reply, an error, garbage) costs a wait with back-off and nothing else.
//!
//! # Layout
//! - [`config`]: where the centre is. [`client`]: one exchange. [`task`]: the loop.

mod client;
mod config;
mod error;
mod task;

pub use client::Client;
pub use config::{Config, ConfigError};
pub use error::Error;
pub use task::{Uplink, UplinkCounters};
