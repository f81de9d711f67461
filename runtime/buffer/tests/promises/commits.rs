//! Whole commits, acks after them, identities that never come again, state that survives.

use std::sync::Arc;

use bytes::Bytes;
use sqlx::Row as _;
use tidegate_buffer::{Buffer, Error, Opened};
use tidegate_record::{
    Applied, Class, Clock, Content, Delivery, Limits, Mark, MessageId, Outbox, Postbox,
    Publication, Scalar, StateChange, SystemClock, Topic,
};

use crate::rig::{Rig, name, nothing, row};

#[tokio::test]
async fn rows_come_out_numbered_without_gaps_in_the_order_in_which_they_were_kept() {
    let rig = Rig::new();
    let open = rig.open().await;
    for token in 0..3 {
        open.commit(rig.applied(token, 100)).await;
    }
    let waiting = Outbox::next(&open.handle, 1000, Class::Raw).await.unwrap();
    let [(of, rows)] = &waiting[..] else {
        panic!("{waiting:?}")
    };
    assert_eq!(of.stream, name("readings"));
    assert_eq!(of.epoch, open.handle.epoch());
    assert_eq!(
        rows.iter().map(|row| row.seq).collect::<Vec<_>>(),
        (1..=300).collect::<Vec<u64>>()
    );
    let Content::Values(values) = &rows[150].content else {
        panic!("{rows:?}")
    };
    assert_eq!(values[0].value, Scalar::Integer(50));
    open.close().await;
}

#[tokio::test]
async fn an_ack_fires_after_its_commit_and_in_order() {
    let rig = Rig::new();
    let open = rig.open().await;
    for token in 0..50 {
        open.applied.send(rig.applied(token, 1)).await.unwrap();
    }
    open.handle.flushed().await.unwrap();
    assert_eq!(
        rig.acks(),
        (0..50).map(|token| ("ack", token)).collect::<Vec<_>>()
    );
    open.close().await;
}

#[tokio::test]
async fn a_writer_that_is_dropped_acknowledges_nothing_that_it_holds() {
    let rig = Rig::new();
    let Opened {
        writer,
        applied,
        handle,
    } = rig.buffer().await.unwrap().start();
    applied.send(rig.applied(7, 1)).await.unwrap();
    drop((writer, applied, handle));
    assert_eq!(rig.acks(), [("abandon", 7)]);
}

#[tokio::test]
async fn a_failed_commit_ends_the_writer_and_acknowledges_nothing() {
    let rig = Rig::new();
    let open = rig.open().await;
    open.commit(rig.applied(1, 1)).await;
    // The table goes away behind the writer's back: every later commit fails.
    let mut other = rig.database().await;
    sqlx::query("DROP TABLE row")
        .execute(&mut other)
        .await
        .unwrap();
    open.applied.send(rig.applied(2, 1)).await.unwrap();
    let outcome = open.writer.await.unwrap();
    assert!(matches!(outcome, Err(Error::Commit(_))), "{outcome:?}");
    assert_eq!(rig.acks(), [("ack", 1), ("abandon", 2)]);
}

#[tokio::test]
async fn an_identity_is_never_given_out_twice_over_restarts() {
    let rig = Rig::new();
    let mut identities = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let open = rig.open().await;
        open.commit(rig.applied(0, 2)).await;
        open.close().await;
    }
    let open = rig.open().await;
    for (of, rows) in Outbox::next(&open.handle, 1000, Class::Raw).await.unwrap() {
        for row in rows {
            assert!(identities.insert((of.epoch, row.seq)));
        }
    }
    assert_eq!(identities.len(), 6);
    open.close().await;
}

