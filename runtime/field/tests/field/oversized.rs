//! Messages that cannot be taken: too large, or no messages at all. They are read past in bounded memory, counted,
//! acknowledged in their turn, and stop no other.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tidegate_field::Protocol;
use tidegate_record::SkipReason;
use tokio::time::Instant;

use crate::mosquitto::Mosquitto;
use crate::rig::{Rig, Setup, commit, publication, text, texts, until};
use crate::stub::{Said, Stub};

both_versions! {
    a_message_that_cannot_be_taken_is_acknowledged_in_turn_and_stops_no_other
    two_hundred_megabytes_are_read_past_in_bounded_memory
    a_link_that_breaks_in_a_large_message_does_not_get_it_again
    large_messages_stop_no_others
}

both_versions! {
    paused:
    a_large_message_that_never_comes_costs_one_connection
}

/// The limit of these tests.
const PAYLOAD_BYTES_MAX: usize = 16 << 10;

fn limited(mut setup: Setup) -> Rig {
    setup.limits.payload_bytes_max = PAYLOAD_BYTES_MAX;
    setup.start()
}

fn oversized(rig: &Rig) -> (u64, u64) {
    let counters = rig.handle.counters();
    (
        counters.oversized.load(Ordering::Relaxed),
        counters.oversized_bytes.load(Ordering::Relaxed),
    )
}

async fn a_message_that_cannot_be_taken_is_acknowledged_in_turn_and_stops_no_other(
    protocol: Protocol,
) {
    let stub = Stub::start(protocol).await;
    let mut rig = limited(stub.setup());
    let mut connection = stub.accept().await;
    connection.deliver(1, "before").await;
    // Topics that are no UTF-8, empty, with a NUL, and of 65 kB; the last one and a payload of one byte too many are
    // more than we take.
    let poison: [(&[u8], usize); 5] = [
        (b"in/\xff", 1),
        (b"", 1),
        (b"in/\0", 1),
        (&[b'a'; 65_535], 1),
        (b"in/a", PAYLOAD_BYTES_MAX + 1),
    ];
    for (number, (topic, bytes)) in (2..).zip(poison) {
        connection
            .deliver_to(topic, Some(number), &vec![b'x'; bytes])
            .await;
        connection.deliver_to(topic, None, &vec![b'x'; bytes]).await;
    }
    connection.deliver(7, "after").await;
    let records = rig.take(2).await;
    assert_eq!(texts(&records), ["before", "after"]);
    // Nothing is acknowledged before its turn: the marker is what the field says first.
    rig.handle.publish(publication("out", "marker"));
    let (packet_id, _) = connection.publication().await;
    connection.acknowledge(packet_id).await;
    commit(records);
    assert_eq!(connection.acks(7).await, [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(rig.handle.counters().malformed.load(Ordering::Relaxed), 6);
    assert_eq!(oversized(&rig).0, 4);
    assert_eq!(rig.skips.of(SkipReason::Malformed).0, 6);
    assert_eq!(rig.skips.of(SkipReason::Oversized), oversized(&rig));
    assert_eq!(rig.connections(), 1);
}

async fn two_hundred_megabytes_are_read_past_in_bounded_memory(protocol: Protocol) {
    const PIECES: usize = 200;
    let piece = vec![b'x'; 1_000_000];
    let stub = Stub::start(protocol).await;
    let mut rig = limited(stub.setup());
    let mut connection = stub.accept().await;
    connection
        .begin_message(b"in/a", Some(1), PIECES * piece.len())
        .await;
    // It is lost already, so its acknowledgement does not wait for its end.
    assert_eq!(connection.acks(1).await, [1]);
    let before = resident_megabytes();
    for _ in 0..PIECES {
        connection.send_bytes(&piece).await;
    }
    let more = resident_megabytes().saturating_sub(before);
    assert!(more < 100, "{more} MB more");
    connection.deliver(2, "after").await;
    assert_eq!(text(&rig.record().await), "after");
    let (count, bytes) = oversized(&rig);
    // MQTT 5 has a byte for the length of the properties.
    assert!((200_000_000..=200_000_001).contains(&bytes), "{bytes}");
    assert_eq!((count, rig.connections()), (1, 1));
}

async fn a_link_that_breaks_in_a_large_message_does_not_get_it_again(protocol: Protocol) {
    let stub = Stub::start(protocol).await;
    let mut rig = limited(stub.setup());
    let mut first = stub.accept().await;
    first.begin_message(b"in/a", Some(1), 200_000_000).await;
    first.send_bytes(&[b'x'; 1000]).await;
    assert_eq!(first.acks(1).await, [1]);
    drop(first);
    // A broker that got this acknowledgement goes on with what comes after it.
    let mut second = stub.accept().await;
    second.deliver(2, "after").await;
    assert_eq!(text(&rig.record().await), "after");
    assert_eq!((oversized(&rig).0, rig.connections()), (1, 2));
}

/// The broker claims 200 MB and says no more.
async fn a_large_message_that_never_comes_costs_one_connection(protocol: Protocol) {
    let stub = Stub::start(protocol).await;
    let mut rig = limited(stub.setup());
    let mut first = stub.accept().await;
    first.begin_message(b"in/a", Some(1), 200_000_000).await;
    // Virtual time may run to a ping before the message is seen.
    while first.next().await != Said::Ack(1) {}
    let since = Instant::now();
    while let Some(said) = first.next_or_end().await {
        assert_eq!(said, Said::Ping);
    }
    assert!(
        since.elapsed() <= Duration::from_secs(30),
        "{:?}",
        since.elapsed()
    );
    let mut second = stub.accept().await;
    second.deliver(2, "after").await;
    assert_eq!(text(&rig.record().await), "after");
    assert_eq!((oversized(&rig).0, rig.connections()), (1, 2));
}

async fn large_messages_stop_no_others(protocol: Protocol) {
    let Some(broker) = Mosquitto::start().await else {
        return;
    };
    let mut rig = limited(Setup::new(&broker.url(), protocol));
    rig.subscribed().await;
    broker.publish("in/a", ["before"]).await;
    let full = vec![b'x'; PAYLOAD_BYTES_MAX];
    for size in [20_000, 1_000_000] {
        broker.publish_bytes("in/a", &vec![b'x'; size]).await;
        broker.publish_bytes("in/a", &full).await;
    }
    broker.publish("in/a", ["after"]).await;
    let records = rig.take(4).await;
    let sizes: Vec<_> = records.iter().map(|record| text(record).len()).collect();
    assert_eq!(sizes, [6, PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MAX, 5]);
    commit(records);
    until(|| rig.handle.counters().acknowledged.load(Ordering::Relaxed) == 6).await;
    let (count, bytes) = oversized(&rig);
    assert!((1_020_000..=1_020_002).contains(&bytes), "{bytes}");
    assert_eq!((count, rig.connections()), (2, 1));
}

/// Memory that this process has.
fn resident_megabytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim()
        .trim_end_matches(" kB")
        .parse::<usize>()
        .unwrap()
        / 1000
}
