//! The read API and the live events.

use axum::http::StatusCode;
use serde_json::{Value, json};
use tidegate_wire::{Class, Content, Document, StreamRows};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::client::Centre;
use crate::samples::{buffer, epoch, lost, request, row, rows, stream, thinned};

#[tokio::test]
async fn gateways_and_streams_are_listed_with_what_they_hold() {
    let centre = Centre::start().await;
    for gateway in ["gw-1", "gw-2", "gw-3"] {
        let sent = vec![rows("a", epoch(1), 1..=3), rows("b", epoch(1), 1..=1)];
        centre.client.sync(&request(gateway, sent)).await;
    }
    let first = centre.client.get("/v1/gateways?limit=2").await.json();
    assert_eq!(first["gateways"][0]["gateway"], "gw-1");
    assert_eq!(first["gateways"][0]["rows_waiting"], 3);
    assert_eq!(
        first["gateways"][0]["modules"],
        json!([{ "name": "unit-convert", "version": "0.1.0", "state": "running", "faults": 0 }])
    );
    assert_eq!(first["next"], "gw-2");
    let rest = centre
        .client
        .get("/v1/gateways?limit=2&after=gw-2")
        .await
        .json();
    assert_eq!(
        (rest["gateways"].as_array().unwrap().len(), &rest["next"]),
        (1, &json!(null))
    );

    let streams = centre.client.get("/v1/gateways/gw-1/streams").await.json();
    assert_eq!(
        (
            &streams["streams"][0]["stream"],
            &streams["streams"][0]["rows"]
        ),
        (&json!("a"), &json!(3))
    );
    assert_eq!(
        streams["streams"][0]["first_time"],
        "2026-11-21T07:30:01.000000000Z"
    );
    assert_eq!(
        streams["streams"][0]["last_time"],
        "2026-11-21T07:30:03.000000000Z"
    );
    assert_eq!(
        streams["streams"][0]["last"]["values"],
        json!({ "celsius": 21.5 })
    );
    assert_eq!(streams["next"], json!(null));
}

