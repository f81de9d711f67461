//! Rows that stand for others: what they cover, and what is told of the loss.

use super::*;

/// A request with rows of stream `a` in epoch 1.
fn of_a(rows: Vec<StoredRow>) -> SyncRequest {
    let of = stream("a", epoch(1));
    request("gw-1", vec![tidegate_wire::StreamRows { of, rows }])
}

/// The numbers that each held row of stream `a` covers.
async fn covers(store: &impl Store) -> Vec<(u64, u64)> {
    let held = all(store, &stream_id("gw-1", "a")).await;
    let cover = |held: &HeldRow| (held.row.first(), held.row.seq);
    held.iter().map(cover).collect()
}

pub(super) async fn rows_cover_every_number_up_to_the_mark(place: &impl Place) {
    let store = place.open().await;
    let sent = of_a(vec![row(1), thinned(2, 9), lost(10, 99), row(100)]);
    let committed = put(&store, sent.clone()).await.unwrap();
    assert_eq!((committed.rows_new, committed.marks[0].seq), (4, 100));
    let expected = RowCount {
        rows: 3,
        entries: 1,
        covered: 100,
        marks: 100,
    };
    assert_eq!(
        store.count(&stream_id("gw-1", "a")).await.unwrap(),
        expected
    );
    let streams = store.streams(&id("gw-1"), None, 10).await.unwrap().items;
    assert_eq!((streams[0].rows, streams[0].marks), (3, 100));

    // The control: without the entry that says why, the numbers are missing, and the mark stays below them.
    let mut other = of_a(vec![row(1), thinned(2, 9)]);
    other.gateway = name("gw-2");
    put(&store, other.clone()).await.unwrap();
    other.rows[0].rows = vec![row(100)];
    let committed = put(&store, other).await.unwrap();
    assert_eq!((committed.gaps[0].mark, committed.gaps[0].first), (9, 100));
    assert_eq!(committed.marks[0].seq, 9);
}

pub(super) async fn a_row_over_the_mark_is_kept_for_the_part_above(place: &impl Place) {
    let store = place.open().await;
    put(&store, request("gw-1", vec![rows("a", epoch(1), 1..=4)]))
        .await
        .unwrap();
    let sent = of_a(vec![thinned(3, 7), lost(8, 9)]);
    for (new, known) in [(2, 0), (0, 2), (0, 2)] {
        let committed = put(&store, sent.clone()).await.unwrap();
        assert_eq!((committed.rows_new, committed.rows_known), (new, known));
        assert_eq!(committed.marks[0].seq, 9);
    }
    assert_eq!(
        covers(&store).await,
        [(1, 1), (2, 2), (3, 3), (4, 4), (5, 7), (8, 9)]
    );
    let count = store.count(&stream_id("gw-1", "a")).await.unwrap();
    assert_eq!((count.covered, count.marks), (9, 9));

    // One whose last number alone is above, which is its own.
    put(&store, of_a(vec![thinned(2, 10)])).await.unwrap();
    assert_eq!(covers(&store).await.last(), Some(&(10, 10)));
    let held = all(&store, &stream_id("gw-1", "a")).await.pop().unwrap();
    assert_eq!(held.row.from, None);
    assert_eq!(held.row.content, thinned(2, 10).content);
}

pub(super) async fn a_covering_row_that_comes_again_is_known_and_another_is_a_conflict(
    place: &impl Place,
) {
    let store = place.open().await;
    let sent = of_a(vec![row(1), thinned(2, 9), lost(10, 20)]);
    put(&store, sent.clone()).await.unwrap();
    assert_eq!(put(&store, sent.clone()).await.unwrap().rows_known, 3);
    let others = [row(9), thinned(3, 9)];
    for other in others {
        let mut clone = sent.clone();
        clone.rows[0].rows[1] = StoredRow {
            from: Some(2),
            ..other
        };
        let error = put(&store, clone).await.unwrap_err();
        assert!(matches!(error, Error::Conflict { seq: 9, .. }), "{error}");
    }
    // An entry says that the gateway has nothing any more: the centre has, and keeps it.
    let entry = of_a(vec![row(1), lost(2, 9)]);
    assert_eq!(put(&store, entry).await.unwrap().rows_known, 2);
    let late = of_a(vec![row(20)]);
    assert_eq!(put(&store, late).await.unwrap().rows_known, 1);
    // A number within what another row covers has no row of its own to compare with.
    let within = of_a(vec![row(5)]);
    assert_eq!(put(&store, within).await.unwrap().rows_known, 1);
    assert_eq!(covers(&store).await, [(1, 1), (2, 9), (10, 20)]);
}

pub(super) async fn a_centre_restored_from_a_backup_takes_the_rows_again(place: &impl Place) {
    let store = place.open().await;
    put(&store, request("gw-1", vec![rows("a", epoch(1), 1..=10)]))
        .await
        .unwrap();
    store.close().await;
    place.save();

    let after_the_backup = [
        of_a(vec![row(11), thinned(12, 30)]),
        of_a(vec![lost(31, 40), row(41)]),
        request("gw-1", vec![rows("b", epoch(2), 1..=5)]),
    ];
    let store = place.open().await;
    for sent in &after_the_backup {
        put(&store, sent.clone()).await.unwrap();
    }
    let before = everything(&store).await;
    store.close().await;

    place.restore();
    let store = place.open().await;
    let mut asks = request("gw-1", vec![]);
    asks.known = vec![stream("a", epoch(1)), stream("b", epoch(2))];
    let marks = put(&store, asks).await.unwrap().marks;
    assert_eq!(marks.iter().map(|m| m.seq).collect::<Vec<_>>(), [10, 0]);
    assert_ne!(everything(&store).await, before);
    for sent in &after_the_backup {
        put(&store, sent.clone()).await.unwrap();
    }
    assert_eq!(everything(&store).await, before);
}

