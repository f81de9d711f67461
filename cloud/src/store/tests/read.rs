//! What is read back, in which order, and how much at once.

use super::*;

pub(super) async fn pages_are_complete_and_stable_while_rows_arrive(place: &impl Place) {
    let store = place.open().await;
    let of = stream_id("gw-1", "a");
    for ordinal in 1..=3 {
        put(
            &store,
            request("gw-1", vec![rows("a", epoch(ordinal), 1..=50)]),
        )
        .await
        .unwrap();
    }
    let mut reach = Reach::First;
    let mut read = Vec::new();
    loop {
        let page = store
            .rows(&of, &RowFilter::default(), reach, 7)
            .await
            .unwrap();
        read.extend(
            page.items
                .iter()
                .map(|held| (held.epoch.ordinal, held.row.seq)),
        );
        if !page.more {
            break;
        }
        reach = Reach::After(page.items.last().unwrap().position());
        if read.len() == 70 {
            put(&store, request("gw-1", vec![rows("a", epoch(3), 51..=60)]))
                .await
                .unwrap();
        }
    }
    let expected: Vec<_> = [(1, 50), (2, 50), (3, 60)]
        .iter()
        .flat_map(|(o, n)| (1..=*n).map(|s| (*o, s)))
        .collect();
    assert_eq!(read, expected);
}

pub(super) async fn rows_can_be_asked_by_class_and_key_and_from_the_end(place: &impl Place) {
    let store = place.open().await;
    let of = stream_id("gw-1", "a");
    let mut sent = request("gw-1", vec![rows("a", epoch(1), 1..=20)]);
    for row in &mut sent.rows[0].rows {
        row.key = if row.seq % 2 == 0 {
            "even".into()
        } else {
            "odd".into()
        };
        row.class = if row.seq % 5 == 0 {
            Class::Alarm
        } else {
            Class::Raw
        };
    }
    put(&store, sent).await.unwrap();
    let ask = async |class, key: Option<&str>, reach, count_max| {
        let filter = RowFilter {
            class,
            key: key.map(str::to_owned),
        };
        let held = store.rows(&of, &filter, reach, count_max).await.unwrap();
        held.items
            .iter()
            .map(|held| held.row.seq)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        ask(Some(Class::Alarm), None, Reach::First, 10).await,
        [5, 10, 15, 20]
    );
    assert_eq!(
        ask(Some(Class::Alarm), Some("odd"), Reach::First, 10).await,
        [5, 15]
    );
    assert_eq!(ask(None, Some("even"), Reach::Last, 3).await, [20, 18, 16]);
    assert_eq!(ask(None, Some("none"), Reach::Last, 3).await, [0; 0]);
    let from = Position {
        epoch: epoch(1),
        seq: 10,
    };
    assert_eq!(
        ask(Some(Class::Alarm), None, Reach::After(from), 10).await,
        [15, 20]
    );
}

pub(super) async fn a_page_ends_early_rather_than_fill_memory(place: &impl Place) {
    let store = place.open().await;
    let of = stream_id("gw-1", "a");
    for seq in 1..=3 {
        let mut sent = request("gw-1", vec![rows("a", epoch(1), seq..=seq)]);
        let bytes = vec![0; 5 << 20];
        sent.rows[0].rows[0].content = Content::Document(tidegate_wire::Document {
            content_type: "application/octet-stream".into(),
            bytes,
        });
        put(&store, sent).await.unwrap();
    }
    let mut reach = Reach::First;
    for (seq, more) in [(1, true), (2, true), (3, false)] {
        let page = store
            .rows(&of, &RowFilter::default(), reach, 10)
            .await
            .unwrap();
        assert_eq!(
            (page.items.len(), page.items[0].row.seq, page.more),
            (1, seq, more)
        );
        reach = Reach::After(page.items[0].position());
    }
}

