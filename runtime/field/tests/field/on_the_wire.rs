//! Promises about single packets, held against a scripted broker.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tidegate_field::{Phase, Protocol};
use tidegate_record::Limits;
use tokio::time::Instant;

use crate::rig::{Rig, commit, publication, text, texts, until};
use crate::stub::{Connection, Said, Stub};

async fn start(protocol: Protocol) -> (Stub, Rig, Connection) {
    let stub = Stub::start(protocol).await;
    let rig = stub.setup().start();
    let connection = stub.accept().await;
    rig.subscribed().await;
    (stub, rig, connection)
}

both_versions! {
    acks_leave_in_the_order_of_receipt_and_only_after_their_commit
    an_ack_of_an_earlier_connection_is_not_sent_on_the_next
    an_abandoned_message_makes_the_broker_deliver_again_and_stops_no_ack_before_it
    a_broker_that_sends_more_than_we_take_waits
    a_full_window_stops_no_publication
    a_durable_publication_is_crossed_off_only_when_the_broker_has_it_and_sent_again_until_then
    an_at_once_publication_without_a_connection_is_dropped_and_counted
    a_refusal_says_why_and_is_tried_again
    a_subscription_that_is_refused_or_weakened_is_counted_and_the_others_flow
    nonsense_from_the_broker_ends_the_connection_and_nothing_else
    draining_takes_no_more_and_still_acknowledges
    the_end_of_the_run_sends_the_last_acks
}

both_versions! {
    paused:
    a_broker_that_falls_silent_is_left_within_twice_the_keep_alive
    a_broker_that_takes_the_connection_and_says_nothing_is_left_after_5_s
    a_broker_that_goes_away_again_and_again_is_found_within_3_s_each_time
    a_broker_that_refuses_us_is_left_alone_for_longer
    draining_ends_by_itself_after_its_grace
}

/// Sees that the field has nothing to say before a publication that it is told to send now: acknowledgements go first.
async fn nothing_was_said(rig: &Rig, connection: &mut Connection) {
    rig.handle.publish(publication("out", "marker"));
    let (packet_id, payload) = connection.publication().await;
    assert_eq!(payload, "marker");
    connection.acknowledge(packet_id).await;
}

async fn acks_leave_in_the_order_of_receipt_and_only_after_their_commit(protocol: Protocol) {
    let (_stub, mut rig, mut connection) = start(protocol).await;
    for (packet_id, payload) in [(10, "a"), (4, "b"), (7, "c")] {
        connection.deliver(packet_id, payload).await;
    }
    let mut records = rig.take(3).await;
    assert_eq!(texts(&records), ["a", "b", "c"]);
    nothing_was_said(&rig, &mut connection).await;
    commit(records.drain(1..2));
    nothing_was_said(&rig, &mut connection).await;
    commit(records.drain(..1));
    assert_eq!(connection.acks(2).await, [10, 4]);
    nothing_was_said(&rig, &mut connection).await;
    commit(records);
    assert_eq!(connection.acks(1).await, [7]);
    assert_eq!(
        rig.handle.counters().acknowledged.load(Ordering::Relaxed),
        3
    );
}

async fn an_ack_of_an_earlier_connection_is_not_sent_on_the_next(protocol: Protocol) {
    let (stub, mut rig, mut first) = start(protocol).await;
    first.deliver(1, "old").await;
    let old = rig.record().await;
    drop(first);
    let mut second = stub.accept().await;
    // The same packet id for another message.
    second.deliver(1, "new").await;
    let new = rig.record().await;
    commit([old]);
    nothing_was_said(&rig, &mut second).await;
    commit([new]);
    assert_eq!(second.acks(1).await, [1]);
}

