//! T10: input that is larger than it may be, longer than it says, or does not end.

use tidegate_bundle::{BUNDLE_BYTES_MAX, DOCUMENT_BYTES_MAX, Digest, RELEASE_TYPE, SIGNATURES_MAX};

use super::Outcome;
use super::fleet::{component, key};
use super::scene::{COUNTER, Gift, Scene};
use super::subject::{Subject, write};

const BLOCK: usize = 512;

/// An entry of an archive: its name and contents.
pub(crate) type Entry = (String, Vec<u8>);

pub(crate) fn run(scene: &mut Scene) -> Outcome {
    for subject in &Subject::all(scene)? {
        documents(scene, subject)?;
    }
    let [pump, _] = scene.releases.clone();
    cut_bundles(scene, &pump.bundle)?;
    long_bundles(scene, &pump.bundle)?;
    headers(scene, &pump.bundle)?;
    scene.takes(Gift::Bundle(&pump.bundle))
}

fn documents(scene: &mut Scene, subject: &Subject) -> Outcome {
    let bytes = &subject.bytes;
    let after = |more: &[u8]| [&bytes[..], more].concat();
    let padded = |length: usize| after(&vec![b' '; length - bytes.len()]);
    let deep = |open: &str| [open.repeat(10_000).into_bytes(), bytes.clone()].concat();
    let note = |inside: String| {
        let text = String::from_utf8_lossy(bytes);
        text.replacen('{', &format!("{{\"x-note\":{inside},"), 1)
            .into_bytes()
    };
    let many: Vec<_> = (0..=SIGNATURES_MAX)
        .map(|index| (Digest::of(&index.to_le_bytes()).to_string(), vec![0; 64]))
        .collect();
    let variants: Vec<(&str, Vec<u8>, &str)> = vec![
        ("nothing", vec![], "malformed"),
        (
            "a space more than is allowed",
            padded(DOCUMENT_BYTES_MAX + 1),
            "too-large",
        ),
        (
            "ten times what is allowed",
            padded(DOCUMENT_BYTES_MAX * 10),
            "too-large",
        ),
        ("itself again", after(bytes), "trailing-data"),
        ("a letter", after(b"x"), "trailing-data"),
        ("a zero byte", after(b"\0"), "trailing-data"),
        ("a line and a brace", after(b"\n}"), "trailing-data"),
        (
            "a byte order mark before it",
            [b"\xef\xbb\xbf", &bytes[..]].concat(),
            "malformed",
        ),
        ("ten thousand lists around it", deep("["), "malformed"),
        (
            "ten thousand objects around it",
            deep("{\"a\":"),
            "malformed",
        ),
        (
            "a note of 200 lists",
            note(format!("{}{}", "[".repeat(200), "]".repeat(200))),
            "malformed",
        ),
        (
            "a number with ten thousand digits",
            note(format!("1e{}", "9".repeat(10_000))),
            "malformed",
        ),
        (
            "signatures beyond the bound",
            write(subject.kind, &subject.body, &many),
            "malformed",
        ),
        (
            "a gzip header before it",
            [b"\x1f\x8b\x08\0", &bytes[..]].concat(),
            "malformed",
        ),
        (
            "a zstd header before it",
            [b"\x28\xb5\x2f\xfd", &bytes[..]].concat(),
            "malformed",
        ),
    ];
    for (what, variant, reason) in variants {
        let what = format_args!("{} and {what}", subject.name);
        scene.refuses(what, (subject.gift)(&variant), &[reason])?;
    }
    for length in 0..bytes.len() {
        let cut = bytes.get(..length).unwrap_or_default();
        let what = format_args!("{} cut off at {length}", subject.name);
        scene.refuses(what, (subject.gift)(cut), &["malformed"])?;
    }
    let full = padded(DOCUMENT_BYTES_MAX);
    let what = format_args!("{} with as many spaces as there may be", subject.name);
    scene.harmless(what, (subject.gift)(&full), &subject.body)
}

fn cut_bundles(scene: &mut Scene, bundle: &[u8]) -> Outcome {
    for length in 0..bundle.len() {
        let cut = bundle.get(..length).unwrap_or_default();
        scene.refuses(
            format_args!("a bundle cut off at {length}"),
            Gift::Bundle(cut),
            &["truncated"],
        )?;
    }
    Ok(())
}

