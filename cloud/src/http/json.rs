//! Gateways, streams, rows and the loss ledger as JSON, and the cursors that page them.
//!
//! Identifiers of 64 random bits are hexadecimal text, because JavaScript rounds numbers over 2^53.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::{Value, json};
use tidegate_wire::{BufferStatus, ClockQuality, Epoch, Name, Tally, UplinkStatus, WallTime};

use super::content::ContentJson;
use crate::store::devices::Identity;
use crate::store::{EntryPosition, Gateway, HeldRow, Loss, Position, SeriesRow, Stream};

pub(super) fn gateway(gateway: &Gateway) -> Value {
    let status = &gateway.status;
    let modules: Vec<_> = status
        .modules
        .iter()
        .map(|module| {
            json!({
                "name": module.name.as_str(), "version": module.version, "state": module.state, "faults": module.faults,
            })
        })
        .collect();
    json!({
        "gateway": gateway.name.as_str(),
        "epoch": epoch(gateway.epoch),
        "first_seen": rfc3339(gateway.first_seen),
        "last_seen": rfc3339(gateway.last_seen),
        "sent": rfc3339(gateway.sent),
        "newest_row": gateway.newest_row.map(|newest| {
            json!({ "committed": rfc3339(newest.committed), "received": rfc3339(newest.received) })
        }),
        "conflicts": gateway.conflicts,
        "identity": gateway.identity.map(identity),
        "version": status.version,
        "rows_waiting": status.rows_waiting,
        "records_in": status.records_in,
        "rejected": status.rejected,
        "modules": modules,
        "buffer": status.buffer.as_ref().map(buffer),
        "uplink": status.uplink.as_ref().map(uplink),
    })
}

/// Null of a gateway that was never enrolled.
fn identity(identity: Identity) -> Value {
    json!({
        "enrolled": rfc3339(identity.enrolled),
        "revoked": identity.revoked.map(rfc3339),
        "alarm": identity.alarm.map(|(alarm, raised)| json!({"reason": alarm.as_str(), "raised": rfc3339(raised)})),
    })
}

fn uplink(uplink: &UplinkStatus) -> Value {
    json!({
        "rows_per_minute": uplink.rows_per_minute,
        "drain_s": uplink.drain_s,
        "silence_s": uplink.silence_s,
    })
}

fn buffer(buffer: &BufferStatus) -> Value {
    json!({
        "bytes_used": buffer.bytes_used,
        "bytes_max": buffer.bytes_max,
        "database": hexadecimal(buffer.database),
    })
}

pub(super) fn tally(tally: &Tally) -> Value {
    json!({
        "of": tally.of.as_str(), "reason": tally.reason, "messages": tally.messages, "bytes": tally.bytes,
        "last": rfc3339(tally.last),
    })
}

pub(super) fn loss(loss: &Loss) -> Value {
    json!({
        "stream": loss.stream.as_str(), "reason": loss.reason.as_str(), "entries": loss.entries, "rows": loss.rows,
        "bytes": loss.bytes, "received": rfc3339(loss.received),
    })
}

/// One stream.
#[derive(Debug, Serialize)]
pub(super) struct StreamJson<'r> {
    stream: &'r str,
    rows: u64,
    marks: u64,
    first_time: String,
    last_time: String,
    last: RowJson<'r>,
}

impl<'r> From<&'r Stream> for StreamJson<'r> {
    fn from(stream: &'r Stream) -> Self {
        Self {
            stream: stream.name.as_str(),
            rows: stream.rows,
            marks: stream.marks,
            first_time: rfc3339(stream.first.row.time),
            last_time: rfc3339(stream.last.row.time),
            last: RowJson::from(&stream.last),
        }
    }
}

/// One row.
#[derive(Debug, Serialize)]
pub(super) struct RowJson<'r> {
    epoch: Value,
    from: u64,
    seq: u64,
    class: &'static str,
    module: &'r str,
    generation: u64,
    key: &'r str,
    time: String,
    duration_ns: u64,
    #[serde(flatten)]
    content: ContentJson<'r>,
    stamp: StampJson,
    trace: Option<String>,
    received: String,
}

#[derive(Debug, Serialize)]
struct StampJson {
    boot: String,
    boot_time_ns: u64,
    wall_time: String,
    clock: &'static str,
}

impl<'r> From<&'r HeldRow> for RowJson<'r> {
    fn from(held: &'r HeldRow) -> Self {
        let row = &held.row;
        Self {
            epoch: epoch(held.epoch),
            from: row.first(),
            seq: row.seq,
            class: row.class.as_str(),
            module: row.module.as_str(),
            generation: row.generation,
            key: &row.key,
            time: rfc3339(row.time),
            duration_ns: row.duration_ns,
            content: ContentJson::from(&row.content),
            stamp: StampJson {
                boot: hexadecimal(row.stamp.boot.0),
                boot_time_ns: row.stamp.boot_time.0,
                wall_time: rfc3339(row.stamp.wall_time),
                clock: clock(row.stamp.clock),
            },
            trace: row
                .trace
                .map(|trace| format!("{:032x}", u128::from_be_bytes(trace))),
            received: rfc3339(held.received),
        }
    }
}

