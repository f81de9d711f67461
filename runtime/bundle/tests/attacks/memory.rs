//! What a gateway remembers, on a disk that fails or lies.

use serde_json::Value;
use tidegate_bundle::{Nonce, TRUST_BYTES_MAX, Trust};

use crate::site::{CREATED, MODULE, Site, deployment, signed_release, site};

/// A gateway that remembers something of everything.
fn experienced() -> Site {
    let mut site = site();
    let release = signed_release(MODULE, 7);
    let taken = site.takes(&deployment(5, &[&release]), &[&release]);
    site.trust.confirm(&taken).unwrap();
    let nonce = Nonce::parse(&"5".repeat(64)).unwrap();
    let time = site.time(nonce, CREATED).sign(&[&site.fleet.timekeeper]);
    site.trust
        .accept_time(&site.gateway, nonce, &time.unwrap())
        .unwrap();
    site.trust.deny(release.digest);
    site
}

fn reason(bytes: &[u8]) -> &'static str {
    Trust::from_bytes(bytes).map_or_else(|error| error.reason(), |_| "accepted")
}

#[test]
fn a_memory_reads_back_as_it_was_and_goes_on() {
    let mut site = experienced();
    let bytes = site.memory();
    site.trust = Trust::from_bytes(&bytes).unwrap();
    assert_eq!(site.memory(), bytes);
    let release = signed_release(MODULE, 6);
    site.refuses(
        &deployment(4, &[&release]),
        &[&release],
        "sequence-rollback",
    );
    site.refuses(&deployment(6, &[&release]), &[&release], "release-rollback");
    let fresh = Trust::begin(&site.fleet.signed_root()).unwrap();
    let bytes = fresh.to_bytes().unwrap();
    assert_eq!(
        Trust::from_bytes(&bytes).unwrap().to_bytes().unwrap(),
        bytes
    );
}

#[test]
fn no_damaged_memory_is_taken_for_one() {
    let bytes = experienced().memory();
    for at in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[at / 8] ^= 1 << (at % 8);
        assert_eq!(reason(&damaged), "memory-damaged", "bit {at}");
    }
    for length in 0..bytes.len() {
        assert_eq!(reason(&bytes[..length]), "memory-damaged", "{length}");
    }
    assert_eq!(reason(&[&bytes[..], b" "].concat()), "memory-damaged");
    assert_eq!(reason(&[&bytes[..], &bytes[..]].concat()), "memory-damaged");
    assert_eq!(reason(&vec![0; bytes.len()]), "memory-damaged");
    assert_eq!(reason(&vec![b' '; TRUST_BYTES_MAX + 1]), "memory-damaged");
}

/// The first line and the object after it.
fn split(bytes: &[u8]) -> (&str, &[u8]) {
    let at = bytes.iter().position(|byte| *byte == b'\n').unwrap();
    (std::str::from_utf8(&bytes[..at]).unwrap(), &bytes[at + 1..])
}

#[test]
fn without_the_checksum_a_flipped_bit_would_lower_a_number() {
    let bytes = experienced().memory();
    let (_, body) = split(&bytes);
    let mut lower = 0;
    for at in 0..body.len() * 8 {
        let mut damaged = body.to_vec();
        damaged[at / 8] ^= 1 << (at % 8);
        let seq = serde_json::from_slice::<Value>(&damaged).map(|value| value["seq"].as_u64());
        lower += usize::from(matches!(seq, Ok(Some(seq)) if seq < 5));
    }
    assert!(lower > 0);
}

#[test]
fn a_memory_is_read_as_strictly_as_a_document() {
    let bytes = experienced().memory();
    let (_, body) = split(&bytes);
    let check = |edit: &dyn Fn(&mut Value), expected: &str| {
        let mut value: Value = serde_json::from_slice(body).unwrap();
        edit(&mut value);
        let body = value.to_string();
        let digest = tidegate_bundle::Digest::of(body.as_bytes());
        let bytes = format!("tidegate-trust-1 {digest}\n{body}");
        assert_eq!(reason(bytes.as_bytes()), expected, "{body}");
    };
    check(&|_| (), "accepted");
    for field in [
        "root",
        "seq",
        "counters",
        "trusted_time",
        "newest_created",
        "denied",
    ] {
        let remove = |value: &mut Value| drop(value.as_object_mut().unwrap().remove(field));
        check(&remove, "memory-damaged");
    }
    check(&|value| value["extra"] = 1.into(), "memory-damaged");
    check(&|value| value["seq"] = (-1).into(), "memory-damaged");
    check(
        &|value| value["counters"]["../x"] = 1.into(),
        "memory-damaged",
    );
    check(&|value| value["root"] = "{}".into(), "memory-damaged");
    let many = vec!["0".repeat(64); 65];
    check(
        &|value| value["denied"] = many.clone().into(),
        "memory-damaged",
    );
    let newer = String::from_utf8(bytes.clone())
        .unwrap()
        .replacen("trust-1", "trust-2", 1);
    assert_eq!(reason(newer.as_bytes()), "memory-damaged");
}