#[tokio::test]
async fn a_restored_backup_opens_an_epoch_that_nobody_has_seen() {
    let rig = Rig::new();
    rig.open().await.close().await;
    let backup = rig.folder.path().join("backup.db");
    let mut other = rig.database().await;
    sqlx::query("VACUUM INTO ?")
        .bind(backup.to_str().unwrap())
        .execute(&mut other)
        .await
        .unwrap();
    sqlx::Connection::close(other).await.unwrap();
    let first = rig.open().await;
    let epoch = first.handle.epoch();
    first.close().await;
    for file in ["buffer.db", "buffer.db-wal", "buffer.db-shm"] {
        std::fs::remove_file(rig.folder.path().join(file)).ok();
    }
    let copy = rig.folder.path().join("copy.db");
    std::fs::copy(&backup, &copy).unwrap();
    std::fs::rename(backup, rig.config().path).unwrap();
    let second = rig.open().await;
    assert!(second.handle.epoch() > epoch);
    second.close().await;
    // The control: nothing but the random part keeps them apart when all else is restored as well.
    std::fs::remove_file(rig.folder.path().join("buffer.lock")).unwrap();
    std::fs::copy(&copy, rig.config().path).unwrap();
    let second = rig.open().await;
    assert_eq!(second.handle.epoch().ordinal, epoch.ordinal);
    assert_ne!(second.handle.epoch(), epoch);
    second.close().await;
}

#[tokio::test]
async fn rows_leave_only_when_the_centre_holds_them_and_then_for_good() {
    let rig = Rig::new();
    let open = rig.open().await;
    open.commit(rig.applied(0, 10)).await;
    let (of, _) = Outbox::next(&open.handle, 5, Class::Raw)
        .await
        .unwrap()
        .remove(0);
    open.handle
        .acknowledged(&[Mark {
            of: of.clone(),
            seq: 4,
        }])
        .await
        .unwrap();
    assert_eq!(open.handle.rows_waiting(), 6);
    let (_, rows) = Outbox::next(&open.handle, 100, Class::Raw)
        .await
        .unwrap()
        .remove(0);
    assert_eq!(rows.first().unwrap().seq, 5);
    open.handle
        .acknowledged(&[Mark {
            of: of.clone(),
            seq: 99,
        }])
        .await
        .unwrap();
    assert_eq!(
        open.handle.rows_waiting(),
        6,
        "a mark beyond the last row is not about our rows"
    );
    open.close().await;
    let open = rig.open().await;
    let (again, rows) = Outbox::next(&open.handle, 100, Class::Raw)
        .await
        .unwrap()
        .remove(0);
    assert_eq!((again, rows.len(), open.handle.rows_waiting()), (of, 6, 6));
    open.close().await;
}

#[tokio::test]
async fn every_stream_gets_its_share_of_a_read() {
    let rig = Rig::new();
    let open = rig.open().await;
    let mut rows: Vec<_> = (0..1000)
        .map(|number| (row("long", number), None))
        .collect();
    rows.push((row("short", 0), None));
    open.commit(Applied { rows, ..nothing() }).await;
    let streams = Outbox::next(&open.handle, 100, Class::Raw).await.unwrap();
    let counts: Vec<_> = streams
        .iter()
        .map(|(of, rows)| (of.stream.as_str(), rows.len()))
        .collect();
    assert_eq!(counts, [("short", 1), ("long", 99)]);
    open.close().await;
}

#[tokio::test]
async fn state_seen_ids_and_who_wrote_them_survive_a_restart() {
    let rig = Rig::new();
    let open = rig.open().await;
    let put = |key: &str, value: Option<&'static str>| StateChange {
        key: key.into(),
        value: value.map(Bytes::from),
    };
    let state = vec![put("a", Some("1")), put("b", Some("2"))];
    open.commit(Applied {
        state,
        seen: vec![MessageId(5), MessageId(6)],
        ..nothing()
    })
    .await;
    open.commit(Applied {
        state: vec![put("a", Some("3")), put("b", None)],
        version: "2.0.0".into(),
        ..nothing()
    })
    .await;
    open.close().await;
    let mut buffer = rig.buffer().await.unwrap();
    let restored = buffer.restore(&name("module")).await.unwrap();
    assert_eq!(
        restored.active.entries.into_iter().collect::<Vec<_>>(),
        [("a".to_owned(), Bytes::from("3"))]
    );
    assert_eq!(restored.active.written_by.as_deref(), Some("2.0.0"));
    assert!(restored.seen.contains(MessageId(5)) && !restored.seen.contains(MessageId(7)));
    let other = buffer.restore(&name("other")).await.unwrap();
    assert!(
        other.active.entries.is_empty() && !other.seen.contains(MessageId(5)),
        "modules do not share state"
    );
}

