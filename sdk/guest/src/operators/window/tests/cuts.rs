//! The cut between batches means nothing, whichever windows: the same messages in other cuts, on new instances, give the same.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::BootTime;
use crate::outcome::Effect;

/// A message: the pause before it, its channel, how far its event time is from its receipt, and by which clock.
#[derive(Clone, Debug)]
struct Drawn {
    pause_ms: u64,
    channel: u8,
    behind_ms: i64,
    clock: ClockQuality,
}

/// How many messages a call gets, whether the instance is dropped after it, and by how much it comes late.
type Cut = (usize, bool, u64);

fn drawn() -> impl Strategy<Value = Vec<Drawn>> {
    let pause_ms = prop_oneof![8 => 0..1500_u64, 1 => 0..40_000_u64];
    let behind_ms = prop_oneof![8 => -500..2000_i64, 3 => -5000..25_000_i64, 1 => Just(-7_200_000)];
    let clock = prop_oneof![
        8 => Just(ClockQuality::Device),
        1 => Just(ClockQuality::Unset),
        1 => Just(ClockQuality::Synced),
    ];
    let message = (pause_ms, 0..3_u8, behind_ms, clock);
    let message = message.prop_map(|(pause_ms, channel, behind_ms, clock)| Drawn {
        pause_ms,
        channel,
        behind_ms,
        clock,
    });
    prop::collection::vec(message, 0..150)
}

fn cuts() -> impl Strategy<Value = Vec<Cut>> {
    let lag_ms = prop_oneof![4 => Just(0), 1 => 0..30_000_u64];
    prop::collection::vec((1..20_usize, any::<bool>(), lag_ms), 150)
}

fn recording(drawn: &[Drawn]) -> Vec<Message> {
    let boot = BootTime(60_000_000_000);
    let mut received = boot;
    let to_message = |drawn: &Drawn| {
        received = received.plus(Duration::from_millis(drawn.pause_ms));
        let origin = match drawn.clock {
            ClockQuality::Unset => WallTime(100_000_000_000),
            _ => START,
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
        message.clock = drawn.clock;
        message
    };
    drawn.iter().map(to_message).collect()
}

/// All at once, and cut: what is different is the error.
fn agree<P: Processor>(
    config: &[(&str, &str)],
    recording: &[Message],
    cuts: &[Cut],
) -> Result<Host<P>, TestCaseError> {
    let configured = || {
        let host = host::<P>();
        config
            .iter()
            .for_each(|(key, value)| host.set_config(key, value));
        host
    };
    let mut whole = configured();
    whole.receive(recording, Duration::ZERO).unwrap();
    whole.settle().unwrap();

    let mut cut = configured();
    let mut rest = recording;
    for (messages, restart, lag_ms) in cuts {
        let (batch, after) = rest.split_at((*messages).min(rest.len()));
        rest = after;
        if !batch.is_empty() {
            cut.receive(batch, Duration::from_millis(*lag_ms)).unwrap();
        }
        if *restart {
            cut.restart();
        }
    }
    cut.settle().unwrap();

    let effects = |host: &Host<P>| -> Vec<Effect> {
        let outputs = host.outputs().iter();
        outputs.map(|output| output.effect.clone()).collect()
    };
    prop_assert_eq!(effects(&cut), effects(&whole));
    prop_assert_eq!(reasons(&cut), reasons(&whole));
    Ok(whole)
}

/// The count of each window as its last row says.
fn last_counts<P: Processor>(host: &Host<P>) -> i64 {
    let rows = host.kept();
    let rows = rows
        .iter()
        .map(|row| ((row.key.as_str(), row.time, row.duration), count(row)));
    rows.collect::<BTreeMap<_, _>>().values().sum()
}

fn counted<P: Processor>(host: &Host<P>, recording: &[Message]) -> i64 {
    i64::try_from(recording.len() - host.rejected().len()).unwrap()
}

fn only_corrections_repeat<P: Processor>(host: &Host<P>) -> Result<(), TestCaseError> {
    let mut seen = std::collections::BTreeSet::new();
    for row in host.kept() {
        let is_new = seen.insert((row.key.clone(), row.time, row.duration));
        prop_assert!(
            is_new || is_correction(row),
            "a row was kept twice: {:?}",
            row
        );
    }
    Ok(())
}

proptest! {
    #[test]
    fn tumbling_windows_count_each_message_once_however_it_is_cut(drawn in drawn(), cuts in cuts()) {
        let recording = recording(&drawn);
        let host = agree::<moments>(&[], &recording, &cuts)?;
        prop_assert_eq!(last_counts(&host), counted(&host, &recording));
        prop_assert!(!host.kept().iter().any(|row| is_correction(row)));
        only_corrections_repeat(&host)?;
    }

    #[test]
    fn lateness_and_corrections_count_each_message_once_however_it_is_cut(
        drawn in drawn(),
        cuts in cuts(),
        lateness in prop_oneof![Just("0s"), Just("1500ms"), Just("12s")],
        corrections in prop_oneof![Just("0s"), Just("5s"), Just("1m")],
    ) {
        let recording = recording(&drawn);
        let config = [("window.lateness", lateness), ("window.corrections", corrections)];
        let host = agree::<moments>(&config, &recording, &cuts)?;
        prop_assert_eq!(last_counts(&host), counted(&host, &recording));
        only_corrections_repeat(&host)?;
    }

    #[test]
    fn hopping_windows_count_each_message_in_each_window_of_its_time_however_it_is_cut(
        drawn in drawn(),
        cuts in cuts(),
        lateness in prop_oneof![Just("0s"), Just("12s")],
        corrections in prop_oneof![Just("0s"), Just("1m")],
    ) {
        let recording = recording(&drawn);
        let config = [("window.lateness", lateness), ("window.corrections", corrections)];
        let host = agree::<hops::moments>(&config, &recording, &cuts)?;
        prop_assert_eq!(last_counts(&host), 3 * counted(&host, &recording));
        only_corrections_repeat(&host)?;
    }

    #[test]
    fn sliding_windows_answer_each_message_once_however_it_is_cut(drawn in drawn(), cuts in cuts()) {
        let recording = recording(&drawn);
        let host = agree::<slides::moments>(&[], &recording, &cuts)?;
        prop_assert_eq!(i64::try_from(host.kept().len()).unwrap(), counted(&host, &recording));
    }
}
