//! The sync exchange: rows and status up, marks down.
//!
//! The `#[n(…)]` numbers are the format: never reuse one. A reader skips numbers that it does not know.

use minicbor::{Decode, Encode};
use tidegate_record::{Epoch, Mark, Name, StoredRow, StreamEpoch, WallTime};

/// Version of the exchange that this crate speaks.
pub const VERSION: u32 = 1;

/// `POST /v1/sync`: rows that the centre lacks. Without rows it asks for the marks and reports the status.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct SyncRequest {
    /// [`VERSION`].
    #[n(0)]
    pub version: u32,
    /// Whose rows.
    #[n(1)]
    pub gateway: Name,
    /// The gateway's current epoch.
    #[n(2)]
    pub epoch: Epoch,
    /// The gateway's wall clock when it sent this; the centre measures, and never trusts it.
    #[n(3)]
    pub sent: WallTime,
    /// Streams of which the gateway wants to know the mark, because it holds rows of them.
    #[n(4)]
    pub known: Vec<StreamEpoch>,
    /// Rows, at most one entry per stream and epoch.
    #[n(5)]
    pub rows: Vec<StreamRows>,
    /// What the gateway says of itself.
    #[n(6)]
    pub status: GatewayStatus,
}

/// Rows of one stream and epoch, in order of `seq`, without gaps.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct StreamRows {
    /// Which stream and epoch.
    #[n(0)]
    pub of: StreamEpoch,
    /// The rows.
    #[n(1)]
    pub rows: Vec<StoredRow>,
}

/// What a gateway says of itself with each request.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
pub struct GatewayStatus {
    /// Version of the gateway's binary.
    #[n(0)]
    pub version: String,
    /// Rows that wait for the centre.
    #[n(1)]
    pub rows_waiting: u64,
    /// Records received since the start.
    #[n(2)]
    pub records_in: u64,
    /// Messages set aside since the start.
    #[n(3)]
    pub rejected: u64,
    /// Its modules.
    #[n(4)]
    pub modules: Vec<ModuleStatus>,
    /// Its buffer.
    #[n(5)]
    pub buffer: Option<BufferStatus>,
    /// How far the centre is behind with each stream: at most [`STREAM_LAGS_MAX`], those with an objective first.
    #[n(6)]
    #[cbor(skip_if = "Vec::is_empty")]
    pub streams: Vec<StreamLag>,
    /// Its way to the centre.
    #[n(7)]
    pub uplink: Option<UplinkStatus>,
}

/// The way of a gateway's rows to the centre.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
pub struct UplinkStatus {
    /// Rows sent in a minute, over the last minutes.
    #[n(0)]
    pub rows_per_minute: u64,
    /// Seconds until no row waits, at the rate at which they became fewer; none when they did not.
    #[n(1)]
    pub drain_s: Option<u64>,
    /// Seconds within which the gateway means to speak again, rows or not.
    #[n(2)]
    pub silence_s: u64,
}

/// Streams of which a gateway tells the lag.
pub const STREAM_LAGS_MAX: usize = 256;

/// How far the centre is behind with one stream, as the gateway sees it before the request that says so.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct StreamLag {
    /// Which stream.
    #[n(0)]
    pub stream: Name,
    /// Rows that the centre lacks.
    #[n(1)]
    pub rows_waiting: u64,
    /// Since the commit of the oldest of them, in milliseconds; 0 when there is none.
    #[n(2)]
    pub lag_ms: u64,
    /// How it was measured.
    #[n(3)]
    pub measured: Measured,
    /// How long a row may wait, in milliseconds, if the operator has said so.
    #[n(4)]
    pub objective_ms: Option<u64>,
}

/// How the time since a row's commit was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
#[cbor(index_only)]
pub enum Measured {
    /// Within one boot, by the time since it.
    #[default]
    #[n(0)]
    BootTime,
    /// Over a boot, by a wall clock that was synchronised then and now.
    #[n(1)]
    WallClock,
    /// Over a boot, by a wall clock that may have been wrong.
    #[n(2)]
    Doubtful,
}

impl Measured {
    /// The word for it in documents and pages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BootTime => "boot-time",
            Self::WallClock => "wall-clock",
            Self::Doubtful => "doubtful",
        }
    }
}

/// The buffer of a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
pub struct BufferStatus {
    /// Bytes on disk: database, write-ahead log and ballast.
    #[n(0)]
    pub bytes_used: u64,
    /// Bytes that it may use.
    #[n(1)]
    pub bytes_max: u64,
    /// The database's own number: another one means that it began anew, and the tallies with it.
    #[n(2)]
    pub database: u64,
    /// Messages that were taken and led to nothing.
    #[n(3)]
    pub tallies: Vec<Tally>,
}

/// Messages that were taken and led to nothing, for one reason. Counts only grow.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Tally {
    /// The module or source that they were for, or came from.
    #[n(0)]
    pub of: Name,
    /// Why, in one word: `rejected`, `late`, `unrouted`, `oversized`, `malformed`, `overflow`, `damaged`. Others may come.
    #[n(1)]
    pub reason: String,
    /// How many.
    #[n(2)]
    pub messages: u64,
    /// Their bytes.
    #[n(3)]
    pub bytes: u64,
    /// When the last one came, by the gateway's clock.
    #[n(4)]
    pub last: WallTime,
}

/// One module on a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ModuleStatus {
    /// The module.
    #[n(0)]
    pub name: Name,
    /// Version of its release.
    #[n(1)]
    pub version: String,
    /// `running`, or why not.
    #[n(2)]
    pub state: String,
    /// Faults since the start.
    #[n(3)]
    pub faults: u64,
}

/// The centre's answer, sent after its commit.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SyncReply {
    /// [`VERSION`].
    #[n(0)]
    pub version: u32,
    /// How far the centre holds each stream that the request named.
    #[n(1)]
    pub marks: Vec<Mark>,
    /// The centre's wall clock.
    #[n(2)]
    pub server_time: WallTime,
    /// When nothing waits, the centre wants to hear from the gateway again after this many milliseconds.
    #[n(3)]
    pub next_poll_ms: u32,
    /// Rows a second that the centre wants of a backlog at most; none for as fast as they come.
    #[n(4)]
    pub pace: Option<u32>,
}
