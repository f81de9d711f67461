//! Promises that hold with a real broker.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidegate_field::{MessageIdFrom, Phase, Protocol};
use tidegate_record::{IdHasher, Limits};
use tokio::time::Instant;

use crate::mosquitto::Mosquitto;
use crate::rig::{Setup, commit, numbers, publication, soon, text, texts, until};

both_versions! {
    what_was_not_acknowledged_comes_again_and_what_was_does_not
    ten_thousand_queued_messages_are_drained_in_order
    a_backlog_larger_than_the_window_waits_for_its_commits
    a_broker_that_was_killed_is_found_again_and_gets_what_waited_for_it
    a_full_inbox_stops_no_publication_and_loses_nothing
    draining_keeps_the_queue_with_the_broker
}

async fn what_was_not_acknowledged_comes_again_and_what_was_does_not(protocol: Protocol) {
    let Some(broker) = Mosquitto::start().await else {
        return;
    };
    let mut rig = Setup::new(&broker.url(), protocol).start();
    rig.subscribed().await;
    broker.publish("in/a", numbers(0..10)).await;
    let mut records = rig.take(10).await;
    assert!(records.iter().all(|record| !record.delivery.redelivered));
    let uncommitted = records.split_off(5);
    commit(records);
    rig.acknowledged(5).await;
    rig.stop().await;
    drop(uncommitted);

    let mut rig = Setup::new(&broker.url(), protocol).start();
    let again = rig.take(5).await;
    assert_eq!(texts(&again), numbers(5..10));
    assert!(again.iter().all(|record| record.delivery.redelivered));
    commit(again);
    rig.acknowledged(5).await;
    rig.stop().await;

    let mut rig = Setup::new(&broker.url(), protocol).start();
    rig.subscribed().await;
    broker.publish("in/a", ["sentinel"]).await;
    assert_eq!(text(&rig.record().await), "sentinel");
}

async fn ten_thousand_queued_messages_are_drained_in_order(protocol: Protocol) {
    let Some(broker) = Mosquitto::start().await else {
        return;
    };
    let rig = Setup::new(&broker.url(), protocol).start();
    rig.subscribed().await;
    rig.stop().await;
    broker.publish("in/a", numbers(0..10_000)).await;

    let mut rig = Setup::new(&broker.url(), protocol).start();
    let mut batch = Vec::new();
    for number in 0..10_000_u32 {
        let record = rig.record().await;
        let counters = rig.handle.counters();
        assert_eq!(text(&record), number.to_string(), "{counters:?}");
        batch.push(record);
        // Commits of some size, so that the broker's window is used.
        if batch.len() == 100 {
            commit(batch.drain(..));
        }
    }
    rig.acknowledged(10_000).await;
    assert_eq!(rig.connections(), 1);
}

async fn a_backlog_larger_than_the_window_waits_for_its_commits(protocol: Protocol) {
    let Some(broker) = Mosquitto::start().await else {
        return;
    };
    let mut setup = Setup::new(&broker.url(), protocol);
    setup.config.receive_maximum = std::num::NonZeroU16::new(50).unwrap();
    let rig = setup.start();
    rig.subscribed().await;
    rig.stop().await;
    broker.publish("in/a", numbers(0..2000)).await;
    let mut setup = Setup::new(&broker.url(), protocol);
    setup.config.receive_maximum = std::num::NonZeroU16::new(50).unwrap();
    let mut rig = setup.start();
    for first in (0..2000).step_by(50) {
        // All that may be taken is, and is committed only then.
        let records = rig.take(50).await;
        assert_eq!(texts(&records), numbers(first..first + 50));
        commit(records);
    }
    rig.acknowledged(2000).await;
    assert_eq!(rig.connections(), 1);
}

