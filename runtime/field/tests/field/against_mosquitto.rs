//! Promises that hold with a real broker.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidegate_field::{Credentials, Phase};
use tidegate_record::{IdHasher, Record};

use crate::mosquitto::Mosquitto;
use crate::rig::{Setup, commit, file, publication, soon, text, texts, until};

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn what_was_not_acknowledged_comes_again_and_what_was_does_not() {
    let Some(broker) = Mosquitto::start().await else {
        return;
    };
    let mut rig = Setup::new(&broker.url()).start();
    rig.subscribed().await;
    broker.publish("in/a", numbers(0..10)).await;
    let mut records = rig.take(10).await;
    assert!(records.iter().all(|record| !record.delivery.redelivered));
    let uncommitted = records.split_off(5);
    commit(records);
    until(|| rig.handle.counters().acknowledged.load(Ordering::Relaxed) == 5).await;
    rig.stop().await;
    drop(uncommitted);

    let mut rig = Setup::new(&broker.url()).start();
    let again = rig.take(5).await;
    assert_eq!(texts(&again), numbers(5..10));
    assert!(again.iter().all(|record| record.delivery.redelivered));
    commit(again);
    until(|| rig.handle.counters().acknowledged.load(Ordering::Relaxed) == 5).await;
    rig.stop().await;

    let mut rig = Setup::new(&broker.url()).start();
    rig.subscribed().await;
    broker.publish("in/a", ["sentinel"]).await;
    assert_eq!(text(&rig.record().await), "sentinel");
}

