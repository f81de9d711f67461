//! What is stored into what is shown; pure.

use std::time::Duration;

use tidegate_wire::{Class, Content, ModuleStatus, NamedValue, Scalar, WallTime};

use crate::http::{POLL_INTERVAL, rfc3339};
use crate::store::{Gateway, HeldRow, SeriesRow, Stream};

/// Longest text shown in a cell, in characters.
const TEXT_MAX: usize = 80;

/// Most values shown of one row.
const VALUES_MAX: usize = 16;

/// A gateway's clock may differ by this much without a word: the way of its request takes time, too.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(5);

/// The moment of which a page speaks, by the centre's clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now(pub(super) WallTime);

/// A time, and how long ago it was.
#[derive(Debug)]
pub(super) struct Moment {
    pub(super) iso: String,
    pub(super) ago: String,
}

/// Whether a gateway is heard of.
#[derive(Debug)]
pub(super) struct Presence {
    pub(super) word: &'static str,
}

#[derive(Debug)]
pub(super) struct GatewayView {
    pub(super) name: String,
    pub(super) presence: Presence,
    pub(super) last_seen: Moment,
    pub(super) newest_row: Option<Moment>,
    pub(super) rows_waiting: u64,
    pub(super) waiting: String,
    pub(super) records_in: String,
    pub(super) rejected: String,
    pub(super) version: String,
    pub(super) epoch: u64,
    pub(super) clock: Option<String>,
    pub(super) conflicts: u64,
    pub(super) modules: Vec<ModuleView>,
}

#[derive(Debug)]
pub(super) struct ModuleView {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) state: String,
    pub(super) mood: &'static str,
    pub(super) faults: u64,
}

#[derive(Debug)]
pub(super) struct AlarmView {
    pub(super) gateway: String,
    pub(super) stream: String,
    pub(super) key: String,
    pub(super) module: String,
    pub(super) time: Moment,
    pub(super) values: Vec<ValueView>,
}

/// The newest row of a stream, key and class.
#[derive(Debug)]
pub(super) struct SeriesView {
    pub(super) stream: String,
    pub(super) key: String,
    pub(super) class: &'static str,
    pub(super) time: Moment,
    pub(super) values: Vec<ValueView>,
}

#[derive(Debug)]
pub(super) struct StreamView {
    pub(super) name: String,
    pub(super) rows: String,
    pub(super) count: u64,
    pub(super) first: Moment,
    pub(super) last: Moment,
    /// Whether the chart begins with it.
    pub(super) charted: bool,
}

/// One value: `text` as shown, `full` as it is.
#[derive(Debug)]
pub(super) struct ValueView {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) full: String,
    pub(super) kind: &'static str,
}

impl Now {
    pub(super) fn iso(self) -> String {
        rfc3339(self.0)
    }

    pub(super) fn moment(self, time: WallTime) -> Moment {
        let ago = match self.0.0.checked_sub(time.0) {
            Some(past) => match length(Duration::from_nanos(past)) {
                text if text == "0 s" => "now".to_owned(),
                text => format!("{text} ago"),
            },
            None => format!("in {}", length(Duration::from_nanos(time.0 - self.0.0))),
        };
        Moment {
            iso: rfc3339(time),
            ago,
        }
    }

    pub(super) fn gateway(self, gateway: &Gateway) -> GatewayView {
        let silence = Duration::from_nanos(self.0.0.saturating_sub(gateway.last_seen.0));
        let status = &gateway.status;
        GatewayView {
            name: gateway.name.to_string(),
            presence: Presence {
                word: presence(silence),
            },
            last_seen: self.moment(gateway.last_seen),
            newest_row: gateway.newest_row.map(|newest| {
                // Its age by its own clock when it last spoke, and by ours since: a wrong clock there does not matter.
                let age = gateway
                    .sent
                    .0
                    .saturating_sub(newest.committed.0)
                    .saturating_add(nanoseconds(silence));
                self.moment(WallTime(self.0.0.saturating_sub(age)))
            }),
            rows_waiting: status.rows_waiting,
            waiting: grouped(status.rows_waiting),
            records_in: grouped(status.records_in),
            rejected: grouped(status.rejected),
            version: clean(&status.version),
            epoch: gateway.epoch.ordinal,
            clock: clock(gateway.sent, gateway.last_seen),
            conflicts: gateway.conflicts,
            modules: status.modules.iter().map(module).collect(),
        }
    }