async fn an_abandoned_message_makes_the_broker_deliver_again_and_stops_no_ack_before_it(
    protocol: Protocol,
) {
    let (stub, mut rig, mut first) = start(protocol).await;
    first.deliver(1, "kept").await;
    first.deliver(2, "dropped").await;
    let mut records = rig.take(2).await;
    drop(records.pop());
    commit(records);
    assert_eq!(first.acks(1).await, [1]);
    assert!(matches!(first.next().await, Said::Goodbye));
    let mut second = stub.accept().await;
    second.deliver(1, "dropped").await;
    commit([rig.record().await]);
    assert_eq!(second.acks(1).await, [1]);
    assert_eq!(rig.handle.counters().abandoned.load(Ordering::Relaxed), 1);
    assert!(
        rig.handle
            .counters()
            .last_error()
            .unwrap()
            .contains("given up by a later stage")
    );
}

async fn a_broker_that_sends_more_than_we_take_waits(protocol: Protocol) {
    let stub = Stub::start(protocol).await;
    let mut setup = stub.setup();
    setup.config.receive_maximum = std::num::NonZeroU16::new(2).unwrap();
    let mut rig = setup.start();
    let mut connection = stub.accept().await;
    for packet_id in 1..=5 {
        connection.deliver(packet_id, packet_id.to_string()).await;
    }
    let mut records = rig.take(2).await;
    rig.handle.publish(publication("out", "marker"));
    assert_eq!(connection.publication().await.1, "marker");
    assert!(
        rig.records.try_recv().is_err(),
        "more was taken than the window says"
    );
    for packet_id in 1..=5 {
        commit(records.drain(..1));
        assert_eq!(connection.acks(1).await, [packet_id]);
        if packet_id <= 3 {
            records.push(rig.record().await);
        }
    }
    assert_eq!(rig.connections(), 1);
}

async fn a_full_window_stops_no_publication(protocol: Protocol) {
    let stub = Stub::start(protocol).await;
    let mut setup = stub.setup();
    setup.config.receive_maximum = std::num::NonZeroU16::new(2).unwrap();
    let mut rig = setup.start();
    let mut connection = stub.accept().await;
    connection.deliver(1, "a").await;
    connection.deliver(2, "b").await;
    let _uncommitted = rig.take(2).await;
    // More than may be in flight: so their acknowledgements are read.
    for _ in 0..500 {
        nothing_was_said(&rig, &mut connection).await;
    }
}

async fn a_durable_publication_is_crossed_off_only_when_the_broker_has_it_and_sent_again_until_then(
    protocol: Protocol,
) {
    let (stub, rig, mut first) = start(protocol).await;
    for id in 1..=3 {
        rig.postbox.post(id, publication("out", &id.to_string()));
    }
    let mut sent = Vec::new();
    for _ in 0..3 {
        sent.push(first.publication().await);
    }
    first.acknowledge(sent[1].0).await;
    until(|| rig.postbox.crossed_off() == [2]).await;
    drop(first);
    let mut second = stub.accept().await;
    for expected in ["1", "3"] {
        let (packet_id, payload) = second.publication().await;
        assert_eq!(payload, expected);
        second.acknowledge(packet_id).await;
    }
    until(|| rig.postbox.crossed_off() == [1, 2, 3]).await;
    nothing_was_said(&rig, &mut second).await;
}

#[tokio::test]
async fn a_publication_that_the_broker_refuses_is_counted_and_not_tried_again() {
    let (_stub, rig, mut connection) = start(Protocol::Mqtt5).await;
    rig.postbox.post(1, publication("out", "no"));
    let (packet_id, _) = connection.publication().await;
    connection.not_authorized(packet_id).await;
    until(|| rig.postbox.crossed_off() == [1]).await;
    assert_eq!(
        rig.handle
            .counters()
            .publish_refused
            .load(Ordering::Relaxed),
        1
    );
    nothing_was_said(&rig, &mut connection).await;
}

