//! The archive: what is in it beside, instead of, or after what belongs there.

use tar::EntryType;
use tidegate_bundle::{
    Artifact, ArtifactKind, BUNDLE_BYTES_MAX, Digest, UnverifiedBundle, VerifiedRoot, seal,
};

use crate::fixture::{
    COMPONENT, Fleet, archive, archive_of, component_name, envelope, fleet, release,
};

const RELEASE: &str = "release.dsse.json";

fn genuine_envelope(fleet: &Fleet) -> Vec<u8> {
    envelope(&fleet.bundle()).to_string().into_bytes()
}

#[test]
fn a_truncated_bundle_is_refused_at_every_length() {
    let fleet = fleet();
    let bundle = fleet.bundle();
    for length in 0..bundle.len() {
        fleet.check(bundle[..length].to_vec(), "truncated");
    }
}

#[test]
fn only_zeros_follow_the_end() {
    let fleet = fleet();
    let followed_by = |tail: &[u8]| [fleet.bundle(), tail.to_vec()].concat();
    fleet.check(followed_by(&[0; 8192]), "accepted");
    fleet.check(followed_by(&[0]), "accepted");
    fleet.check(followed_by(&[0, 0, 1]), "trailing-data");
    fleet.check(followed_by(&fleet.bundle()), "trailing-data");
    // Hidden in the padding of an entry.
    let mut bundle = fleet.bundle();
    let padding = bundle.len() - 1025;
    assert_eq!(bundle[padding], 0);
    bundle[padding] = 1;
    fleet.check(bundle, "trailing-data");
}

#[test]
fn every_entry_belongs_there() {
    let fleet = fleet();
    let envelope = genuine_envelope(&fleet);
    let component = component_name();
    let honest = [(RELEASE, &*envelope), (&*component, COMPONENT)];
    fleet.check(archive(&honest), "accepted");

    let extra = format!("artifacts/{}", Digest::of(b"extra"));
    fleet.check(
        archive(&[honest[0], honest[1], (&extra, b"extra")]),
        "unexpected-entry",
    );
    fleet.check(
        archive(&[honest[0], (&extra, b"extra"), honest[1]]),
        "unexpected-entry",
    );
    fleet.check(
        archive(&[honest[0], honest[1], honest[1]]),
        "unexpected-entry",
    );
    fleet.check(
        archive(&[honest[0], honest[0], honest[1]]),
        "unexpected-entry",
    );
    fleet.check(archive(&[honest[1], honest[0]]), "unexpected-entry");
    fleet.check(archive(&[honest[0]]), "missing-entry");
    fleet.check(archive(&[]), "missing-entry");
    fleet.check(archive(&[honest[0]; 20]), "malformed");
}

#[test]
fn no_name_leads_elsewhere() {
    let fleet = fleet();
    let envelope = genuine_envelope(&fleet);
    let component = component_name();
    let digest = component.strip_prefix("artifacts/").unwrap();
    for name in [
        "../release".to_owned(),
        "/etc/cron.d/tidegate".to_owned(),
        "artifacts/../../etc/passwd".to_owned(),
        format!("./{component}"),
        format!("{component}/"),
        format!("artifacts//{digest}"),
        format!("artifacts\\{digest}"),
        format!("artifacts/{}", digest.to_uppercase()),
        format!("{component}\0.sh"),
        String::new(),
    ] {
        fleet.check(
            archive(&[(RELEASE, &envelope), (&name, COMPONENT)]),
            "unexpected-entry",
        );
        fleet.check(
            archive(&[(&name, &envelope), (&component, COMPONENT)]),
            "unexpected-entry",
        );
    }
}

#[test]
fn every_entry_is_a_regular_file() {
    let fleet = fleet();
    let envelope = genuine_envelope(&fleet);
    let component = component_name();
    let kinds = [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Directory,
        EntryType::Fifo,
        EntryType::Block,
        EntryType::GNUSparse,
        EntryType::GNULongName,
        EntryType::XHeader,
        EntryType::XGlobalHeader,
        EntryType::Continuous,
    ];
    for kind in kinds {
        let release = (EntryType::Regular, RELEASE, &*envelope);
        fleet.check(
            archive_of(&[release, (kind, &component, COMPONENT)]),
            "unexpected-entry",
        );
        fleet.check(
            archive_of(&[(kind, "x", b"x"), release]),
            "unexpected-entry",
        );
    }
}

