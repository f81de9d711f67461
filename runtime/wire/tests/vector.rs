//! The test vectors of docs/formats/wire.md: what we write is what the page says, and what it says we read.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "what a test's helper does not find fails the test"
)]

use minicbor::{Decode, Encode};
use tidegate_wire::{
    Bins, BootId, BootTime, BufferStatus, Class, ClockQuality, Content, Document, Epoch,
    GatewayStatus, Lost, LostValue, Mark, Measured, ModuleStatus, Name, NamedValue, Numbers,
    Reason, Scalar, Stamp, StoredRow, StreamEpoch, StreamLag, StreamRows, SyncReply, SyncRequest,
    Tally, Thinned, ThinnedValue, UplinkStatus, VERSION, WallTime, decode,
};

const PAGE: &str = include_str!("../../../docs/formats/wire.md");

#[test]
fn the_request_is_the_bytes_of_the_page() {
    assert_eq!(minicbor::to_vec(request()).unwrap(), block("request"));
    let read: SyncRequest = decode(&compressed(&block("request"))).unwrap();
    assert_eq!(read, request());
}

#[test]
fn rows_that_stand_for_others_are_the_bytes_of_the_page() {
    assert_eq!(minicbor::to_vec(degraded()).unwrap(), block("degraded"));
    let read: SyncRequest = decode(&compressed(&block("degraded"))).unwrap();
    assert_eq!(read, degraded());
    // Each begins where the one before ended.
    let rows = &read.rows[0].rows;
    assert_eq!((rows[0].first(), rows[0].seq), (1, 64));
    assert_eq!((rows[1].first(), rows[1].seq), (65, 100));
}

#[test]
fn the_reply_is_the_bytes_of_the_page() {
    assert_eq!(minicbor::to_vec(reply()).unwrap(), block("reply"));
    assert_eq!(decode::<SyncReply>(&block("frame")).unwrap(), reply());
}

#[test]
fn a_status_with_streams_is_the_bytes_of_the_page_and_one_without_is_read() {
    let bytes = minicbor::to_vec(behind()).unwrap();
    assert_eq!(bytes, block("behind"));
    assert_eq!(minicbor::decode::<GatewayStatus>(&bytes).unwrap(), behind());
    let earlier = request().status;
    let bytes = minicbor::to_vec(&earlier).unwrap();
    assert_eq!(minicbor::decode::<GatewayStatus>(&bytes).unwrap(), earlier);
}

#[test]
fn a_status_with_an_uplink_and_no_streams_and_a_reply_with_a_pace_survive_the_way() {
    let status = GatewayStatus {
        uplink: Some(UplinkStatus {
            rows_per_minute: 90_000,
            drain_s: Some(77),
            silence_s: 5,
        }),
        ..request().status
    };
    let read: GatewayStatus = minicbor::decode(&minicbor::to_vec(&status).unwrap()).unwrap();
    assert_eq!(read, status);
    let paced = SyncReply {
        pace: Some(9000),
        ..reply()
    };
    let bytes = minicbor::to_vec(&paced).unwrap();
    assert_eq!(bytes, block("paced"));
    assert_eq!(minicbor::decode::<SyncReply>(&bytes).unwrap(), paced);
}

#[test]
fn another_byte_is_another_message() {
    let mut frame = block("frame");
    // The seq of the mark of `summary`.
    let seq = frame.len() - 13;
    assert_eq!(frame[seq], 0);
    frame[seq] = 9;
    assert_eq!(decode::<SyncReply>(&frame).unwrap().marks[1].seq, 9);
}

#[test]
fn fields_of_a_later_version_are_skipped() {
    /// A mark with two fields more.
    #[derive(Encode, Decode)]
    struct Later {
        #[n(0)]
        of: StreamEpoch,
        #[n(1)]
        seq: u64,
        #[n(2)]
        note: String,
        #[n(5)]
        more: Vec<u64>,
    }
    let mark = reply().marks.remove(0);
    let later = Later {
        of: mark.of.clone(),
        seq: mark.seq,
        note: "later".into(),
        more: vec![1, 2],
    };
    let bytes = minicbor::to_vec(later).unwrap();
    assert_eq!(minicbor::decode::<Mark>(&bytes).unwrap(), mark);
}

#[test]
fn open_arrays_and_short_floats_are_read() {
    let mark = reply().marks.remove(0);
    let of = minicbor::to_vec(&mark.of).unwrap();
    let open = [&[0x9F], of.as_slice(), &[0x02, 0xFF]].concat();
    assert_eq!(minicbor::decode::<Mark>(&open).unwrap(), mark);
    for short in [
        [0x82, 0x02, 0x81, 0xF9, 0x55, 0xB8].as_slice(),
        &[0x82, 0x02, 0x81, 0xFA, 0x42, 0xB7, 0x00, 0x00],
    ] {
        let value: Scalar = minicbor::decode(short).unwrap();
        assert_eq!(value, Scalar::Number(91.5));
    }
}

