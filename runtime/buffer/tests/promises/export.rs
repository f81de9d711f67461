//! What goes into a file is what would go to the centre, each number once, whatever happens meanwhile.

use std::collections::{BTreeMap, HashMap};

use tidegate_buffer::{Export, Inspection};
use tidegate_record::{
    Applied, Class, Content, Mark, Outbox, Reason, Row, StoredRow, StreamEpoch, WallTime,
};

use crate::rig::{Open, Rig, name, nothing, row};

const NOW: WallTime = WallTime(7);

/// `count` readings.
fn readings(count: usize) -> Applied {
    kept((0..count).map(|number| row("readings", number)))
}

fn kept(rows: impl Iterator<Item = Row>) -> Applied {
    Applied {
        rows: rows.map(|row| (row, None)).collect(),
        ..nothing()
    }
}

fn alarms(count: usize) -> Applied {
    let alarm = |number| Row {
        class: Class::Alarm,
        ..row("alarms", number)
    };
    kept((0..count).map(alarm))
}

type Rows = Vec<(StreamEpoch, StoredRow)>;

/// An export that has begun.
async fn begin(rig: &Rig, open: &Open) -> Export {
    open.handle.export().await.unwrap();
    let mut export = Export::open(&rig.config().path).await.unwrap();
    export.begin(&HashMap::new()).await.unwrap();
    export
}

/// Exports everything that waits into a file.
async fn exported(rig: &Rig, open: &Open) {
    let (mut export, mut all) = (begin(rig, open).await, Rows::new());
    rest(&mut export, &mut all).await;
    let written = all.iter().map(|(of, row)| (of.clone(), row.seq)).collect();
    open.handle.exported(&written).await.unwrap();
}

/// The next chunk; false at the end.
async fn chunk(export: &mut Export, all: &mut Rows) -> bool {
    let rows = export.next(700, NOW).await.unwrap();
    export.written(&rows);
    for (of, rows) in &rows {
        all.extend(rows.iter().map(|row| (of.clone(), row.clone())));
    }
    !rows.is_empty()
}

async fn rest(export: &mut Export, all: &mut Rows) {
    while chunk(export, all).await {}
    assert_eq!(export.left(), 0);
}

/// Holds that the rows of each stream cover their numbers once and in order; gives the last of each.
fn covered(all: &Rows) -> BTreeMap<String, u64> {
    let mut last = BTreeMap::new();
    for (of, row) in all {
        let last = last.entry(of.stream.to_string()).or_insert(0);
        assert_eq!(row.first(), *last + 1, "{row:?}");
        *last = row.seq;
    }
    last
}

fn lost(all: &Rows, reason: Reason) -> u64 {
    let entries = all.iter().filter_map(|(_, row)| match &row.content {
        Content::Lost(lost) if lost.reason == reason => Some(lost.rows),
        _ => None,
    });
    entries.sum()
}

/// Rows that are gone, by reason, and rows that were thinned out, of one stream.
async fn given_up(rig: &Rig, stream: &str) -> (BTreeMap<Reason, u64>, u64) {
    let mut inspection = Inspection::open(&rig.config().path).await.unwrap();
    let accounts = inspection.verify().await.unwrap();
    assert!(accounts.iter().all(|account| account.is_complete()));
    let account = accounts
        .into_iter()
        .find(|account| account.of.stream == name(stream));
    let account = account.unwrap();
    (account.lost, account.thinned)
}

#[tokio::test]
async fn an_export_holds_what_the_outbox_holds_and_each_number_once() {
    let rig = Rig::new();
    let open = rig.open().await;
    open.commit(alarms(30)).await;
    open.commit(readings(5000)).await;
    let mut export = begin(&rig, &open).await;
    let mut all = Rows::new();
    // The gateway goes on: what comes now is not in this file.
    while chunk(&mut export, &mut all).await {
        open.commit(readings(100)).await;
    }
    let expected = BTreeMap::from([("alarms".to_owned(), 30), ("readings".to_owned(), 5000)]);
    assert_eq!(covered(&all), expected);
    assert_eq!(all.first().unwrap().0.stream, name("alarms"));
    let mut centre = open.drain().await;
    centre.retain(|(of, row)| row.seq <= expected[of.stream.as_str()]);
    centre.sort_by_key(|(of, row)| (of.stream.to_string(), row.seq));
    assert_eq!(all, centre);
    // The centre holds it all: the next export is empty.
    let mut nothing = Rows::new();
    rest(&mut begin(&rig, &open).await, &mut nothing).await;
    assert!(nothing.is_empty());
    open.close().await;
}

