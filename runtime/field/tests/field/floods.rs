//! More than can be taken, all at once.

use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::sync::atomic::Ordering;

use tidegate_field::Protocol;
use tidegate_record::SkipReason;

use crate::mosquitto::Mosquitto;
use crate::publisher::{Sent, publish_all};
use crate::rig::{Setup, commit, numbers, texts, until};
use crate::stub::Stub;

both_versions! {
    a_qos_0_flood_into_a_full_inbox_is_dropped_and_counted
    what_qos_0_has_in_memory_is_bounded_in_bytes
    what_qos_0_has_in_memory_outlives_its_connection
    a_qos_0_flood_takes_nothing_from_its_qos_1_neighbours
    a_hundred_thousand_retained_messages_are_taken_a_window_at_a_time
}

async fn a_qos_0_flood_into_a_full_inbox_is_dropped_and_counted(protocol: Protocol) {
    let Some(broker) = Mosquitto::start().await else {
        return;
    };
    let mut setup = Setup::new(&broker.url(), protocol);
    setup.inbox = 1;
    setup.config.receive_maximum = NonZeroU16::new(10).unwrap();
    let mut rig = setup.start();
    rig.subscribed().await;
    broker
        .publish_with("in/a", &["-q", "0"], numbers(0..100))
        .await;
    let counters = rig.handle.counters();
    until(|| {
        counters.received.load(Ordering::Relaxed) + counters.dropped.load(Ordering::Relaxed) == 100
    })
    .await;
    let dropped = counters.dropped.load(Ordering::Relaxed);
    assert!((80..=98).contains(&dropped), "{dropped} dropped");
    let kept = 100 - usize::try_from(dropped).unwrap();
    assert_eq!(rig.take(kept).await.len(), kept);
}

/// However many records the inbox takes: what counts is that nobody has let go of them.
async fn what_qos_0_has_in_memory_is_bounded_in_bytes(protocol: Protocol) {
    let stub = Stub::start(protocol).await;
    let mut setup = stub.setup();
    // Four batches may wait for their commit.
    setup.limits.batch_bytes_max = 10 * 1004;
    let mut rig = setup.start();
    let mut connection = stub.accept().await;
    for _ in 0..100 {
        connection.deliver_to(b"in/a", None, &[b'x'; 1000]).await;
    }
    let counters = |rig: &crate::rig::Rig| {
        let counters = rig.handle.counters();
        (
            counters.received.load(Ordering::Relaxed),
            counters.dropped.load(Ordering::Relaxed),
        )
    };
    until(|| counters(&rig) == (40, 60)).await;
    let records = rig.take(40).await;
    connection.deliver_to(b"in/a", None, &[b'x'; 1000]).await;
    until(|| counters(&rig) == (40, 61)).await;
    // Committed or given up: both make room.
    drop(records);
    connection.deliver_to(b"in/a", None, &[b'x'; 1000]).await;
    until(|| counters(&rig) == (41, 61)).await;
    assert_eq!(rig.skips.of(SkipReason::Overflow), (61, 61_000));
}

/// Nobody would deliver it again.
async fn what_qos_0_has_in_memory_outlives_its_connection(protocol: Protocol) {
    let stub = Stub::start(protocol).await;
    let mut setup = stub.setup();
    setup.inbox = 1;
    let mut rig = setup.start();
    let mut first = stub.accept().await;
    for number in ["1", "2", "3"] {
        first.deliver_to(b"in/a", None, number.as_bytes()).await;
    }
    first.deliver(1, "comes again").await;
    until(|| rig.handle.counters().received.load(Ordering::Relaxed) == 4).await;
    drop(first);
    let mut second = stub.accept().await;
    second.deliver(1, "again").await;
    let records = rig.take(4).await;
    assert_eq!(texts(&records), ["1", "2", "3", "again"]);
    assert_eq!(rig.handle.counters().dropped.load(Ordering::Relaxed), 0);
}

async fn a_qos_0_flood_takes_nothing_from_its_qos_1_neighbours(protocol: Protocol) {
    const FLOOD: u32 = 20_000;
    const STEADY: u32 = 200;
    let Some(broker) = Mosquitto::start().await else {
        return;
    };
    let mut setup = Setup::new(&broker.url(), protocol);
    setup.inbox = 16;
    let mut rig = setup.start();
    rig.subscribed().await;
    let mut messages = Vec::new();
    for number in 0..FLOOD {
        messages.push(sent("in/flood", vec![b'x'; 500], false));
        if number % (FLOOD / STEADY) == 0 {
            let number = number / (FLOOD / STEADY);
            messages.push(sent("in/steady", number.to_string().into_bytes(), true));
        }
    }
    publish_all(&broker, messages).await;
    let mut steady = Vec::new();
    let mut flood = 0;
    while steady.len() < 200 {
        let record = rig.record().await;
        match &*record.channel.topic {
            "in/steady" => steady.push(record),
            _ => flood += 1,
        }
    }
    assert_eq!(texts(&steady), numbers(0..STEADY));
    commit(steady);
    rig.acknowledged(STEADY.into()).await;
    let counters = rig.handle.counters();
    assert!(
        counters.dropped.load(Ordering::Relaxed) > 0,
        "no flood: {flood} were taken"
    );
    assert_eq!(rig.connections(), 1);
}

async fn a_hundred_thousand_retained_messages_are_taken_a_window_at_a_time(protocol: Protocol) {
    const COUNT: usize = 100_000;
    let Some(broker) = Mosquitto::start().await else {
        return;
    };
    let retained = (0..COUNT).map(|number| Sent {
        retain: true,
        ..sent(&format!("in/{number}"), b"kept".to_vec(), true)
    });
    publish_all(&broker, retained.collect()).await;
    let mut setup = Setup::new(&broker.url(), protocol);
    setup.inbox = COUNT;
    let mut rig = setup.start();
    let mut topics = BTreeSet::new();
    while topics.len() < COUNT {
        let mut records = vec![rig.record().await];
        while let Ok(record) = rig.records.try_recv() {
            records.push(record);
        }
        // The inbox would take them all, the window does not.
        assert!(records.len() <= 1000, "{} at once", records.len());
        for record in records {
            assert!(record.delivery.retained);
            topics.insert(record.channel.topic.to_string());
            record.ack.committed();
        }
    }
    rig.acknowledged(100_000).await;
    assert_eq!(rig.connections(), 1);
}

fn sent(topic: &str, payload: Vec<u8>, acknowledged: bool) -> Sent {
    Sent {
        topic: topic.to_owned(),
        payload,
        acknowledged,
        retain: false,
    }
}
