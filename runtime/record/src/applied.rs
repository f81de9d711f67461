//! All effects of one call of a module. The buffer commits an [`Applied`] as a whole or not at all.

use std::sync::Arc;

use bytes::Bytes;

use crate::{Ack, BootTime, MessageId, Name, Publication, Record, Row, Skip, StandBy, Switch};

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
    /// Another generation takes over with this outcome. What else is in it is of the one that is active afterwards.
    pub switch: Option<Switch>,
    /// What the generation that stands by made of the same messages.
    pub standby: Option<StandBy>,
    /// Messages that the module could not use, or that made it fail.
    pub rejections: Vec<Rejection>,
    /// Ids of the messages in this call, for those that carry one.
    pub seen: Vec<MessageId>,
    /// Messages that led to nothing, to be counted.
    pub skipped: Vec<Skip>,
    /// Messages that wait on disk until the module takes them: they come out of its [`Inbox`](crate::Inbox), in this order,
    /// after those that are there. Their acks are in `acks`.
    pub spilled: Vec<Record>,
    /// The module has taken the messages up to this one out of its [`Inbox`](crate::Inbox): they leave it with this commit.
    pub consumed_to: Option<u64>,
    /// When the first of its messages was received; none when the module was only woken.
    pub received: Option<BootTime>,
    /// Fired after the commit, in this order.
    pub acks: Vec<Ack>,
}

impl Applied {
    /// Nothing yet, of this activation of a module.
    pub const fn new(module: Name, generation: u64, version: Arc<str>) -> Self {
        Self {
            module,
            generation,
            version,
            rows: Vec::new(),
            publications: Vec::new(),
            state: Vec::new(),
            switch: None,
            standby: None,
            rejections: Vec::new(),
            seen: Vec::new(),
            skipped: Vec::new(),
            spilled: Vec::new(),
            consumed_to: None,
            received: None,
            acks: Vec::new(),
        }
    }
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
#[derive(Debug)]
pub struct Rejection {
    /// The message, without its ack.
    pub record: Record,
    /// Why, in the module's words or the host's.
    pub reason: String,
}
