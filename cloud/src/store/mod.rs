//! What the centre keeps, behind one trait.
//!
//! Invariants of every store, held by one suite of tests (`tests`):
//! - A row is kept once, under `(tenant, gateway, stream, epoch, seq)`, and its mark moves in the same transaction.
//! - [`Store::commit`] returns after everything is on disk, or an error after nothing of the request is.
//! - Up to its mark every number of a stream and epoch is covered by one row: its own, one that was thinned out of several,
//!   or an entry of the loss ledger. Rows beyond a gap are not kept, and the mark says so.
//! - An entry of the loss ledger is never among values and alarms.
//! - A row that comes again with other content is a [`Error::Conflict`].
//! - Rows are ordered by `(epoch, seq)`, never by a clock.
//!
//! # Layout
//! - [`sqlite`]: the store in one file, for up to about a thousand gateways.
//! - [`audit`]: who did what.
//! - [`credentials`]: tokens of people and sessions of browsers.
//! - [`devices`]: who a gateway is.
//! - [`releases`]: what may be rolled out.
//! - [`deployments`]: what is to run where, and who may say so.
//! - [`fleet`]: labels and groups of gateways, and what they report.
//! - [`rollouts`]: how deployments reach groups.
//! - `verdict`: what becomes of the rows of one stream, given its mark; pure.

pub mod audit;
pub mod credentials;
pub mod deployments;
pub mod devices;
pub mod fleet;
pub mod releases;
pub mod rollouts;
pub mod sqlite;
#[cfg(test)]
mod tests;
mod verdict;

use std::future::Future;
use std::sync::Arc;

use thiserror::Error;
use tidegate_wire::{
    Class, Content, Epoch, GatewayStatus, Lost, Mark, Name, Reason, StoredRow, StreamEpoch,
    WallTime,
};

use crate::Checked;
use crate::lag::{Sample, Step};
pub use audit::Audit;
pub use credentials::Credentials;
pub use deployments::Deployments;
pub use devices::Devices;
pub use fleet::Fleet;
pub use releases::Releases;
pub use rollouts::Rollouts;
pub use sqlite::SqliteStore;

/// Most bytes of content in one answer: documents can be large, and an answer is built in memory.
pub const CONTENT_BYTES_MAX: usize = 8 << 20;

/// Where gateways, streams and rows are kept.
pub trait Store:
    Audit
    + Credentials
    + Deployments
    + Devices
    + Fleet
    + Releases
    + Rollouts
    + Clone
    + Send
    + Sync
    + 'static
{
    /// Keeps what is new of a request and, unless it came in a file, the gateway's status, in one transaction, and
    /// returns after its fsync.
    ///
    /// # Errors
    /// [`Error::Conflict`] or a failure; nothing of the request is kept then.
    fn commit(
        &self,
        of: &GatewayId,
        request: &Checked,
        received: WallTime,
    ) -> impl Future<Output = Result<Committed, Error>> + Send;

    /// As [`Store::commit`], with a row of the audit log in the same transaction.
    fn commit_noted(
        &self,
        of: &GatewayId,
        request: &Checked,
        received: WallTime,
        event: &audit::Event,
    ) -> impl Future<Output = Result<Committed, Error>> + Send;

    /// As [`Store::commit`], of a request that a device of an enrolled gateway has signed.
    ///
    /// # Errors
    /// Also [`Error::Replayed`] and [`Error::Revoked`]; nothing of the request is kept then.
    fn commit_signed(
        &self,
        of: &GatewayId,
        request: &Checked,
        received: WallTime,
        heard: &devices::Heard,
    ) -> impl Future<Output = Result<Committed, Error>> + Send;

    /// Gateways by name, from the one after `after`: at most `count_max`.
    fn gateways(
        &self,
        tenant: &Tenant,
        after: Option<&Name>,
        count_max: u32,
    ) -> impl Future<Output = Result<Page<Gateway>, Error>> + Send;

    /// One gateway, if it was ever heard of.
    fn gateway(
        &self,
        of: &GatewayId,
    ) -> impl Future<Output = Result<Option<Gateway>, Error>> + Send;

    /// Streams of a gateway by name, from the one after `after`: bounded as [`Store::rows`].
    fn streams(
        &self,
        of: &GatewayId,
        after: Option<&Name>,
        count_max: u32,
    ) -> impl Future<Output = Result<Page<Stream>, Error>> + Send;

    /// Rows of one stream: at most `count_max`, and fewer when they would have more than [`CONTENT_BYTES_MAX`] of
    /// content, but never none where there is one.
    fn rows(
        &self,
        of: &StreamId,
        filter: &RowFilter,
        reach: Reach,
        count_max: u32,
    ) -> impl Future<Output = Result<Page<HeldRow>, Error>> + Send;

    /// What one stream holds, counted one by one, and the sum of its marks.
    fn count(&self, of: &StreamId) -> impl Future<Output = Result<RowCount, Error>> + Send;

    /// Entries of a gateway's loss ledger, newest arrival first, from the one after `after`: bounded as [`Store::rows`].
    /// The content of each is [`Content::Lost`].
    fn ledger(
        &self,
        of: &GatewayId,
        after: Option<&EntryPosition>,
        count_max: u32,
    ) -> impl Future<Output = Result<Page<SeriesRow>, Error>> + Send;

    /// Sums over a gateway's loss ledger by stream and reason, in that order: at most `count_max`.
    fn losses(
        &self,
        of: &GatewayId,
        count_max: u32,
    ) -> impl Future<Output = Result<Page<Loss>, Error>> + Send;

    /// The newest row of each series (stream, key and class) of a gateway, in that order: bounded as [`Store::rows`].
    fn newest(
        &self,
        of: &GatewayId,
        count_max: u32,
    ) -> impl Future<Output = Result<Page<SeriesRow>, Error>> + Send;

    /// Alarms of a gateway, newest arrival first: bounded as [`Store::rows`].
    fn alarms(
        &self,
        of: &GatewayId,
        count_max: u32,
    ) -> impl Future<Output = Result<Page<SeriesRow>, Error>> + Send;

    /// The newest alarm of each series of all gateways, newest arrival first: bounded as [`Store::rows`].
    fn fleet_alarms(
        &self,
        tenant: &Tenant,
        count_max: u32,
    ) -> impl Future<Output = Result<Page<SeriesRow>, Error>> + Send;

    /// Lags that the gateway has told, the largest of each minute or hour from `since` on, in order of time: bounded by the
    /// time that they are kept.
    fn lags(
        &self,
        of: &GatewayId,
        step: Step,
        since: WallTime,
    ) -> impl Future<Output = Result<Vec<Sample>, Error>> + Send;

    /// Waits for what is under way, then closes.
    fn close(&self) -> impl Future<Output = ()> + Send;
}

