//! A broker in place of a centre: each row is a message of QoS 1, on a topic for its stream.
//!
//! A mark moves when the broker has acknowledged every row up to it. A broker keeps no marks: after a connection that broke
//! what was not acknowledged is sent again, so that a consumer may see a row twice. Each carries its identity, by which it
//! is told from another (docs/formats/mqtt.md). Of MQTT, rumqttc gives the packets (docs/decisions/0002).
//!
//! # Layout
//! - [`config`]: where the broker is, and who we are to it. [`payload`]: a row as JSON, with its identity.
//! - [`session`]: one connection: a window of publications. [`broker`]: an exchange.

mod broker;
mod config;
mod payload;
mod session;

pub(crate) use broker::Broker;
pub use config::{BrokerConfig, Credentials, Identity};
pub(crate) use payload::Publication;