#[tokio::test]
async fn an_export_goes_on_after_what_a_file_has() {
    let rig = Rig::new();
    let open = rig.open().await;
    open.commit(readings(2000)).await;
    let mut all = Rows::new();
    assert!(chunk(&mut begin(&rig, &open).await, &mut all).await);
    open.close().await;
    // Another start, another epoch, more rows.
    let open = rig.open().await;
    open.commit(readings(10)).await;
    open.handle.export().await.unwrap();
    let written = all.iter().map(|(of, row)| (of.clone(), row.seq)).collect();
    let mut export = Export::open(&rig.config().path).await.unwrap();
    assert_eq!(export.begin(&written).await.unwrap(), 1300 + 10);
    rest(&mut export, &mut all).await;
    let later = all.split_off(2000);
    assert_eq!(covered(&all)["readings"], 2000);
    assert_eq!(covered(&later)["readings"], 10);
    open.close().await;
}

#[tokio::test]
async fn what_was_exported_goes_before_anything_fresh_is_thinned_out_and_alarms_stay() {
    let rig = Rig::new();
    let open = rig.open().await;
    open.commit(alarms(500)).await;
    for _ in 0..45 {
        open.commit(readings(1000)).await;
    }
    exported(&rig, &open).await;
    let mut batches = 0;
    while given_up(&rig, "readings").await.0.is_empty() {
        open.commit(readings(1000)).await;
        batches += 1;
        assert!(batches < 60, "the buffer does not fill");
    }
    for _ in 0..10 {
        open.commit(readings(1000)).await;
    }
    let (gone, thinned) = given_up(&rig, "readings").await;
    assert_eq!(thinned, 0);
    assert!(matches!(gone.get(&Reason::Elsewhere), Some(1..=45_000)));
    assert_eq!(gone.len(), 1, "{gone:?}");
    assert_eq!(given_up(&rig, "alarms").await, (BTreeMap::new(), 0));
    open.close().await;
    // It is known after a restart, and the centre is told why they do not come.
    let open = rig.open().await;
    let all = open.drain().await;
    assert_eq!(lost(&all, Reason::Elsewhere), gone[&Reason::Elsewhere]);
    assert_eq!(covered(&all)["readings"], 55_000 + batches * 1000);
    open.close().await;
}

#[tokio::test]
async fn no_row_gives_way_to_others_while_it_is_exported_or_for_a_file_that_nobody_finished() {
    let rig = Rig::new();
    let open = rig.open().await;
    for _ in 0..45 {
        open.commit(readings(1000)).await;
    }
    let (mut export, mut all) = (begin(&rig, &open).await, Rows::new());
    assert!(chunk(&mut export, &mut all).await);
    // The buffer fills meanwhile, and what is fresh gives way.
    for _ in 0..40 {
        open.commit(readings(2000)).await;
    }
    assert!(given_up(&rig, "readings").await.1 > 0);
    rest(&mut export, &mut all).await;
    assert_eq!(covered(&all)["readings"], 45_000);
    assert!(
        all.iter()
            .all(|(_, row)| matches!(row.content, Content::Values(_)))
    );
    open.close().await;
}

#[tokio::test]
async fn what_goes_because_an_earlier_file_has_it_is_an_entry_in_a_later_one() {
    let rig = Rig::new();
    let open = rig.open().await;
    for _ in 0..45 {
        open.commit(readings(1000)).await;
    }
    exported(&rig, &open).await;
    let (mut export, mut all) = (begin(&rig, &open).await, Rows::new());
    assert!(chunk(&mut export, &mut all).await);
    let mut batches = 0;
    while lost(&all, Reason::Elsewhere) == 0 {
        open.commit(readings(2000)).await;
        batches += 1;
        assert!(batches < 40, "the buffer does not fill");
        assert!(chunk(&mut export, &mut all).await, "it came to an end");
    }
    rest(&mut export, &mut all).await;
    assert_eq!(covered(&all)["readings"], 45_000);
    open.close().await;
}

