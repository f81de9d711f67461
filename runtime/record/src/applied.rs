//! All effects of one call of a module. The buffer commits an [`Applied`] as a whole or not at all.

use std::sync::Arc;

use bytes::Bytes;

use crate::{Ack, BootTime, MessageId, Name, Publication, Row, WallTime};

/// What one call of a module changed, from the sandbox to the buffer.
#[derive(Debug)]
pub struct Applied {
    /// Whose call it was.
    pub module: Name,
    /// Which activation of the module on this gateway.
    pub generation: u64,
    /// Version of the release that ran: the one that has written the state, if there are changes to it.
    pub version: Arc<str>,
    /// Rows for the centre, in the order in which the module asked for them, each with the trace id of its cause.
    pub rows: Vec<(Row, Option<[u8; 16]>)>,
    /// Publications to be sent until the broker acknowledges them. (`at-once` ones have left already.)
    pub publications: Vec<Publication>,
    /// Writes to the module's own state, last one per key.
    pub state: Vec<StateChange>,
    /// Messages that the module could not use, or that made it fail.
    pub rejections: Vec<Rejection>,
    /// Ids of the messages in this call, for those that carry one.
    pub seen: Vec<MessageId>,
    /// When the first of its messages was received; none when the module was only woken.
    pub received: Option<BootTime>,
    /// Fired after the commit, in this order.
    pub acks: Vec<Ack>,
}

/// One write to a module's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateChange {
    /// Key within the module's own state.
    pub key: String,
    /// New value; none deletes the key.
    pub value: Option<Bytes>,
}

/// A message set aside, with the reason: the operator can look at it and play it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Source and topic of the message.
    pub source: Arc<str>,
    /// See `source`.
    pub topic: Arc<str>,
    /// The message's payload, or its scalar as text.
    pub payload: Bytes,
    /// Event time of the message.
    pub time: WallTime,
    /// Why, in the module's words or the host's.
    pub reason: String,
}