/// Without persistence a killed broker forgets everything: subscriptions, queue, and what it had acknowledged to us.
async fn a_broker_that_was_killed_is_found_again_and_gets_what_waited_for_it(protocol: Protocol) {
    const LETTERS: u64 = 500;
    let Some(mut broker) = Mosquitto::start().await else {
        return;
    };
    let mut setup = Setup::new(&broker.url(), protocol);
    setup.limits.backoff_max = Limits::DEFAULT.backoff_max;
    let mut rig = setup.start();
    rig.subscribed().await;
    for round in 0..5 {
        let ids = round * LETTERS + 1..=(round + 1) * LETTERS;
        for id in ids.clone() {
            let mut publication = publication(&format!("alarms/{id}"), &id.to_string());
            publication.retain = true;
            rig.postbox.post(id, publication);
        }
        // Killed at another point of the sending each time.
        let before = usize::try_from(round * LETTERS + round * 100).unwrap();
        until(|| rig.postbox.crossed_off().len() >= before).await;
        broker.kill().await;
        until(|| !rig.handle.counters().connected.load(Ordering::Relaxed)).await;
        let crossed_off = rig.postbox.crossed_off();
        broker.restart().await;
        let since = Instant::now();
        rig.subscribed().await;
        // Waits of up to 3 s, and what a busy machine adds.
        assert!(since.elapsed().as_secs() < 6, "{:?}", since.elapsed());
        until(|| rig.postbox.crossed_off().len() as u64 == (round + 1) * LETTERS).await;
        // What was not acknowledged when the broker died is at the new one.
        let mut missing: BTreeSet<_> = ids.filter(|id| !crossed_off.contains(id)).collect();
        let mut listener = broker.listen("alarms/#").await;
        while !missing.is_empty() {
            missing.remove(&listener.next().await.parse().unwrap());
        }
        // That this arrives shows that we subscribed again.
        broker.publish("in/a", ["back"]).await;
        let record = rig.record().await;
        assert_eq!(text(&record), "back");
        commit([record]);
    }
    assert_eq!(rig.connections(), 6);
}

#[tokio::test]
async fn messages_come_with_what_their_sender_said() {
    let Some(broker) = Mosquitto::start().await else {
        return;
    };
    let mut setup = Setup::new(&broker.url(), Protocol::Mqtt5);
    setup.config.message_id = Some(MessageIdFrom::Property("id".into()));
    broker
        .publish_with("in/kept", &["-q", "1", "-r"], ["old"])
        .await;
    let mut rig = setup.start();
    let kept = rig.record().await;
    assert_eq!(
        (text(&kept).as_str(), kept.delivery.retained),
        ("old", true)
    );
    let properties = [
        "-q",
        "0",
        "-D",
        "publish",
        "user-property",
        "id",
        "17",
        "-D",
        "publish",
        "content-type",
        "text",
    ];
    broker.publish_with("in/b", &properties, ["new"]).await;
    let record = rig.record().await;
    assert_eq!(
        (text(&record).as_str(), record.delivery.retained),
        ("new", false)
    );
    assert_eq!(
        (&*record.channel.topic, record.channel.source.as_str()),
        ("in/b", "plant")
    );
    assert_eq!(
        record.id,
        Some(IdHasher::new(1).hash("plant", "in/b", b"17"))
    );
    let owned = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        record.properties,
        [owned("id", "17"), owned("content-type", "text")]
    );
}

async fn a_full_inbox_stops_no_publication_and_loses_nothing(protocol: Protocol) {
    let Some(broker) = Mosquitto::start().await else {
        return;
    };
    let mut setup = Setup::new(&broker.url(), protocol);
    setup.inbox = 2;
    let mut rig = setup.start();
    rig.subscribed().await;
    let mut listener = broker.listen("out").await;
    broker.publish("in/a", numbers(0..200)).await;
    until(|| rig.handle.counters().received.load(Ordering::Relaxed) == 200).await;
    rig.handle.publish(publication("out", "actuate"));
    assert_eq!(listener.next().await, "actuate");
    let records = rig.take(200).await;
    assert_eq!(texts(&records), numbers(0..200));
}

async fn draining_keeps_the_queue_with_the_broker(protocol: Protocol) {
    let Some(broker) = Mosquitto::start().await else {
        return;
    };
    let mut rig = Setup::new(&broker.url(), protocol).start();
    rig.subscribed().await;
    broker.publish("in/a", ["in work"]).await;
    let record = rig.record().await;
    rig.surroundings = None;
    rig.phase.send(Phase::Draining).unwrap();
    assert!(soon(rig.records.recv()).await.is_none());
    broker.publish("in/a", ["too late"]).await;
    commit([record]);
    rig.acknowledged(1).await;
    rig.stop().await;
    let mut rig = Setup::new(&broker.url(), protocol).start();
    assert_eq!(text(&rig.record().await), "too late");
}

#[test]
fn the_handle_can_be_shared() {
    fn shared<T: Send + Sync + Clone + 'static>() {}
    shared::<tidegate_field::BrokerHandle>();
    shared::<Arc<tidegate_field::BrokerCounters>>();
}