#[tokio::test]
async fn what_is_exported_beyond_what_was_sent_comes_over_the_link_as_it_is_in_the_file() {
    let rig = Rig::new();
    let open = rig.open().await;
    open.commit(readings(1000)).await;
    // Something was sent, so that more is noted than there is.
    let sent = Outbox::next(&open.handle, 900, Class::Raw).await.unwrap();
    assert_eq!(sent[0].1.len(), 900);
    open.handle.export().await.unwrap();
    open.commit(readings(150)).await;
    let (mut export, mut all) = (begin(&rig, &open).await, Rows::new());
    rest(&mut export, &mut all).await;
    for _ in 0..90 {
        open.commit(readings(1000)).await;
    }
    assert!(
        given_up(&rig, "readings").await.1 > 0,
        "nothing was thinned out"
    );
    let mut centre = open.drain().await;
    centre.truncate(all.len());
    assert_eq!(all, centre);
    open.close().await;
}

#[tokio::test]
async fn what_the_centre_takes_while_it_is_exported_is_left_out_once_it_is_deleted() {
    let rig = Rig::new();
    let open = rig.open().await;
    for _ in 0..45 {
        open.commit(readings(1000)).await;
    }
    let (mut export, mut all) = (begin(&rig, &open).await, Rows::new());
    assert!(chunk(&mut export, &mut all).await);
    let (of, rows) = Outbox::next(&open.handle, 30_000, Class::Raw)
        .await
        .unwrap()
        .remove(0);
    let seq = rows.last().unwrap().seq;
    assert!(seq > 10_000);
    open.handle.acknowledged(&[Mark { of, seq }]).await.unwrap();
    for _ in 0..30 {
        open.commit(readings(1000)).await;
    }
    rest(&mut export, &mut all).await;
    assert_eq!(
        lost(&all, Reason::Elsewhere) + lost(&all, Reason::Forgotten),
        0
    );
    let seqs: Vec<u64> = all.iter().map(|(_, row)| row.seq).collect();
    assert!(seqs.windows(2).all(|pair| pair[0] < pair[1]));
    // What is after the mark is all there.
    let after = seqs.iter().filter(|found| **found > seq).count() as u64;
    assert_eq!(after, 45_000 - seq);
    open.close().await;
}

#[tokio::test]
async fn what_is_in_it_is_told_by_stream_and_class() {
    let rig = Rig::new();
    let open = rig.open().await;
    open.commit(alarms(30)).await;
    open.commit(readings(100)).await;
    exported(&rig, &open).await;
    let waiting = Outbox::next(&open.handle, 5000, Class::Raw).await.unwrap();
    let held = waiting
        .into_iter()
        .find(|(of, _)| of.stream == name("readings"));
    let mark = Mark {
        of: held.unwrap().0,
        seq: 40,
    };
    open.handle.acknowledged(&[mark]).await.unwrap();
    let mut inspection = Inspection::open(&rig.config().path).await.unwrap();
    let stat = inspection.stat().await.unwrap();
    assert_eq!((stat.epochs, stat.streams.len()), (1, 2));
    assert!(stat.bytes_used > 0);
    let readings = &stat.streams[&name("readings")];
    let counted = (readings.numbered, readings.held, readings.waiting);
    assert_eq!((counted, readings.exported), ((100, 40, 60), 60));
    let alarms = &stat.streams[&name("alarms")];
    assert_eq!(alarms.bytes.map(|bytes| bytes > 0), [true, false, false]);
    assert_eq!(readings.bytes.map(|bytes| bytes > 0), [false, false, true]);
    assert!(alarms.oldest.is_some() && alarms.oldest <= alarms.newest);
    open.close().await;
}
