//! The plant side, both directions: brokers and sensors to records, publications to brokers.
//!
//! Each broker and each sensor is one task (a broker has a second one for its durable publications), spawned into a
//! `JoinSet` of the caller's. They share the [`Surroundings`] that the caller gives: where records go, the clock, the
//! limits, and the [`Phase`] by which they are told to stop.
//!
//! # Invariants
//! - A message is acknowledged to its broker only after its [`Ack`] fired, in the order of receipt, and only on the
//!   connection that delivered it (module `acks`).
//! - A durable publication is marked as delivered only after the broker acknowledged it (`courier`, `inflight`).
//! - Nothing waits for a stage behind: a full inbox stops neither pings nor acknowledgements nor publications, and what
//!   is then held is bounded by the broker's window (`session`).
//! - A message that cannot be taken (too large, malformed) is counted, acknowledged and skipped: it stops no other, and
//!   no more of it is in memory than its topic.
//!
//! # Layout
//! - [`config`]: brokers and sensors as the operator describes them.
//! - [`surroundings`]: what every task gets, and the phases of a run.
//! - [`broker`]: the handle on a broker, and the task that connects and reconnects.
//! - `dial`: how a connection comes up, and why it does not.
//! - `session`: one connection, from the subscription to its end.
//! - `inbound`: an MQTT message becomes a record.
//! - `acks`, `inflight`: packet ids that we owe an acknowledgement, and that we are owed one.
//! - `budget`: the bound of messages that want no acknowledgement.
//! - `courier`: durable publications, from the postbox to the session and back.
//! - `mqtt`: bytes: sockets, TLS, packets of the version that the broker speaks.
//! - [`sensor`]: a driver's readings become records.
//! - [`counters`], `causes`, `channels`, `json_field`: small parts.
//!
//! [`Ack`]: tidegate_record::Ack

mod acks;
pub mod broker;
mod budget;
mod causes;
mod channels;
pub mod config;
pub mod counters;
mod courier;
mod dial;
mod inbound;
mod inflight;
mod json_field;
mod mqtt;
pub mod sensor;
mod session;
pub mod surroundings;

pub use broker::{Broker, BrokerHandle};
pub use config::{
    BrokerConfig, BrokerUrl, ClientId, ClientIdError, Credentials, FieldError, Identity,
    MessageIdFrom, Protocol, SensorConfig, UnknownProtocol, UrlError,
};
pub use counters::{BrokerCounters, SensorCounters};
pub use mqtt::tls::TlsError;
pub use sensor::{Sensor, SensorHandle};
pub use surroundings::{Phase, Surroundings};
