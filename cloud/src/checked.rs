//! A sync request whose shape is sound: pure, and the same for every store.
//!
//! Decoding bounds bytes; this bounds counts and numbers, and holds the rules that a store relies on: the version is
//! ours, a stream and epoch comes once, its rows cover their numbers without a gap, and every number fits a signed 64-bit
//! column.

use std::collections::HashSet;

use thiserror::Error;
use tidegate_wire::{
    GatewayStatus, Name, StoredRow, StreamEpoch, StreamRows, SyncRequest, VERSION, WallTime,
};

/// Most rows in one request: bounds the time of one commit, and so the wait of all others.
pub const ROWS_MAX: usize = 10_000;

/// Most streams and epochs that one request names: bounds the marks in the reply.
pub const STREAMS_MAX: usize = 4096;

/// Largest ordinal and seq: what a signed 64-bit column holds in order.
pub const COUNT_MAX: u64 = i64::MAX.unsigned_abs();

/// A request that passed [`Checked::new`] or [`Checked::imported`].
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    request: SyncRequest,
    imported: bool,
}

impl Checked {
    /// Checks the shape of `request`.
    ///
    /// # Errors
    /// The first [`Flaw`] found.
    pub fn new(request: SyncRequest) -> Result<Self, Flaw> {
        if request.version != VERSION {
            return Err(Flaw::Version(request.version));
        }
        let streams = request.known.len().saturating_add(request.rows.len());
        if streams > STREAMS_MAX {
            return Err(Flaw::TooManyStreams(streams));
        }
        let rows = request.rows.iter().map(|stream| stream.rows.len()).sum();
        if rows > ROWS_MAX {
            return Err(Flaw::TooManyRows(rows));
        }
        let epochs = request
            .known
            .iter()
            .chain(request.rows.iter().map(|stream| &stream.of))
            .map(|of| of.epoch);
        for epoch in epochs.chain([request.epoch]) {
            if epoch.ordinal > COUNT_MAX {
                return Err(Flaw::Ordinal(epoch.ordinal));
            }
        }
        let mut seen = HashSet::new();
        for stream in &request.rows {
            if !seen.insert(&stream.of) {
                return Err(Flaw::StreamTwice(stream.of.stream.clone()));
            }
            check_order(stream)?;
        }
        Ok(Self {
            request,
            imported: false,
        })
    }

    /// Checks rows that came in a file, as if their gateway had sent them.
    ///
    /// # Errors
    /// The first [`Flaw`] found.
    pub fn imported(
        gateway: Name,
        rows: Vec<StreamRows>,
        received: WallTime,
    ) -> Result<Self, Flaw> {
        let epochs = rows.iter().map(|stream| stream.of.epoch);
        let checked = Self::new(SyncRequest {
            version: VERSION,
            gateway,
            epoch: epochs.max().unwrap_or(tidegate_wire::Epoch {
                ordinal: 0,
                random: 0,
            }),
            sent: received,
            known: Vec::new(),
            rows,
            status: GatewayStatus::default(),
        })?;
        Ok(Self {
            imported: true,
            ..checked
        })
    }

    /// The request.
    pub const fn request(&self) -> &SyncRequest {
        &self.request
    }

    /// Whether it came in a file: then it does not say how the gateway is now, and not that it can be reached.
    pub const fn is_imported(&self) -> bool {
        self.imported
    }

    /// Every stream and epoch that the request names, once: the marks that the reply owes.
    pub fn named(&self) -> Vec<&StreamEpoch> {
        let mut seen = HashSet::new();
        let request = &self.request;
        let rows = request.rows.iter().map(|stream| &stream.of);
        let all = rows.chain(&request.known);
        all.filter(|of| seen.insert(*of)).collect()
    }
}

fn check_order(stream: &StreamRows) -> Result<(), Flaw> {
    let name = || stream.of.stream.clone();
    let mut expected = stream.rows.first().map_or(1, StoredRow::first);
    for row in &stream.rows {
        let (first, seq) = (row.first(), row.seq);
        if first == 0 || seq >= COUNT_MAX {
            let seq = if first == 0 { 0 } else { seq };
            return Err(Flaw::Seq {
                stream: name(),
                seq,
            });
        }
        if first > seq {
            return Err(Flaw::Cover {
                stream: name(),
                first,
                seq,
            });
        }
        if first != expected {
            return Err(Flaw::Order {
                stream: name(),
                expected,
                actual: first,
            });
        }
        expected = seq.saturating_add(1);
    }
    Ok(())
}

