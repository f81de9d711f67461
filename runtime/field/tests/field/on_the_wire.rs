//! Promises about single packets, held against a scripted broker.

use std::sync::atomic::Ordering;

use rumqttc::mqttbytes::v5::{ConnAck, ConnectReturnCode, Packet, PubAck, PubAckReason};
use tidegate_field::Phase;

use crate::rig::{Rig, Setup, commit, publication, text, texts, until};
use crate::stub::{Connection, Stub};

async fn start() -> (Stub, Rig, Connection) {
    let stub = Stub::start().await;
    let rig = Setup::new(&stub.url()).start();
    let connection = stub.accept().await;
    rig.subscribed().await;
    (stub, rig, connection)
}

/// Sees that the field has nothing to say before a publication that it is told to send now: acknowledgements go first.
async fn nothing_was_said(rig: &Rig, connection: &mut Connection) {
    rig.handle.publish(publication("out", "marker"));
    let (packet_id, payload) = connection.publication().await;
    assert_eq!(payload, "marker");
    connection.acknowledge(packet_id).await;
}

#[tokio::test]
async fn acks_leave_in_the_order_of_receipt_and_only_after_their_commit() {
    let (_stub, mut rig, mut connection) = start().await;
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

#[tokio::test]
async fn an_ack_of_an_earlier_connection_is_not_sent_on_the_next() {
    let (stub, mut rig, mut first) = start().await;
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

#[tokio::test]
async fn an_abandoned_message_makes_the_broker_deliver_again_and_stops_no_ack_before_it() {
    let (stub, mut rig, mut first) = start().await;
    first.deliver(1, "kept").await;
    first.deliver(2, "dropped").await;
    let mut records = rig.take(2).await;
    drop(records.pop());
    commit(records);
    assert_eq!(first.acks(1).await, [1]);
    assert!(matches!(first.next().await, Packet::Disconnect(_)));
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

#[tokio::test]
async fn a_broker_that_sends_more_than_we_take_waits() {
    let stub = Stub::start().await;
    let mut setup = Setup::new(&stub.url());
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
    assert_eq!(rig.handle.counters().connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_full_window_stops_no_publication() {
    let stub = Stub::start().await;
    let mut setup = Setup::new(&stub.url());
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

#[tokio::test]
async fn a_message_that_cannot_be_taken_is_acknowledged_in_turn_and_stops_no_other() {
    let (_stub, mut rig, mut connection) = start().await;
    connection.deliver(1, "before").await;
    // A topic that is not UTF-8, at packet id 2; the same with QoS 0.
    connection.send_bytes(&[0x32, 6, 0, 1, 0xff, 0, 2, 0]).await;
    connection.send_bytes(&[0x30, 4, 0, 1, 0xff, 0]).await;
    // Larger than what we take, from a broker that does not heed what we said; and larger than a payload may be.
    connection.deliver(3, vec![b'x'; 2_000_000]).await;
    connection.deliver(4, vec![b'x'; 300_000]).await;
    connection.deliver(5, "after").await;
    let records = rig.take(2).await;
    assert_eq!(texts(&records), ["before", "after"]);
    nothing_was_said(&rig, &mut connection).await;
    commit(records);
    assert_eq!(connection.acks(5).await, [1, 2, 3, 4, 5]);
    let counters = rig.handle.counters();
    assert_eq!(counters.malformed.load(Ordering::Relaxed), 2);
    assert_eq!(counters.oversized.load(Ordering::Relaxed), 2);
    assert_eq!(counters.connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_durable_publication_is_crossed_off_only_when_the_broker_has_it_and_sent_again_until_then()
 {
    let (stub, rig, mut first) = start().await;
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
    let (_stub, rig, mut connection) = start().await;
    rig.postbox.post(1, publication("out", "no"));
    let (packet_id, _) = connection.publication().await;
    let ack = PubAck {
        pkid: packet_id,
        reason: PubAckReason::NotAuthorized,
        properties: None,
    };
    connection.send(Packet::PubAck(ack)).await;
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
    let stub = Stub::start().await;
    let rig = Setup::new(&stub.url()).start();
    let mut connection = stub.accept_silently().await;
    connection.next().await;
    // CONNACK with Receive Maximum 2 and Maximum Packet Size 100.
    connection
        .send_bytes(&[0x20, 11, 0, 0, 8, 0x21, 0, 2, 0x27, 0, 0, 0, 100])
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

#[tokio::test]
async fn an_at_once_publication_without_a_connection_is_dropped_and_counted() {
    let (stub, rig, first) = start().await;
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

#[tokio::test]
async fn a_refusal_says_why_and_is_tried_again() {
    let stub = Stub::start().await;
    let rig = Setup::new(&stub.url()).start();
    let mut connection = stub.accept_silently().await;
    connection.next().await;
    let code = ConnectReturnCode::BadUserNamePassword;
    connection
        .send(Packet::ConnAck(ConnAck {
            session_present: false,
            code,
            properties: None,
        }))
        .await;
    let _again = stub.accept().await;
    let error = rig.handle.counters().last_error().unwrap();
    assert_eq!(
        error,
        "the broker refused the connection: BadUserNamePassword"
    );
}

#[tokio::test]
async fn nonsense_from_the_broker_ends_the_connection_and_nothing_else() {
    let (stub, mut rig, mut first) = start().await;
    first
        .send_bytes("HTTP/1.1 400 Bad Request\r\n".repeat(10).as_bytes())
        .await;
    let mut second = stub.accept().await;
    second.send_bytes(&[0x30, 0xff, 0xff, 0xff, 0xff]).await;
    let mut third = stub.accept().await;
    third.deliver(1, "fine").await;
    assert_eq!(text(&rig.record().await), "fine");
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_falls_silent_is_left() {
    let stub = Stub::start().await;
    let rig = Setup::new(&stub.url()).start();
    // Time is virtual here: it runs as fast as nothing else happens, and needs a peer that answers without it.
    let mut first = stub.accept().await;
    assert_eq!(first.next().await, Packet::PingReq);
    assert_eq!(first.next_or_end().await, None);
    assert_eq!(
        rig.handle.counters().last_error().unwrap(),
        "the broker was silent for 30 s"
    );
}

#[tokio::test]
async fn draining_takes_no_more_and_still_acknowledges() {
    let (_stub, mut rig, mut connection) = start().await;
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
        matches!(connection.next().await, Packet::Disconnect(_)),
        "goodbye is said, and 2 is not acknowledged"
    );
}

#[tokio::test(start_paused = true)]
async fn draining_ends_by_itself_after_its_grace() {
    let (_stub, mut rig, mut connection) = start().await;
    rig.phase.send(Phase::Draining).unwrap();
    // The link's two tasks end without being told to.
    for _ in 0..2 {
        rig.tasks.join_next().await.unwrap().unwrap();
    }
    while !matches!(connection.next().await, Packet::Disconnect(_)) {}
}

#[tokio::test]
async fn the_end_of_the_run_sends_the_last_acks() {
    let (_stub, mut rig, mut connection) = start().await;
    connection.deliver(1, "a").await;
    let record = rig.record().await;
    // Both before the field gets to run.
    commit([record]);
    rig.phase.send(Phase::Ended).unwrap();
    assert_eq!(connection.acks(1).await, [1]);
    assert!(matches!(connection.next().await, Packet::Disconnect(_)));
}
