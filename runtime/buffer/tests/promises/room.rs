//! The quota holds, and nothing is given up silently.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use tidegate_buffer::{Inspection, Policy, QUOTA_BYTES_MIN};
use tidegate_record::{
    Applied, Class, Content, Document, Lost, Mark, NamedValue, Outbox, Reason, Row, Scalar,
    StoredRow, StreamEpoch, WallTime,
};

use crate::rig::{Open, Rig, name, nothing};

const SECOND: u64 = 1_000_000_000;

/// A reading of one of ten machines, ten a second.
fn reading(number: u64) -> Row {
    let value = (number % 1000) as f64 + if number == 77_777 { 1e6 } else { 0.0 };
    Row {
        stream: name("readings"),
        class: Class::Raw,
        key: format!("press-{}", number % 10).into(),
        time: WallTime(1_700_000_000 * SECOND + number * SECOND / 10),
        duration_ns: 0,
        content: Content::Values(vec![NamedValue {
            name: "celsius".into(),
            value: Scalar::Number(value),
        }]),
    }
}

fn alarm(number: u64) -> Row {
    Row {
        stream: name("alarms"),
        class: Class::Alarm,
        ..reading(number)
    }
}

fn picture(number: u64, bytes: usize) -> Row {
    Row {
        stream: name("pictures"),
        content: Content::Document(Document {
            content_type: "image/png".into(),
            bytes: vec![number.to_le_bytes()[0]; bytes],
        }),
        ..reading(number)
    }
}

fn kept(rows: impl Iterator<Item = Row>) -> Applied {
    Applied {
        rows: rows.map(|row| (row, None)).collect(),
        ..nothing()
    }
}

/// What came out: how many rows in all, and the least and greatest value.
#[derive(Debug, PartialEq)]
struct Account {
    rows: u64,
    min: f64,
    max: f64,
}

/// Adds up what the rows of a stream say, whatever became of them, and holds that they cover all numbers.
fn account(all: &[(StreamEpoch, StoredRow)], stream: &str) -> Account {
    let (mut rows, mut min, mut max) = (0, f64::INFINITY, f64::NEG_INFINITY);
    let mut next: BTreeMap<StreamEpoch, u64> = BTreeMap::new();
    for (of, row) in all.iter().filter(|(of, _)| of.stream == name(stream)) {
        let expected = next.insert(of.clone(), row.seq + 1).unwrap_or(1);
        assert_eq!(row.first(), expected, "{row:?}");
        let mut bound = |low: f64, high: f64| {
            min = min.min(low);
            max = max.max(high);
        };
        match &row.content {
            Content::Values(values) => {
                rows += 1;
                if let Scalar::Number(value) = values[0].value {
                    bound(value, value);
                }
            }
            Content::Document(_) => rows += 1,
            Content::Thinned(thinned) => {
                rows += thinned.rows;
                let numbers = thinned.values[0].numbers.as_ref().unwrap();
                bound(numbers.min, numbers.max);
            }
            Content::Lost(lost) => {
                rows += lost.rows;
                lost.values
                    .iter()
                    .for_each(|value| bound(value.min, value.max));
            }
        }
    }
    Account { rows, min, max }
}

#[tokio::test]
async fn the_quota_holds_without_a_link_and_every_row_is_accounted_for() {
    let rig = Rig::new();
    let open = rig.open().await;
    const ROWS: u64 = 400_000;
    let (mut alarms, mut largest, mut row_bytes) = (0, 0, 0.0);
    for first in (0..ROWS).step_by(1000) {
        let rows = (first..first + 1000).map(reading).chain([alarm(first)]);
        open.commit(kept(rows)).await;
        alarms += 1;
        largest = largest.max(rig.bytes());
        if first == 0 {
            row_bytes = sqlx::query_scalar("SELECT avg(length(body)) FROM row")
                .fetch_one(&mut rig.database().await)
                .await
                .unwrap();
        }
    }
    assert!(largest <= QUOTA_BYTES_MIN, "{largest} bytes on disk");
    let mut inspection = Inspection::open(&rig.config().path).await.unwrap();
    let accounts = inspection.verify().await.unwrap();
    for account in &accounts {
        assert!(account.is_complete(), "{account:?}");
    }
    assert!(
        accounts.iter().any(|account| account.thinned > ROWS / 2),
        "{accounts:?}"
    );
    // The control: without giving way they would need far more than the quota.
    assert!(ROWS as f64 * row_bytes > 2.0 * QUOTA_BYTES_MIN as f64);
    let all = open.drain().await;
    let expected = Account {
        rows: ROWS,
        min: 0.0,
        max: 1e6 + 777.0,
    };
    assert_eq!(account(&all, "readings"), expected);
    let raised: Vec<_> = all
        .iter()
        .filter(|(of, _)| of.stream == name("alarms"))
        .collect();
    assert_eq!(raised.len(), alarms, "no alarm gave way");
    let thinned = |(_, row): &&(StreamEpoch, StoredRow)| matches!(row.content, Content::Thinned(_));
    assert!(all.iter().filter(thinned).count() > 1000);
    open.close().await;
}