/// All that a store tells of the gateway's rows.
async fn everything<S: Store>(store: &S) -> impl PartialEq + std::fmt::Debug + use<S> {
    let mut held = Vec::new();
    for of in [stream_id("gw-1", "a"), stream_id("gw-1", "b")] {
        held.push((all(store, &of).await, store.count(&of).await.unwrap()));
    }
    let losses = store.losses(&id("gw-1"), 10).await.unwrap();
    (held, losses, store.newest(&id("gw-1"), 10).await.unwrap())
}

pub(super) async fn the_ledger_is_told_newest_first_and_summed(place: &impl Place) {
    let store = place.open().await;
    let commit = async |minute: u64, sent: SyncRequest| {
        let received = WallTime(START_NS + minute * 60_000_000_000);
        let checked = Checked::new(sent).unwrap();
        store.commit(&id("gw-1"), &checked, received).await.unwrap();
    };
    let mut first = of_a(vec![lost(1, 10), row(11), lost(12, 14)]);
    let mut other = lost(15, 16);
    if let Content::Lost(lost) = &mut other.content {
        lost.reason = Reason::Quarantined;
    }
    first.rows[0].rows.push(other);
    first.rows.push(rows("b", epoch(1), 1..=3));
    commit(0, first.clone()).await;
    commit(1, first).await;
    commit(2, of_a(vec![lost(17, 20)])).await;

    let mut read = Vec::new();
    let mut after = None;
    loop {
        let page = store.ledger(&id("gw-1"), after.as_ref(), 3).await.unwrap();
        let cover = |entry: &SeriesRow| (entry.held.row.first(), entry.held.row.seq);
        read.extend(page.items.iter().map(cover));
        if !page.more {
            break;
        }
        after = page.items.last().map(SeriesRow::entry_position);
    }
    assert_eq!(read, [(17, 20), (15, 16), (12, 14), (1, 10)]);

    let loss = |reason, entries, rows, minute: u64| Loss {
        stream: name("a"),
        reason,
        entries,
        rows,
        bytes: rows * 100,
        received: WallTime(START_NS + minute * 60_000_000_000),
    };
    let expected = [
        loss(Reason::Evicted, 3, 17, 2),
        loss(Reason::Quarantined, 1, 2, 0),
    ];
    assert_eq!(store.losses(&id("gw-1"), 10).await.unwrap().items, expected);
    assert!(store.losses(&id("gw-1"), 1).await.unwrap().more);
    let none = store.ledger(&id("gw-2"), None, 10).await.unwrap();
    assert!(none.items.is_empty());
}

pub(super) async fn an_entry_of_the_ledger_is_no_value_and_no_alarm(place: &impl Place) {
    let store = place.open().await;
    let mut sent = of_a(vec![row(1), lost(2, 5)]);
    for row in &mut sent.rows[0].rows {
        row.class = Class::Alarm;
        row.key = "press-7".into();
    }
    put(&store, sent).await.unwrap();
    let alone = StoredRow {
        key: "press-9".into(),
        ..lost(6, 9)
    };
    put(&store, of_a(vec![alone])).await.unwrap();
    let fleet = store.fleet_alarms(&Tenant::default(), 10).await.unwrap();
    let found = [
        store.newest(&id("gw-1"), 10).await.unwrap(),
        store.alarms(&id("gw-1"), 10).await.unwrap(),
        fleet,
    ];
    for page in found {
        let seqs: Vec<_> = page.items.iter().map(|row| row.held.row.seq).collect();
        assert_eq!(seqs, [1]);
    }
    let gateway = store.gateway(&id("gw-1")).await.unwrap().unwrap();
    let committed = gateway.newest_row.unwrap().committed;
    assert_eq!(committed, row(1).stamp.wall_time);
    // The control: the entries are there.
    let ledger = store.ledger(&id("gw-1"), None, 10).await.unwrap();
    assert_eq!(ledger.items.len(), 2);
}

pub(super) async fn hostile_numbers_are_held_and_answered(place: &impl Place) {
    let store = place.open().await;
    let far = i64::MAX.unsigned_abs() - 1;
    for ordinal in 1..=2 {
        let mut sent = of_a(vec![lost(1, 2)]);
        sent.rows[0].of.epoch = epoch(ordinal);
        let row = &mut sent.rows[0].rows[0];
        row.seq = far;
        if let Content::Lost(lost) = &mut row.content {
            lost.rows = u64::MAX;
            lost.bytes = u64::MAX;
        }
        put(&store, sent).await.unwrap();
    }
    let losses = store.losses(&id("gw-1"), 10).await.unwrap().items;
    let most = i64::MAX.unsigned_abs();
    assert_eq!(
        (losses[0].entries, losses[0].rows, losses[0].bytes),
        (2, most, most)
    );
    let count = store.count(&stream_id("gw-1", "a")).await.unwrap();
    assert_eq!((count.rows, count.entries), (0, 2));
    assert_eq!(count.covered, count.marks);
    let streams = store.streams(&id("gw-1"), None, 10).await.unwrap().items;
    assert_eq!(streams[0].marks, most);
}
