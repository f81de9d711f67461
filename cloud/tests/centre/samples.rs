//! Requests and rows for tests, inside the crate and out.

use std::ops::RangeInclusive;

use tidegate_aggregate::Summary;
use tidegate_wire::{
    Bins, BootId, BootTime, BufferStatus, Class, ClockQuality, Content, Epoch, GatewayStatus, Lost,
    LostValue, Measured, ModuleStatus, Name, NamedValue, Numbers, Reason, Scalar, Stamp, StoredRow,
    StreamEpoch, StreamLag, StreamRows, SyncRequest, Tally, Thinned, ThinnedValue, VERSION,
    WallTime,
};

/// 2026-11-21 07:30:00 UTC.
pub(crate) const START_NS: u64 = 1_795_246_200_000_000_000;

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// The random part follows from the ordinal, so that two calls mean the same epoch.
pub(crate) fn epoch(ordinal: u64) -> Epoch {
    Epoch {
        ordinal,
        random: u64::MAX - ordinal,
    }
}

pub(crate) fn stream(stream: &str, epoch: Epoch) -> StreamEpoch {
    StreamEpoch {
        stream: name(stream),
        epoch,
    }
}

/// A row whose content follows from its seq: one a second, `celsius` from 20.0 in steps of 0.5.
pub(crate) fn row(seq: u64) -> StoredRow {
    let time = START_NS.wrapping_add(seq.wrapping_mul(1_000_000_000));
    StoredRow {
        seq,
        class: Class::Raw,
        module: name("unit-convert"),
        generation: 1,
        key: "press-7".into(),
        time: WallTime(time),
        duration_ns: 0,
        content: number("celsius", celsius(seq)),
        stamp: Stamp {
            boot: BootId(u64::MAX),
            boot_time: BootTime(seq),
            wall_time: WallTime(time),
            clock: ClockQuality::Synced,
        },
        trace: Some([7; 16]),
        from: None,
    }
}

fn celsius(seq: u64) -> f64 {
    20.0 + f64::from(u32::try_from(seq % 100).unwrap()) / 2.0
}

/// The rows from `first` to `seq`, thinned out to one.
pub(crate) fn thinned(first: u64, seq: u64) -> StoredRow {
    let mut all = Summary::default();
    (first..=seq).for_each(|seq| all.add(celsius(seq)));
    let numbers = Numbers {
        count: all.moments.count(),
        min: all.moments.min().unwrap(),
        max: all.moments.max().unwrap(),
        mean: all.moments.mean().unwrap(),
        squares: all.moments.squares(),
        sketch: Bins {
            zeros: all.sketch.zeros(),
            positive: all.sketch.positive().to_vec(),
            negative: all.sketch.negative().to_vec(),
        },
    };
    let value = ThinnedValue {
        name: "celsius".into(),
        count: numbers.count,
        first: Scalar::Number(celsius(first)),
        last: Scalar::Number(celsius(seq)),
        numbers: Some(numbers),
    };
    let content = Content::Thinned(Thinned {
        rows: all.moments.count(),
        values: vec![value],
    });
    covering(first, seq, content)
}

/// The rows from `first` to `seq`, evicted.
pub(crate) fn lost(first: u64, seq: u64) -> StoredRow {
    let rows = seq - first + 1;
    let value = LostValue {
        name: "celsius".into(),
        count: rows,
        min: (first..=seq).map(celsius).fold(f64::MAX, f64::min),
        max: (first..=seq).map(celsius).fold(f64::MIN, f64::max),
    };
    let content = Content::Lost(Lost {
        reason: Reason::Evicted,
        rows,
        bytes: rows * 100,
        values: vec![value],
    });
    StoredRow {
        key: String::new(),
        ..covering(first, seq, content)
    }
}

fn covering(first: u64, seq: u64, content: Content) -> StoredRow {
    StoredRow {
        from: (first < seq).then_some(first),
        time: row(first).time,
        duration_ns: (seq - first) * 1_000_000_000,
        content,
        trace: None,
        ..row(seq)
    }
}

/// A buffer that is nearly full, and what it set aside.
pub(crate) fn buffer() -> BufferStatus {
    BufferStatus {
        bytes_used: 186 << 20,
        bytes_max: 200 << 20,
        database: 0xDB,
        tallies: vec![Tally {
            of: name("windows"),
            reason: "late".into(),
            messages: 1200,
            bytes: 240_000,
            last: WallTime(START_NS),
        }],
    }
}

/// Rows that wait for so many seconds, and how long they may.
pub(crate) fn lag(stream: &str, rows: u64, seconds: u64, objective: Option<u64>) -> StreamLag {
    StreamLag {
        stream: name(stream),
        rows_waiting: rows,
        lag_ms: seconds.saturating_mul(1000),
        measured: Measured::BootTime,
        objective_ms: objective.map(|seconds| seconds * 1000),
    }
}

pub(crate) fn number(name: &str, value: f64) -> Content {
    Content::Values(vec![NamedValue {
        name: name.into(),
        value: Scalar::Number(value),
    }])
}

pub(crate) fn rows(name: &str, epoch: Epoch, seqs: RangeInclusive<u64>) -> StreamRows {
    StreamRows {
        of: stream(name, epoch),
        rows: seqs.map(row).collect(),
    }
}

pub(crate) fn request(gateway: &str, rows: Vec<StreamRows>) -> SyncRequest {
    SyncRequest {
        version: VERSION,
        gateway: name(gateway),
        epoch: epoch(1),
        sent: WallTime(START_NS + 60_000_000_000),
        known: Vec::new(),
        rows,
        status: GatewayStatus {
            version: "0.1.0".into(),
            rows_waiting: 3,
            records_in: 1000,
            rejected: 2,
            modules: vec![ModuleStatus {
                name: name("unit-convert"),
                version: "0.1.0".into(),
                state: "running".into(),
                faults: 0,
            }],
            buffer: None,
            streams: Vec::new(),
            uplink: None,
        },
    }
}