#[tokio::test]
async fn a_restart_in_the_middle_changes_no_account() {
    let rig = Rig::new();
    for part in 0..4 {
        let open = rig.open().await;
        for first in (part * 60_000..(part + 1) * 60_000).step_by(1000) {
            open.commit(kept((first..first + 1000).map(reading))).await;
        }
        open.close().await;
    }
    let open = rig.open().await;
    let all = open.drain().await;
    assert_eq!(account(&all, "readings").rows, 240_000);
    assert!(rig.bytes() <= QUOTA_BYTES_MIN);
    open.close().await;
}

#[tokio::test]
async fn documents_that_give_way_leave_an_entry_with_their_number_and_bytes() {
    let rig = Rig::new();
    let open = rig.open().await;
    const PICTURES: u64 = 60_000;
    for first in (0..PICTURES).step_by(500) {
        open.commit(kept(
            (first..first + 500).map(|number| picture(number, 400)),
        ))
        .await;
    }
    let ledger = Inspection::open(&rig.config().path)
        .await
        .unwrap()
        .ledger()
        .await
        .unwrap();
    let all = open.drain().await;
    assert_eq!(account(&all, "pictures").rows, PICTURES);
    let lost: Vec<_> = all
        .iter()
        .filter_map(|(_, row)| match &row.content {
            Content::Lost(lost) => Some(lost),
            _ => None,
        })
        .collect();
    // Making room goes on while one looks, and entries only grow.
    let rows = |entries: &[&Lost]| entries.iter().map(|entry| entry.rows).sum::<u64>();
    let seen: Vec<_> = ledger.iter().map(|entry| &entry.lost).collect();
    assert!(
        rows(&seen) > 0 && rows(&seen) <= rows(&lost),
        "{seen:?} {lost:?}"
    );
    assert!(
        !lost.is_empty() && lost.len() < 20,
        "{} entries",
        lost.len()
    );
    for entry in lost {
        assert_eq!(entry.reason, Reason::Evicted);
        assert!(entry.bytes >= entry.rows * 400);
    }
    assert!(rig.bytes() <= QUOTA_BYTES_MIN);
    open.close().await;
}

#[tokio::test]
async fn what_cannot_give_way_withholds_acks_until_the_centre_has_taken_some() {
    let rig = Rig::new();
    let open = rig.open().await;
    let rows = |from: u64, to: u64| kept((from..to).map(|number| picture(number, 8000)));
    open.commit(rows(0, 500)).await;
    // They may have been sent, so none of them may be changed.
    let (of, held) = Outbox::next(&open.handle, 5000, Class::Raw)
        .await
        .unwrap()
        .remove(0);
    let mut more = rows(500, 1000);
    more.acks = vec![tidegate_record::Ack::new(rig.heard.clone(), 1)];
    open.applied.send(more).await.unwrap();
    let full = || {
        open.handle
            .counters()
            .full
            .load(std::sync::atomic::Ordering::Relaxed)
    };
    while full() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(rig.acks(), []);
    assert!(rig.bytes() <= QUOTA_BYTES_MIN);
    let seq = held.last().unwrap().seq;
    open.handle.acknowledged(&[Mark { of, seq }]).await.unwrap();
    open.handle.flushed().await.unwrap();
    assert_eq!(rig.acks(), [("ack", 1)]);
    assert_eq!(open.drain().await.len(), 500);
    open.close().await;
}

#[tokio::test]
async fn a_centre_restored_from_a_backup_gets_its_rows_again() {
    let rig = Rig::new();
    let open = rig.open().await;
    open.commit(kept((0..1000).map(reading))).await;
    let first = open.drain().await;
    let of = first[0].0.clone();
    let back = Mark {
        of: of.clone(),
        seq: 400,
    };
    assert!(open.handle.acknowledged(&[back]).await.unwrap());
    let again = open.drain().await;
    assert_eq!(again, first[400..]);
    open.close().await;
}

#[tokio::test]
async fn rows_that_the_centre_held_and_nobody_has_any_more_leave_an_entry() {
    let rig = Rig::new();
    let open = rig.open().await;
    for first in (0..200_000).step_by(1000) {
        open.commit(kept((first..first + 1000).map(reading))).await;
        open.drain().await;
    }
    assert!(rig.bytes() <= QUOTA_BYTES_MIN);
    let of = open.handle.known(true).remove(0);
    open.handle
        .acknowledged(&[Mark { of, seq: 10 }])
        .await
        .unwrap();
    let again = open.drain().await;
    let (_, entry) = &again[0];
    let Content::Lost(lost) = &entry.content else {
        panic!("{entry:?}")
    };
    assert_eq!(lost.reason, Reason::Forgotten);
    assert_eq!((entry.first(), entry.seq - 10), (11, lost.rows));
    assert_eq!(again.last().unwrap().1.seq, 200_000);
    assert!(again.len() > 10_000, "what is still here came again");
    open.close().await;
}

