//! Messages that wait for a module that has fallen behind.

use tidegate_buffer::ModuleInbox;
use tidegate_record::inbox::stored_bytes_max;
use tidegate_record::{Ack, Applied, Body, Inbox, MessageId, Record, Rejection, Skip, SkipReason};

use crate::rig::{Open, Rig, name, nothing, record};

/// Spills records with these payloads; their acks are heard under their positions.
fn spilled(rig: &Rig, payloads: &[&str]) -> Applied {
    let records: Vec<Record> = payloads
        .iter()
        .map(|payload| record("t", payload.as_bytes().to_vec()))
        .collect();
    let acks = (0..).zip(&records);
    Applied {
        acks: acks
            .map(|(token, _)| Ack::new(rig.heard.clone(), token))
            .collect(),
        spilled: records,
        ..nothing()
    }
}

fn consumed(to: u64) -> Applied {
    Applied {
        consumed_to: Some(to),
        ..nothing()
    }
}

fn inbox(open: &Open) -> ModuleInbox {
    open.handle.inbox(&name("module"))
}

/// What comes out after `after`, with the numbers.
async fn waiting(open: &Open, after: u64) -> Vec<(u64, String)> {
    let inbox = inbox(open);
    if inbox.backlog().messages == 0 {
        return Vec::new();
    }
    let rows = inbox.next(after, 1000, 1 << 20).await.unwrap();
    rows.into_iter()
        .map(|row| {
            let bytes = row.record.unwrap().body.to_bytes();
            (row.id, String::from_utf8(bytes.to_vec()).unwrap())
        })
        .collect()
}

fn numbered(expected: &[(u64, &str)]) -> Vec<(u64, String)> {
    let own = |(id, text): &(u64, &str)| (*id, (*text).to_owned());
    expected.iter().map(own).collect()
}

#[tokio::test]
async fn what_is_spilled_is_acknowledged_with_its_commit_and_comes_out_in_order() {
    let rig = Rig::new();
    let open = rig.open().await;
    open.commit(spilled(&rig, &["a", "b"])).await;
    assert_eq!(rig.acks(), [("ack", 0), ("ack", 1)]);
    open.commit(spilled(&rig, &["c"])).await;
    let all = numbered(&[(1, "a"), (2, "b"), (3, "c")]);
    assert_eq!(waiting(&open, 0).await, all);
    assert_eq!(waiting(&open, 2).await, all[2..]);
    open.close().await;
}

#[tokio::test]
async fn a_kill_while_messages_are_spilled_acknowledges_only_what_comes_out_again() {
    for round in 0..20 {
        let rig = Rig::new();
        let open = rig.open().await;
        open.applied
            .send(spilled(&rig, &["a", "b", "c"]))
            .await
            .unwrap();
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        open.writer.abort();
        let _ended = open.writer.await;
        drop((open.applied, open.handle));
        let acked = rig.acks().iter().any(|(what, _)| *what == "ack");
        let open = rig.open().await;
        let there = waiting(&open, 0).await.len();
        assert!(there == 3 || (there == 0 && !acked), "{there}, {acked}");
        open.close().await;
    }
}

#[tokio::test]
async fn what_a_module_took_leaves_with_the_commit_of_what_it_made_of_it() {
    let rig = Rig::new();
    let open = rig.open().await;
    open.commit(spilled(&rig, &["a", "b", "c"])).await;
    let done = rig.applied(7, 1);
    open.commit(Applied {
        consumed_to: Some(2),
        ..done
    })
    .await;
    assert_eq!(waiting(&open, 2).await, numbered(&[(3, "c")]));
    open.close().await;
    let open = rig.open().await;
    assert_eq!(waiting(&open, 0).await, numbered(&[(3, "c")]));
    assert_eq!(open.drain().await.len(), 1);
    open.close().await;
}

#[tokio::test]
async fn a_call_that_was_not_committed_leaves_its_messages_on_disk() {
    let rig = Rig::new();
    let open = rig.open().await;
    open.commit(spilled(&rig, &["a"])).await;
    let mut rows = rig.applied(7, 1);
    rows.consumed_to = Some(1);
    // Not even sent: the gateway dies between the call and its commit.
    drop(rows);
    open.close().await;
    let open = rig.open().await;
    assert_eq!(waiting(&open, 0).await, numbered(&[(1, "a")]));
    assert!(open.drain().await.is_empty());
    open.close().await;
}

