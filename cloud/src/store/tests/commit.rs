//! What a commit keeps, and what it refuses.

use super::*;

pub(super) async fn a_request_that_comes_three_times_is_kept_once(place: &impl Place) {
    let store = place.open().await;
    let sent = request(
        "gw-1",
        vec![rows("a", epoch(1), 1..=100), rows("b", epoch(1), 1..=7)],
    );
    let first = put(&store, sent.clone()).await.unwrap();
    assert_eq!((first.rows_new, first.rows_known), (107, 0));
    for _ in 0..2 {
        let again = put(&store, sent.clone()).await.unwrap();
        assert_eq!((again.rows_new, again.rows_known), (0, 107));
        assert_eq!(again.marks, first.marks);
        assert!(again.streams.is_empty());
    }
    assert_eq!(
        store.count(&stream_id("gw-1", "a")).await.unwrap(),
        plain(100)
    );
    assert_eq!(doubled(&all(&store, &stream_id("gw-1", "a")).await), 0);

    // The check can see doubled content: here the gateway itself kept it twice, under two seqs.
    let mut twice = rows("a", epoch(1), 100..=101);
    twice.rows[1].time = twice.rows[0].time;
    put(&store, request("gw-1", vec![twice])).await.unwrap();
    assert_eq!(doubled(&all(&store, &stream_id("gw-1", "a")).await), 1);
}

/// Rows that say what an earlier one has said; the samples give each row a time of its own.
fn doubled(rows: &[HeldRow]) -> usize {
    let mut seen = std::collections::HashSet::new();
    rows.iter()
        .filter(|held| !seen.insert((held.epoch, held.row.time)))
        .count()
}

pub(super) async fn requests_in_any_order_end_in_the_same_rows(place: &impl Place) {
    let store = place.open().await;
    let part = |seqs| request("gw-1", vec![rows("a", epoch(1), seqs)]);
    let parts = [
        part(1..=10),
        part(11..=20),
        part(5..=15),
        part(21..=30),
        part(1..=30),
    ];
    let orders = [[3, 0, 2, 1, 3], [1, 0, 0, 2, 1], [4, 3, 2, 1, 0]];
    for (round, order) in orders.into_iter().enumerate() {
        for index in order {
            let mut request: SyncRequest = parts[index].clone();
            request.gateway = name(&format!("gw-{round}"));
            put(&store, request).await.unwrap();
        }
        // The mark tells the gateway where to go on, whatever was lost; here it sends all once more.
        let mut rest = parts[4].clone();
        rest.gateway = name(&format!("gw-{round}"));
        put(&store, rest).await.unwrap();
        assert_eq!(
            seqs(&store, &stream_id(&format!("gw-{round}"), "a")).await,
            (1..=30).collect::<Vec<_>>()
        );
    }
}

pub(super) async fn rows_beyond_a_gap_are_not_kept_and_the_mark_says_so(place: &impl Place) {
    let store = place.open().await;
    put(&store, request("gw-1", vec![rows("a", epoch(1), 1..=3)]))
        .await
        .unwrap();
    let mut sent = request(
        "gw-1",
        vec![rows("a", epoch(1), 5..=9), rows("b", epoch(1), 1..=2)],
    );
    sent.known = vec![stream("never-seen", epoch(1))];
    let committed = put(&store, sent).await.unwrap();
    assert_eq!(
        committed.gaps,
        [Gap {
            of: stream("a", epoch(1)),
            mark: 3,
            first: 5
        }]
    );
    let marks: Vec<_> = committed
        .marks
        .iter()
        .map(|mark| (mark.of.stream.as_str(), mark.seq))
        .collect();
    assert_eq!(marks, [("a", 3), ("b", 2), ("never-seen", 0)]);
    assert_eq!(seqs(&store, &stream_id("gw-1", "a")).await, [1, 2, 3]);
    assert_eq!(seqs(&store, &stream_id("gw-1", "b")).await, [1, 2]);

    // Without the gap the same rows are kept.
    put(&store, request("gw-1", vec![rows("a", epoch(1), 4..=9)]))
        .await
        .unwrap();
    assert_eq!(
        seqs(&store, &stream_id("gw-1", "a")).await,
        (1..=9).collect::<Vec<_>>()
    );
}

pub(super) async fn another_row_at_a_known_seq_refuses_the_whole_request(place: &impl Place) {
    let store = place.open().await;
    let sent = request("gw-1", vec![rows("a", epoch(1), 1..=3)]);
    put(&store, sent.clone()).await.unwrap();
    let changes: [&dyn Fn(&mut StoredRow); 6] = [
        &|row| row.content = number("celsius", 99.0),
        &|row| row.time = WallTime(1),
        &|row| row.class = Class::Alarm,
        &|row| row.key = "press-8".into(),
        &|row| row.trace = None,
        &|row| row.stamp.boot.0 = 1,
    ];
    for change in changes {
        let mut clone = sent.clone();
        clone.rows.insert(0, rows("other", epoch(1), 1..=5));
        clone.rows[1].rows.push(row(4));
        change(&mut clone.rows[1].rows[1]);
        let error = put(&store, clone).await.unwrap_err();
        assert!(matches!(error, Error::Conflict { seq: 2, .. }), "{error}");
    }
    assert_eq!(seqs(&store, &stream_id("gw-1", "a")).await, [1, 2, 3]);
    assert_eq!(seqs(&store, &stream_id("gw-1", "other")).await, [0; 0]);
    assert_eq!(
        store.gateway(&id("gw-1")).await.unwrap().unwrap().conflicts,
        6
    );

    // The same request unchanged is welcome.
    let mut honest = sent;
    honest.rows[0].rows.push(row(4));
    assert_eq!(put(&store, honest).await.unwrap().rows_new, 1);
    assert_eq!(
        store.gateway(&id("gw-1")).await.unwrap().unwrap().conflicts,
        6
    );
}