#[tokio::test]
async fn what_comes_after_a_long_silence_overtakes_the_backlog() {
    let rig = Rig::new();
    let open = rig.open().await;
    for first in (0..20_000).step_by(1000) {
        open.commit(kept((first..first + 1000).map(reading))).await;
    }
    let silent = open.handle.epoch();
    Outbox::connected(&open.handle).await.unwrap();
    let now = open.handle.epoch();
    assert_ne!(now, silent);
    open.commit(kept([reading(20_000)].into_iter())).await;
    let next = Outbox::next(&open.handle, 100, Class::Raw).await.unwrap();
    let order: Vec<_> = next
        .iter()
        .map(|(of, rows)| (of.epoch, rows.len()))
        .collect();
    assert_eq!(order, [(now, 1), (silent, 99)]);
    // The control: with little waiting, nothing overtakes.
    Outbox::connected(&open.handle).await.unwrap();
    assert_eq!(open.handle.epoch(), now);
    open.close().await;
}

#[tokio::test]
async fn a_row_that_is_missing_or_comes_twice_is_found_by_the_account() {
    let rig = Rig::new();
    let open = rig.open().await;
    open.commit(kept((0..100).map(reading))).await;
    open.close().await;
    let mut database = rig.database().await;
    sqlx::query("DELETE FROM row WHERE seq = 50")
        .execute(&mut database)
        .await
        .unwrap();
    let mut inspection = Inspection::open(&rig.config().path).await.unwrap();
    let accounts = inspection.verify().await.unwrap();
    assert!(!accounts[0].is_complete());
    assert_eq!(accounts[0].faults, ["row 51 begins at 51, 50 must follow"]);
}

/// Keeps rows of a stream with this policy until they have to give way, or cannot.
async fn filled(policy: Policy) -> (Rig, Open) {
    let policies = [(name("readings"), policy)].into();
    let rig = Rig {
        policies,
        ..Rig::new()
    };
    let open = rig.open().await;
    for first in (0..200_000).step_by(1000) {
        let rows = (first..first + 1000).map(reading).chain([alarm(first)]);
        open.applied.send(kept(rows)).await.unwrap();
        let full = || open.handle.counters().full.load(Ordering::Relaxed) > 0;
        let waits = async {
            while !full() {
                tokio::task::yield_now().await;
            }
        };
        let committed = tokio::select! {
            biased;
            done = open.handle.flushed() => done.is_ok(),
            () = waits => false,
        };
        if !committed {
            break;
        }
    }
    (rig, open)
}

#[tokio::test]
async fn a_stream_that_drops_its_oldest_rows_is_never_thinned_out() {
    let (_rig, open) = filled(Policy::DropOldest).await;
    let all = open.drain().await;
    let readings = |(of, _): &&(StreamEpoch, StoredRow)| of.stream == name("readings");
    let thinned = |row: &StoredRow| matches!(row.content, Content::Thinned(_));
    assert!(!all.iter().any(|(_, row)| thinned(row)));
    let (_, oldest) = all.iter().find(readings).unwrap();
    assert!(
        matches!(&oldest.content, Content::Lost(lost) if lost.rows > 10_000),
        "{oldest:?}"
    );
    assert_eq!(account(&all, "readings").rows, 200_000);
    open.close().await;
}

#[tokio::test]
async fn a_stream_that_blocks_gives_nothing_up_and_neither_do_alarms() {
    let (_rig, open) = filled(Policy::Block).await;
    assert!(open.handle.counters().full.load(Ordering::Relaxed) > 0);
    let all = open.drain().await;
    assert!(all.len() > 50_000);
    assert!(
        all.iter()
            .all(|(_, row)| matches!(row.content, Content::Values(_)))
    );
    open.close().await;
}

#[tokio::test]
async fn rows_that_come_seldom_give_way_as_well() {
    let rig = Rig::new();
    let open = rig.open().await;
    const ROWS: u64 = 250_000;
    let seldom = |number: u64| Row {
        key: "press-7".into(),
        time: WallTime(1_700_000_000 * SECOND + number * 6 * SECOND),
        ..reading(number)
    };
    for first in (0..ROWS).step_by(1000) {
        open.commit(kept((first..first + 1000).map(seldom))).await;
    }
    let full = open.handle.counters().full.load(Ordering::Relaxed);
    assert!(full < 5, "{full} commits found no room");
    assert!(rig.bytes() <= QUOTA_BYTES_MIN);
    let expected = Account {
        rows: ROWS,
        min: 0.0,
        max: 1e6 + 777.0,
    };
    assert_eq!(account(&open.drain().await, "readings"), expected);
    open.close().await;
}