#[tokio::test]
async fn a_number_is_not_given_out_twice_while_a_module_may_remember_it() {
    let rig = Rig::new();
    let open = rig.open().await;
    open.commit(spilled(&rig, &["a", "b"])).await;
    open.commit(consumed(2)).await;
    assert_eq!(inbox(&open).backlog().messages, 0);
    open.commit(spilled(&rig, &["c"])).await;
    assert_eq!(waiting(&open, 2).await, numbered(&[(3, "c")]));
    open.close().await;
}

#[tokio::test]
async fn each_module_has_an_inbox_of_its_own() {
    let rig = Rig::new();
    let open = rig.open().await;
    let other = Applied {
        module: name("other"),
        ..spilled(&rig, &["x"])
    };
    open.commit(other).await;
    open.commit(spilled(&rig, &["a"])).await;
    open.commit(consumed(1)).await;
    let left = open.handle.inboxes();
    let left: Vec<_> = left
        .iter()
        .map(|(module, backlog)| (module.as_str(), backlog.messages))
        .collect();
    assert_eq!(left, [("other", 1)]);
    open.close().await;
}

#[tokio::test]
async fn everything_of_a_message_survives_the_disk_and_its_id_is_known_again() {
    let rig = Rig::new();
    let open = rig.open().await;
    let whole = Record {
        id: Some(MessageId(7)),
        properties: vec![("traceparent".into(), "00-1".into())],
        ..record("t", b"a".to_vec())
    };
    let shown = format!("{whole:?}");
    let spilled = Applied {
        spilled: vec![whole],
        ..nothing()
    };
    open.commit(spilled).await;
    open.close().await;
    let open = rig.open().await;
    let rows = inbox(&open).next(0, 10, 1 << 20).await.unwrap();
    assert_eq!(format!("{:?}", rows[0].record.as_ref().unwrap()), shown);
    open.close().await;
}

#[tokio::test]
async fn a_batch_from_disk_keeps_its_bounds_and_has_one_message_at_least() {
    let rig = Rig::new();
    let open = rig.open().await;
    let large = "x".repeat(1000);
    open.commit(spilled(&rig, &[&large, &large, &large])).await;
    for (records_max, bytes_max, expected) in [(2, 1 << 20, 2), (10, 2500, 2), (10, 10, 1)] {
        let rows = inbox(&open).next(0, records_max, bytes_max).await.unwrap();
        assert_eq!(rows.len(), expected);
    }
    open.close().await;
}

#[tokio::test]
async fn all_inboxes_together_keep_their_share_of_the_quota() {
    let rig = Rig::new();
    let open = rig.open().await;
    let share = open.handle.inbox_bytes_max();
    let quota = rig.config().quota_bytes;
    assert!(share > 1 << 20 && share < quota / 4, "{share}");
    let (one, two) = (inbox(&open), open.handle.inbox(&name("other")));
    let payload = "x".repeat(10_000);
    let bytes =
        u64::try_from(stored_bytes_max(&record("t", payload.clone().into_bytes()))).unwrap();
    let mut reserved = 0;
    while one.reserve(1, bytes) {
        reserved += 1;
    }
    assert!(!two.reserve(1, bytes));
    assert!(reserved * bytes <= share && (reserved + 1) * bytes > share);
    for _ in 0..reserved {
        open.commit(spilled(&rig, &[&payload])).await;
    }
    assert!(inbox(&open).backlog().bytes <= share);
    assert!(inbox(&open).backlog().room < 10 * bytes);
    assert!(rig.bytes() <= quota, "{}", rig.bytes());
    let before = inbox(&open).backlog();
    drop((one, two));
    open.close().await;
    let open = rig.open().await;
    assert_eq!(inbox(&open).backlog().bytes, before.bytes);
    open.commit(consumed(reserved)).await;
    assert_eq!(inbox(&open).backlog().room, share);
    open.close().await;
}

#[tokio::test]
async fn rows_give_way_to_a_full_inbox_and_the_quota_holds() {
    let rig = Rig::new();
    let open = rig.open().await;
    let payload = "x".repeat(100_000);
    while inbox(&open).reserve(1, 100_200) {
        open.commit(spilled(&rig, &[&payload])).await;
    }
    for token in 0..300 {
        open.commit(rig.applied(token, 1000)).await;
    }
    assert!(rig.bytes() <= rig.config().quota_bytes, "{}", rig.bytes());
    assert_eq!(waiting(&open, 0).await.len(), 10, "a batch of them");
    open.close().await;
}