#[tokio::test]
async fn the_broker_is_never_sent_more_publications_than_it_takes() {
    let stub = Stub::start(Protocol::Mqtt5).await;
    let rig = stub.setup().start();
    let mut connection = stub.accept_silently().await;
    connection.next().await;
    // CONNACK with Receive Maximum 2 and Maximum Packet Size 100.
    connection
        .send(0x20, &[0, 0, 8, 0x21, 0, 2, 0x27, 0, 0, 0, 100])
        .await;
    connection.next().await;
    rig.handle.publish(publication("out", &"x".repeat(200)));
    for payload in ["1", "2", "3"] {
        rig.handle.publish(publication("out", payload));
    }
    let (first, _) = connection.publication().await;
    let (second, payload) = connection.publication().await;
    assert_eq!(payload, "2");
    // Were the third sent before it has room, its packet id would be a third one.
    connection.acknowledge(second).await;
    assert_eq!(connection.publication().await, (second, "3".to_owned()));
    connection.acknowledge(first).await;
    connection.acknowledge(second).await;
    until(|| rig.handle.counters().published.load(Ordering::Relaxed) == 3).await;
    assert_eq!(
        rig.handle
            .counters()
            .publish_refused
            .load(Ordering::Relaxed),
        1
    );
}

async fn an_at_once_publication_without_a_connection_is_dropped_and_counted(protocol: Protocol) {
    let (stub, rig, first) = start(protocol).await;
    drop(first);
    until(|| !rig.handle.counters().connected.load(Ordering::Relaxed)).await;
    rig.handle.publish(publication("out", "late"));
    until(|| {
        rig.handle
            .counters()
            .publish_dropped
            .load(Ordering::Relaxed)
            == 1
    })
    .await;
    let mut second = stub.accept().await;
    nothing_was_said(&rig, &mut second).await;
}

async fn a_refusal_says_why_and_is_tried_again(protocol: Protocol) {
    let stub = Stub::start(protocol).await;
    let rig = stub.setup().start();
    let mut connection = stub.accept_silently().await;
    connection.next().await;
    connection.refuse().await;
    let _again = stub.accept().await;
    let error = rig.handle.counters().last_error().unwrap();
    assert_eq!(
        error,
        "the broker refused the connection: BadUserNamePassword"
    );
}

async fn a_subscription_that_is_refused_or_weakened_is_counted_and_the_others_flow(
    protocol: Protocol,
) {
    let stub = Stub::start(protocol).await;
    let mut setup = stub.setup();
    setup.filters = vec!["in/#", "secret/#", "cheap/#"];
    let mut rig = setup.start();
    let mut connection = stub.accept_granting(&[1, 0x80, 0]).await;
    rig.subscribed().await;
    connection.deliver(1, "fine").await;
    assert_eq!(text(&rig.record().await), "fine");
    let refused = &rig.handle.counters().subscriptions_refused;
    assert_eq!(refused.load(Ordering::Relaxed), 2);
}

async fn nonsense_from_the_broker_ends_the_connection_and_nothing_else(protocol: Protocol) {
    let (stub, mut rig, mut first) = start(protocol).await;
    first
        .send_bytes("HTTP/1.1 400 Bad Request\r\n".repeat(10).as_bytes())
        .await;
    let mut second = stub.accept().await;
    second.send_bytes(&[0x30, 0xff, 0xff, 0xff, 0xff]).await;
    let mut third = stub.accept().await;
    third.deliver(1, "fine").await;
    assert_eq!(text(&rig.record().await), "fine");
}

/// Time is virtual here: it runs as fast as nothing else happens, and needs a peer that answers without it.
async fn a_broker_that_falls_silent_is_left_within_twice_the_keep_alive(protocol: Protocol) {
    let stub = Stub::start(protocol).await;
    let rig = stub.setup().start();
    let mut first = stub.accept().await;
    let since = Instant::now();
    assert_eq!(first.next().await, Said::Ping);
    assert_eq!(first.next_or_end().await, None);
    assert!(since.elapsed().as_secs() <= 30, "{:?}", since.elapsed());
    assert_eq!(
        rig.handle.counters().last_error().unwrap(),
        "the broker was silent for 30 s"
    );
}

