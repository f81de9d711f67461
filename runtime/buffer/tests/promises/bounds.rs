//! What waits in the database or is read from it at once has a bound in bytes, however large each piece is.

use std::sync::Arc;

use bytes::Bytes;
use sqlx::Row as _;
use tidegate_buffer::{Buffer, Config, Opened, Profile};
use tidegate_record::{
    Applied, Class, Content, Delivery, Document, Limits, Mark, Outbox, Postbox, Publication,
    Rejection, Row, Topic,
};

use crate::rig::{Rig, name, nothing, record, row};

const KIB: usize = 1 << 10;

/// How many dead letters there are, and which is the oldest.
async fn dead_letters(rig: &Rig) -> (i64, i64) {
    let mut reader = rig.database().await;
    let found = sqlx::query("SELECT count(*), min(cast(reason AS INTEGER)) FROM dead_letter");
    let found = found.fetch_one(&mut reader).await.unwrap();
    (found.get(0), found.get(1))
}

fn rejection(number: u32, bytes: usize) -> Rejection {
    Rejection {
        record: record("t", vec![b'x'; bytes]),
        reason: number.to_string(),
    }
}

#[tokio::test]
async fn dead_letters_are_bounded_in_number_and_the_newest_are_kept() {
    let rig = Rig::new();
    let open = rig.open().await;
    let many = Limits::DEFAULT.dead_letters_max + 5;
    open.commit(Applied {
        rejections: (0..many).map(|number| rejection(number, 10)).collect(),
        ..nothing()
    })
    .await;
    open.close().await;
    let all = i64::from(Limits::DEFAULT.dead_letters_max);
    assert_eq!(dead_letters(&rig).await, (all, 5));
}

#[tokio::test]
async fn dead_letters_are_bounded_in_bytes_and_the_newest_are_kept() {
    let rig = Rig::new();
    let open = rig.open().await;
    for number in 0..30 {
        open.commit(Applied {
            rejections: vec![rejection(number, 64 * KIB)],
            ..nothing()
        })
        .await;
    }
    open.close().await;
    let (left, oldest) = dead_letters(&rig).await;
    // A sixteenth of what a quota of 16 MiB leaves for rows.
    assert!((2..=8).contains(&left), "{left}");
    assert_eq!(oldest, 30 - left);
}

#[tokio::test]
async fn publications_for_a_broker_that_is_away_make_room_for_rows_and_are_counted() {
    let rig = Rig::new();
    let open = rig.open().await;
    let publication = |number: usize| Publication {
        broker: name("plant"),
        topic: Topic::new("t").unwrap(),
        payload: Bytes::from(format!("{number:01000}")),
        content_type: None,
        retain: false,
        delivery: Delivery::Durable,
    };
    for round in 0..60 {
        open.commit(Applied {
            publications: (0..100)
                .map(|number| publication(round * 100 + number))
                .collect(),
            ..rig.applied(0, 500)
        })
        .await;
    }
    for _ in 0..20 {
        open.commit(rig.applied(0, 500)).await;
    }
    let left = Postbox::next(&open.handle, &name("plant"), 0, 10_000)
        .await
        .unwrap();
    let tallies = open.handle.tallies();
    let undelivered = tallies.iter().find(|tally| tally.reason == "undelivered");
    let undelivered = undelivered.unwrap();
    assert_eq!(undelivered.of, name("plant"));
    assert_eq!(undelivered.messages + left.len() as u64, 6000);
    assert!((100..2000).contains(&left.len()), "{}", left.len());
    let newest = &left.last().unwrap().1.payload;
    assert!(newest.ends_with(b"5999"), "the newest are kept");
    open.close().await;
}

#[tokio::test]
async fn what_is_read_at_once_is_bounded_in_bytes_and_all_of_it_comes_in_the_end() {
    let rig = Rig::new();
    let open = rig.open().await;
    let document = |number: usize| Row {
        content: Content::Document(Document {
            content_type: "x".into(),
            bytes: vec![0; 500 * KIB],
        }),
        class: Class::Alarm,
        ..row("documents", number)
    };
    for number in 0..9 {
        open.commit(Applied {
            rows: vec![(document(number), None)],
            ..nothing()
        })
        .await;
    }
    let first = Outbox::next(&open.handle, 5000, Class::Raw).await.unwrap();
    // 4 MiB, and the row with which they are reached.
    assert_eq!(first[0].1.len(), 9);
    for number in 9..12 {
        open.commit(Applied {
            rows: vec![(document(number), None)],
            ..nothing()
        })
        .await;
    }
    let first = Outbox::next(&open.handle, 5000, Class::Raw).await.unwrap();
    assert_eq!(first[0].1.len(), 9);
    assert_eq!(open.drain().await.len(), 12);
    open.close().await;
}

#[tokio::test]
async fn the_profile_for_flash_writes_small_marks_with_the_next_rows_and_large_ones_at_once() {
    let rig = Rig::new();
    let config = Config {
        profile: Profile::Flash,
        ..rig.config()
    };
    let buffer = Buffer::open(&config, Arc::new(Limits::DEFAULT), rig.clock.clone());
    let Opened {
        writer,
        applied,
        handle,
    } = buffer.await.unwrap().start();
    #[allow(clippy::disallowed_methods, reason = "joined below")]
    let writer = tokio::spawn(writer.run());
    applied.send(rig.applied(0, 2000)).await.unwrap();
    handle.flushed().await.unwrap();
    let of = handle.known(true).remove(0);
    let mark = |seq| {
        [Mark {
            of: of.clone(),
            seq,
        }]
    };
    let commits = || {
        let commits = &handle.counters().commits;
        commits.load(std::sync::atomic::Ordering::SeqCst)
    };
    let before = commits();
    handle.acknowledged(&mark(1500)).await.unwrap();
    assert_eq!(commits(), before + 1);
    // A small one shares the commit of rows that come after it.
    let small = mark(1600);
    let (moved, ()) = tokio::join!(handle.acknowledged(&small), async {
        tokio::task::yield_now().await;
        applied.send(rig.applied(1, 1)).await.unwrap();
        handle.flushed().await.unwrap();
    });
    moved.unwrap();
    assert_eq!(commits(), before + 2);
    drop((applied, handle));
    writer.await.unwrap().unwrap();
}
