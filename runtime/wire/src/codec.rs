//! Bytes to messages and back. Every bound is checked before anything is allocated for it.

use minicbor::{Decode, Encode};
use thiserror::Error;

/// MIME type of a message.
pub const CONTENT_TYPE: &str = "application/vnd.tidegate.sync+cbor-zstd";

/// The header by which a device says who it is (docs/formats/device.md).
pub const DEVICE_HEADER: &str = "tidegate-device";

/// Largest compressed message, in bytes.
pub const COMPRESSED_BYTES_MAX: usize = 1 << 20;

/// Largest expanded message, in bytes: what a compression bomb can make us allocate.
pub const EXPANDED_BYTES_MAX: usize = 8 << 20;

/// Level 3 costs about 4 ns a byte and is within a few percent of the higher ones on sensor rows.
const COMPRESSION_LEVEL: i32 = 3;

/// Encodes and compresses a message.
///
/// # Errors
/// When it would be larger than the peer accepts: the caller sends fewer rows.
pub fn encode<M: Encode<()>>(message: &M) -> Result<Vec<u8>, Error> {
    let expanded = minicbor::to_vec(message).map_err(|error| Error::Encode(error.to_string()))?;
    if expanded.len() > EXPANDED_BYTES_MAX {
        return Err(Error::TooLarge {
            bytes: expanded.len(),
            bytes_max: EXPANDED_BYTES_MAX,
        });
    }
    let compressed = zstd::bulk::compress(&expanded, COMPRESSION_LEVEL).map_err(Error::Compress)?;
    if compressed.len() > COMPRESSED_BYTES_MAX {
        return Err(Error::TooLarge {
            bytes: compressed.len(),
            bytes_max: COMPRESSED_BYTES_MAX,
        });
    }
    Ok(compressed)
}

/// Expands and decodes a message.
///
/// # Errors
/// When it is too large, not zstd, not a message of this type, or has trailing bytes.
pub fn decode<M: for<'b> Decode<'b, ()>>(bytes: &[u8]) -> Result<M, Error> {
    if bytes.len() > COMPRESSED_BYTES_MAX {
        return Err(Error::TooLarge {
            bytes: bytes.len(),
            bytes_max: COMPRESSED_BYTES_MAX,
        });
    }
    let expanded = zstd::bulk::decompress(bytes, EXPANDED_BYTES_MAX).map_err(Error::Expand)?;
    let mut decoder = minicbor::Decoder::new(&expanded);
    let message = decoder.decode().map_err(Error::Malformed)?;
    match expanded.len() - decoder.position() {
        0 => Ok(message),
        bytes => Err(Error::TrailingBytes(bytes)),
    }
}

/// Why bytes are not a message, or a message cannot be bytes.
#[derive(Debug, Error)]
pub enum Error {
    /// Over the bound.
    #[error("message has {bytes} bytes, limit is {bytes_max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// The compressor failed.
    #[error("cannot compress the message")]
    Compress(#[source] std::io::Error),
    /// Not zstd, or it expands over the bound.
    #[error("cannot expand the message to at most {EXPANDED_BYTES_MAX} bytes")]
    Expand(#[source] std::io::Error),
    /// Not CBOR of the expected shape.
    #[error("message is malformed")]
    Malformed(#[source] minicbor::decode::Error),
    /// More than one message.
    #[error("message has {0} trailing bytes")]
    TrailingBytes(usize),
    /// Never seen with these types; the encoder's words.
    #[error("cannot encode the message: {0}")]
    Encode(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::*;

    fn request() -> SyncRequest {
        let epoch = Epoch {
            ordinal: 3,
            random: u64::MAX,
        };
        let row = StoredRow {
            seq: 1,
            class: Class::Alarm,
            module: Name::new("threshold-alarm").unwrap(),
            generation: 1,
            key: "press-7".into(),
            time: WallTime(1_700_000_000_000_000_000),
            duration_ns: 0,
            content: Content::Values(vec![
                NamedValue {
                    name: "celsius".into(),
                    value: Scalar::Number(91.5),
                },
                NamedValue {
                    name: "tripped".into(),
                    value: Scalar::Boolean(true),
                },
            ]),
            stamp: Stamp {
                boot: BootId(7),
                boot_time: BootTime(8),
                wall_time: WallTime(9),
                clock: ClockQuality::Synced,
            },
            trace: Some([1; 16]),
            from: None,
        };
        let of = StreamEpoch {
            stream: Name::new("alarms").unwrap(),
            epoch,
        };
        SyncRequest {
            version: VERSION,
            gateway: Name::new("gw-1").unwrap(),
            epoch,
            sent: WallTime(1),
            known: vec![of.clone()],
            rows: vec![StreamRows {
                of,
                rows: vec![row],
            }],
            status: GatewayStatus::default(),
        }
    }

    #[test]
    fn a_message_survives_the_way() {
        let bytes = encode(&request()).unwrap();
        assert_eq!(decode::<SyncRequest>(&bytes).unwrap(), request());
    }

    #[test]
    fn no_truncated_or_flipped_message_panics_and_no_truncated_one_is_accepted() {
        let bytes = encode(&request()).unwrap();
        for end in 0..bytes.len() {
            assert!(
                decode::<SyncRequest>(&bytes[..end]).is_err(),
                "first {end} bytes"
            );
        }
        for position in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[position / 8] ^= 1 << (position % 8);
            let _outcome = decode::<SyncRequest>(&flipped);
        }
    }

    #[test]
    fn trailing_bytes_are_refused() {
        let mut expanded = minicbor::to_vec(request()).unwrap();
        expanded.push(0);
        let bytes = zstd::bulk::compress(&expanded, 1).unwrap();
        assert!(matches!(
            decode::<SyncRequest>(&bytes),
            Err(Error::TrailingBytes(1))
        ));
    }

    #[test]
    fn a_compression_bomb_is_refused() {
        let bytes = zstd::bulk::compress(&vec![0_u8; EXPANDED_BYTES_MAX + 1], 1).unwrap();
        assert!(bytes.len() < 10_000);
        assert!(matches!(
            decode::<SyncRequest>(&bytes),
            Err(Error::Expand(_))
        ));
    }
}