/// Whose fleet. It comes from a person's token or a device key, never from a request. Gateways that a centre takes without a
/// key are of the default one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tenant(Arc<str>);

impl Tenant {
    /// The tenant of this name.
    pub fn new(name: &Name) -> Self {
        Self(name.shared())
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Tenant {
    fn default() -> Self {
        Self("default".into())
    }
}

/// Whose data: every key starts with it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GatewayId {
    /// Whose fleet.
    pub tenant: Tenant,
    /// Which gateway of it.
    pub gateway: Name,
}

/// One stream of one gateway, over all its epochs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StreamId {
    /// Whose.
    pub of: GatewayId,
    /// Which.
    pub stream: Name,
}

/// Part of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// In order.
    pub items: Vec<T>,
    /// Whether more follow.
    pub more: bool,
}

/// What [`Store::commit`] did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Committed {
    /// How far each stream that the request named is held now.
    pub marks: Vec<Mark>,
    /// Streams that gained rows.
    pub streams: Vec<Name>,
    /// Rows that were new.
    pub rows_new: u64,
    /// Rows that were here already.
    pub rows_known: u64,
    /// Streams whose rows began beyond the mark and were not kept.
    pub gaps: Vec<Gap>,
}

/// Rows that began beyond what the centre holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Which stream and epoch.
    pub of: StreamEpoch,
    /// How far it is held.
    pub mark: u64,
    /// Where the rows began.
    pub first: u64,
}

/// A gateway, as of its last request.
#[derive(Debug, Clone, PartialEq)]
pub struct Gateway {
    /// Its name.
    pub name: Name,
    /// The opening of its database.
    pub epoch: Epoch,
    /// When it was first heard of, by the centre's clock.
    pub first_seen: WallTime,
    /// When it was last heard of, by the centre's clock.
    pub last_seen: WallTime,
    /// Its own clock at that moment.
    pub sent: WallTime,
    /// The newest row that it brought, if any.
    pub newest_row: Option<NewestRow>,
    /// Requests refused because a row came again with other content.
    pub conflicts: u64,
    /// Who it is; none if it was never enrolled.
    pub identity: Option<devices::Identity>,
    /// What it says of itself.
    pub status: GatewayStatus,
}

/// When the newest row of a gateway was committed there, and came here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewestRow {
    /// By the gateway's clock.
    pub committed: WallTime,
    /// By the centre's clock.
    pub received: WallTime,
}

