use proptest::prelude::*;
use tidegate_record::{BootId, BootTime, ClockQuality, Document, Name, Stamp};

use super::*;

fn row(seq: u64, key: &str, seconds: u64, content: Content) -> StoredRow {
    StoredRow {
        seq,
        class: Class::Raw,
        module: Name::new("module").unwrap(),
        generation: 1,
        key: key.to_owned(),
        time: WallTime(seconds * 1_000_000_000),
        duration_ns: 0,
        content,
        stamp: Stamp {
            boot: BootId(1),
            boot_time: BootTime(seq),
            wall_time: WallTime(0),
            clock: ClockQuality::Synced,
        },
        trace: Some([1; 16]),
        from: None,
    }
}

fn celsius(value: Scalar) -> Content {
    Content::Values(vec![NamedValue {
        name: "celsius".into(),
        value,
    }])
}

fn scalar() -> impl Strategy<Value = Scalar> {
    prop_oneof![
        8 => (-1e6..1e6_f64).prop_map(Scalar::Number),
        2 => (-1000..1000_i64).prop_map(Scalar::Integer),
        1 => any::<bool>().prop_map(Scalar::Boolean),
        1 => Just(Scalar::Text("n/a".into())),
        1 => Just(Scalar::Number(f64::NAN)),
        1 => Just(Scalar::Integer(i64::MAX)),
    ]
}

fn content() -> impl Strategy<Value = Content> {
    let document = Document {
        content_type: "text/plain".into(),
        bytes: vec![1],
    };
    prop_oneof![9 => scalar().prop_map(celsius), 1 => Just(Content::Document(document))]
}

/// Rows of a stream as they are kept: times mostly go up, keys mix, an alarm now and then.
fn stream() -> impl Strategy<Value = Vec<StoredRow>> {
    prop::collection::vec((content(), 0..3_usize, 0..30_u64, 0..20_u8), 1..200).prop_map(|kept| {
        let mut time = 1_000;
        let rows = kept
            .into_iter()
            .zip(1..)
            .map(|((content, key, step, alarm), seq)| {
                time += step;
                let mut row = row(seq, ["a", "b", "c"][key], time - step / 3, content);
                row.class = if alarm == 0 { Class::Alarm } else { Class::Raw };
                row
            });
        rows.collect()
    })
}

/// What must never change: how many rows there were, and the bounds of each value.
#[derive(Debug, PartialEq)]
struct Account {
    rows: u64,
    bounds: BTreeMap<String, (u64, f64, f64)>,
}

fn account(rows: &[StoredRow]) -> Account {
    let mut lost = Lost {
        reason: Reason::Evicted,
        rows: 0,
        bytes: 0,
        values: Vec::new(),
    };
    for row in rows {
        add_lost(&mut lost, row);
    }
    let bounds = lost
        .values
        .into_iter()
        .map(|value| (value.name, (value.count, value.min, value.max)));
    Account {
        rows: lost.rows,
        bounds: bounds.collect(),
    }
}

fn assert_covers(rows: &[StoredRow], last: u64) {
    let mut next = 1;
    for row in rows {
        assert_eq!(row.first(), next, "{rows:?}");
        assert!(row.seq >= row.first());
        next = row.seq + 1;
    }
    assert_eq!(next, last + 1);
}

const TEN_SECONDS: How = How::Thin(Duration::from_secs(10));
const MINUTE: How = How::Thin(Duration::from_secs(60));

