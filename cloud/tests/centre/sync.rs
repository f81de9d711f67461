//! `POST /v1/sync`: exactly once, whatever comes and however often.

use axum::http::{Method, StatusCode};
use tidegate_wire::{CONTENT_TYPE, VERSION, encode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::Centre;
use crate::samples::{epoch, number, request, rows, stream};

#[tokio::test]
async fn a_request_that_is_repeated_and_reordered_is_kept_once() {
    let centre = Centre::start().await;
    let first = request("gw-1", vec![rows("a", epoch(1), 1..=20)]);
    let second = request("gw-1", vec![rows("a", epoch(1), 15..=40)]);
    for sent in [&first, &first, &second, &first, &second, &first] {
        let reply = centre.client.sync(sent).await;
        assert_eq!(reply.version, VERSION);
        assert!(reply.next_poll_ms > 0);
        assert_eq!(reply.marks[0].of, stream("a", epoch(1)));
    }
    assert_eq!(
        centre.client.seqs("gw-1", "a").await,
        (1..=40).collect::<Vec<_>>()
    );
    assert_eq!(centre.client.count("gw-1", "a").await, 40);

    let stats = centre.client.get("/v1/stats").await.json();
    assert_eq!(
        (&stats["rows_new"], &stats["syncs"]),
        (&40.into(), &6.into())
    );
}

#[tokio::test]
async fn a_gap_is_answered_with_the_mark_and_counted() {
    let centre = Centre::start().await;
    centre
        .client
        .sync(&request("gw-1", vec![rows("a", epoch(1), 1..=3)]))
        .await;
    let mut beyond = request("gw-1", vec![rows("a", epoch(1), 9..=12)]);
    beyond.known = vec![stream("b", epoch(1))];
    let marks = centre.client.sync(&beyond).await.marks;
    assert_eq!(
        marks.iter().map(|mark| mark.seq).collect::<Vec<_>>(),
        [3, 0]
    );
    assert_eq!(centre.client.seqs("gw-1", "a").await, [1, 2, 3]);
    assert_eq!(centre.client.get("/v1/stats").await.json()["gaps"], 1);
}

#[tokio::test]
async fn another_row_at_a_known_seq_is_refused_with_the_fact() {
    let centre = Centre::start().await;
    let honest = request("gw-1", vec![rows("a", epoch(1), 1..=3)]);
    centre.client.sync(&honest).await;
    let mut clone = honest.clone();
    clone.rows[0].rows[1].content = number("celsius", 1.0);
    clone.rows.push(rows("other", epoch(1), 1..=9));
    let (status, code, message) = centre.client.post(encode(&clone).unwrap()).await.refusal();
    assert_eq!((status, code.as_str()), (409, "conflict"));
    assert_eq!(
        message,
        "stream a epoch 1 has another row at seq 2: two gateways share one name and database, or rows were altered"
    );
    assert_eq!(centre.client.count("gw-1", "other").await, 0);
    assert_eq!(
        centre.client.get("/v1/gateways").await.json()["gateways"][0]["conflicts"],
        1
    );
    // The control: the same request, unaltered, is no conflict.
    centre.client.sync(&honest).await;
    assert_eq!(
        centre.client.get("/v1/gateways").await.json()["gateways"][0]["conflicts"],
        1
    );
}

#[tokio::test]
async fn two_gateways_do_not_mix() {
    let centre = Centre::start().await;
    for (gateway, last) in [("gw-1", 3), ("gw-2", 5)] {
        centre
            .client
            .sync(&request(gateway, vec![rows("a", epoch(1), 1..=last)]))
            .await;
    }
    assert_eq!(centre.client.seqs("gw-1", "a").await, [1, 2, 3]);
    assert_eq!(centre.client.seqs("gw-2", "a").await, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn each_bad_request_gets_its_reason_and_its_counter_and_the_next_good_one_is_taken() {
    let centre = Centre::start().await;
    let good = encode(&request("gw-1", vec![rows("a", epoch(1), 1..=3)])).unwrap();
    let changed = |change: &dyn Fn(&mut tidegate_wire::SyncRequest)| {
        let mut bad = request("gw-1", vec![rows("a", epoch(1), 1..=3)]);
        change(&mut bad);
        encode(&bad).unwrap()
    };
    let cases = [
        ("not zstd", b"hello".to_vec(), 400, "malformed"),
        ("empty", Vec::new(), 400, "malformed"),
        (
            "cut short",
            good[..good.len() / 2].to_vec(),
            400,
            "malformed",
        ),
        ("a bomb", zeros(72), 400, "malformed"),
        ("too large", vec![0; (1 << 20) + 1], 413, "too-large"),
        (
            "too many rows",
            changed(&|r| r.rows = vec![rows("a", epoch(1), 1..=10_001)]),
            413,
            "too-large",
        ),
        (
            "version 2",
            changed(&|r| r.version = 2),
            400,
            "wrong-version",
        ),
        (
            "seq 0",
            changed(&|r| r.rows[0].rows[0].seq = 0),
            400,
            "malformed",
        ),
        (
            "a hole within",
            changed(&|r| drop(r.rows[0].rows.remove(1))),
            400,
            "malformed",
        ),
        (
            "a stream twice",
            changed(&|r| r.rows.push(r.rows[0].clone())),
            400,
            "malformed",
        ),
    ];
    for (case, body, status, code) in cases {
        let before = refused(&centre, code).await;
        let answer = centre.client.post(body).await.refusal();
        assert_eq!(
            (answer.0, answer.1.as_str()),
            (status, code),
            "{case}: {answer:?}"
        );
        assert!(
            !answer.2.is_empty() && !answer.2.ends_with('.'),
            "{case}: {answer:?}"
        );
        assert_eq!(refused(&centre, code).await, before + 1, "{case}");
    }
    let plain = centre
        .client
        .call(Method::POST, "/v1/sync", "application/json", good.clone())
        .await
        .refusal();
    assert_eq!(
        plain,
        (
            415,
            "wrong-content-type".into(),
            format!("content type must be {CONTENT_TYPE}")
        )
    );
    let method = centre
        .client
        .call(Method::GET, "/v1/sync", CONTENT_TYPE, Vec::new())
        .await
        .refusal();
    assert_eq!((method.0, method.1.as_str()), (405, "method-not-allowed"));

    assert_eq!(
        centre.client.get("/v1/gateways").await.json()["gateways"],
        serde_json::json!([])
    );
    assert_eq!(centre.client.post(good).await.status, StatusCode::OK);
    assert_eq!(centre.client.seqs("gw-1", "a").await, [1, 2, 3]);
}

#[tokio::test]
async fn a_compression_bomb_is_cut_off_while_it_expands() {
    let centre = Centre::start().await;
    let bomb = centre.client.post(zeros(72)).await.refusal();
    assert!(
        bomb.2
            .starts_with("cannot expand the message to at most 8388608 bytes"),
        "{bomb:?}"
    );
    // The control: less of the same expands, and is then no message.
    let small = centre.client.post(zeros(60)).await.refusal();
    assert!(small.2.starts_with("message is malformed"), "{small:?}");
}

/// So many times 128 KiB of zeros, each in 4 bytes: a zstd frame of run-length blocks.
fn zeros(blocks: u32) -> Vec<u8> {
    // Magic number, no checksum and no announced size, a window of 8 MiB.
    let mut frame = vec![0x28, 0xB5, 0x2F, 0xFD, 0x00, 0x68];
    for block in 1..=blocks {
        let header = (0x2_0000 << 3) | (1 << 1) | u32::from(block == blocks);
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.push(0);
    }
    frame
}

async fn refused(centre: &Centre, code: &str) -> u64 {
    centre.client.get("/v1/stats").await.json()["refused"][code]
        .as_u64()
        .unwrap()
}

#[tokio::test]
async fn a_body_without_an_announced_length_is_bounded_as_well() {
    let centre = Centre::start().await;
    let mut connection = TcpStream::connect(centre.client.address).await.unwrap();
    let head = format!(
        "POST /v1/sync HTTP/1.1\r\nhost: centre\r\ncontent-type: {CONTENT_TYPE}\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    let chunk = [b"10000\r\n".as_slice(), &[0; 0x1_0000], b"\r\n"].concat();
    // It is cut off at some write after the bound; what was answered before then is what counts.
    for _ in 0..64 {
        if connection.write_all(&chunk).await.is_err() {
            break;
        }
    }
    let mut answer = [0; 30];
    connection.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413 Payload Too Large");
}

#[tokio::test]
async fn too_many_requests_at_once_are_told_to_come_back() {
    let centre = Centre::start().await;
    let mut unfinished = Vec::new();
    for _ in 0..64 {
        unfinished.push(centre.client.unfinished(100).await);
    }
    let answer = centre.client.get("/v1/gateways").await;
    assert_eq!(
        (answer.refusal().0, answer.refusal().1.as_str()),
        (503, "busy")
    );
    assert_eq!(answer.headers["retry-after"], "1");

    // Whoever finishes makes room: this body is no message, and is told so.
    let mut one = unfinished.pop().unwrap();
    one.write_all(&[0; 100]).await.unwrap();
    let mut answer = [0; 12];
    one.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 400");
    assert_eq!(
        centre.client.get("/v1/gateways").await.status,
        StatusCode::OK
    );
}
