//! The vocabulary of the gateway: what its stages say to each other. No I/O, no tasks, no policy.
//!
//! Data meets these types in this order: a [`Record`] comes from the field with an [`Ack`], a module turns a batch of
//! them into one [`Applied`], the buffer commits that and fires the acks, and each kept [`Row`] leaves as a
//! [`StoredRow`] through an [`Outbox`].
//!
//! # Layout
//! - [`record`]: a reading or message on its way to the modules.
//! - [`ack`]: the promise to its source, fired by the commit.
//! - [`applied`]: all effects of one call of a module, committed together.
//! - [`switch`]: from one generation of a module to another.
//! - [`inbox`]: messages that wait on disk for a module that has fallen behind.
//! - [`skip`]: messages that lead to nothing.
//! - [`output`]: publications, rows and device writes that a module asks for.
//! - [`row`]: a row with its identity, as it is stored and synced, and the [`Outbox`] it waits in.
//! - [`loss`]: what stands in place of rows that had to be given up.
//! - [`signer`]: who asks a centre.
//! - [`topic`]: MQTT topic names and filters.
//! - [`name`]: the names that operators give to things.
//! - [`openmetrics`]: numbers as text for a monitoring system.
//! - [`seen`]: the window of message ids by which a repeated delivery is known.
//! - [`clock`]: wall time, boot time, and how far to trust them.
//! - [`pulse`]: whether a stage goes on, as its own loop says.
//! - [`backoff`]: how long to wait after a failure.
//! - [`limits`]: the bound of every queue, payload, retry and timeout.

pub mod ack;
pub mod applied;
pub mod backoff;
pub mod clock;
pub mod inbox;
pub mod limits;
pub mod loss;
pub mod name;
pub mod openmetrics;
pub mod output;
pub mod pulse;
pub mod record;
pub mod row;
pub mod seen;
pub mod signer;
pub mod skip;
pub mod switch;
pub mod topic;

pub use ack::{Ack, AckSink};
pub use applied::{Applied, Rejection, StateChange};
pub use backoff::Backoff;
pub use clock::{BootId, BootTime, Clock, ClockQuality, SystemClock, WallTime};
pub use inbox::{Backlog, Inbox, Waiting};
pub use limits::Limits;
pub use loss::{Bins, Lost, LostValue, Numbers, Reason, Thinned, ThinnedValue};
pub use name::{Name, NameError};
pub use output::{Command, Delivery, Effects, Postbox, Publication};
pub use pulse::Pulse;
pub use record::{Body, Channel, DeliveryFlags, Quality, Record};
pub use row::{
    Class, Content, Document, Epoch, Mark, NamedValue, Outbox, Row, Scalar, Stamp, StoredRow,
    StreamEpoch,
};
pub use seen::{IdHasher, MessageId, Seen};
pub use signer::{RequestSigner, ToSign};
pub use skip::{Skip, SkipReason, SkipSink};
pub use switch::{StandBy, Switch};
pub use topic::{Topic, TopicError, TopicFilter};