#[test]
fn a_header_that_lies_is_refused() {
    let fleet = fleet();
    let rewritten = |at: usize, text: &[u8]| {
        let mut bundle = fleet.bundle();
        bundle[at..at + text.len()].copy_from_slice(text);
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes().copy_from_slice(&bundle[..512]);
        header.set_cksum();
        bundle[..512].copy_from_slice(header.as_bytes());
        bundle
    };
    fleet.check(rewritten(108, b"0001750"), "accepted");
    for size in [&b"77777777777\0"[..], b"00007777777\0"] {
        fleet.check(rewritten(124, size), "truncated");
    }
    // Binary sizes are an extension; signs, digits beyond 7 and nothing are no octal numbers.
    for size in [
        &b"\x80\0\0\0\0\0\0\0\0\0\0\x01"[..],
        b"-0000000001\0",
        b"00000000009\0",
        &[0; 12],
        b"777777777777",
    ] {
        fleet.check(rewritten(124, size), "malformed");
    }
    // A name in two halves, a link's target, the GNU magic.
    fleet.check(rewritten(345, b"artifacts"), "unexpected-entry");
    fleet.check(rewritten(157, b"/etc/passwd"), "unexpected-entry");
    fleet.check(rewritten(156, &[0]), "unexpected-entry");
    fleet.check(rewritten(257, b"ustar  \0"), "malformed");
    let mut bundle = fleet.bundle();
    bundle[148] ^= 1;
    fleet.check(bundle, "malformed");
}

#[test]
fn an_artifact_is_the_one_that_the_release_names() {
    let fleet = fleet();
    let envelope = genuine_envelope(&fleet);
    let with_component =
        |bytes: &[u8]| archive(&[(RELEASE, &envelope), (&component_name(), bytes)]);
    let mut damaged = COMPONENT.to_vec();
    damaged[3] ^= 1;
    fleet.check(with_component(&damaged), "digest-mismatch");
    fleet.check(with_component(&COMPONENT[1..]), "length");
    fleet.check(with_component(b""), "length");

    // The author's tool would not write it, either.
    let error = seal(&release(), &[&damaged], &[&fleet.publishers[0]]).unwrap_err();
    assert_eq!(error.reason(), "digest-mismatch");
    assert_eq!(
        seal(&release(), &[], &[&fleet.publishers[0]])
            .unwrap_err()
            .reason(),
        "missing-entry"
    );
}

#[test]
fn precompiled_code_comes_out_for_its_own_machine_only() {
    let fleet = fleet();
    let root = VerifiedRoot::open(&fleet.signed_root()).unwrap();
    let code: [&[u8]; 2] = [b"code for arm", b"code for x86"];
    let mut release = release();
    for (target, code) in ["aarch64-unknown-linux-gnu", "x86_64-unknown-linux-gnu"]
        .into_iter()
        .zip(code)
    {
        let kind = ArtifactKind::Precompiled {
            target: target.to_owned(),
            engine: "engine-1".to_owned(),
        };
        release.artifacts.push(Artifact::of(kind, code));
    }
    let sealed = seal(
        &release,
        &[COMPONENT, code[0], code[1]],
        &[&fleet.publishers[0]],
    )
    .unwrap();
    let bundle = UnverifiedBundle::open(sealed)
        .unwrap()
        .verify(&root)
        .unwrap();
    assert_eq!(bundle.component(), COMPONENT);
    assert_eq!(
        bundle.precompiled("aarch64-unknown-linux-gnu", "engine-1"),
        Some(code[0])
    );
    assert_eq!(
        bundle.precompiled("x86_64-unknown-linux-gnu", "engine-1"),
        Some(code[1])
    );
    assert_eq!(
        bundle.precompiled("x86_64-unknown-linux-gnu", "engine-2"),
        None
    );
    assert_eq!(
        bundle.precompiled("riscv64gc-unknown-linux-gnu", "engine-1"),
        None
    );
}

#[test]
fn a_bundle_is_bounded_before_it_is_read() {
    let fleet = fleet();
    let mut bundle = fleet.bundle();
    bundle.resize(BUNDLE_BYTES_MAX, 0);
    fleet.check(bundle.clone(), "accepted");
    bundle.push(0);
    fleet.check(bundle, "too-large");
}