pub(super) async fn the_newest_row_of_each_series_is_known(place: &impl Place) {
    let store = place.open().await;
    let mut sent = request(
        "gw-1",
        vec![rows("a", epoch(2), 1..=5), rows("b", epoch(1), 1..=1)],
    );
    sent.rows[0].rows[2].key = "press-8".into();
    put(&store, sent).await.unwrap();
    // An older epoch that comes late, and a row that comes again, move nothing.
    put(
        &store,
        request(
            "gw-1",
            vec![rows("a", epoch(1), 1..=9), rows("a", epoch(2), 5..=5)],
        ),
    )
    .await
    .unwrap();
    let newest = store.newest(&id("gw-1"), 10).await.unwrap();
    let found: Vec<_> = newest
        .items
        .iter()
        .map(|row| {
            (
                row.stream.as_str(),
                row.held.row.key.as_str(),
                row.held.epoch.ordinal,
                row.held.row.seq,
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            ("a", "press-7", 2, 5),
            ("a", "press-8", 2, 3),
            ("b", "press-7", 1, 1)
        ]
    );
    let part = store.newest(&id("gw-1"), 2).await.unwrap();
    assert_eq!((part.items.len(), part.more), (2, true));
}

pub(super) async fn alarms_come_newest_first(place: &impl Place) {
    let store = place.open().await;
    for (minute, gateway, ordinal) in [(0, "gw-1", 1), (1, "gw-2", 1), (2, "gw-1", 2)] {
        let mut sent = request(gateway, vec![rows("a", epoch(ordinal), 1..=3)]);
        sent.rows[0].rows[1].class = Class::Alarm;
        sent.rows[0].rows[2].class = Class::Alarm;
        let received = WallTime(START_NS + minute * 60_000_000_000);
        store
            .commit(&id(gateway), &Checked::new(sent).unwrap(), received)
            .await
            .unwrap();
    }
    let places = |rows: Page<SeriesRow>| -> Vec<_> {
        rows.items
            .into_iter()
            .map(|row| {
                (
                    row.gateway.to_string(),
                    row.held.epoch.ordinal,
                    row.held.row.seq,
                )
            })
            .collect()
    };
    let gw_1 = |ordinal, seq| ("gw-1".to_owned(), ordinal, seq);
    let alarms = store.alarms(&id("gw-1"), 3).await.unwrap();
    assert_eq!(places(alarms), [gw_1(2, 3), gw_1(2, 2), gw_1(1, 3)]);
    let fleet = store.fleet_alarms(&Tenant::default(), 10).await.unwrap();
    assert_eq!(places(fleet), [gw_1(2, 3), ("gw-2".to_owned(), 1, 3)]);
}

pub(super) async fn a_gateway_is_what_its_last_request_said(place: &impl Place) {
    let store = place.open().await;
    put(&store, request("gw-1", vec![])).await.unwrap();
    assert_eq!(
        store
            .gateway(&id("gw-1"))
            .await
            .unwrap()
            .unwrap()
            .newest_row,
        None
    );
    put(&store, request("gw-1", vec![rows("a", epoch(1), 1..=2)]))
        .await
        .unwrap();
    let mut last = request("gw-1", vec![]);
    last.epoch = epoch(2);
    last.status.rows_waiting = 99;
    let later = WallTime(START_NS + 5);
    store
        .commit(&id("gw-1"), &Checked::new(last.clone()).unwrap(), later)
        .await
        .unwrap();
    let gateway = store.gateway(&id("gw-1")).await.unwrap().unwrap();
    assert_eq!(
        (gateway.first_seen, gateway.last_seen),
        (WallTime(START_NS), later)
    );
    assert_eq!((gateway.epoch, &gateway.status), (last.epoch, &last.status));
    let newest = NewestRow {
        committed: row(2).stamp.wall_time,
        received: WallTime(START_NS),
    };
    assert_eq!(gateway.newest_row, Some(newest));
}

pub(super) async fn streams_say_how_many_rows_and_the_first_and_last(place: &impl Place) {
    let store = place.open().await;
    let sent = vec![
        rows("a", epoch(1), 1..=3),
        rows("a", epoch(2), 1..=2),
        rows("b", epoch(1), 1..=1),
    ];
    put(&store, request("gw-1", sent)).await.unwrap();
    let streams = store.streams(&id("gw-1"), None, 10).await.unwrap();
    let found: Vec<_> = streams
        .items
        .iter()
        .map(|s| {
            (
                s.name.as_str(),
                s.rows,
                s.first.position(),
                s.last.position(),
            )
        })
        .collect();
    let at = |ordinal, seq| Position {
        epoch: epoch(ordinal),
        seq,
    };
    assert_eq!(
        found,
        [("a", 5, at(1, 1), at(2, 2)), ("b", 1, at(1, 1), at(1, 1))]
    );
    assert_eq!(
        store
            .streams(&id("gw-1"), Some(&name("a")), 10)
            .await
            .unwrap()
            .items
            .len(),
        1
    );
}
