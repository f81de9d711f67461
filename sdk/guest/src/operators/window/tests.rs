//! The promises of windows, on the test host.

use proptest::prelude::*;

use crate::message::{ClockQuality, Message};
use crate::outcome::{Effect, Row, Scalar, Values};
use crate::testing::{Host, START};
use crate::time::WallTime;
use crate::{BootTime, Fault, Json, Moments, Window};
use std::time::Duration;

#[crate::window(tumbling = "10s")]
fn moments(window: &Window<Moments>) -> Values {
    Values::new()
        .with("count", window.aggregate.count())
        .with("mean", window.aggregate.mean().unwrap())
}

fn host() -> Host<moments> {
    Host::new().config("output.stream", "summaries")
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A message of this event time, received now.
fn at(host: &Host<moments>, time: WallTime) -> Message {
    let mut message = host.message("press-7", 1.0).at(time);
    message.clock = ClockQuality::Device;
    message
}

fn count(row: &Row) -> i64 {
    let crate::Content::Values(values) = &row.content else {
        panic!("no values")
    };
    let Some((_, Scalar::Integer(count))) = values.0.first() else {
        panic!("no count")
    };
    *count
}

fn counts(host: &Host<moments>) -> Vec<i64> {
    host.kept().into_iter().map(count).collect()
}

#[test]
fn a_window_closes_when_a_message_lies_beyond_it() -> Result<(), Fault> {
    let mut host = host();
    for value in [1.0, 2.0, 6.0] {
        host.send("press-7", value)?;
        host.advance(seconds(2))?;
    }
    host.advance(seconds(4))?;
    assert!(host.kept().is_empty());
    host.send("press-7", 9.0)?;
    let values = Values::new().with("count", 3_i64).with("mean", 3.0);
    let row =
        Row::new("summaries", crate::Class::Summary, "press-7", START, values).lasting(seconds(10));
    assert_eq!(
        host.outputs(),
        [crate::Output {
            cause: Some(0),
            effect: Effect::Keep(row)
        }]
    );
    Ok(())
}

#[test]
fn the_last_window_of_a_quiet_stream_closes_by_itself() -> Result<(), Fault> {
    let mut host = host();
    host.advance(seconds(3))?;
    host.send("press-7", 1.0)?;
    host.advance(Duration::from_millis(7_999))?;
    assert!(host.kept().is_empty());
    host.advance(Duration::from_millis(1))?;
    assert_eq!(counts(&host), [1]);
    host.settle()
}

#[test]
fn a_window_outlives_its_instance_and_the_boot() -> Result<(), Fault> {
    let mut host = host();
    host.send("press-7", 1.0)?;
    host.restart();
    host.send("press-7", 1.0)?;
    host.reboot();
    host.send("press-7", 1.0)?;
    host.reboot();
    host.advance(seconds(11))?;
    assert_eq!(counts(&host), [3]);
    Ok(())
}

#[test]
fn a_failed_call_counts_nothing() -> Result<(), Fault> {
    let mut host = host();
    host.send("press-7", 1.0)?;
    host.set_config("window.key", "{oops}");
    host.restart();
    assert!(host.send("press-7", 1.0).is_err());
    host.set_config("window.key", "{topic}");
    host.settle()?;
    assert_eq!(counts(&host), [1]);
    Ok(())
}

#[test]
fn a_late_message_is_rejected_with_the_reason() -> Result<(), Fault> {
    let mut host = host();
    host.advance(seconds(60))?;
    host.send("press-7", 1.0)?;
    let late = at(&host, host.now().minus(Duration::from_millis(3200)));
    host.send_batch(vec![late])?;
    let reason = "late: by 3.2 s, windows before 2026-01-01T00:01:00Z are closed";
    assert_eq!(host.rejected()[0].1, reason);
    host.settle()?;
    assert_eq!(counts(&host), [1]);
    Ok(())
}

#[test]
fn one_absurd_time_closes_no_window() -> Result<(), Fault> {
    let mut host = host();
    host.send("press-7", 1.0)?;
    let absurd = at(&host, "2099-01-01T00:00:00Z".parse().unwrap());
    host.send_batch(vec![absurd])?;
    host.send("press-7", 1.0)?;
    assert_eq!(
        host.rejected()[0].1,
        "ahead: 639912.0 h ahead of the gateway's clock, the limit is 1.0 h"
    );
    host.settle()?;
    assert_eq!(counts(&host), [2]);
    Ok(())
}

#[test]
fn a_wrong_clock_poisons_nothing_for_longer_than_it_lasts() -> Result<(), Fault> {
    let mut host = host();
    let mut device = at(&host, "2099-01-01T00:00:00Z".parse().unwrap());
    device.clock = ClockQuality::Device;
    host.set_clock(WallTime(0), ClockQuality::Unset);
    host.send_batch(vec![device])?;
    host.set_clock(START, ClockQuality::Synced);
    host.send("press-7", 1.0)?;
    host.send("press-7", 1.0)?;
    host.settle()?;
    assert_eq!(host.rejected(), []);
    assert_eq!(counts(&host), [1, 2]);
    Ok(())
}

#[test]
fn messages_of_an_unset_clock_neither_close_windows_nor_are_late() -> Result<(), Fault> {
    let mut host = host();
    host.send("press-7", 1.0)?;
    host.reboot();
    host.set_clock(WallTime(5_000_000_000), ClockQuality::Unset);
    host.send("press-7", 1.0)?;
    host.send("press-7", 1.0)?;
    host.reboot();
    host.set_clock(WallTime(2_000_000_000), ClockQuality::Unset);
    host.send("press-7", 1.0)?;
    host.set_clock(START, ClockQuality::Synced);
    host.send("press-7", 1.0)?;
    host.settle()?;
    assert_eq!(host.rejected(), []);
    assert_eq!(counts(&host), [2, 1, 2]);
    Ok(())
}

#[test]
fn a_message_that_does_not_fit_is_rejected_and_the_others_count() -> Result<(), Fault> {
    let mut host = host().config("input.field", "t").config("window.keys", "2");
    let bodies = [
        serde_json::json!({"t": 1}),
        serde_json::json!({"t": "x"}),
        serde_json::json!({}),
        serde_json::json!({"t": 3}),
    ];
    for body in bodies {
        host.send("press-7", body)?;
    }
    let mut bad = host.message("press-7", serde_json::json!({"t": 2}));
    bad.quality = crate::Quality::Bad;
    host.send_batch(vec![bad])?;
    host.send("press-8", serde_json::json!({"t": 1}))?;
    host.send("press-9", serde_json::json!({"t": 1}))?;
    host.settle()?;
    assert_eq!(counts(&host), [2, 1]);
    let reasons: Vec<&str> = host
        .rejected()
        .iter()
        .map(|(_, reason)| reason.as_str())
        .collect();
    let expected = [
        "field \"t\": not a number: \"x\"",
        "field \"t\" is missing or null",
        "quality bad: there was no reading",
        "no room for key \"w/press-9\": the limit is 2 keys",
    ];
    assert_eq!(reasons, expected);
    Ok(())
}

#[test]
fn the_key_and_the_length_are_configured() -> Result<(), Fault> {
    let mut host = host()
        .config("window", "1m")
        .config("window.key", "{0}")
        .config("output.topic", "sum/{topic}");
    host.send("press-7/a", 1.0)?;
    host.send("press-7/b", 3.0)?;
    host.settle()?;
    assert_eq!(counts(&host), [2]);
    assert_eq!(host.kept()[0].duration, seconds(60));
    let publication = host.published()[0];
    assert_eq!(publication.topic, "sum/press-7");
    let payload: serde_json::Value = serde_json::from_slice(&publication.payload).unwrap();
    assert_eq!(payload["values"]["mean"], 2.0);
    Ok(())
}

#[test]
fn after_a_change_of_the_length_no_time_is_summed_up_twice() -> Result<(), Fault> {
    let mut host = host();
    host.send("press-7", 1.0)?;
    host.set_config("window", "1m");
    host.restart();
    host.advance(seconds(10))?;
    host.send("press-7", 1.0)?;
    host.settle()?;
    let spans: Vec<_> = host
        .kept()
        .iter()
        .map(|row| (row.time, row.duration))
        .collect();
    assert_eq!(
        spans,
        [(START, seconds(10)), (START.plus(seconds(10)), seconds(50))]
    );
    Ok(())
}

#[test]
fn a_series_of_a_typical_stream_takes_little_state() -> Result<(), Fault> {
    #[crate::window(tumbling = "10s")]
    fn summary(_: &Window<crate::Summary>) -> Values {
        Values::new()
    }
    let mut host = Host::<summary>::new().config("output.stream", "summaries");
    let value = |step: u32| 20.0 + f64::from(step) * 0.02;
    host.send_batch(
        (0..100)
            .map(|step| host.message("plant/press-7/temperature", value(step)))
            .collect(),
    )?;
    let bytes: usize = host
        .state()
        .iter()
        .map(|(key, size)| key.len() + size)
        .sum();
    assert!(bytes < 160, "{bytes} bytes");
    Ok(())
}

#[test]
fn a_window_function_stays_an_ordinary_function() {
    let mut aggregate = Moments::default();
    aggregate.add(4.0);
    let window = Window {
        key: String::new(),
        start: START,
        end: START,
        aggregate,
        correction: false,
    };
    assert_eq!(
        moments(&window),
        Values::new().with("count", 1_i64).with("mean", 4.0)
    );
    let message = Message::new("t", Json(1.5));
    assert_eq!(message.body, Json(1.5));
}

/// A message as the property test draws it: the pause before it, its channel, how far its event time is from its receipt,
/// and by which clock.
#[derive(Clone, Debug)]
struct Drawn {
    pause_ms: u64,
    channel: u8,
    behind_ms: i64,
    unset: bool,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let pause_ms = prop_oneof![8 => 0..1500_u64, 1 => 0..40_000_u64];
    let behind_ms = prop_oneof![8 => -500..2000_i64, 2 => -5000..15_000_i64, 1 => Just(-7_200_000)];
    (pause_ms, 0..3_u8, behind_ms, prop::bool::weighted(0.1)).prop_map(
        |(pause_ms, channel, behind_ms, unset)| Drawn {
            pause_ms,
            channel,
            behind_ms,
            unset,
        },
    )
}

fn recording(drawn: &[Drawn]) -> Vec<Message> {
    let boot = BootTime(60_000_000_000);
    let mut received = boot;
    let to_message = |drawn: &Drawn| {
        received = received.plus(Duration::from_millis(drawn.pause_ms));
        let origin = if drawn.unset {
            WallTime(100_000_000_000)
        } else {
            START
        };
        let now = origin.plus(received.since(boot));
        let behind = Duration::from_millis(drawn.behind_ms.unsigned_abs());
        let time = if drawn.behind_ms < 0 {
            now.plus(behind)
        } else {
            now.minus(behind)
        };
        let mut message = Message::new(format!("press-{}", drawn.channel), 1.0.into()).at(time);
        message.received = received;
        message.clock = if drawn.unset {
            ClockQuality::Unset
        } else {
            ClockQuality::Device
        };
        message
    };
    drawn.iter().map(to_message).collect()
}

proptest! {
    #[test]
    fn the_cut_between_batches_and_a_lost_instance_change_nothing(
        drawn in prop::collection::vec(drawn(), 0..150),
        cuts in prop::collection::vec((1..20_usize, any::<bool>(), prop_oneof![4 => Just(0), 1 => 0..30_000_u64]), 150),
    ) {
        let recording = recording(&drawn);
        let mut whole = host();
        whole.receive(&recording, Duration::ZERO).unwrap();
        whole.settle().unwrap();

        let mut cut = host();
        let mut rest = recording.as_slice();
        for (messages, restart, lag_ms) in cuts {
            let (batch, after) = rest.split_at(messages.min(rest.len()));
            rest = after;
            if !batch.is_empty() {
                cut.receive(batch, Duration::from_millis(lag_ms)).unwrap();
            }
            if restart {
                cut.restart();
            }
        }
        cut.settle().unwrap();

        let effects = |host: &Host<moments>| -> Vec<Effect> {
            host.outputs().iter().map(|output| output.effect.clone()).collect()
        };
        prop_assert_eq!(effects(&cut), effects(&whole));
        let reasons = |host: &Host<moments>| -> Vec<String> {
            host.rejected().iter().map(|(_, reason)| reason.clone()).collect()
        };
        prop_assert_eq!(reasons(&cut), reasons(&whole));
        let counted: i64 = counts(&whole).iter().sum();
        prop_assert_eq!(usize::try_from(counted).unwrap() + whole.rejected().len(), recording.len());

        let mut identities: Vec<_> = whole.kept().iter().map(|row| (row.key.clone(), row.time, row.duration)).collect();
        identities.sort();
        let rows = identities.len();
        identities.dedup();
        prop_assert_eq!(identities.len(), rows, "a row was kept twice");
    }
}
