//! Requests and rows for tests, inside the crate and out.

use std::ops::RangeInclusive;

use tidegate_wire::{
    BootId, BootTime, Class, ClockQuality, Content, Epoch, GatewayStatus, ModuleStatus, Name,
    NamedValue, Scalar, Stamp, StoredRow, StreamEpoch, StreamRows, SyncRequest, VERSION, WallTime,
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
        content: number(
            "celsius",
            20.0 + f64::from(u32::try_from(seq % 100).unwrap()) / 2.0,
        ),
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
        },
    }
}