    pub(super) fn alarm(self, alarm: &SeriesRow) -> AlarmView {
        AlarmView {
            gateway: alarm.gateway.to_string(),
            stream: alarm.stream.to_string(),
            key: clean(&alarm.held.row.key),
            module: alarm.held.row.module.to_string(),
            time: self.moment(alarm.held.row.time),
            values: values(&alarm.held),
        }
    }

    pub(super) fn series(self, row: &SeriesRow) -> SeriesView {
        SeriesView {
            stream: row.stream.to_string(),
            key: clean(&row.held.row.key),
            class: row.held.row.class.as_str(),
            time: self.moment(row.held.row.time),
            values: values(&row.held),
        }
    }

    pub(super) fn streams(self, streams: &[Stream]) -> Vec<StreamView> {
        let charted = charted(streams);
        streams
            .iter()
            .map(|stream| self.stream(stream, charted))
            .collect()
    }

    fn stream(self, stream: &Stream, charted: Option<&Stream>) -> StreamView {
        StreamView {
            name: stream.name.to_string(),
            rows: grouped(stream.rows),
            count: stream.rows,
            first: self.moment(stream.first.row.time),
            last: self.moment(stream.last.row.time),
            charted: charted.is_some_and(|charted| charted.name == stream.name),
        }
    }
}

/// The stream worth a chart: numbers, more than alarms, and the most rows.
fn charted(streams: &[Stream]) -> Option<&Stream> {
    streams.iter().max_by_key(|stream| {
        let row = &stream.last.row;
        let numbers =
            matches!(&row.content, Content::Values(values) if values.iter().any(is_number));
        (numbers, row.class != Class::Alarm, stream.rows)
    })
}

const fn is_number(value: &NamedValue) -> bool {
    matches!(value.value, Scalar::Integer(_) | Scalar::Number(_))
}

fn presence(silence: Duration) -> &'static str {
    if silence <= POLL_INTERVAL * 3 {
        "online"
    } else if silence <= POLL_INTERVAL * 12 {
        "late"
    } else {
        "silent"
    }
}

/// How far a gateway's clock is off, if it is.
fn clock(sent: WallTime, received: WallTime) -> Option<String> {
    let off = Duration::from_nanos(sent.0.abs_diff(received.0));
    let side = if sent > received { "ahead" } else { "behind" };
    (off > CLOCK_TOLERANCE).then(|| format!("clock {} {side}", length(off)))
}

fn module(module: &ModuleStatus) -> ModuleView {
    ModuleView {
        name: module.name.to_string(),
        version: clean(&module.version),
        state: clean(&module.state),
        mood: match module.state.as_str() {
            "running" if module.faults == 0 => "good",
            "running" => "uneasy",
            _ => "bad",
        },
        faults: module.faults,
    }
}

fn values(held: &HeldRow) -> Vec<ValueView> {
    match &held.row.content {
        Content::Values(values) => values.iter().take(VALUES_MAX).map(value).collect(),
        Content::Document(document) => vec![ValueView {
            name: "document".to_owned(),
            text: format!(
                "{}, {} bytes",
                clean(&document.content_type),
                grouped(document.bytes.len().try_into().unwrap_or(u64::MAX))
            ),
            full: clean(&document.content_type),
            kind: "document",
        }],
        Content::Thinned(_) | Content::Lost(_) => Vec::new(),
    }
}

fn value(value: &NamedValue) -> ValueView {
    let (text, full, kind) = match &value.value {
        Scalar::Boolean(on) => (on.to_string(), on.to_string(), "boolean"),
        Scalar::Integer(integer) => (integer.to_string(), integer.to_string(), "number"),
        Scalar::Number(number) => (short(*number), number.to_string(), "number"),
        Scalar::Text(text) => (clean(text), clean(text), "text"),
    };
    ValueView {
        name: clean(&value.name),
        text,
        full,
        kind,
    }
}

/// Six significant digits, without trailing zeros.
pub(super) fn short(number: f64) -> String {
    let size = number.abs();
    if !number.is_finite() || number == 0.0 {
        return number.to_string();
    }
    if !(1e-4..1e9).contains(&size) {
        return format!("{number:.4e}");
    }
    let decimals = [1e5, 1e4, 1e3, 1e2, 1e1, 1.0]
        .iter()
        .take_while(|bound| size < **bound)
        .count();
    let text = format!("{number:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// Digits in groups of three.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202F}');
        }
        text.push(digit);
    }
    text
}

