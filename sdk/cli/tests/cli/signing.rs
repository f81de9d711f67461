//! Keys, signing, verifying, inspecting.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::fixture::{Workshop, component};

const BUNDLE: &str = "pump-1.2.0.tidegate";

fn verify(workshop: &Workshop) -> crate::fixture::Ran {
    workshop.tide(&["verify", BUNDLE, "--root", "root.json"])
}

#[test]
fn what_was_signed_verifies() {
    let workshop = Workshop::new();
    workshop.sign().check(0, &[BUNDLE, "pump 1.2.0, counter 7"]);
    verify(&workshop).check(0, &["is genuine for fleet plant"]);
    workshop.tide(&["inspect", BUNDLE]).check(
        0,
        &["signatures were not checked", "tidegate:module/entry@0.1.0"],
    );
}

#[test]
fn the_same_module_signed_twice_gives_the_same_file() {
    let workshop = Workshop::new();
    workshop.sign().check(0, &[]);
    let first = fs::read(workshop.path(BUNDLE)).unwrap();
    workshop.sign().check(0, &[]);
    assert_eq!(fs::read(workshop.path(BUNDLE)).unwrap(), first);
}

#[test]
fn a_bundle_by_another_key_is_refused_with_the_reason() {
    let workshop = Workshop::new();
    workshop.tide(&["keygen", "other.key"]).check(0, &[]);
    workshop.tide(&["sign", "--key", "other.key"]).check(0, &[]);
    verify(&workshop).check(
        3,
        &[
            "is refused",
            "no signature of the release document",
            "reason code wrong-key",
        ],
    );
    let ran = workshop.tide(&["-o", "json", "verify", BUNDLE, "--root", "root.json"]);
    assert_eq!(ran.json()["reason"], "wrong-key");
    assert_eq!(ran.json()["exit_code"], 3);
}

#[test]
fn an_altered_bundle_is_refused() {
    let workshop = Workshop::new();
    workshop.sign().check(0, &[]);
    let mut bytes = fs::read(workshop.path(BUNDLE)).unwrap();
    let last = bytes.len() - 1100;
    let component = bytes[..last].iter().rposition(|byte| *byte != 0).unwrap();
    bytes[component] ^= 1;
    fs::write(workshop.path(BUNDLE), &bytes).unwrap();
    verify(&workshop).check(3, &["reason code digest-mismatch"]);
    fs::write(workshop.path(BUNDLE), &bytes[..600]).unwrap();
    verify(&workshop).check(3, &["reason code truncated"]);
}

#[test]
fn a_publisher_can_be_limited_to_modules() {
    let workshop = Workshop::new();
    let root = |patterns: &str, file: &str| {
        let key = format!("publisher.key.pub={patterns}");
        let init = [
            "root",
            "init",
            file,
            "--fleet",
            "plant",
            "--root-key",
            "root.key",
            "--release-key",
            &key,
        ];
        workshop.tide(&init)
    };
    root("fan-*", "narrow.json").check(0, &[]);
    root("fan-*,pump", "wide.json").check(0, &[]);
    root("Pump", "wrong.json").check(64, &["pattern \"Pump\" must be a module name"]);
    workshop.sign().check(0, &[]);
    workshop
        .tide(&["verify", BUNDLE, "--root", "narrow.json"])
        .check(3, &["reason code module-not-allowed"]);
    workshop
        .tide(&["verify", BUNDLE, "--root", "wide.json"])
        .check(0, &[]);
}

#[test]
fn a_secret_key_is_for_its_owner_alone() {
    let workshop = Workshop::new();
    let mode = |mode| {
        fs::set_permissions(
            workshop.path("publisher.key"),
            fs::Permissions::from_mode(mode),
        )
        .unwrap()
    };
    let made = fs::metadata(workshop.path("publisher.key"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(made & 0o777, 0o600);
    mode(0o640);
    workshop
        .sign()
        .check(65, &["can be read by others", "chmod 600"]);
    mode(0o600);
    workshop.sign().check(0, &[]);
    workshop
        .tide(&["sign", "--key", "publisher.key.pub"])
        .check(65, &["can be read by others"]);
    // A key that is there is never overwritten.
    let before = fs::read(workshop.path("publisher.key")).unwrap();
    workshop
        .tide(&["keygen", "publisher.key"])
        .check(1, &["cannot write publisher.key", "exists"]);
    assert_eq!(fs::read(workshop.path("publisher.key")).unwrap(), before);
}

#[test]
fn an_import_beyond_the_contract_is_named_unless_asked_for() {
    let sockets = "wasi:sockets/tcp@0.2.6";
    let workshop = Workshop::new();
    workshop.build(&["wasi:keyvalue/store@0.2.0-draft", "wasi:io/streams@0.2.6"]);
    workshop.sign().check(0, &[]);
    workshop.build(&["wasi:keyvalue/store@0.2.0-draft", sockets]);
    workshop
        .sign()
        .check(65, &["does not fit", sockets, "[capabilities] wasi"]);
    let asking = format!(
        "[module]\nname = \"pump\"\nversion = \"1.2.0\"\ncounter = 7\n[capabilities]\nwasi = [\"{sockets}\"]\n"
    );
    workshop.write("tide.toml", &asking);
    workshop.sign().check(0, &[]);
    verify(&workshop).check(0, &["asks for", sockets]);
}

#[test]
fn a_file_that_is_neither_bundle_nor_module_is_said_to_be_so() {
    let workshop = Workshop::new();
    workshop.write("notes.txt", "hello");
    workshop
        .tide(&["inspect", "notes.txt"])
        .check(65, &["neither a bundle nor a WebAssembly component"]);
    workshop.write("core.wasm", "\0asm\u{1}\0\0\0");
    workshop
        .tide(&["inspect", "core.wasm"])
        .check(65, &["a core module, not a component"]);
    fs::write(
        workshop.path("command.wasm"),
        component(&[], "wasi:cli/run@0.2.6"),
    )
    .unwrap();
    workshop
        .tide(&["inspect", "command.wasm"])
        .check(0, &["not a Tidegate module"]);
    workshop
        .tide(&["verify", "notes.txt", "--root", "root.json"])
        .check(3, &["reason code truncated"]);
    workshop
        .tide(&["verify", BUNDLE, "--root", "notes.txt"])
        .check(65, &["notes.txt cannot be used"]);
    workshop
        .tide(&["inspect", "nothing"])
        .check(66, &["cannot read nothing"]);
}
