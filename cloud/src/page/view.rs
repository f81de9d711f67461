//! What is stored into what is shown; pure.

use std::time::Duration;

use tidegate_wire::{
    BufferStatus, Class, Content, GatewayStatus, ModuleStatus, NamedValue, Numbers, Scalar,
    ThinnedValue, WallTime,
};

use super::text::{bytes, clean, grouped, length, short};
use crate::http::rfc3339;
use crate::lag;
use crate::store::{Gateway, HeldRow, Loss, SeriesRow, Stream};

/// Most values shown of one row.
const VALUES_MAX: usize = 16;

/// A gateway's clock may differ by this much without a word: the way of its request takes time, too.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(5);

/// A buffer that is so full, in percent, is told, and from the second on rows may be giving way.
const BUFFER_UNEASY: u64 = 70;
const BUFFER_BAD: u64 = 90;

/// The moment of which a page speaks, by the centre's clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now(pub(super) WallTime);

/// A time, and how long ago it was.
#[derive(Debug)]
pub(super) struct Moment {
    pub(super) iso: String,
    pub(super) ago: String,
}

impl Moment {
    /// To the second, in words of a calendar: `2026-11-21 07:30:00`.
    pub(super) fn clock(&self) -> String {
        self.iso
            .chars()
            .take(19)
            .map(|c| if c == 'T' { ' ' } else { c })
            .collect()
    }
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
    /// How long until none waits, if they become fewer.
    pub(super) drain: Option<String>,
    pub(super) records_in: String,
    pub(super) rejected: String,
    pub(super) version: String,
    pub(super) epoch: u64,
    pub(super) clock: Option<String>,
    pub(super) conflicts: u64,
    /// How it is known.
    pub(super) known: &'static str,
    /// What seems to be wrong with who it is.
    pub(super) identity_alarm: Option<&'static str>,
    /// Streams with which the centre is further behind than it should be.
    pub(super) behind: usize,
    pub(super) modules: Vec<ModuleView>,
    pub(super) buffer: Option<BufferView>,
}

/// How full a gateway's buffer is.
#[derive(Debug)]
pub(super) struct BufferView {
    pub(super) percent: u64,
    pub(super) used: String,
    pub(super) max: String,
    /// Near the quota rows are thinned out and given up.
    pub(super) mood: &'static str,
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
    /// How many rows it stands for, if it was thinned out of several.
    pub(super) thinned: Option<String>,
    pub(super) time: Moment,
    pub(super) values: Vec<ValueView>,
}

#[derive(Debug)]
pub(super) struct StreamView {
    pub(super) name: String,
    pub(super) rows: String,
    /// Rows that are gone, by the ledger.
    pub(super) lost: u64,
    pub(super) lost_text: String,
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
                word: presence(silence, lag::expected(status)),
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
            drain: drain(status),
            records_in: grouped(status.records_in),
            rejected: grouped(status.rejected),
            version: clean(&status.version),
            epoch: gateway.epoch.ordinal,
            clock: clock(gateway.sent, gateway.last_seen),
            conflicts: gateway.conflicts,
            known: match gateway.identity {
                None => "by its word: not enrolled",
                Some(identity) if identity.revoked.is_some() => "revoked",
                Some(_) => "by its device key",
            },
            identity_alarm: gateway.identity.and_then(|of| Some(of.alarm?.0.sentence())),
            behind: lag::now(gateway, self.0)
                .iter()
                .filter(|lag| lag.missed().is_some())
                .count(),
            modules: status.modules.iter().map(module).collect(),
            buffer: status.buffer.as_ref().map(buffer),
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
            thinned: match &row.held.row.content {
                Content::Thinned(thinned) => Some(grouped(thinned.rows)),
                _ => None,
            },
            time: self.moment(row.held.row.time),
            values: values(&row.held),
        }
    }

    pub(super) fn streams(self, streams: &[Stream], losses: &[Loss]) -> Vec<StreamView> {
        let charted = charted(streams);
        let of = |stream: &Stream| {
            let of_it = losses.iter().filter(|loss| loss.stream == stream.name);
            let lost = of_it.map(|loss| loss.rows).fold(0, u64::saturating_add);
            self.stream(stream, lost, charted)
        };
        streams.iter().map(of).collect()
    }

    fn stream(self, stream: &Stream, lost: u64, charted: Option<&Stream>) -> StreamView {
        StreamView {
            name: stream.name.to_string(),
            rows: grouped(stream.rows),
            lost,
            lost_text: grouped(lost),
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
        let numbers = match &row.content {
            Content::Values(values) => values.iter().any(is_number),
            Content::Thinned(thinned) => thinned.values.iter().any(|v| v.numbers.is_some()),
            Content::Lost(lost) => !lost.values.is_empty(),
            Content::Document(_) => false,
        };
        (numbers, row.class != Class::Alarm, stream.rows)
    })
}

