//! The test vectors of docs/formats/export.md, which another implementation made.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tidegate_bundle::{Chain, ContentKey, OpeningKey, PREFACE_BYTES, SigningKey};

const PAGE: &str = include_str!("../../../docs/formats/export.md");

/// The bytes in the code block of this name.
fn vector(name: &str) -> Vec<u8> {
    let (_, rest) = PAGE.split_once(&format!("\n```{name}\n")).unwrap();
    let (hex, _) = rest.split_once("\n```").unwrap();
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn device() -> SigningKey {
    SigningKey::from_seed(&[7; 32])
}

#[test]
fn a_chain_of_another_make_verifies_and_ours_is_the_same() {
    let (mut theirs, mut ours) = (Chain::start(), Chain::start());
    for chunk in ["first", "second"] {
        let signed = vector(chunk);
        let verified = theirs.verify(&device().public_key(), &signed);
        assert_eq!(verified.unwrap(), chunk.as_bytes());
        assert_eq!(ours.sign(&device(), chunk.as_bytes()), signed);
    }
}

#[test]
fn what_another_make_has_sealed_opens_for_the_centre_and_the_device() {
    let (preface, piece) = (vector("preface"), vector("piece"));
    assert_eq!(preface.len(), PREFACE_BYTES);
    let secret = format!("tidegate-x25519-secret:{}", BASE64.encode([5; 32]));
    let centre = OpeningKey::parse(&secret).unwrap();
    let opened = ContentKey::open(&preface, &centre).unwrap();
    assert_eq!(opened.open_piece(&piece).unwrap(), b"rows");
    let of_device = ContentKey::of_device(&preface, &device()).unwrap();
    assert_eq!(of_device.open_piece(&piece).unwrap(), b"rows");
}