fn long_bundles(scene: &mut Scene, bundle: &[u8]) -> Outcome {
    let after = |more: &[u8]| [bundle, more].concat();
    let entries = vec![("release.dsse.json".to_owned(), vec![]); 18];
    let variants: Vec<(&str, Vec<u8>, &str)> = vec![
        ("itself again", after(bundle), "trailing-data"),
        ("a letter", after(b"x"), "trailing-data"),
        (
            "a letter after many zeros",
            after(&[&[0; 100_000][..], b"x"].concat()),
            "trailing-data",
        ),
        (
            "more bytes than are allowed",
            after(&vec![0; BUNDLE_BYTES_MAX]),
            "too-large",
        ),
        (
            "a gzip header before it",
            [b"\x1f\x8b\x08\0", bundle].concat(),
            "malformed",
        ),
        (
            "more entries than artifacts may be",
            archive(&entries),
            "malformed",
        ),
    ];
    for (what, variant, reason) in variants {
        scene.refuses(
            format_args!("a bundle and {what}"),
            Gift::Bundle(&variant),
            &[reason],
        )?;
    }
    Ok(())
}

/// Lengths that a header claims; its checksum is right.
fn headers(scene: &mut Scene, bundle: &[u8]) -> Outcome {
    let sizes: [(&[u8; 12], &str); 8] = [
        (b"77777777777\0", "truncated"),
        (b"777777777777", "malformed"),
        (b"-0000000001\0", "malformed"),
        (b"\x80\0\0\0\0\0\0\0\0\0\x04\0", "malformed"),
        (b"0x000000200\0", "malformed"),
        (b"           \0", "malformed"),
        (b"00000000 00\0", "malformed"),
        (b"00000000000\0", "malformed"),
    ];
    for (size, reason) in sizes {
        let mut changed = bundle.to_vec();
        put(&mut changed, 124, size);
        let what = format_args!(
            "a header with the length {:?}",
            String::from_utf8_lossy(size)
        );
        scene.refuses(what, Gift::Bundle(&changed), &[reason])?;
    }
    signed_lengths(scene)
}

/// Lengths that a release claims, signed by its publisher.
fn signed_lengths(scene: &mut Scene) -> Outcome {
    let body = component("pump", COUNTER);
    let name = format!("artifacts/{}", Digest::of(&body));
    for length in [0, 1, u64::MAX, 1 << 40] {
        let mut release: serde_json::Value =
            serde_json::from_slice(&Subject::all(scene)?.swap_remove(2).body)?;
        *release
            .pointer_mut("/artifacts/0/length")
            .ok_or("no length in a release")? = length.into();
        *release
            .pointer_mut("/artifacts/0/sha256")
            .ok_or("no digest in a release")? = Digest::of(&body).to_string().into();
        let bytes = super::fleet::sign_any(RELEASE_TYPE, &release, &[&key(3)])?;
        let bundle = archive(&[
            ("release.dsse.json".to_owned(), bytes),
            (name.clone(), body.clone()),
        ]);
        let what = format_args!("a release with an artifact of {length} bytes");
        scene.refuses(what, Gift::Bundle(&bundle), &["length"])?;
    }
    Ok(())
}

/// Writes a field of the first header, and its checksum.
pub(crate) fn put(archive: &mut [u8], at: usize, field: &[u8]) {
    let fill = |archive: &mut [u8], at: usize, field: &[u8]| {
        archive
            .iter_mut()
            .skip(at)
            .zip(field)
            .for_each(|(to, from)| *to = *from);
    };
    fill(archive, at, field);
    fill(archive, 148, b"        ");
    let sum: u32 = archive
        .iter()
        .take(BLOCK)
        .map(|byte| u32::from(*byte))
        .sum();
    fill(archive, 148, format!("{sum:06o}\0 ").as_bytes());
}

/// An archive of regular files with these names and contents.
pub(crate) fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, body) in entries {
        archive.extend(header(name.as_bytes(), body.len()));
        archive.extend_from_slice(body);
        archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    }
    archive.resize(archive.len() + 2 * BLOCK, 0);
    archive
}

fn header(name: &[u8], length: usize) -> Vec<u8> {
    let mut header = vec![0; BLOCK];
    put(&mut header, 0, name);
    put(&mut header, 124, format!("{length:011o}").as_bytes());
    put(&mut header, 156, b"0");
    put(&mut header, 257, b"ustar\x0000");
    header
}