#[tokio::test]
async fn ten_thousand_queued_messages_are_drained_in_order() {
    let Some(broker) = Mosquitto::start().await else {
        return;
    };
    let rig = Setup::new(&broker.url()).start();
    rig.subscribed().await;
    rig.stop().await;
    broker.publish("in/a", numbers(0..10_000)).await;

    let mut rig = Setup::new(&broker.url()).start();
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
    until(|| rig.handle.counters().acknowledged.load(Ordering::Relaxed) == 10_000).await;
    assert_eq!(rig.handle.counters().connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_backlog_larger_than_the_window_waits_for_its_commits() {
    let Some(broker) = Mosquitto::start().await else {
        return;
    };
    let mut setup = Setup::new(&broker.url());
    setup.config.receive_maximum = std::num::NonZeroU16::new(50).unwrap();
    let rig = setup.start();
    rig.subscribed().await;
    rig.stop().await;
    broker.publish("in/a", numbers(0..2000)).await;
    let mut setup = Setup::new(&broker.url());
    setup.config.receive_maximum = std::num::NonZeroU16::new(50).unwrap();
    let mut rig = setup.start();
    for first in (0..2000).step_by(50) {
        // All that may be taken is, and is committed only then.
        let records = rig.take(50).await;
        assert_eq!(texts(&records), numbers(first..first + 50));
        commit(records);
    }
    until(|| rig.handle.counters().acknowledged.load(Ordering::Relaxed) == 2000).await;
    assert_eq!(rig.handle.counters().connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_broker_that_was_killed_is_found_again_and_gets_what_waited_for_it() {
    let Some(mut broker) = Mosquitto::start().await else {
        return;
    };
    let mut rig = Setup::new(&broker.url()).start();
    rig.subscribed().await;
    broker.kill().await;
    for id in 1..=50 {
        let mut publication = publication(&format!("alarms/{id}"), &id.to_string());
        publication.retain = true;
        rig.postbox.post(id, publication);
    }
    broker.restart().await;
    until(|| rig.postbox.crossed_off() == (1..=50).collect::<Vec<_>>()).await;
    let mut listener = broker.listen("alarms/#").await;
    let mut heard = Vec::new();
    for _ in 0..50 {
        heard.push(listener.next().await.parse::<u32>().unwrap());
    }
    heard.sort_unstable();
    assert_eq!(heard, (1..=50).collect::<Vec<_>>());
    // The broker forgot the session: that this arrives shows that we subscribed again.
    broker.publish("in/a", ["back"]).await;
    assert_eq!(text(&rig.record().await), "back");
}

#[tokio::test]
async fn large_messages_stop_no_others() {
    let Some(broker) = Mosquitto::start().await else {
        return;
    };
    let mut rig = Setup::new(&broker.url()).start();
    rig.subscribed().await;
    broker.publish("in/a", ["before"]).await;
    broker.publish_bytes("in/a", &[b'x'; 20_000]).await;
    // Larger than what we said that we take: mosquitto keeps it to itself.
    broker.publish_bytes("in/a", &vec![b'x'; 2_000_000]).await;
    // Not larger than a packet may be, but than a payload may.
    broker.publish_bytes("in/a", &[b'x'; 300_000]).await;
    broker.publish("in/a", ["after"]).await;
    let records = rig.take(3).await;
    assert_eq!(
        records
            .iter()
            .map(|record| text(record).len())
            .collect::<Vec<_>>(),
        [6, 20_000, 5]
    );
    commit(records);
    let counters = rig.handle.counters();
    until(|| counters.acknowledged.load(Ordering::Relaxed) == 4).await;
    assert_eq!(counters.oversized.load(Ordering::Relaxed), 1);
    assert_eq!(counters.connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn messages_come_with_what_their_sender_said() {
    let Some(broker) = Mosquitto::start().await else {
        return;
    };
    let mut setup = Setup::new(&broker.url());
    setup.config.message_id = Some(tidegate_field::MessageIdFrom::Property("id".into()));
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

#[tokio::test]
async fn a_full_inbox_stops_no_publication_and_loses_nothing() {
    let Some(broker) = Mosquitto::start().await else {
        return;
    };
    let mut setup = Setup::new(&broker.url());
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

#[tokio::test]
async fn two_brokers_share_a_full_inbox() {
    let (Some(one), Some(two)) = (Mosquitto::start().await, Mosquitto::start().await) else {
        return;
    };
    let mut setup = Setup::new(&one.url());
    setup.inbox = 1;
    let mut rig = setup.start();
    let setup = Setup::new(&two.url());
    let filters = vec![tidegate_record::TopicFilter::new("in/#").unwrap()];
    let other = tidegate_field::Broker::new(setup.config).unwrap().spawn(
        filters,
        setup.postbox,
        rig.surroundings.as_ref().unwrap(),
        &mut rig.tasks,
    );
    rig.subscribed().await;
    until(|| other.counters().subscribed.load(Ordering::Relaxed)).await;
    one.publish("in/a", numbers(0..300)).await;
    two.publish("in/b", numbers(0..300)).await;
    until(|| rig.handle.counters().received.load(Ordering::Relaxed) == 300).await;
    until(|| other.counters().received.load(Ordering::Relaxed) == 300).await;
    let records = rig.take(600).await;
    let of = |topic: &str| -> Vec<String> {
        let matching = |record: &&Record| &*record.channel.topic == topic;
        records.iter().filter(matching).map(text).collect()
    };
    assert_eq!((of("in/a"), of("in/b")), (numbers(0..300), numbers(0..300)));
}

#[tokio::test]
async fn a_qos_0_flood_into_a_full_inbox_is_dropped_and_counted() {
    let Some(broker) = Mosquitto::start().await else {
        return;
    };
    let mut setup = Setup::new(&broker.url());
    setup.inbox = 1;
    setup.config.receive_maximum = std::num::NonZeroU16::new(10).unwrap();
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

#[tokio::test]
async fn draining_keeps_the_queue_with_the_broker() {
    let Some(broker) = Mosquitto::start().await else {
        return;
    };
    let mut rig = Setup::new(&broker.url()).start();
    rig.subscribed().await;
    broker.publish("in/a", ["in work"]).await;
    let record = rig.record().await;
    rig.surroundings = None;
    rig.phase.send(Phase::Draining).unwrap();
    assert!(soon(rig.records.recv()).await.is_none());
    broker.publish("in/a", ["too late"]).await;
    commit([record]);
    until(|| rig.handle.counters().acknowledged.load(Ordering::Relaxed) == 1).await;
    rig.stop().await;
    let mut rig = Setup::new(&broker.url()).start();
    assert_eq!(text(&rig.record().await), "too late");
}

#[tokio::test]
async fn tls_and_a_password_let_us_in_and_the_wrong_ones_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, settings) = tls_settings(&dir);
    let Some(broker) = Mosquitto::with(&settings).await else {
        return;
    };
    let url = format!("mqtts://localhost:{}", broker.port);
    let setup = |password: &str, authority: &str| {
        let mut setup = Setup::new(&url);
        let password_file = Some(file(&dir, password, &format!("{password}\n")));
        setup.config.credentials = Some(Credentials {
            username: "gateway".into(),
            password_file,
        });
        setup.config.ca_file = Some(file(&dir, "ca.pem", authority));
        setup
    };
    let rig = setup("secret", &authority).start();
    rig.subscribed().await;
    rig.stop().await;

    let rig = setup("wrong", &authority).start();
    until(|| rig.handle.counters().last_error().is_some()).await;
    let error = rig.handle.counters().last_error().unwrap();
    assert!(
        error.starts_with("the broker refused the connection"),
        "{error}"
    );
    rig.stop().await;

    let stranger = rcgen::generate_simple_self_signed(["localhost".to_owned()])
        .unwrap()
        .cert
        .pem();
    let rig = setup("secret", &stranger).start();
    until(|| rig.handle.counters().last_error().is_some()).await;
    let error = rig.handle.counters().last_error().unwrap();
    assert!(
        error.contains("cannot connect") && error.contains("certificate"),
        "{error}"
    );
}

/// The authority's certificate, and settings for a broker with a certificate of its and one user.
fn tls_settings(dir: &tempfile::TempDir) -> (String, String) {
    let mut authority = rcgen::CertificateParams::new([]).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let authority = rcgen::CertifiedIssuer::self_signed(authority, authority_key).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let server = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = server.signed_by(&key, &authority).unwrap();
    let certificate = file(dir, "server.pem", &certificate.pem());
    let key = file(dir, "server.key", &key.serialize_pem());
    let users = file(dir, "users", "");
    // Fails only where there is no mosquitto: then the test is skipped.
    std::process::Command::new("mosquitto_passwd")
        .args(["-b", users.to_str().unwrap(), "gateway", "secret"])
        .status()
        .ok();
    let settings = format!(
        "allow_anonymous false\npassword_file {}\ncertfile {}\nkeyfile {}\n",
        users.display(),
        certificate.display(),
        key.display()
    );
    (authority.pem(), settings)
}

#[test]
fn the_handle_can_be_shared() {
    fn shared<T: Send + Sync + Clone + 'static>() {}
    shared::<tidegate_field::BrokerHandle>();
    shared::<Arc<tidegate_field::BrokerCounters>>();
}