async fn a_broker_that_takes_the_connection_and_says_nothing_is_left_after_5_s(protocol: Protocol) {
    let stub = Stub::start(protocol).await;
    let rig = stub.setup().start();
    let since = Instant::now();
    let mut first = stub.accept_silently().await;
    assert_eq!(first.next().await, Said::Connect { clean: false });
    assert_eq!(first.next_or_end().await, None);
    assert_eq!(since.elapsed().as_secs(), 5);
    let error = rig.handle.counters().last_error().unwrap();
    assert_eq!(error, "the broker did not answer within 5 s");
}

async fn a_broker_that_goes_away_again_and_again_is_found_within_3_s_each_time(protocol: Protocol) {
    let stub = Stub::start(protocol).await;
    let mut setup = stub.setup();
    setup.limits.backoff_max = Limits::DEFAULT.backoff_max;
    let rig = setup.start();
    for round in 1..=30 {
        let since = Instant::now();
        let connection = stub.accept().await;
        assert!(
            since.elapsed().as_millis() <= 3_010,
            "round {round}: {:?}",
            since.elapsed()
        );
        drop(connection);
    }
    until(|| rig.connections() == 30).await;
}

/// The negative control of the promise before: waits do grow.
async fn a_broker_that_refuses_us_is_left_alone_for_longer(protocol: Protocol) {
    let stub = Stub::start(protocol).await;
    let mut setup = stub.setup();
    setup.limits.backoff_max = Duration::from_secs(20);
    let _rig = setup.start();
    let since = Instant::now();
    for _ in 0..30 {
        let mut connection = stub.accept_silently().await;
        connection.next().await;
        connection.refuse().await;
    }
    // More than 20 waits of up to 20 s, by chance: 90 s, which waits of up to 3 s cannot reach, are out of the question.
    assert!(since.elapsed().as_secs() > 90, "{:?}", since.elapsed());
}

async fn draining_takes_no_more_and_still_acknowledges(protocol: Protocol) {
    let (_stub, mut rig, mut connection) = start(protocol).await;
    connection.deliver(1, "in work").await;
    let record = rig.record().await;
    rig.surroundings = None;
    rig.phase.send(Phase::Draining).unwrap();
    assert!(
        rig.records.recv().await.is_none(),
        "the field dropped its sender"
    );
    connection.deliver(2, "too late").await;
    rig.postbox.post(1, publication("out", "last words"));
    let (packet_id, _) = connection.publication().await;
    connection.acknowledge(packet_id).await;
    until(|| rig.postbox.crossed_off() == [1]).await;
    commit([record]);
    assert_eq!(connection.acks(1).await, [1]);
    rig.stop().await;
    assert!(
        matches!(connection.next().await, Said::Goodbye),
        "goodbye is said, and 2 is not acknowledged"
    );
}

async fn draining_ends_by_itself_after_its_grace(protocol: Protocol) {
    let (_stub, mut rig, mut connection) = start(protocol).await;
    rig.phase.send(Phase::Draining).unwrap();
    // The link's two tasks end without being told to.
    for _ in 0..2 {
        rig.tasks.join_next().await.unwrap().unwrap();
    }
    while !matches!(connection.next().await, Said::Goodbye) {}
}

async fn the_end_of_the_run_sends_the_last_acks(protocol: Protocol) {
    let (_stub, mut rig, mut connection) = start(protocol).await;
    connection.deliver(1, "a").await;
    let record = rig.record().await;
    // Both before the field gets to run.
    commit([record]);
    rig.phase.send(Phase::Ended).unwrap();
    assert_eq!(connection.acks(1).await, [1]);
    assert!(matches!(connection.next().await, Said::Goodbye));
}
