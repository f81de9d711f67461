//! Holds the architecture invariants of docs/ARCHITECTURE.md over the manifests and the sources.

#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tidegate_tests::binaries::repository;
use tidegate_tests::process::run_well;

/// Every arrow between our crates, development dependencies included. A new one is its own commit, with the reason, and
/// is drawn in docs/ARCHITECTURE.md.
const ARROWS: &[(&str, &[&str])] = &[
    ("tidegate-record", &[]),
    ("tidegate-bundle", &[]),
    ("tidegate-wire", &["tidegate-record"]),
    ("tidegate-settings", &[]),
    ("tidegate-hardware", &["tidegate-record"]),
    ("tidegate-field", &["tidegate-hardware", "tidegate-record"]),
    ("tidegate-router", &["tidegate-record"]),
    ("tidegate-sandbox", &["tidegate-record"]),
    ("tidegate-buffer", &["tidegate-record"]),
    ("tidegate-uplink", &["tidegate-record", "tidegate-wire"]),
    (
        "tidegate-update",
        &["tidegate-bundle", "tidegate-record", "tidegate-settings"],
    ),
    (
        "tidegate",
        &[
            "tidegate-buffer",
            "tidegate-bundle",
            "tidegate-field",
            "tidegate-hardware",
            "tidegate-record",
            "tidegate-router",
            "tidegate-sandbox",
            "tidegate-settings",
            "tidegate-update",
            "tidegate-uplink",
            "tidegate-wire",
        ],
    ),
    (
        "tidegate-testkit",
        &["tidegate-record", "tidegate-router", "tidegate-sandbox"],
    ),
    (
        "tide",
        &[
            "tidegate-bundle",
            "tidegate-settings",
            "tidegate-testkit",
            "tidegate-wire",
        ],
    ),
    (
        "tidegate-cloud",
        &["tidegate-bundle", "tidegate-record", "tidegate-wire"],
    ),
    ("tidegate-tests", &[]),
    ("xtask", &["tidegate-tests"]),
];

/// Foreign crates that few of ours may know, by the start of their name.
const RESERVED: &[(&str, &[&str])] = &[
    ("wasmtime", &["tidegate-sandbox"]),
    ("sqlx", &["tidegate-buffer", "tidegate-cloud"]),
    ("libsqlite3", &["tidegate-buffer", "tidegate-cloud"]),
    ("rusqlite", &["tidegate-buffer", "tidegate-cloud"]),
    // The tests have a bare subscriber to compare with.
    (
        "rumqttc",
        &["tidegate-field", "tidegate-tests", "tidegate-uplink"],
    ),
    ("ed25519", &["tidegate-bundle"]),
    ("curve25519", &["tidegate-bundle"]),
];

/// Files that may contain `unsafe`.
const UNSAFE: &[&str] = &[
    // Loads precompiled code, after its MAC was checked.
    "runtime/sandbox/src/code.rs",
    // A process gives up its namespaces.
    "runtime/sandbox/src/seal.rs",
    // Tries to map code where that must be refused; in test builds only.
    "runtime/sandbox/src/seal/escape.rs",
    // Bindings that wit-bindgen generates, for the guest alone: they run inside the sandbox.
    "sdk/guest/src/lib.rs",
];

/// Longest source file, in lines: beyond it a file has two jobs.
const LINES_MAX: usize = 600;

