//! Keys that openssl made: `tide` signs with them from their files, and by a command that has openssl sign.

#![cfg(test)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tidegate_tests::binaries::Binaries;
use tidegate_tests::plant::guest;
use tidegate_tests::process::{Outcome, run, run_well};
use tidegate_tests::tools::{Tool, available};

/// As in docs/guides/cli.md.
const SCRIPT: &str = r#"#!/bin/sh
set -e
message=$(mktemp)
trap 'rm -f "$message"' EXIT
cat > "$message"
openssl pkeyutl -sign -rawin -inkey "$1" -in "$message"
"#;

const DEPLOYMENT: &str = r#"
group = "presses"
seq = 1

[rollout]
check = "count"
shadow-messages = 0
cpu-percent-max = 150
latency-percent-max = 150
probation-minutes = 10
attempts = 3

[[module]]
name = "journal"
bundle = "BUNDLE"
inputs = [{ from = "plant", topic = "m/#" }]
"#;

/// A folder with keys of openssl, and signer files that name the command.
struct Desk {
    folder: TempDir,
    tide: PathBuf,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("sign-with-openssl");
        fs::write(&script, SCRIPT).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).unwrap();
        let tide = Binaries::built().unwrap().tide();
        let desk = Self { folder, tide };
        for name in ["root", "publisher", "deploy"] {
            desk.key(name);
        }
        desk
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// `NAME.pem`, `NAME.pub.pem`, and `NAME.toml` which has the key sign.
    fn key(&self, name: &str) {
        let openssl = |arguments: &[&str]| run_well(&Tool::OpenSsl.path().unwrap(), arguments);
        let secret = self.path(&format!("{name}.pem"));
        let public = format!("{name}.pub.pem");
        openssl(&["genpkey", "-algorithm", "ed25519", "-out", &secret]).unwrap();
        openssl(&[
            "pkey",
            "-in",
            &secret,
            "-pubout",
            "-out",
            &self.path(&public),
        ])
        .unwrap();
        self.signer(name, &secret, &public);
    }

    fn signer(&self, name: &str, secret: &str, public: &str) {
        let text = format!(
            "command = [\"./sign-with-openssl\", \"{secret}\"]\npublic-key = \"{public}\"\n"
        );
        fs::write(self.path(&format!("{name}.toml")), text).unwrap();
    }

    /// Runs `tide`; words with a dot are files of the desk.
    fn run(&self, line: &str) -> Outcome {
        let word = |word: &str| match word {
            word if word.contains('.') => self.path(word),
            word => word.to_owned(),
        };
        run(&self.tide, line.split(' ').map(word)).unwrap()
    }

    #[track_caller]
    fn tide(&self, line: &str) {
        let outcome = self.run(line);
        assert_eq!(outcome.code, Some(0), "{line}: {}", outcome.stderr);
    }

    /// Signs the journal; gives the bundle's name.
    fn sign(&self, source: &Path, key: &str) -> Outcome {
        let (key, folder) = (self.path(key), self.path(""));
        let source = source.to_str().unwrap();
        run(&self.tide, ["sign", source, "--key", &key, "--to", &folder]).unwrap()
    }

    fn bundle(&self) -> String {
        let names = fs::read_dir(self.folder.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names
            .into_iter()
            .find(|name| name.ends_with(".tidegate"))
            .unwrap()
    }
}

#[test]
fn keys_of_openssl_sign_from_their_files_and_by_a_command() {
    let test = "keys_of_openssl_sign_from_their_files_and_by_a_command";
    if !available(test, &[Tool::OpenSsl]).unwrap() {
        return;
    }
    let desk = Desk::new();
    desk.tide(
        "root init root.json --fleet plant --root-key root.toml \
         --release-key publisher.pub.pem --deploy-key deploy.pub.pem",
    );
    let journal = guest("journal");
    run_well(&desk.tide, ["build", journal.to_str().unwrap()]).unwrap();
    for key in ["publisher.pem", "publisher.toml"] {
        let signed = desk.sign(&journal, key);
        assert_eq!(signed.code, Some(0), "{key}: {}", signed.stderr);
        desk.tide(&format!("verify {} --root root.json", desk.bundle()));
        if key == "publisher.pem" {
            fs::remove_file(desk.path(&desk.bundle())).unwrap();
        }
    }
    let deployment = DEPLOYMENT.replace("BUNDLE", &desk.bundle());
    fs::write(desk.path("presses.toml"), deployment).unwrap();
    for key in ["deploy.pem", "deploy.toml"] {
        desk.tide(&format!(
            "deploy presses.toml --key {key} --root root.json --to deployment.json"
        ));
        desk.tide("verify deployment.json --root root.json");
    }
    desk.key("next");
    desk.tide(
        "root rotate root.json root-2.json --key root.toml --key next.pem --root-key next.pub.pem",
    );
    desk.tide("verify root-2.json --root root.json");

    // The command signs with another key than the one whose public half is named.
    desk.signer("publisher", &desk.path("deploy.pem"), "publisher.pub.pem");
    let signed = desk.sign(&journal, "publisher.toml");
    assert_eq!(signed.code, Some(65), "{}", signed.stderr);
    assert!(signed.stderr.contains("bad-signature"), "{}", signed.stderr);
}
