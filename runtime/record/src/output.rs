//! Effects that a module asks for, after the host has checked them against its grants.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;

use crate::{BootTime, Name, Scalar, Topic};

/// A message to a local broker.
#[derive(Debug, Clone, PartialEq)]
pub struct Publication {
    /// Broker, by its name in gateway.toml: that of the grant which allowed the topic.
    pub broker: Name,
    /// Where to.
    pub topic: Topic,
    /// What.
    pub payload: Bytes,
    /// MQTT 5 content type.
    pub content_type: Option<Arc<str>>,
    /// Whether the broker keeps it for later subscribers.
    pub retain: bool,
    /// When it is sent, and for how long it is tried.
    pub delivery: Delivery,
}

/// When a publication is sent, and for how long it is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Right after the call, before its commit: actuation. After a crash the input comes again, and so does this.
    AtOnce,
    /// Stored in the commit, sent until the broker acknowledges it.
    Durable,
}

/// A write to a granted device point.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// The point's name.
    pub point: Arc<str>,
    /// What to write.
    pub value: Scalar,
    /// Dropped after this, with a ledger entry: a late command is worse than none.
    pub expires: BootTime,
}

/// Durable publications that a broker has not acknowledged. The buffer implements it, the field drains it, and neither
/// knows the other.
pub trait Postbox: Send + Sync {
    /// Why the postbox could not be read or marked.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The oldest publications for `broker` with an id above `after`, in order of id: at most `publications_max`.
    fn next(
        &self,
        broker: &Name,
        after: u64,
        publications_max: usize,
    ) -> impl Future<Output = Result<Vec<(u64, Publication)>, Self::Error>> + Send;

    /// The broker acknowledged these: they need not be sent again.
    fn delivered(&self, ids: &[u64]) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Resolves when publications may have been added since the last call of [`Postbox::next`].
    fn posted(&self) -> impl Future<Output = ()> + Send;
}

/// Effects that leave at once, before the commit. Neither call waits: what cannot leave now is counted and dropped.
pub trait Effects: Send + Sync {
    /// Sends an [`Delivery::AtOnce`] publication.
    fn publish(&self, publication: Publication);
    /// Writes to a device point, unless the command has expired.
    fn actuate(&self, command: Command);
}
