//! Bytes: sockets, frames, and the packets of one protocol version.
//!
//! What the rest of the field sees of MQTT is here: [`Incoming`] packets, and functions that write outgoing ones. Only
//! [`v5`] knows MQTT 5 and the library that encodes it; 3.1.1 is one more file like it.
//!
//! The library's own event loop is not used, only its packets. With a persistent session it can neither subscribe nor
//! publish after a restart of the process, unless it also keeps a session store of its own, which it then writes for
//! every packet; our postbox and the broker's queue are that session already. Here all acknowledgements of a commit
//! leave in one write.

pub(crate) mod connection;
pub(crate) mod frames;
pub(crate) mod socket;
pub(crate) mod tls;
pub(crate) mod v5;

use bytes::Bytes;

/// What we say when connecting.
#[derive(Debug, Clone)]
pub(crate) struct Hello {
    pub(crate) client_id: String,
    pub(crate) credentials: Option<(String, Option<Bytes>)>,
    pub(crate) keep_alive_seconds: u16,
    pub(crate) session_expiry_seconds: u32,
    pub(crate) receive_maximum: u16,
    pub(crate) packet_bytes_max: usize,
}

/// What the broker answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Welcome {
    /// Whether the broker kept our subscriptions and queue.
    pub(crate) session_present: bool,
    /// Publications that it takes at once.
    pub(crate) receive_maximum: u16,
    /// Largest packet that it takes.
    pub(crate) packet_bytes_max: usize,
    /// Whether it keeps messages for later subscribers.
    pub(crate) retain_available: bool,
    /// It wants to hear from us more often than we said.
    pub(crate) keep_alive_seconds: Option<u16>,
}

/// A packet from the broker.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// We are connected.
    Welcome(Welcome),
    /// We are not, and why.
    Refused(String),
    /// A message.
    Message(Message),
    /// A message that cannot be taken, and why.
    Unusable(Option<u16>, Unusable),
    /// It has our publication of this packet id, or refuses it for this reason.
    Published(u16, Option<String>),
    /// It took our subscriptions, but for those at these positions.
    Subscribed(Vec<(usize, String)>),
    /// It is alive.
    Pong,
    /// It closes the connection, and why.
    Disconnected(String),
}

impl Incoming {
    /// Whether it is a message that must be acknowledged.
    pub(crate) fn wants_ack(&self) -> bool {
        match self {
            Self::Message(message) => message.packet_id.is_some(),
            Self::Unusable(packet_id, _) => packet_id.is_some(),
            _ => false,
        }
    }
}

/// Why a message cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// Larger than what we said that we take.
    TooLarge,
    /// Not as the protocol says.
    Malformed,
}

/// A message from the broker.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// Of QoS 1.
    pub(crate) packet_id: Option<u16>,
    /// Checked to be UTF-8.
    pub(crate) topic: Bytes,
    pub(crate) payload: Bytes,
    pub(crate) retained: bool,
    pub(crate) redelivered: bool,
    /// Content type and user properties.
    pub(crate) properties: Vec<(String, String)>,
}

/// What the library of a protocol version says of a packet that it cannot read.
pub(crate) type DecodeError = Box<dyn std::error::Error + Send + Sync>;
