//! `POST /v1/gateways/{gateway}/import`: what a device has signed, whoever brings it.

use axum::http::Method;
use tidegate_bundle::{Chain, SigningKey};
use tidegate_wire::export::{CHUNK_CONTENT_TYPE, EXPORT_VERSION};
use tidegate_wire::{Chunk, End, Part, StreamRows};

use crate::client::{Answer, Centre};
use crate::samples::{epoch, lost, name, number, request, rows, stream};

fn device(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

pub(crate) fn key(seed: u8) -> String {
    format!("{}\n", device(seed).public_key().to_text())
}

fn chunk(gateway: &str, part: Part) -> Vec<u8> {
    let chunk = Chunk {
        version: EXPORT_VERSION,
        gateway: name(gateway),
        part,
    };
    tidegate_wire::encode(&chunk).unwrap()
}

/// The bodies that bring these chunks, one after the other.
fn bodies(device: &SigningKey, chunks: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut chain = Chain::start();
    let body = |chunk: Vec<u8>| {
        let before = *chain.as_bytes();
        [before.to_vec(), chain.sign(device, &chunk)].concat()
    };
    chunks.into_iter().map(body).collect()
}

fn export(gateway: &str, parts: Vec<Vec<StreamRows>>) -> Vec<Vec<u8>> {
    let chunks = parts
        .into_iter()
        .map(|rows| chunk(gateway, Part::Rows(rows)));
    bodies(&device(7), chunks.collect())
}

/// 100 rows of one stream in chunks of 25.
pub(crate) fn hundred() -> Vec<Vec<u8>> {
    let part = |first| vec![rows("a", epoch(1), first..=first + 24)];
    export("gw-1", [1, 26, 51, 76].map(part).to_vec())
}

impl Centre {
    pub(crate) async fn import(&self, gateway: &str, body: Vec<u8>) -> Answer {
        let path = format!("/v1/gateways/{gateway}/import");
        self.client
            .call(Method::POST, &path, CHUNK_CONTENT_TYPE, body)
            .await
    }

    async fn imported(&self, body: &[u8]) -> (u64, u64, usize) {
        let answer = self.import("gw-1", body.to_vec()).await.json();
        let number = |field| answer[field].as_u64().unwrap_or_else(|| panic!("{answer}"));
        let gaps = answer["gaps"].as_array().unwrap().len();
        (number("rows_new"), number("rows_known"), gaps)
    }
}

#[tokio::test]
async fn an_export_is_merged_by_identity_and_a_second_time_changes_nothing() {
    let centre = Centre::start().await;
    centre.knows("gw-1", &key(7));
    let bodies = hundred();
    // Cut short after two chunks, and begun again.
    for body in &bodies[..2] {
        assert_eq!(centre.imported(body).await, (25, 0, 0));
    }
    for (number, body) in bodies.iter().enumerate() {
        let expected = if number < 2 { (0, 25, 0) } else { (25, 0, 0) };
        assert_eq!(centre.imported(body).await, expected);
    }
    assert_eq!(centre.client.count("gw-1", "a").await, 100);
    // What comes over the link later finds them held, and what comes after that goes on from there.
    let sync = request("gw-1", vec![rows("a", epoch(1), 90..=120)]);
    assert_eq!(centre.client.sync(&sync).await.marks[0].seq, 120);
    for body in &bodies {
        assert_eq!(centre.imported(body).await, (0, 25, 0));
    }
    let seqs = centre.client.seqs("gw-1", "a").await;
    assert_eq!(seqs, (1..=120).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_dropped_chunk_is_a_gap_that_the_centre_does_not_take() {
    let centre = Centre::start().await;
    centre.knows("gw-1", &key(7));
    let bodies = hundred();
    assert_eq!(centre.imported(&bodies[0]).await, (25, 0, 0));
    assert_eq!(centre.imported(&bodies[2]).await, (0, 0, 1));
    assert_eq!(centre.client.count("gw-1", "a").await, 25);
}

#[tokio::test]
async fn only_a_device_of_the_gateway_that_the_centre_knows_is_believed() {
    let centre = Centre::start().await;
    let body = hundred().remove(0);
    let code = async |body: Vec<u8>| centre.import("gw-1", body).await.refusal().1;
    assert_eq!(code(body.clone()).await, "unknown-device");
    centre.knows("gw-1", &key(8));
    assert_eq!(code(body.clone()).await, "bad-signature");
    centre.knows("gw-1", "no key");
    assert_eq!(code(body.clone()).await, "storage");
    // The machine was replaced: both are known.
    centre.knows("gw-1", &format!("{}{}", key(8), key(7)));
    assert_eq!(centre.imported(&body).await, (25, 0, 0));
    // The same device under another name.
    centre.knows("gw-2", &key(7));
    let other = centre.import("gw-2", body).await.refusal();
    assert_eq!((other.0, other.1.as_str()), (400, "malformed"));
    let sneaky = centre.import("..%2Fgw-1", Vec::new()).await.refusal();
    assert_eq!(sneaky.1, "bad-query");
}

#[tokio::test]
async fn no_flipped_byte_of_a_chunk_or_of_the_hash_before_it_is_taken() {
    let centre = Centre::start().await;
    centre.knows("gw-1", &key(7));
    let body = export("gw-1", vec![vec![rows("a", epoch(1), 1..=2)]]).remove(0);
    for byte in 0..body.len() {
        let mut flipped = body.clone();
        flipped[byte] ^= 0x40;
        let refusal = centre.import("gw-1", flipped).await.refusal();
        assert_eq!((refusal.0, refusal.1.as_str()), (403, "bad-signature"));
    }
    for end in [0, 31, 32, 95, 96, body.len() - 1] {
        let answer = centre.import("gw-1", body[..end].to_vec()).await;
        assert!(answer.status.is_client_error(), "{end}: {answer:?}");
    }
    assert_eq!(centre.imported(&body).await, (2, 0, 0));
}

#[tokio::test]
async fn a_signed_chunk_is_bounded_and_checked_as_any_request() {
    let centre = Centre::start().await;
    centre.knows("gw-1", &key(7));
    let bomb = vec![0_u8; tidegate_wire::codec::EXPANDED_BYTES_MAX + 1];
    let bomb = zstd_of(&bomb);
    assert!(bomb.len() < 10_000);
    let twice = vec![rows("a", epoch(1), 1..=2), rows("a", epoch(1), 3..=4)];
    let too_many = vec![rows("a", epoch(1), 1..=10_001)];
    let cases = [
        (bomb, "malformed"),
        (b"no chunk".to_vec(), "malformed"),
        (chunk("gw-1", Part::Rows(twice)), "malformed"),
        (chunk("gw-1", Part::Rows(too_many)), "too-large"),
    ];
    for (chunk, code) in cases {
        let body = bodies(&device(7), vec![chunk]).remove(0);
        assert_eq!(centre.import("gw-1", body).await.refusal().1, code);
    }
    let large = vec![0; 32 + 64 + tidegate_wire::codec::COMPRESSED_BYTES_MAX + 1];
    let refusal = centre.import("gw-1", large).await.refusal();
    assert_eq!((refusal.0, refusal.1.as_str()), (413, "too-large"));
    let nothing = bodies(&device(7), vec![chunk("gw-1", Part::End(End { rows: 0 }))]);
    assert_eq!(centre.imported(&nothing[0]).await, (0, 0, 0));
}

/// A zstd frame of as many zeros, in blocks that say: one byte, so many times.
fn zstd_of(bytes: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0xa0];
    frame.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
    // Blocks that repeat one byte: type 1, at most 128 KiB each.
    let blocks: Vec<_> = bytes.chunks(128 << 10).collect();
    for (number, block) in blocks.iter().enumerate() {
        let last = u32::from(number + 1 == blocks.len());
        let header = last | 1 << 1 | u32::try_from(block.len()).unwrap() << 3;
        frame.extend(&header.to_le_bytes()[..3]);
        frame.push(0);
    }
    frame
}

#[tokio::test]
async fn a_row_that_differs_from_the_one_held_is_a_conflict_and_an_entry_is_none() {
    let centre = Centre::start().await;
    centre.knows("gw-1", &key(7));
    let mut other = rows("a", epoch(1), 1..=3);
    other.rows[1].content = number("celsius", 1.0);
    let sync = request("gw-1", vec![rows("a", epoch(1), 1..=3)]);
    centre.client.sync(&sync).await;
    let body = export("gw-1", vec![vec![other]]).remove(0);
    assert_eq!(centre.import("gw-1", body).await.refusal().1, "conflict");
    let entry = StreamRows {
        of: stream("a", epoch(1)),
        rows: vec![lost(1, 3)],
    };
    let body = export("gw-1", vec![vec![entry]]).remove(0);
    assert_eq!(centre.imported(&body).await, (0, 1, 0));
}

#[tokio::test]
async fn a_file_does_not_say_how_a_gateway_is_now() {
    let centre = Centre::start().await;
    centre.knows("gw-1", &key(7));
    centre.knows("gw-9", &key(7));
    centre.client.sync(&request("gw-1", Vec::new())).await;
    let gateway = async |name: &str| {
        let all = centre.client.get("/v1/gateways").await.json();
        let all = all["gateways"].as_array().unwrap().clone();
        all.into_iter().find(|gateway| gateway["gateway"] == name)
    };
    let before = gateway("gw-1").await.unwrap();
    let newer = vec![rows("a", epoch(4), 1..=3)];
    centre
        .imported(&export("gw-1", vec![newer]).remove(0))
        .await;
    let mut after = gateway("gw-1").await.unwrap();
    assert_ne!(after["newest_row"], before["newest_row"]);
    after["newest_row"] = before["newest_row"].clone();
    assert_eq!(after, before);
    // One that the centre has never heard of is there, with what the file says.
    let only = export("gw-9", vec![vec![rows("a", epoch(1), 1..=3)]]).remove(0);
    centre.import("gw-9", only).await;
    assert!(gateway("gw-9").await.is_some());
    assert_eq!(centre.client.count("gw-9", "a").await, 3);
}