proptest! {
    #[test]
    fn whatever_gives_way_the_account_and_the_cover_stay(rows in stream(), cut in 0..200_usize) {
        let (before, last) = (account(&rows), rows.len() as u64);
        let cut = cut.min(rows.len());
        // In two blocks, as the buffer does it; then coarser; then the older half is evicted.
        let mut thinned = rewrite(rows[..cut].to_vec(), Class::Raw, TEN_SECONDS);
        thinned.extend(rewrite(rows[cut..].to_vec(), Class::Raw, TEN_SECONDS));
        prop_assert_eq!(&account(&thinned), &before);
        assert_covers(&thinned, last);
        let coarser = rewrite(thinned, Class::Raw, MINUTE);
        prop_assert_eq!(&account(&coarser), &before);
        assert_covers(&coarser, last);
        let half = coarser.len() / 2;
        let mut evicted = rewrite(coarser[..half].to_vec(), Class::Raw, How::Evict);
        evicted.extend(coarser[half..].iter().cloned());
        prop_assert_eq!(&account(&evicted), &before);
        assert_covers(&evicted, last);
        let alarms = |rows: &[StoredRow]| rows.iter().filter(|row| row.class == Class::Alarm).count();
        prop_assert_eq!(alarms(&evicted), alarms(&rows));
    }

    #[test]
    fn what_is_thinned_takes_no_more_rows_than_series_and_spans_and_less_room(seconds in prop::collection::vec(0..100_u64, 1..300)) {
        let mut times = seconds;
        times.sort_unstable();
        let rows: Vec<_> = times.iter().zip(1..).map(|(time, seq)| row(seq, "a", *time, celsius(Scalar::Number(1.0)))).collect();
        let thinned = rewrite(rows.clone(), Class::Raw, TEN_SECONDS);
        let spans: std::collections::BTreeSet<_> = times.iter().map(|time| time / 10).collect();
        let bytes = |rows: &[StoredRow]| rows.iter().map(crate::rows::bytes).sum::<u64>();
        prop_assert!(thinned == rows || bytes(&thinned) < bytes(&rows));
        prop_assert!(thinned == rows || thinned.len() == spans.len());
        prop_assert!(thinned != rows || rows.len() < 4 * spans.len());
    }
}

#[test]
fn a_minute_says_what_its_rows_said() {
    let values = [20.0, 25.0, 15.0, 22.0].map(Scalar::Number);
    let rows = values
        .into_iter()
        .zip(1..)
        .map(|(value, seq)| row(seq, "press-7", 60 + seq, celsius(value)));
    let thinned = rewrite(rows.collect(), Class::Raw, MINUTE);
    let [only] = &thinned[..] else {
        panic!("{thinned:?}")
    };
    assert_eq!((only.first(), only.seq), (1, 4));
    assert_eq!(
        (only.time.0, only.duration_ns),
        (60_000_000_000, 60_000_000_000)
    );
    let Content::Thinned(Thinned { rows: 4, values }) = &only.content else {
        panic!("{only:?}")
    };
    let value = &values[0];
    assert_eq!(
        (&value.first, &value.last, value.count),
        (&Scalar::Number(20.0), &Scalar::Number(22.0), 4)
    );
    let numbers = value.numbers.as_ref().unwrap();
    assert_eq!((numbers.min, numbers.max, numbers.mean), (15.0, 25.0, 20.5));
}

#[test]
fn evicted_rows_leave_one_entry_that_grows() {
    let rows: Vec<_> = (1..=4)
        .map(|seq| row(seq, "a", seq, celsius(Scalar::Number(seq as f64))))
        .collect();
    let mut evicted = rewrite(rows[..2].to_vec(), Class::Raw, How::Evict);
    evicted.extend(rows[2..].iter().cloned());
    let evicted = rewrite(evicted, Class::Raw, How::Evict);
    let [only] = &evicted[..] else {
        panic!("{evicted:?}")
    };
    assert_eq!((only.first(), only.seq), (1, 4));
    let Content::Lost(lost) = &only.content else {
        panic!("{only:?}")
    };
    assert_eq!(
        (lost.rows, lost.values[0].min, lost.values[0].max),
        (4, 1.0, 4.0)
    );
}

#[test]
fn an_entry_keeps_its_reason() {
    let rows: Vec<_> = (1..=5)
        .map(|seq| row(seq, "a", seq, celsius(Scalar::Number(1.0))))
        .collect();
    let mut entry = rows[2].clone();
    entry.content = Content::Lost(Lost {
        reason: Reason::Quarantined,
        rows: 1,
        bytes: 0,
        values: Vec::new(),
    });
    let mut rows = rows;
    rows[2] = entry.clone();
    let evicted = rewrite(rows, Class::Raw, How::Evict);
    let covers: Vec<_> = evicted.iter().map(|row| (row.first(), row.seq)).collect();
    assert_eq!(covers, [(1, 2), (3, 3), (4, 5)]);
    assert_eq!(evicted[1], entry);
}

#[test]
fn rows_that_would_not_take_less_stay_as_they_are() {
    let rows: Vec<_> = (1..=40)
        .map(|seq| row(seq, "a", seq * 6, celsius(Scalar::Number(seq as f64))))
        .collect();
    assert_eq!(rewrite(rows.clone(), Class::Raw, TEN_SECONDS), rows);
    assert_eq!(rewrite(rows, Class::Raw, MINUTE).len(), 5);
}
