//! Bytes: sockets, frames, and the packets of a protocol version.
//!
//! What the rest of the field sees of MQTT is here: [`Incoming`] packets, and the [`connection`] that writes outgoing
//! ones. Only [`v5`] and [`v4`] know a version and the library that encodes it, and only [`packets`] knows that there
//! are two. What MQTT 3.1.1 does not say is filled in where its packets are read: a [`Welcome`] without bounds, a
//! message without properties, a refusal without a reason.
//!
//! The library's own event loop is not used, only its packets. With a persistent session it can neither subscribe nor
//! publish after a restart of the process, unless it also keeps a session store of its own, which it then writes for
//! every packet; our postbox and the broker's queue are that session already. Here all acknowledgements of a commit
//! leave in one write.

pub(crate) mod connection;
mod frames;
mod packets;
pub(crate) mod socket;
pub(crate) mod tls;
mod v4;
mod v5;

use bytes::Bytes;

/// What we say when connecting.
#[derive(Debug, Clone)]
pub(crate) struct Hello {
    pub(crate) client_id: String,
    pub(crate) credentials: Option<(String, Option<Bytes>)>,
    pub(crate) keep_alive_seconds: u16,
    pub(crate) session_expiry_seconds: u32,
    pub(crate) receive_maximum: u16,
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
    /// A message that cannot be taken: its packet id if it wants an acknowledgement, and why.
    Unusable(Option<u16>, Unusable),
    /// It has our publication of this packet id, or refuses it for this reason.
    Published(u16, Option<String>),
    /// It took our subscriptions, but not as asked those at these positions, for these reasons.
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// Larger than what we take, or with a longer topic.
    TooLarge(Oversized),
    /// Not as the protocol says.
    Malformed,
}

/// A message that is larger than what we take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Oversized {
    /// As it came: it may be no UTF-8.
    pub(crate) topic: Bytes,
    /// Bytes of its payload and properties.
    pub(crate) bytes: usize,
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

impl Message {
    /// Bytes of its payload and properties.
    pub(crate) fn bytes(&self) -> usize {
        let properties = self.properties.iter();
        let properties = properties.map(|(name, value)| name.len() + value.len());
        self.payload.len() + properties.sum::<usize>()
    }
}

/// What the library of a protocol version says of a packet that it cannot read.
pub(crate) type DecodeError = Box<dyn std::error::Error + Send + Sync>;