/// One entry of the loss ledger: a row, and its stream.
#[derive(Debug, Serialize)]
pub(super) struct EntryJson<'r> {
    stream: &'r str,
    #[serde(flatten)]
    row: RowJson<'r>,
}

impl<'r> From<&'r SeriesRow> for EntryJson<'r> {
    fn from(entry: &'r SeriesRow) -> Self {
        Self {
            stream: entry.stream.as_str(),
            row: RowJson::from(&entry.held),
        }
    }
}

fn epoch(epoch: Epoch) -> Value {
    json!({ "ordinal": epoch.ordinal, "random": hexadecimal(epoch.random) })
}

fn hexadecimal(number: u64) -> String {
    format!("{number:016x}")
}

const fn clock(clock: ClockQuality) -> &'static str {
    match clock {
        ClockQuality::Unset => "unset",
        ClockQuality::HeldOver => "held-over",
        ClockQuality::Synced => "synced",
        ClockQuality::Device => "device",
        ClockQuality::Restamped => "restamped",
    }
}

/// `2026-11-21T07:30:00.000000000Z`: every time a gateway can send has one.
pub(crate) fn rfc3339(time: WallTime) -> String {
    let (seconds, nanoseconds) = (time.0 / 1_000_000_000, time.0 % 1_000_000_000);
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanoseconds:09}Z")
}

/// Days since 1970 to a date: years are counted from March, so that the leap day is the last of its year.
const fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = era * 400 + year_of_era;
    (if month <= 2 { year + 1 } else { year }, month, day)
}

/// A position as opaque text.
pub(super) fn cursor(position: Position) -> String {
    let numbers = [position.epoch.ordinal, position.epoch.random, position.seq];
    URL_SAFE_NO_PAD.encode(numbers.map(u64::to_be_bytes).concat())
}

/// The reverse of [`cursor`].
pub(super) fn position(cursor: &str) -> Option<Position> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let (position, []) = split_position(&bytes)? else {
        return None;
    };
    Some(position)
}

/// A position in a loss ledger as opaque text.
pub(super) fn entry_cursor(position: &EntryPosition) -> String {
    let at = position.at;
    let numbers = [
        at.epoch.ordinal,
        at.epoch.random,
        at.seq,
        position.received.0,
    ];
    let stream = position.stream.as_str().as_bytes();
    URL_SAFE_NO_PAD.encode([&numbers.map(u64::to_be_bytes).concat(), stream].concat())
}

/// The reverse of [`entry_cursor`].
pub(super) fn entry_position(cursor: &str) -> Option<EntryPosition> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let (at, rest) = split_position(&bytes)?;
    let (received, stream) = rest.split_first_chunk()?;
    Some(EntryPosition {
        received: WallTime(u64::from_be_bytes(*received)),
        stream: Name::new(std::str::from_utf8(stream).ok()?).ok()?,
        at,
    })
}

fn split_position(bytes: &[u8]) -> Option<(Position, &[u8])> {
    let (ordinal, rest) = bytes.split_first_chunk()?;
    let (random, rest) = rest.split_first_chunk()?;
    let (seq, rest) = rest.split_first_chunk()?;
    let epoch = Epoch {
        ordinal: u64::from_be_bytes(*ordinal),
        random: u64::from_be_bytes(*random),
    };
    let seq = u64::from_be_bytes(*seq);
    Some((Position { epoch, seq }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{START_NS, name};

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_399, "2000-02-28T23:59:59.000000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000000Z"),
            (951_868_800, "2000-03-01T00:00:00.000000000Z"),
            (4_107_542_399, "2100-02-28T23:59:59.000000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000000Z"),
            (1_795_246_200, "2026-11-21T07:30:00.000000000Z"),
        ] {
            assert_eq!(rfc3339(WallTime(seconds * 1_000_000_000)), expected);
        }
        assert_eq!(
            rfc3339(WallTime(u64::MAX)),
            "2554-07-21T23:34:33.709551615Z"
        );
    }

    #[test]
    fn a_cursor_is_its_position_and_no_other_text_is() {
        let at = Position {
            epoch: Epoch {
                ordinal: 3,
                random: u64::MAX,
            },
            seq: 9,
        };
        assert_eq!(position(&cursor(at)), Some(at));
        for bad in [
            "",
            "x",
            "AAAA",
            "!!",
            "x".repeat(33).as_str(),
            &format!("{}AAAA", cursor(at)),
        ] {
            assert_eq!(position(bad), None, "{bad}");
            assert_eq!(entry_position(bad), None, "{bad}");
        }
        let entry = EntryPosition {
            received: WallTime(START_NS),
            stream: name("a"),
            at,
        };
        assert_eq!(entry_position(&entry_cursor(&entry)), Some(entry.clone()));
        assert_eq!(position(&entry_cursor(&entry)), None);
    }
}