#[tokio::test]
async fn the_log_of_seen_ids_is_bounded_by_its_window() {
    let rig = Rig::new();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let limits = Arc::new(Limits {
        seen_ids_max: 100,
        ..Limits::DEFAULT
    });
    let Opened {
        writer,
        applied,
        handle,
    } = Buffer::open(&rig.config(), limits, clock)
        .await
        .unwrap()
        .start();
    let mut writers = tokio::task::JoinSet::new();
    writers.spawn(writer.run());
    for chunk in 0..600_u64 {
        let seen = (0..10).map(|id| MessageId(chunk * 10 + id)).collect();
        applied.send(Applied { seen, ..nothing() }).await.unwrap();
    }
    drop((applied, handle));
    writers.join_next().await.unwrap().unwrap().unwrap();
    let restored = rig
        .buffer()
        .await
        .unwrap()
        .restore(&name("module"))
        .await
        .unwrap();
    assert!(restored.seen.contains(MessageId(5_999)) && restored.seen.contains(MessageId(5_900)));
    let mut reader = rig.database().await;
    let kept: i64 = sqlx::query("SELECT count(*) FROM seen")
        .fetch_one(&mut reader)
        .await
        .unwrap()
        .get(0);
    assert!(
        kept < 300,
        "{kept} chunks of 600 are kept for a window of 10"
    );
}

#[tokio::test]
async fn a_durable_publication_waits_for_its_broker_over_a_restart_and_leaves_once_delivered() {
    let rig = Rig::new();
    let open = rig.open().await;
    let publication = |broker: &str, payload: &'static str| Publication {
        broker: name(broker),
        topic: Topic::new("alarms/7").unwrap(),
        payload: payload.into(),
        content_type: Some("text/plain".into()),
        retain: true,
        delivery: Delivery::Durable,
    };
    let publications = vec![
        publication("plant", "1"),
        publication("other", "2"),
        publication("plant", "3"),
    ];
    open.commit(Applied {
        publications,
        ..nothing()
    })
    .await;
    open.close().await;
    let open = rig.open().await;
    let waiting = Postbox::next(&open.handle, &name("plant"), 0, 10)
        .await
        .unwrap();
    assert_eq!(
        waiting
            .iter()
            .map(|(_, publication)| &publication.payload[..])
            .collect::<Vec<_>>(),
        [b"1", b"3"]
    );
    assert_eq!(waiting[0].1, publication("plant", "1"));
    open.handle.delivered(&[waiting[0].0]).await.unwrap();
    let left = Postbox::next(&open.handle, &name("plant"), 0, 10)
        .await
        .unwrap();
    assert_eq!(left, waiting[1..]);
    assert!(
        Postbox::next(&open.handle, &name("plant"), left[0].0, 10)
            .await
            .unwrap()
            .is_empty()
    );
    open.close().await;
}

#[tokio::test]
async fn a_second_process_on_the_same_database_is_refused() {
    let rig = Rig::new();
    let open = rig.open().await;
    assert!(matches!(rig.buffer().await, Err(Error::InUse { .. })));
    open.close().await;
    assert!(rig.buffer().await.is_ok());
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused_and_left_alone() {
    let rig = Rig::new();
    rig.open().await.close().await;
    let mut other = rig.database().await;
    sqlx::query("PRAGMA user_version = 99")
        .execute(&mut other)
        .await
        .unwrap();
    drop(other);
    let refused = rig.buffer().await.unwrap_err().to_string();
    assert_eq!(
        refused,
        "the database has schema 99, this version knows up to 5: install the newer version again"
    );
}