#[tokio::test]
async fn rows_are_paged_completely_and_can_be_filtered() {
    let centre = Centre::start().await;
    let mut sent = request(
        "gw-1",
        vec![rows("a", epoch(1), 1..=25), rows("a", epoch(2), 1..=5)],
    );
    sent.rows[0].rows[4].class = Class::Alarm;
    sent.rows[0].rows[5].key = "a key & more".into();
    sent.rows[0].rows[6].content = Content::Document(Document {
        content_type: "application/json".into(),
        bytes: b"{}".to_vec(),
    });
    centre.client.sync(&sent).await;
    let expected: Vec<u64> = (1..=25).chain(1..=5).collect();
    assert_eq!(centre.client.seqs("gw-1", "a").await, expected);

    let seqs = async |query: &str| {
        let answer = centre
            .client
            .get(&format!("/v1/gateways/gw-1/streams/a/{query}"))
            .await
            .json();
        answer["rows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["seq"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(seqs("rows?class=alarm").await, [5]);
    assert_eq!(seqs("rows?key=a%20key%20%26%20more").await, [6]);
    assert_eq!(seqs("recent?limit=3").await, [5, 4, 3]);
    let document = centre
        .client
        .get("/v1/gateways/gw-1/streams/a/rows?limit=7")
        .await
        .json()["rows"][6]
        .clone();
    assert_eq!(
        document["document"],
        json!({ "content_type": "application/json", "base64": "e30=" })
    );
}

#[tokio::test]
async fn the_ledger_says_what_is_missing_and_the_count_that_nothing_else_is() {
    let centre = Centre::start().await;
    let mut sent = request("gw-1", vec![rows("a", epoch(1), 1..=3)]);
    sent.rows[0].rows.extend([thinned(4, 9), lost(10, 59)]);
    sent.rows.push(StreamRows {
        of: stream("b", epoch(1)),
        rows: vec![lost(1, 1), row(2), lost(3, 4)],
    });
    sent.status.buffer = Some(buffer());
    centre.client.sync(&sent).await;

    let mut entries = Vec::new();
    let mut query = "limit=2".to_owned();
    let answer = loop {
        let path = format!("/v1/gateways/gw-1/ledger?{query}");
        let page = centre.client.get(&path).await.json();
        entries.extend(page["entries"].as_array().unwrap().clone());
        match page["next"].as_str() {
            Some(next) => query = format!("limit=2&after={next}"),
            None => break page,
        }
    };
    let cover = |entry: &Value| json!([entry["stream"], entry["from"], entry["seq"]]);
    assert_eq!(
        entries.iter().map(cover).collect::<Vec<_>>(),
        [json!(["b", 3, 4]), json!(["b", 1, 1]), json!(["a", 10, 59])]
    );
    let lost = json!({
        "reason": "evicted", "rows": 50, "bytes": 5000,
        "values": { "celsius": { "count": 50, "min": 25.0, "max": 49.5 } },
    });
    assert_eq!(entries[2]["lost"], lost);
    assert_eq!(entries[2]["epoch"]["ordinal"], 1);
    assert_eq!(entries[2]["duration_ns"], 49_000_000_000_u64);
    let totals = answer["totals"].as_array().unwrap();
    let sums = |total: &Value| {
        json!([
            total["stream"],
            total["reason"],
            total["entries"],
            total["rows"]
        ])
    };
    assert_eq!(
        totals.iter().map(sums).collect::<Vec<_>>(),
        [
            json!(["a", "evicted", 1, 50]),
            json!(["b", "evicted", 2, 3])
        ]
    );
    assert_eq!(answer["tallies"][0]["reason"], "late");
    assert_eq!(answer["tallies"][0]["messages"], 1200);

    // What rows and ledger cover is what the marks say.
    let count = async |stream: &str| {
        let path = format!("/v1/gateways/gw-1/streams/{stream}/count");
        centre.client.get(&path).await.json()
    };
    let expected = json!({ "rows": 4, "entries": 1, "covered": 59, "marks": 59 });
    assert_eq!(count("a").await, expected);
    let expected = json!({ "rows": 1, "entries": 2, "covered": 4, "marks": 4 });
    assert_eq!(count("b").await, expected);
    let gateways = centre.client.get("/v1/gateways").await.json();
    let buffer =
        json!({ "bytes_used": 186 << 20, "bytes_max": 200 << 20, "database": "00000000000000db" });
    assert_eq!(gateways["gateways"][0]["buffer"], buffer);
}

#[tokio::test]
async fn a_bad_query_is_told_the_fact() {
    let centre = Centre::start().await;
    centre
        .client
        .sync(&request("gw-1", vec![rows("a", epoch(1), 1..=3)]))
        .await;
    for (path, status, code, fact) in [
        (
            "/v1/gateways/gw-1/streams/a/rows?limit=0",
            400,
            "bad-query",
            "limit is 1 to 10000, not 0",
        ),
        (
            "/v1/gateways/gw-1/streams/a/rows?limit=10001",
            400,
            "bad-query",
            "limit is 1 to 10000, not 10001",
        ),
        (
            "/v1/gateways/gw-1/streams/a/rows?limit=many",
            400,
            "bad-query",
            "invalid digit",
        ),
        (
            "/v1/gateways/gw-1/streams/a/rows?after=xyz",
            400,
            "bad-query",
            "after is not a cursor of this service",
        ),
        (
            "/v1/gateways/gw-1/ledger?after=xyz",
            400,
            "bad-query",
            "after is not a cursor of this service",
        ),
        (
            "/v1/gateways/gw-9/ledger",
            404,
            "not-found",
            "no gateway of this name was ever heard of",
        ),
        (
            "/v1/gateways/gw-1/streams/a/rows?class=loud",
            400,
            "bad-query",
            "class is alarm, summary or raw",
        ),
        (
            "/v1/gateways/gw-1/streams/a/rows?klass=raw",
            400,
            "bad-query",
            "unknown field `klass`",
        ),
        (
            "/v1/gateways/gw-1/streams/A/rows",
            400,
            "bad-query",
            "a name has only",
        ),
        (
            "/v1/gateways?after=../x",
            400,
            "bad-query",
            "a name has only",
        ),
        (
            "/v1/gateways/gw-9/streams",
            404,
            "not-found",
            "no gateway of this name was ever heard of",
        ),
        (
            "/v1/gateways/'%20OR%201=1/streams",
            404,
            "not-found",
            "no gateway of this name was ever heard of",
        ),
        (
            "/v2/gateways",
            404,
            "not-found",
            "there is nothing at this address",
        ),
    ] {
        let found = centre.client.get(path).await.refusal();
        assert_eq!(
            (found.0, found.1.as_str()),
            (status, code),
            "{path}: {found:?}"
        );
        assert!(found.2.contains(fact), "{path}: {found:?}");
    }
    assert_eq!(
        centre
            .client
            .get("/v1/gateways/gw-1/streams/a/rows?limit=10000")
            .await
            .status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_commit_is_announced_to_those_who_listen() {
    let centre = Centre::start().await;
    let mut events = TcpStream::connect(centre.client.address).await.unwrap();
    let token = &centre.client.token;
    let head =
        format!("GET /v1/events HTTP/1.1\r\nhost: centre\r\nauthorization: Bearer {token}\r\n\r\n");
    events.write_all(head.as_bytes()).await.unwrap();
    let mut lines = BufReader::new(events).lines();
    // The end of the head says that it listens.
    while !lines.next_line().await.unwrap().unwrap().is_empty() {}
    centre
        .client
        .sync(&request(
            "gw-1",
            vec![rows("a", epoch(1), 1..=3), rows("b", epoch(1), 1..=1)],
        ))
        .await;
    let data = loop {
        let line = lines.next_line().await.unwrap().unwrap();
        if let Some(data) = line.strip_prefix("data: ") {
            break data.to_owned();
        }
    };
    assert_eq!(data, r#"{"gateway":"gw-1","streams":["a","b"]}"#);
}
