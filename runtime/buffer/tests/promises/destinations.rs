//! Two centres, each with marks of its own.

use tidegate_buffer::{BufferHandle, Destination, Second};
use tidegate_record::{Class, Content, Mark, Outbox, Reason, StoredRow};

use crate::rig::{Open, Rig};

async fn rig(second: Second) -> (Rig, Open) {
    let rig = Rig {
        second: Some(second),
        ..Rig::new()
    };
    let open = rig.open().await;
    open.commit(rig.applied(1, 100)).await;
    (rig, open)
}

/// Takes up to `rows_max` rows out, as a centre does.
async fn take(outbox: &BufferHandle, rows_max: usize) -> Vec<StoredRow> {
    let waiting = Outbox::next(outbox, rows_max, Class::Raw).await.unwrap();
    let Some((of, rows)) = waiting.into_iter().next() else {
        return Vec::new();
    };
    let seq = rows.last().unwrap().seq;
    outbox.acknowledged(&[Mark { of, seq }]).await.unwrap();
    rows
}

/// The numbers that the rows cover, in order, and which of them is an entry that says that another centre holds them.
fn covered(rows: &[StoredRow]) -> Vec<(u64, bool)> {
    let is_elsewhere = |row: &StoredRow| match &row.content {
        Content::Lost(lost) => {
            assert_eq!(
                (lost.reason, lost.rows),
                (Reason::Elsewhere, row.seq - row.first() + 1)
            );
            true
        }
        _ => false,
    };
    let numbers = rows.iter().flat_map(|row| {
        let elsewhere = is_elsewhere(row);
        (row.first()..=row.seq).map(move |seq| (seq, elsewhere))
    });
    numbers.collect()
}

fn range(from: u64, to: u64, elsewhere: bool) -> impl Iterator<Item = (u64, bool)> {
    (from..=to).map(move |seq| (seq, elsewhere))
}

#[tokio::test]
async fn a_stand_in_gets_only_what_the_first_lacks_and_the_first_that_as_well_when_it_is_back() {
    let (rig, open) = rig(Second::Failover).await;
    take(&open.handle, 60).await;
    let second = open.handle.outbox(Destination::Second);
    let stood_in = take(&second, 1000).await;
    let expected: Vec<_> = range(1, 60, true).chain(range(61, 100, false)).collect();
    assert_eq!(covered(&stood_in), expected);
    assert!(second.is_empty() && !open.handle.is_empty());
    drop(second);
    open.close().await;
    // Its marks are on disk.
    let open = rig.open().await;
    assert!(open.handle.outbox(Destination::Second).is_empty());
    let back = take(&open.handle, 1000).await;
    assert_eq!(covered(&back), range(61, 100, false).collect::<Vec<_>>());
    open.close().await;
}

#[tokio::test]
async fn what_was_deleted_because_the_stand_in_holds_it_comes_to_the_first_as_an_entry() {
    let (rig, open) = rig(Second::Failover).await;
    take(&open.handle, 60).await;
    let second = open.handle.outbox(Destination::Second);
    let mut taken = 0;
    for token in 2..400 {
        open.commit(rig.applied(token, 1000)).await;
        taken += take(&second, 5000).await.len();
    }
    assert!(taken > 300_000, "{taken}");
    let mut back = Vec::new();
    loop {
        match take(&open.handle, 5000).await {
            none if none.is_empty() => break,
            rows => back.extend(covered(&rows)),
        }
    }
    let numbers: Vec<u64> = back.iter().map(|(seq, _)| *seq).collect();
    assert_eq!(numbers, (61..=100 + 398 * 1000).collect::<Vec<_>>());
    let elsewhere = back.iter().filter(|(_, elsewhere)| *elsewhere).count();
    assert!(elsewhere > 100_000 && elsewhere < back.len(), "{elsewhere}");
    drop(second);
    open.close().await;
}

#[tokio::test]
async fn a_mirror_has_everything() {
    let (_rig, open) = rig(Second::Mirror).await;
    take(&open.handle, 60).await;
    let second = open.handle.outbox(Destination::Second);
    let mirrored = take(&second, 1000).await;
    assert_eq!(covered(&mirrored), range(1, 100, false).collect::<Vec<_>>());
    drop(second);
    open.close().await;
}
