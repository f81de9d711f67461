//! Rows as JSON, and the cursor that pages them.
//!
//! Nothing is lost on the way: values keep their order even where two share a name, a document is base64, and a number
//! that JSON cannot say (`NaN`, infinities) is a text. Identifiers of 64 random bits are hexadecimal text, because
//! JavaScript rounds numbers over 2^53.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use tidegate_wire::{ClockQuality, Content, Epoch, NamedValue, Scalar, WallTime};

use crate::store::{Gateway, HeldRow, Position, Stream};

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
        "version": status.version,
        "rows_waiting": status.rows_waiting,
        "records_in": status.records_in,
        "rejected": status.rejected,
        "modules": modules,
    })
}

/// One stream.
#[derive(Debug, Serialize)]
pub(super) struct StreamJson<'r> {
    stream: &'r str,
    rows: u64,
    first_time: String,
    last_time: String,
    last: RowJson<'r>,
}

impl<'r> From<&'r Stream> for StreamJson<'r> {
    fn from(stream: &'r Stream) -> Self {
        Self {
            stream: stream.name.as_str(),
            rows: stream.rows,
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
#[serde(rename_all = "lowercase")]
enum ContentJson<'r> {
    Values(Values<'r>),
    Document {
        content_type: &'r str,
        base64: String,
    },
    Thinned {
        rows: u64,
    },
    Lost {
        reason: &'static str,
        rows: u64,
        bytes: u64,
    },
}

#[derive(Debug, Serialize)]
struct StampJson {
    boot: String,
    boot_time_ns: u64,
    wall_time: String,
    clock: &'static str,
}

/// An object with one member per value, in order.
#[derive(Debug)]
struct Values<'r>(&'r [NamedValue]);

impl Serialize for Values<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for value in self.0 {
            match &value.value {
                Scalar::Boolean(boolean) => map.serialize_entry(&value.name, boolean)?,
                Scalar::Integer(integer) => map.serialize_entry(&value.name, integer)?,
                Scalar::Number(number) if number.is_finite() => {
                    map.serialize_entry(&value.name, number)?
                }
                Scalar::Number(number) => map.serialize_entry(&value.name, &number.to_string())?,
                Scalar::Text(text) => map.serialize_entry(&value.name, text)?,
            }
        }
        map.end()
    }
}

impl<'r> From<&'r HeldRow> for RowJson<'r> {
    fn from(held: &'r HeldRow) -> Self {
        let row = &held.row;
        Self {
            epoch: epoch(held.epoch),
            seq: row.seq,
            class: row.class.as_str(),
            module: row.module.as_str(),
            generation: row.generation,
            key: &row.key,
            time: rfc3339(row.time),
            duration_ns: row.duration_ns,
            content: match &row.content {
                Content::Values(values) => ContentJson::Values(Values(values)),
                Content::Document(document) => ContentJson::Document {
                    content_type: &document.content_type,
                    base64: STANDARD.encode(&document.bytes),
                },
                Content::Thinned(thinned) => ContentJson::Thinned { rows: thinned.rows },
                Content::Lost(lost) => ContentJson::Lost {
                    reason: lost.reason.as_str(),
                    rows: lost.rows,
                    bytes: lost.bytes,
                },
            },
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
    let bytes: [u8; 24] = URL_SAFE_NO_PAD.decode(cursor).ok()?.try_into().ok()?;
    let mut numbers = bytes
        .as_chunks::<8>()
        .0
        .iter()
        .map(|number| u64::from_be_bytes(*number));
    Some(Position {
        epoch: Epoch {
            ordinal: numbers.next()?,
            random: numbers.next()?,
        },
        seq: numbers.next()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{START_NS, epoch as sample_epoch, row};
    use tidegate_wire::Document;

    fn text(content: Content) -> Value {
        let mut sample = row(1);
        sample.content = content;
        let held = HeldRow {
            epoch: sample_epoch(3),
            received: WallTime(START_NS),
            row: sample,
        };
        serde_json::to_value(RowJson::from(&held)).unwrap()
    }

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
        }
    }

    #[test]
    fn values_of_every_kind_become_json() {
        let value = |name: &str, value| NamedValue {
            name: name.into(),
            value,
        };
        let json = text(Content::Values(vec![
            value("on", Scalar::Boolean(true)),
            value("count", Scalar::Integer(i64::MIN)),
            value("celsius", Scalar::Number(91.5)),
            value("nan", Scalar::Number(f64::NAN)),
            value("word", Scalar::Text("</script>".into())),
        ]));
        let expected = json!({ "on": true, "count": i64::MIN, "celsius": 91.5, "nan": "NaN", "word": "</script>" });
        assert_eq!(json["values"], expected);
        assert_eq!(
            json["epoch"],
            json!({ "ordinal": 3, "random": "fffffffffffffffc" })
        );
        assert_eq!(json["time"], "2026-11-21T07:30:01.000000000Z");
        assert_eq!(json["trace"], "07".repeat(16));
    }

    #[test]
    fn a_document_is_base64() {
        let document = Document {
            content_type: "image/png".into(),
            bytes: vec![0, 255],
        };
        let expected = json!({ "content_type": "image/png", "base64": "AP8=" });
        assert_eq!(text(Content::Document(document))["document"], expected);
    }
}