/// A stream of one gateway, over all its epochs.
#[derive(Debug, Clone, PartialEq)]
pub struct Stream {
    /// Its name.
    pub name: Name,
    /// Rows held, without entries of the loss ledger.
    pub rows: u64,
    /// Numbers accounted for: the sum of its marks.
    pub marks: u64,
    /// Its first row.
    pub first: HeldRow,
    /// Its newest row.
    pub last: HeldRow,
}

/// A row at the centre.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldRow {
    /// Its epoch.
    pub epoch: Epoch,
    /// When it came, by the centre's clock.
    pub received: WallTime,
    /// The row.
    pub row: StoredRow,
}

impl SeriesRow {
    /// Where it stands in the loss ledger, if it is an entry of it.
    pub fn entry_position(&self) -> EntryPosition {
        EntryPosition {
            received: self.held.received,
            stream: self.stream.clone(),
            at: self.held.position(),
        }
    }
}

impl HeldRow {
    /// Where it stands in its stream.
    pub const fn position(&self) -> Position {
        Position {
            epoch: self.epoch,
            seq: self.row.seq,
        }
    }
}

/// The entry of the loss ledger that a row is, if it is one.
pub(crate) const fn lost(row: &StoredRow) -> Option<&Lost> {
    match &row.content {
        Content::Lost(lost) => Some(lost),
        Content::Values(_) | Content::Document(_) | Content::Thinned(_) => None,
    }
}

/// A row with the gateway and stream it is of.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesRow {
    /// Its gateway.
    pub gateway: Name,
    /// Its stream.
    pub stream: Name,
    /// The row.
    pub held: HeldRow,
}

/// Which rows of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RowFilter {
    /// Only of this class.
    pub class: Option<Class>,
    /// Only of this key.
    pub key: Option<String>,
}

/// From where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// From the beginning, oldest first.
    First,
    /// From the row after this, oldest first.
    After(Position),
    /// From the end, newest first.
    Last,
}

/// A place in the order of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The epoch.
    pub epoch: Epoch,
    /// The position in it.
    pub seq: u64,
}

/// A place in a loss ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryPosition {
    /// When the entry came, by the centre's clock.
    pub received: WallTime,
    /// Its stream.
    pub stream: Name,
    /// Its place in the stream.
    pub at: Position,
}

/// What the loss ledger says of one stream and reason, in sum. Sums stop at `i64::MAX`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The stream.
    pub stream: Name,
    /// Why.
    pub reason: Reason,
    /// Entries of the ledger.
    pub entries: u64,
    /// Rows that are gone.
    pub rows: u64,
    /// Their bytes on the gateway's disk.
    pub bytes: u64,
    /// When the newest entry came, by the centre's clock.
    pub received: WallTime,
}

/// See [`Store::count`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowCount {
    /// Rows, those that were thinned out of several among them. As many as `covered` where nothing was thinned out or lost.
    pub rows: u64,
    /// Entries of the loss ledger.
    pub entries: u64,
    /// Numbers that both cover: equal to `marks` by design, exactly up to 2^53.
    pub covered: u64,
    /// Sum of the marks.
    pub marks: u64,
}

/// Why a store did not do it.
#[derive(Debug, Error)]
pub enum Error {
    /// Two gateways share one identity, or rows were altered.
    #[error(
        "stream {stream} epoch {} has another row at seq {seq}: two gateways share one name and database, or rows were altered",
        epoch.ordinal
    )]
    Conflict {
        /// The stream.
        stream: Name,
        /// The epoch.
        epoch: Epoch,
        /// The row that differs.
        seq: u64,
    },
    /// A request that was signed and taken, or one before it.
    #[error(
        "request {count} of this opening comes after {taken} was taken: it was captured, or came late"
    )]
    Replayed {
        /// Its number.
        count: u64,
        /// The newest that was taken.
        taken: u64,
    },
    /// The key is that of no gateway any more.
    #[error("the device key was revoked, or another has followed it")]
    Revoked,
    /// The database failed.
    #[error("cannot {action}")]
    Database {
        /// What was tried.
        action: &'static str,
        /// The database's words, which never leave the process but in its log.
        #[source]
        source: sqlx::Error,
    },
    /// A stored value is not what was once written.
    #[error("stored {0} is damaged")]
    Damaged(&'static str),
    /// Never seen with these types; the encoder's words.
    #[error("cannot encode a row: {0}")]
    Encode(String),
    /// Written by a newer program.
    #[error("database has schema {found}, this program knows up to {known}")]
    Schema {
        /// In the database.
        found: i64,
        /// In this program.
        known: usize,
    },
    /// A version with a known bug in its journal.
    #[error("SQLite is {found}, at least {needed} is needed")]
    OldSqlite {
        /// Linked.
        found: String,
        /// Needed.
        needed: &'static str,
    },
}