#[tokio::test]
async fn a_message_that_is_damaged_on_disk_is_told_and_counted_and_the_others_come_out() {
    let rig = Rig::new();
    let open = rig.open().await;
    open.commit(spilled(&rig, &["a", "b", "c"])).await;
    open.close().await;
    let mut database = rig.database().await;
    sqlx::query("UPDATE inbox SET body = zeroblob(length(body)) WHERE id = 2")
        .execute(&mut database)
        .await
        .unwrap();
    drop(database);
    let open = rig.open().await;
    let rows = inbox(&open).next(0, 10, 1 << 20).await.unwrap();
    let whole: Vec<bool> = rows.iter().map(|row| row.record.is_some()).collect();
    assert_eq!(whole, [true, false, true]);
    let skip = Skip {
        of: name("module"),
        reason: SkipReason::Damaged,
        messages: 1,
        bytes: rows[1].bytes,
    };
    open.commit(Applied {
        consumed_to: Some(3),
        skipped: vec![skip],
        ..nothing()
    })
    .await;
    let tallies = open.handle.tallies();
    assert_eq!(
        (tallies[0].reason.as_str(), tallies[0].messages),
        ("damaged", 1)
    );
    open.close().await;
}

/// The control of the above: messages that vanish are no empty inbox.
#[tokio::test]
async fn messages_that_vanish_from_the_disk_are_damage() {
    let rig = Rig::new();
    let open = rig.open().await;
    open.commit(spilled(&rig, &["a"])).await;
    let mut database = rig.database().await;
    sqlx::query("DELETE FROM inbox")
        .execute(&mut database)
        .await
        .unwrap();
    drop(database);
    assert!(inbox(&open).next(0, 10, 1 << 20).await.is_err());
    open.close_anyhow().await;
}

fn rejected(record: Record) -> Applied {
    Applied {
        seen: record.id.into_iter().collect(),
        rejections: vec![Rejection {
            record,
            reason: "no number in it".into(),
        }],
        ..nothing()
    }
}

#[tokio::test]
async fn a_dead_letter_goes_back_to_its_module_in_one_commit_as_it_was_but_for_its_id() {
    let rig = Rig::new();
    let open = rig.open().await;
    let letter = Record {
        id: Some(MessageId(7)),
        properties: vec![("content-type".into(), "text/plain".into())],
        ..record("t", b"a".to_vec())
    };
    let reading = Record {
        body: Body::Number(1.5),
        ..record("t", Vec::new())
    };
    open.commit(rejected(letter)).await;
    open.commit(rejected(reading)).await;
    let letters = open.handle.letters().await.unwrap();
    assert_eq!(
        letters,
        [(1, "module".to_owned()), (2, "module".to_owned())]
    );
    assert_eq!(open.handle.replay(&[1, 2, 99]).await.unwrap(), [1, 2]);
    assert!(open.handle.letters().await.unwrap().is_empty());
    assert_eq!(open.handle.replay(&[1]).await.unwrap(), [0_u64; 0]);
    let mut rows = inbox(&open).next(0, 10, 1 << 20).await.unwrap().into_iter();
    let mut next = || rows.next().unwrap().record.unwrap();
    let (letter, reading) = (next(), next());
    assert_eq!(&letter.body.to_bytes()[..], b"a");
    assert_eq!(letter.properties[0].0, "content-type");
    assert_eq!((letter.id, letter.delivery.redelivered), (None, true));
    assert_eq!(reading.body, Body::Number(1.5));
    open.close().await;
}

#[tokio::test]
async fn a_dead_letter_of_an_older_version_goes_back_with_what_is_known_of_it() {
    let rig = Rig::new();
    let open = rig.open().await;
    open.commit(rejected(record("t", b"a".to_vec()))).await;
    open.close().await;
    let mut database = rig.database().await;
    sqlx::query("UPDATE dead_letter SET envelope = NULL")
        .execute(&mut database)
        .await
        .unwrap();
    drop(database);
    let open = rig.open().await;
    assert_eq!(open.handle.replay(&[1]).await.unwrap(), [1]);
    assert_eq!(waiting(&open, 0).await, numbered(&[(1, "a")]));
    open.close().await;
}

#[tokio::test]
async fn many_dead_letters_go_back_in_their_order() {
    let rig = Rig::new();
    let open = rig.open().await;
    for number in 0..100 {
        open.commit(rejected(record("t", format!("{number}").into_bytes())))
            .await;
    }
    let ids: Vec<u64> = (1..=100).collect();
    assert_eq!(open.handle.replay(&ids).await.unwrap(), ids);
    let texts: Vec<_> = waiting(&open, 0)
        .await
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    let expected: Vec<_> = (0..100).map(|number| number.to_string()).collect();
    assert_eq!(texts, expected);
    open.close().await;
}