/// Why the shape of a request is not sound.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Flaw {
    /// Another version of the exchange.
    #[error("request speaks version {0}, this centre speaks {VERSION}")]
    Version(u32),
    /// Over [`STREAMS_MAX`].
    #[error("request names {0} streams and epochs, limit is {STREAMS_MAX}")]
    TooManyStreams(usize),
    /// Over [`ROWS_MAX`].
    #[error("request has {0} rows, limit is {ROWS_MAX}")]
    TooManyRows(usize),
    /// Over [`COUNT_MAX`].
    #[error("epoch ordinal {0} is over {COUNT_MAX}")]
    Ordinal(u64),
    /// Two entries for one stream and epoch.
    #[error("stream {0} has two entries for one epoch")]
    StreamTwice(Name),
    /// Zero, or not below [`COUNT_MAX`].
    #[error("stream {stream} has seq {seq}, the first is 1 and the last is below {COUNT_MAX}")]
    Seq {
        /// The stream.
        stream: Name,
        /// Its seq.
        seq: u64,
    },
    /// A row covers no number.
    #[error("stream {stream} has a row that covers the numbers from {first} to {seq}")]
    Cover {
        /// The stream.
        stream: Name,
        /// The first number that it covers.
        first: u64,
        /// Its seq, the last one.
        seq: u64,
    },
    /// Rows of one entry leave out or repeat a number.
    #[error("stream {stream} has seq {actual} where {expected} must follow")]
    Order {
        /// The stream.
        stream: Name,
        /// The number that must come.
        expected: u64,
        /// The number that came.
        actual: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{epoch, lost, request, row, rows, stream, thinned};

    #[test]
    fn a_sound_request_passes_and_names_each_stream_once() {
        let mut sound = request("gw-1", vec![rows("a", epoch(1), 1..=3)]);
        sound.known = vec![
            stream("a", epoch(1)),
            stream("b", epoch(1)),
            stream("b", epoch(1)),
        ];
        let checked = Checked::new(sound).unwrap();
        assert_eq!(
            checked.named(),
            [&stream("a", epoch(1)), &stream("b", epoch(1))]
        );
    }

    #[test]
    fn each_flaw_is_named() {
        let sound = || request("gw-1", vec![rows("a", epoch(1), 1..=3)]);
        let flaw = |change: &dyn Fn(&mut SyncRequest)| {
            let mut request = sound();
            change(&mut request);
            Checked::new(request).unwrap_err()
        };
        assert_eq!(flaw(&|r| r.version = 2), Flaw::Version(2));
        assert_eq!(flaw(&|r| r.epoch.ordinal = 1 << 63), Flaw::Ordinal(1 << 63));
        assert_eq!(
            flaw(&|r| r.known = vec![stream("a", epoch(1 << 63))]),
            Flaw::Ordinal(1 << 63)
        );
        assert_eq!(
            flaw(&|r| r.rows.push(r.rows[0].clone())),
            Flaw::StreamTwice(stream("a", epoch(1)).stream)
        );
        assert!(matches!(
            flaw(&|r| r.rows[0].rows[0].seq = 0),
            Flaw::Seq { seq: 0, .. }
        ));
        assert!(matches!(
            flaw(&|r| r.rows[0].rows[1].seq = 3),
            Flaw::Order {
                expected: 2,
                actual: 3,
                ..
            }
        ));
        assert!(matches!(
            flaw(&|r| r.rows[0].rows[0].seq = u64::MAX),
            Flaw::Seq { seq: u64::MAX, .. }
        ));
        assert!(matches!(
            flaw(&|r| r.rows[0].rows[0].from = Some(0)),
            Flaw::Seq { seq: 0, .. }
        ));
        assert!(matches!(
            flaw(&|r| r.rows[0].rows[1].from = Some(4)),
            Flaw::Cover {
                first: 4,
                seq: 2,
                ..
            }
        ));
        assert_eq!(
            flaw(&|r| r.rows = vec![rows("a", epoch(1), 1..=10_001)]),
            Flaw::TooManyRows(10_001)
        );
        assert_eq!(
            flaw(&|r| r.known = vec![stream("a", epoch(1)); 4096]),
            Flaw::TooManyStreams(4097)
        );
    }

    #[test]
    fn rows_cover_their_numbers_without_a_gap() {
        let order = |rows: Vec<StoredRow>| {
            let of = stream("a", epoch(1));
            Checked::new(request("gw-1", vec![StreamRows { of, rows }])).map(|_| ())
        };
        let sound = vec![thinned(3, 9), row(10), lost(11, 11), lost(12, 40), row(41)];
        assert_eq!(order(sound.clone()), Ok(()));
        for (at, from, expected, actual) in [(3, 13, 12, 13), (3, 11, 12, 11), (1, 9, 10, 9)] {
            let mut broken = sound.clone();
            broken[at].from = Some(from);
            let flaw = order(broken).unwrap_err();
            let fact = format!("stream a has seq {actual} where {expected} must follow");
            assert_eq!(flaw.to_string(), fact);
        }
    }
}