/// Crates of the host workspace, with the names of what they depend on.
fn crates() -> BTreeMap<String, BTreeSet<String>> {
    let manifest = repository().join("Cargo.toml");
    let arguments = [
        "metadata",
        "--format-version",
        "1",
        "--no-deps",
        "--manifest-path",
    ];
    let arguments = arguments.iter().map(PathBuf::from).chain([manifest]);
    let metadata = run_well(Path::new(env!("CARGO")), arguments).unwrap();
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    let name = |value: &Value| value["name"].as_str().unwrap().to_owned();
    let dependencies = |package: &Value| {
        package["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .map(name)
            .collect()
    };
    let packages = metadata["packages"].as_array().unwrap();
    packages
        .iter()
        .map(|package| (name(package), dependencies(package)))
        .collect()
}

/// Files of the repository with this extension, as git knows them.
fn files(extension: &str) -> Vec<PathBuf> {
    let folder = repository().display().to_string();
    let pattern = format!("*.{extension}");
    let arguments = [
        "-C",
        &folder,
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "--",
        &pattern,
    ];
    let listed = run_well(Path::new("git"), arguments).unwrap();
    listed
        .lines()
        .map(PathBuf::from)
        .filter(|file| repository().join(file).exists())
        .collect()
}

fn read(file: &Path) -> String {
    fs::read_to_string(repository().join(file)).unwrap()
}

#[test]
fn only_the_drawn_arrows_exist_between_our_crates() {
    let crates = crates();
    let drawn: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    let ours: BTreeSet<_> = crates.keys().map(String::as_str).collect();
    assert_eq!(
        ours,
        drawn.keys().copied().collect(),
        "crates and table differ"
    );
    for (name, dependencies) in &crates {
        let arrows: BTreeSet<_> = dependencies
            .iter()
            .map(String::as_str)
            .filter(|to| ours.contains(to))
            .collect();
        let allowed = drawn[name.as_str()].iter().copied().collect();
        let new: Vec<_> = arrows.difference(&allowed).collect();
        assert!(
            new.is_empty(),
            "{name} depends on {new:?}: an arrow that is not drawn"
        );
    }
}

#[test]
fn no_stage_depends_on_a_stage() {
    let stages = ["field", "router", "sandbox", "buffer", "uplink", "update"]
        .map(|stage| format!("tidegate-{stage}"));
    for (name, dependencies) in crates() {
        if stages.contains(&name) {
            assert!(
                !stages.iter().any(|stage| dependencies.contains(stage)),
                "{name} knows another stage"
            );
        }
    }
}

#[test]
fn reserved_crates_are_known_only_where_they_may_be() {
    for (name, dependencies) in crates() {
        for (reserved, owners) in RESERVED {
            let found = dependencies
                .iter()
                .find(|dependency| dependency.starts_with(reserved));
            assert!(
                found.is_none() || owners.contains(&name.as_str()),
                "{name} depends on {found:?}"
            );
        }
    }
}

#[test]
fn every_crate_denies_unsafe_code_and_has_lints() {
    for manifest in files("toml")
        .into_iter()
        .filter(|file| file.ends_with("Cargo.toml"))
    {
        let text = read(&manifest);
        let inherits = text.contains("[lints]\nworkspace = true");
        // `tide new` copies these out of this repository, where there is no workspace to inherit from.
        let own = text.contains("[lints.rust]\nunsafe_code = \"deny\"");
        let template = manifest.starts_with("sdk/templates");
        assert!(
            !text.contains("[package]") || inherits || own || template,
            "{} has no lints",
            manifest.display()
        );
    }
}

#[test]
fn unsafe_code_is_allowed_in_named_files_only() {
    // Assembled, so that this file does not contain it.
    let permission = ["allow(unsafe", "_code"].concat();
    for file in files("rs")
        .into_iter()
        .filter(|file| read(file).contains(&permission))
    {
        let name = file.display().to_string();
        assert!(UNSAFE.contains(&name.as_str()), "{name} allows unsafe code");
    }
    let root = read(Path::new("Cargo.toml"));
    assert!(
        root.contains("unsafe_code = \"deny\""),
        "the lint that this test stands on is gone"
    );
}

/// Outside of a transaction such a statement commits when it is put away, and sqlx tells nobody that it could not.
#[test]
fn no_statement_of_the_buffer_writes_and_reads_at_once() {
    // Always within the transaction of a commit.
    const WITHIN: &str = "runtime/buffer/src/effects.rs";
    let statement = ["RETURN", "ING "].concat();
    for file in files("rs") {
        let name = file.display().to_string();
        let may = name == WITHIN || !name.starts_with("runtime/buffer/src");
        assert!(may || !read(&file).contains(&statement), "{name}");
    }
}

#[test]
fn no_test_is_switched_off() {
    let ignored = ["#[ign", "ore"].concat();
    for file in files("rs") {
        assert!(
            !read(&file).contains(&ignored),
            "{} has an ignored test",
            file.display()
        );
    }
}

#[test]
fn no_source_file_has_two_jobs() {
    for file in files("rs") {
        let lines = read(&file).lines().count();
        assert!(
            lines <= LINES_MAX,
            "{} has {lines} lines, limit is {LINES_MAX}",
            file.display()
        );
    }
}
