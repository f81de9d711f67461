use std::io::Cursor;

use tidegate_bundle::Stick;

use super::*;
use crate::fixture::fleet;

const BLOCK: usize = STICK_BLOCK_BYTES;

fn stick() -> Vec<u8> {
    let fleet = fleet();
    let modules = [fleet.module("a", 1), fleet.module("b", 1)];
    let (one, two) = (fleet.root(1), fleet.root(2));
    let releases: Vec<_> = modules.iter().map(|it| it.release.as_slice()).collect();
    let blobs: Vec<_> = modules.iter().map(|it| it.component.as_slice()).collect();
    let stick = Stick {
        roots: &[&two, &one],
        deployment: &fleet.deployment(1, &modules),
        releases: &releases,
        blobs: &blobs,
    };
    stick.write().unwrap()
}

fn reason(bytes: Vec<u8>) -> &'static str {
    match StickFile::open(Cursor::new(bytes)) {
        Ok(_) => "accepted",
        Err(error) => error.reason(),
    }
}

/// Where each header stands.
fn headers(bytes: &[u8]) -> Vec<usize> {
    let mut at = 0;
    let mut headers = Vec::new();
    while bytes[at] != 0 {
        headers.push(at);
        let size = std::str::from_utf8(&bytes[at + 124..at + 135]).unwrap();
        let size = usize::from_str_radix(size, 8).unwrap();
        at += BLOCK + size.next_multiple_of(BLOCK);
    }
    headers
}

/// Changes a header and makes its checksum fit again.
fn edit(bytes: &mut [u8], at: usize, change: impl FnOnce(&mut [u8])) {
    let header = &mut bytes[at..at + BLOCK];
    change(header);
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn rename(bytes: &mut [u8], at: usize, name: &str) {
    edit(bytes, at, |header| {
        header[..100].fill(0);
        header[..name.len()].copy_from_slice(name.as_bytes());
    });
}

#[test]
fn everything_on_a_stick_is_read_back_in_any_order() {
    let fleet = fleet();
    let module = fleet.module("a", 1);
    let mut file = StickFile::open(Cursor::new(stick())).unwrap();
    let digest = Digest::of(&module.component);
    let mut blob = Vec::new();
    file.blob(digest)
        .unwrap()
        .unwrap()
        .read_to_end(&mut blob)
        .unwrap();
    assert_eq!(blob, module.component);
    assert_eq!(
        file.release(module.digest).unwrap().unwrap(),
        module.release
    );
    assert_eq!(file.root(2).unwrap().unwrap(), fleet.root(2));
    assert!(file.root(3).unwrap().is_none());
    assert!(file.blob(Digest::of(b"other")).unwrap().is_none());
}

#[test]
fn a_stick_that_was_cut_short_is_refused_wherever_it_was_cut() {
    let bytes = stick();
    for length in (0..bytes.len()).step_by(37).chain([bytes.len() - 1]) {
        assert_eq!(reason(bytes[..length].to_vec()), "truncated", "{length}");
    }
    assert_eq!(reason(bytes), "accepted");
}

#[test]
fn what_follows_the_end_is_refused_but_for_the_zeros_of_archivers() {
    let bytes = stick();
    assert_eq!(reason([&bytes[..], &[0; 10_240]].concat()), "accepted");
    assert_eq!(reason([&bytes[..], b"x"].concat()), "trailing-data");
    assert_eq!(reason([&bytes[..], &[0; 65_537]].concat()), "trailing-data");
    let mut padded = bytes.clone();
    let last = headers(&bytes)[1] - 1;
    padded[last] = 1;
    assert_eq!(reason(padded), "trailing-data");
}

#[test]
fn no_name_on_a_stick_is_a_path() {
    let bytes = stick();
    let at = headers(&bytes)[2];
    for name in [
        "../deployment",
        "/deployment",
        "deployment/../../etc/passwd",
        "./deployment",
        "roots/../1",
        "sha256/../../../etc/cron.d/x",
        "deploymenu",
        "DEPLOYMENT",
        "roots/01",
        "",
    ] {
        let mut changed = bytes.clone();
        rename(&mut changed, at, name);
        assert_eq!(reason(changed), "unexpected-entry", "{name:?}");
    }
    for kind in [b'1', b'2', b'5', b'x', b'L', b'g', 0] {
        let mut changed = bytes.clone();
        edit(&mut changed, at, |header| header[156] = kind);
        assert_eq!(reason(changed), "unexpected-entry", "{kind}");
    }
}

#[test]
fn entries_stand_in_their_order_each_once_and_there_is_a_deployment() {
    let bytes = stick();
    let places = headers(&bytes);
    let (roots, deployment) = (&places[..2], places[2]);
    let entry = |from: usize| {
        let to = places.iter().find(|at| **at > from).unwrap();
        bytes[from..*to].to_vec()
    };
    let rest = bytes[places[3]..].to_vec();
    let twice = [entry(deployment), entry(deployment), rest.clone()].concat();
    assert_eq!(reason(twice), "unexpected-entry");
    let swapped = [
        entry(roots[1]),
        entry(roots[0]),
        entry(deployment),
        rest.clone(),
    ]
    .concat();
    assert_eq!(reason(swapped), "unexpected-entry");
    assert_eq!(reason(rest.clone()), "missing-entry");
    assert_eq!(reason([entry(deployment), rest].concat()), "accepted");
    assert_eq!(reason(vec![0; 1024]), "missing-entry");
}

#[test]
fn nothing_on_a_stick_is_larger_than_its_kind_and_no_stick_larger_than_all() {
    let bytes = stick();
    for (index, size) in [
        (0, 65_537_u64),
        (2, 65_537),
        (3, 65_537),
        (5, (64 << 20) + 1),
    ] {
        let mut changed = bytes.clone();
        edit(&mut changed, headers(&bytes)[index], |header| {
            header[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        });
        assert_eq!(reason(changed), "too-large", "{index}");
    }
    // Ten gigabytes, of which not one is read.
    #[derive(Debug)]
    struct Huge;
    impl Read for Huge {
        fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
            panic!("it was read");
        }
    }
    impl Seek for Huge {
        fn seek(&mut self, _to: SeekFrom) -> io::Result<u64> {
            Ok(10 << 30)
        }
    }
    assert_eq!(StickFile::open(Huge).unwrap_err().reason(), "too-large");
}

#[test]
fn more_entries_than_any_stick_has_are_not_listed() {
    let bytes = stick();
    let at = headers(&bytes)[0];
    let mut many = Vec::new();
    for version in 1..=STICK_ENTRIES_MAX + 1 {
        let mut header = bytes[at..at + BLOCK].to_vec();
        rename(&mut header, 0, &format!("roots/{version}"));
        edit(&mut header, 0, |header| {
            header[124..135].copy_from_slice(b"00000000000")
        });
        many.extend(header);
    }
    many.extend([0; 1024]);
    assert_eq!(reason(many), "unexpected-entry");
}

#[test]
fn no_flipped_bit_makes_a_reader_panic() {
    let bytes = stick();
    for at in headers(&bytes) {
        for bit in 0..BLOCK * 8 {
            let mut flipped = bytes.clone();
            flipped[at + bit / 8] ^= 1 << (bit % 8);
            let _reason = reason(flipped);
        }
    }
}
