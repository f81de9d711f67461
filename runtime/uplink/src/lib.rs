//! Rows to the centre over HTTPS, trimmed on its acknowledgement; and what a centre has of updates.
//!
//! The gateway always begins; the centre only answers. After a start or a failure it first asks for the marks, so that
//! nothing is sent again that the centre holds. Rows leave the outbox only when a reply moves their mark. Whatever
//! happens on the way (no link, a lost or repeated reply, an error, garbage) costs a wait with back-off and nothing else.
//!
//! # Layout
//! - [`task`]: the loop. [`course`]: when the next request may go.
//! - [`endpoint`]: where rows go: by [`client`] to a centre, by [`mqtt`] to a broker.
//! - [`failover`]: which of two centres gets the rows.
//! - [`fetch`]: documents and blobs of updates from a centre, and reports to it.
//! - [`budget`]: what may be spent on a metered link. [`drain`]: when the backlog will be gone. [`counters`]: what was done.
//! - [`config`]: where the centre or broker is. [`socket`] and [`tls`]: the bytes to it, counted.

pub mod budget;
mod client;
mod config;
mod counters;
mod course;
mod drain;
mod endpoint;
mod error;
mod failover;
#[cfg(feature = "faults")]
mod faults;
pub mod fetch;
mod mqtt;
mod socket;
mod task;
mod tls;

pub use client::post_json;
pub use config::{CentreConfig, Config, ConfigError};
pub use counters::UplinkCounters;
pub use drain::Forecast;
pub use endpoint::Endpoint;
pub use error::Error;
pub use failover::{Failover, Role};
pub use mqtt::{BrokerConfig, Credentials, Identity};
pub use socket::Traffic;
pub use task::Uplink;
