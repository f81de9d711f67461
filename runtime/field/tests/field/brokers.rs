//! Several brokers of one gateway.

use std::sync::atomic::Ordering;

use tidegate_field::Protocol;
use tidegate_record::Record;

use crate::mosquitto::Mosquitto;
use crate::rig::{Setup, commit, numbers, publication, text, texts, until};
use crate::stub::Stub;

#[tokio::test]
async fn two_brokers_share_a_full_inbox() {
    let (Some(one), Some(two)) = (Mosquitto::start().await, Mosquitto::start().await) else {
        return;
    };
    let mut setup = Setup::new(&one.url(), Protocol::Mqtt5);
    setup.inbox = 1;
    let mut rig = setup.start();
    let other = rig.join("yard", Setup::new(&two.url(), Protocol::Mqtt311));
    rig.subscribed().await;
    until(|| other.counters().subscribed.load(Ordering::Relaxed)).await;
    one.publish("in/a", numbers(0..300)).await;
    two.publish("in/a", numbers(0..300)).await;
    until(|| rig.handle.counters().received.load(Ordering::Relaxed) == 300).await;
    until(|| other.counters().received.load(Ordering::Relaxed) == 300).await;
    let records = rig.take(600).await;
    // Each record says which broker it came from.
    let of = |source: &str| -> Vec<String> {
        let matching = |record: &&Record| record.channel.source.as_str() == source;
        records.iter().filter(matching).map(text).collect()
    };
    assert_eq!(
        (of("plant"), of("yard")),
        (numbers(0..300), numbers(0..300))
    );
}

#[tokio::test]
async fn dead_brokers_hold_up_no_other() {
    let Some(broker) = Mosquitto::start().await else {
        return;
    };
    let mut rig = Setup::new(&broker.url(), Protocol::Mqtt5).start();
    // One where nobody listens, one that takes the connection and says nothing, one that does not take our messages.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("mqtt://{}", closed.local_addr().unwrap());
    drop(closed);
    let closed = rig.join("closed", Setup::new(&url, Protocol::Mqtt5));
    let stub = Stub::start(Protocol::Mqtt311).await;
    rig.join("silent", stub.setup());
    let _silent = stub.accept_silently().await;
    let stub = Stub::start(Protocol::Mqtt5).await;
    let deaf_setup = stub.setup();
    let deaf_postbox = deaf_setup.postbox.clone();
    let deaf = rig.join("deaf", deaf_setup);
    let _connection = stub.accept().await;

    for id in 1..=1000 {
        deaf_postbox.post(id, publication("out", "unheard"));
        deaf.publish(publication("out", "unheard"));
        closed.publish(publication("out", "unheard"));
    }
    rig.subscribed().await;
    let mut listener = broker.listen("out").await;
    broker.publish("in/a", numbers(0..1000)).await;
    let records = rig.take(1000).await;
    assert_eq!(texts(&records), numbers(0..1000));
    commit(records);
    rig.acknowledged(1000).await;
    rig.handle.publish(publication("out", "actuate"));
    assert_eq!(listener.next().await, "actuate");
    rig.postbox.post(1, publication("out", "report"));
    assert_eq!(listener.next().await, "report");
    until(|| rig.postbox.crossed_off() == [1]).await;

    until(|| closed.counters().last_error().is_some()).await;
    let error = closed.counters().last_error().unwrap();
    assert!(
        error.starts_with("cannot connect to mqtt://127.0.0.1:"),
        "{error}"
    );
    assert_eq!(deaf_postbox.crossed_off(), [0; 0]);
    rig.stop().await;
}