/// The bytes of the page's block of this kind.
fn block(kind: &str) -> Vec<u8> {
    let text = PAGE.split(&format!("```{kind}\n")).nth(1).unwrap();
    let hex: String = text
        .split("```")
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

fn compressed(message: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(message, 1).unwrap()
}

fn alarms() -> StreamEpoch {
    StreamEpoch {
        stream: Name::new("alarms").unwrap(),
        epoch: Epoch {
            ordinal: 2,
            random: 0xA1B2_C3D4_E5F6_0708,
        },
    }
}

fn summary() -> StreamEpoch {
    StreamEpoch {
        stream: Name::new("summary").unwrap(),
        epoch: Epoch {
            ordinal: 1,
            random: 7,
        },
    }
}

fn request() -> SyncRequest {
    SyncRequest {
        version: VERSION,
        gateway: Name::new("gw-1").unwrap(),
        epoch: alarms().epoch,
        sent: WallTime(1_795_246_200_000_000_000),
        known: vec![summary()],
        rows: vec![StreamRows {
            of: alarms(),
            rows: vec![alarm(), picture()],
        }],
        status: GatewayStatus {
            version: "0.1.0".into(),
            rows_waiting: 1,
            records_in: 1000,
            rejected: 0,
            modules: vec![ModuleStatus {
                name: Name::new("threshold-alarm").unwrap(),
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

fn alarm() -> StoredRow {
    let value = |name: &str, value| NamedValue {
        name: name.into(),
        value,
    };
    StoredRow {
        seq: 1,
        class: Class::Alarm,
        module: Name::new("threshold-alarm").unwrap(),
        generation: 3,
        key: "press-7".into(),
        time: WallTime(1_795_246_199_000_000_000),
        duration_ns: 0,
        content: Content::Values(vec![
            value("celsius", Scalar::Number(91.5)),
            value("active", Scalar::Boolean(true)),
        ]),
        stamp: Stamp {
            boot: BootId(0xB007),
            boot_time: BootTime(5_000_000_000),
            wall_time: WallTime(1_795_246_199_500_000_000),
            clock: ClockQuality::Synced,
        },
        trace: Some([0x11; 16]),
        from: None,
    }
}

fn picture() -> StoredRow {
    StoredRow {
        seq: 2,
        class: Class::Summary,
        module: Name::new("camera").unwrap(),
        generation: 1,
        key: String::new(),
        time: WallTime(0),
        duration_ns: 60_000_000_000,
        content: Content::Document(Document {
            content_type: "text/plain".into(),
            bytes: b"ok".to_vec(),
        }),
        stamp: Stamp {
            boot: BootId(0xB007),
            boot_time: BootTime(5_000_000_000),
            wall_time: WallTime(0),
            clock: ClockQuality::Unset,
        },
        trace: None,
        from: None,
    }
}

fn degraded() -> SyncRequest {
    SyncRequest {
        known: Vec::new(),
        rows: vec![StreamRows {
            of: StreamEpoch {
                stream: Name::new("temperature").unwrap(),
                epoch: alarms().epoch,
            },
            rows: vec![thinned(), lost()],
        }],
        status: GatewayStatus {
            version: "0.1.0".into(),
            rows_waiting: 2,
            records_in: 1000,
            rejected: 12,
            modules: Vec::new(),
            buffer: Some(BufferStatus {
                bytes_used: 186 << 20,
                bytes_max: 200 << 20,
                database: 7,
                tallies: vec![Tally {
                    of: Name::new("windows").unwrap(),
                    reason: "late".into(),
                    messages: 12,
                    bytes: 2400,
                    last: WallTime(1_795_246_100_000_000_000),
                }],
            }),
            streams: Vec::new(),
            uplink: None,
        },
        ..request()
    }
}

/// Behind with one stream, and not with another.
fn behind() -> GatewayStatus {
    let lag = |stream: &str| StreamLag {
        stream: Name::new(stream).unwrap(),
        rows_waiting: 0,
        lag_ms: 0,
        measured: Measured::BootTime,
        objective_ms: None,
    };
    let readings = StreamLag {
        rows_waiting: 3600,
        lag_ms: 723_000,
        measured: Measured::WallClock,
        objective_ms: Some(600_000),
        ..lag("readings")
    };
    GatewayStatus {
        version: "0.1.0".into(),
        rows_waiting: 3600,
        records_in: 1000,
        streams: vec![readings, lag("alarms")],
        ..GatewayStatus::default()
    }
}

/// 62 times 21.0, then 0.0 and -1.5.
fn thinned() -> StoredRow {
    let celsius = ThinnedValue {
        name: "celsius".into(),
        count: 64,
        first: Scalar::Number(21.0),
        last: Scalar::Number(-1.5),
        numbers: Some(Numbers {
            count: 64,
            min: -1.5,
            max: 21.0,
            mean: 20.320_312_5,
            squares: 917.68359375,
            sketch: Bins {
                zeros: 1,
                positive: vec![(153, 62)],
                negative: vec![(20, 1)],
            },
        }),
    };
    let state = ThinnedValue {
        name: "state".into(),
        count: 2,
        first: Scalar::Text("up".into()),
        last: Scalar::Text("down".into()),
        numbers: None,
    };
    StoredRow {
        seq: 64,
        class: Class::Raw,
        module: Name::new("unit-convert").unwrap(),
        time: WallTime(1_795_246_080_000_000_000),
        duration_ns: 60_000_000_000,
        content: Content::Thinned(Thinned {
            rows: 64,
            values: vec![celsius, state],
        }),
        trace: None,
        from: Some(1),
        ..alarm()
    }
}

fn lost() -> StoredRow {
    let celsius = LostValue {
        name: "celsius".into(),
        count: 36,
        min: 20.5,
        max: 91.5,
    };
    StoredRow {
        seq: 100,
        key: String::new(),
        time: WallTime(1_795_246_140_000_000_000),
        duration_ns: 36_000_000_000,
        content: Content::Lost(Lost {
            reason: Reason::Evicted,
            rows: 36,
            bytes: 3456,
            values: vec![celsius],
        }),
        from: Some(65),
        ..thinned()
    }
}

fn reply() -> SyncReply {
    SyncReply {
        version: VERSION,
        marks: vec![
            Mark {
                of: alarms(),
                seq: 2,
            },
            Mark {
                of: summary(),
                seq: 0,
            },
        ],
        server_time: WallTime(1_795_246_200_250_000_000),
        next_poll_ms: 5000,
        pace: None,
    }
}