pub(super) async fn values_that_are_not_numbers_are_no_conflict(place: &impl Place) {
    let store = place.open().await;
    let mut sent = request("gw-1", vec![rows("a", epoch(1), 1..=1)]);
    sent.rows[0].rows[0].content = number("celsius", f64::NAN);
    put(&store, sent.clone()).await.unwrap();
    assert_eq!(put(&store, sent).await.unwrap().rows_known, 1);
}

pub(super) async fn marks_and_rows_outlive_the_process(place: &impl Place) {
    let store = place.open().await;
    put(
        &store,
        request(
            "gw-1",
            vec![rows("a", epoch(1), 1..=70), rows("a", epoch(2), 1..=5)],
        ),
    )
    .await
    .unwrap();
    store.close().await;
    let store = place.open().await;
    let mut asks = request("gw-1", vec![]);
    asks.known = vec![
        stream("a", epoch(1)),
        stream("a", epoch(2)),
        stream("a", epoch(3)),
    ];
    let marks = put(&store, asks).await.unwrap().marks;
    assert_eq!(
        marks.iter().map(|mark| mark.seq).collect::<Vec<_>>(),
        [70, 5, 0]
    );
    assert_eq!(
        store.count(&stream_id("gw-1", "a")).await.unwrap(),
        plain(75)
    );
    put(&store, request("gw-1", vec![rows("a", epoch(2), 6..=6)]))
        .await
        .unwrap();
    assert_eq!(
        store.count(&stream_id("gw-1", "a")).await.unwrap(),
        plain(76)
    );
}

pub(super) async fn gateways_tenants_and_epochs_do_not_mix(place: &impl Place) {
    let store = place.open().await;
    let sent = |gateway: &str, epochs: u64, last| {
        request(gateway, vec![rows("a", epoch(epochs), 1..=last)])
    };
    put(&store, sent("gw-1", 1, 3)).await.unwrap();
    put(&store, sent("gw-1", 2, 4)).await.unwrap();
    put(&store, sent("gw-2", 1, 5)).await.unwrap();
    let other = GatewayId {
        tenant: Tenant::new(&name("other")),
        gateway: name("gw-1"),
    };
    store
        .commit(
            &other,
            &Checked::new(sent("gw-1", 1, 9)).unwrap(),
            WallTime(START_NS),
        )
        .await
        .unwrap();

    assert_eq!(
        seqs(&store, &stream_id("gw-1", "a")).await,
        [1, 2, 3, 1, 2, 3, 4]
    );
    assert_eq!(seqs(&store, &stream_id("gw-2", "a")).await, [1, 2, 3, 4, 5]);
    let of_other = StreamId {
        of: other.clone(),
        stream: name("a"),
    };
    assert_eq!(store.count(&of_other).await.unwrap().rows, 9);
    let names = |gateways: Page<Gateway>| {
        gateways
            .items
            .into_iter()
            .map(|gateway| gateway.name)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(store.gateways(&Tenant::default(), None, 10).await.unwrap()),
        [name("gw-1"), name("gw-2")]
    );
    assert_eq!(
        names(
            store
                .gateways(&Tenant::default(), Some(&name("gw-1")), 10)
                .await
                .unwrap()
        ),
        [name("gw-2")]
    );
    assert_eq!(
        names(store.gateways(&other.tenant, None, 10).await.unwrap()),
        [name("gw-1")]
    );
    assert_eq!(store.newest(&id("gw-1"), 10).await.unwrap().items.len(), 1);
    assert!(store.gateway(&id("gw-3")).await.unwrap().is_none());
    assert!(
        store
            .streams(&id("gw-3"), None, 10)
            .await
            .unwrap()
            .items
            .is_empty()
    );
}

pub(super) async fn every_field_of_a_row_comes_back_as_it_was(place: &impl Place) {
    let store = place.open().await;
    let mut sent = request("gw-1", vec![rows("a", epoch(7), 1..=4)]);
    let of = &mut sent.rows[0].rows;
    of[0].class = Class::Alarm;
    of[0].key = "a\0b\u{1F600}'\"; DROP TABLE rows".into();
    of[0].generation = u64::MAX;
    of[0].duration_ns = u64::MAX;
    of[0].time = WallTime(u64::MAX);
    of[0].stamp.wall_time = WallTime(0);
    of[1].content = Content::Values(vec![
        NamedValue {
            name: "on".into(),
            value: Scalar::Boolean(true),
        },
        NamedValue {
            name: "count".into(),
            value: Scalar::Integer(i64::MIN),
        },
        NamedValue {
            name: "big".into(),
            value: Scalar::Number(f64::INFINITY),
        },
        NamedValue {
            name: "word".into(),
            value: Scalar::Text("grün".into()),
        },
    ]);
    of[2].content = Content::Document(tidegate_wire::Document {
        content_type: "image/png".into(),
        bytes: vec![0, 255, 1],
    });
    of[2].class = Class::Summary;
    of[2].trace = None;
    of[3].content = Content::Values(vec![]);
    of[3].stamp.clock = tidegate_wire::ClockQuality::Unset;
    of.push(thinned(5, 9));
    of.push(lost(10, 10));
    put(&store, sent.clone()).await.unwrap();
    let held = all(&store, &stream_id("gw-1", "a")).await;
    assert!(
        held.iter()
            .all(|held| held.epoch == epoch(7) && held.received == WallTime(START_NS))
    );
    assert_eq!(
        held.into_iter().map(|held| held.row).collect::<Vec<_>>(),
        sent.rows[0].rows
    );
}