/// In its largest fitting unit.
pub(super) fn length(length: Duration) -> String {
    match length.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// Text from outside, as one short line: what would move or hide other text is shown as a replacement character.
pub(super) fn clean(text: &str) -> String {
    let hides = |c: char| {
        c.is_control()
            || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
    };
    let mut characters = text.chars().map(|c| if hides(c) { '\u{FFFD}' } else { c });
    let mut short: String = characters.by_ref().take(TEXT_MAX).collect();
    if characters.next().is_some() {
        short.push('…');
    }
    short
}

fn nanoseconds(length: Duration) -> u64 {
    length.as_nanos().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{START_NS, epoch, name, request};
    use crate::store::NewestRow;

    fn gateway(last_seen: u64, sent: u64, committed: u64) -> Gateway {
        Gateway {
            name: name("gw-1"),
            epoch: epoch(1),
            first_seen: WallTime(0),
            last_seen: WallTime(last_seen),
            sent: WallTime(sent),
            newest_row: Some(NewestRow {
                committed: WallTime(committed),
                received: WallTime(last_seen),
            }),
            conflicts: 0,
            status: request("gw-1", vec![]).status,
        }
    }

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn the_age_of_the_newest_row_does_not_depend_on_the_gateways_clock() {
        let now = Now(WallTime(START_NS + 30 * SECOND));
        for clock in [START_NS, 0, START_NS * 2] {
            let seen = gateway(
                START_NS + 20 * SECOND,
                clock + 7 * SECOND,
                clock + 2 * SECOND,
            );
            assert_eq!(now.gateway(&seen).newest_row.unwrap().ago, "15 s ago");
        }
        assert_eq!(now.gateway(&gateway(START_NS, START_NS, 0)).clock, None);
        let ahead = gateway(START_NS, START_NS + 7200 * SECOND, 0);
        assert_eq!(
            now.gateway(&ahead).clock.as_deref(),
            Some("clock 2 h ahead")
        );
    }

    #[test]
    fn a_gateway_that_stops_reporting_is_late_and_then_silent() {
        let seen = gateway(START_NS, START_NS, START_NS);
        let at = |seconds| {
            Now(WallTime(START_NS + seconds * SECOND))
                .gateway(&seen)
                .presence
                .word
        };
        assert_eq!(
            [at(0), at(15), at(16), at(60), at(61)],
            ["online", "online", "late", "late", "silent"]
        );
    }

    #[test]
    fn times_are_told_from_now_and_never_fail() {
        let now = Now(WallTime(START_NS));
        let ago = |time| now.moment(WallTime(time)).ago;
        assert_eq!(ago(START_NS), "now");
        assert_eq!(ago(START_NS - 59 * SECOND), "59 s ago");
        assert_eq!(ago(START_NS - 7200 * SECOND), "2 h ago");
        assert_eq!(ago(START_NS + 60 * SECOND), "in 1 min");
        assert_eq!(ago(0), "20778 d ago");
        assert!(ago(u64::MAX).starts_with("in "));
    }

    #[test]
    fn numbers_are_short_and_honest() {
        for (number, expected) in [
            (91.5, "91.5"),
            (0.1 + 0.2, "0.3"),
            (1e-7, "1.0000e-7"),
            (123_456.789, "123457"),
            (-20.0, "-20"),
            (100.0, "100"),
            (0.0, "0"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "inf"),
            (1e300, "1.0000e300"),
            (0.000_123_456_789, "0.000123"),
        ] {
            assert_eq!(short(number), expected);
        }
        assert_eq!(grouped(1_234_567), "1\u{202F}234\u{202F}567");
    }

    #[test]
    fn text_from_outside_stays_one_short_line() {
        assert_eq!(clean("press-7"), "press-7");
        assert_eq!(
            clean("a\nb\u{1b}[31m\u{202E}c"),
            "a\u{FFFD}b\u{FFFD}[31m\u{FFFD}c"
        );
        assert_eq!(clean(&"x".repeat(81)), format!("{}…", "x".repeat(80)));
    }
}