const fn is_number(value: &NamedValue) -> bool {
    matches!(value.value, Scalar::Integer(_) | Scalar::Number(_))
}

/// In words, while rows wait.
fn drain(status: &GatewayStatus) -> Option<String> {
    let seconds = status.uplink.as_ref()?.drain_s?;
    (status.rows_waiting > 0).then(|| length(Duration::from_secs(seconds)))
}

fn presence(silence: Duration, expected: Duration) -> &'static str {
    if silence <= expected * 3 {
        "online"
    } else if silence <= expected * 12 {
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
        Content::Thinned(thinned) => {
            let values = thinned.values.iter().take(VALUES_MAX);
            values.map(thinned_value).collect()
        }
        // What is gone has no values: gaps are told apart from them.
        Content::Lost(_) => Vec::new(),
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

/// The mean of what was thinned out, or the last of what is no number.
fn thinned_value(value: &ThinnedValue) -> ValueView {
    let name = clean(&value.name);
    match &value.numbers {
        Some(Numbers {
            count,
            min,
            max,
            mean,
            ..
        }) => ValueView {
            name,
            text: format!("{} ({} to {})", short(*mean), short(*min), short(*max)),
            full: format!("mean of {}: {mean}, from {min} to {max}", grouped(*count)),
            kind: "number",
        },
        None => self::value(&NamedValue {
            name,
            value: value.last.clone(),
        }),
    }
}

fn buffer(buffer: &BufferStatus) -> BufferView {
    let used = u128::from(buffer.bytes_used) * 100;
    let percent = used.checked_div(buffer.bytes_max.into()).unwrap_or(100);
    let percent = u64::try_from(percent).unwrap_or(u64::MAX);
    BufferView {
        percent,
        used: bytes(buffer.bytes_used),
        max: bytes(buffer.bytes_max),
        mood: match percent {
            0..BUFFER_UNEASY => "good",
            BUFFER_UNEASY..BUFFER_BAD => "uneasy",
            _ => "bad",
        },
    }
}

fn nanoseconds(length: Duration) -> u64 {
    length.as_nanos().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{START_NS, epoch, name, request};
    use crate::store::NewestRow;
    use tidegate_wire::UplinkStatus;

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
            identity: None,
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
    fn a_gateway_on_a_metered_link_is_late_by_its_own_measure_and_says_when_it_is_drained() {
        let mut seen = gateway(START_NS, START_NS, START_NS);
        seen.status.rows_waiting = 5000;
        seen.status.uplink = Some(UplinkStatus {
            rows_per_minute: 100,
            drain_s: Some(3000),
            silence_s: 600,
        });
        let view =
            |seconds, seen: &Gateway| Now(WallTime(START_NS + seconds * SECOND)).gateway(seen);
        assert_eq!(view(1800, &seen).presence.word, "online");
        assert_eq!(view(1801, &seen).presence.word, "late");
        assert_eq!(view(0, &seen).drain.as_deref(), Some("50 min"));
        seen.status.rows_waiting = 0;
        assert_eq!(view(0, &seen).drain, None);
        seen.status.uplink.as_mut().unwrap().silence_s = u64::MAX;
        assert_eq!(view(13 * 86_400, &seen).presence.word, "silent");
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
    fn a_buffer_says_how_full_it_is_whatever_its_numbers() {
        let view = |bytes_used, bytes_max| {
            let view = buffer(&BufferStatus {
                bytes_used,
                bytes_max,
                ..BufferStatus::default()
            });
            (view.percent, view.mood)
        };
        assert_eq!(view(0, 100), (0, "good"));
        assert_eq!(view(70, 100), (70, "uneasy"));
        assert_eq!(view(90 << 40, 100 << 40), (90, "bad"));
        assert_eq!(view(1, 0), (100, "bad"));
        assert_eq!(view(u64::MAX, 1).1, "bad");
    }
}
