//! Messages between a gateway and the centre: CBOR maps and arrays (docs/formats/wire.md), compressed with zstd.
//!
//! A [`SyncRequest`] is idempotent: each row has an identity that never comes again, so it may be lost, repeated or
//! reordered at will. A [`SyncReply`] says how far the centre holds each stream, after its commit. Decoding is bounded
//! before it allocates, and trailing bytes are refused.
//!
//! # Layout
//! - [`sync`]: the messages.
//! - [`codec`]: bytes to messages and back.
//! - [`export`]: rows in a file.

pub mod codec;
pub mod export;
pub mod sync;

pub use codec::{CONTENT_TYPE, DEVICE_HEADER, Error, decode, encode};
pub use export::{Chunk, End, Head, Part};
pub use sync::{
    BufferStatus, GatewayStatus, Measured, ModuleStatus, STREAM_LAGS_MAX, StreamLag, StreamRows,
    SyncReply, SyncRequest, Tally, UplinkStatus, VERSION,
};
pub use tidegate_record::{
    Bins, BootId, BootTime, Class, ClockQuality, Content, Document, Epoch, Lost, LostValue, Mark,
    Name, NamedValue, Numbers, Reason, Scalar, Stamp, StoredRow, StreamEpoch, Thinned,
    ThinnedValue, WallTime,
};
