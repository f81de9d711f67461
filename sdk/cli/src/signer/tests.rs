use std::error::Error as _;
use std::fs;
use std::process::Command;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use tidegate_bundle::{Envelope, SigningKey, signed_bytes};

use super::{Path, Signer, TIMEOUT, parse};
use crate::files::Problems;
use crate::key::Key;

const BODY: &[u8] = b"{}";

/// Far more than anything here takes.
const SOON: Duration = Duration::from_secs(30);

/// A signer whose command is this script; `$1` is the folder, in which `signature` holds for `BODY`.
fn signer(folder: &TempDir, script: &str) -> Signer {
    let key = SigningKey::from_seed(&[7; 32]);
    let signature = SigningKey::sign(&key, &signed_bytes("t", BODY));
    fs::write(folder.path().join("signature"), signature).unwrap();
    Signer {
        program: "/bin/sh".into(),
        arguments: ["-c", script, "sh", folder.path().to_str().unwrap()]
            .map(str::to_owned)
            .into(),
        public_key: key.public_key(),
        timeout: TIMEOUT,
    }
}

fn sign(signer: Signer) -> Result<Envelope, tidegate_bundle::Error> {
    Envelope::sign("note", "t", BODY.to_vec(), &[&Key::Elsewhere(signer)])
}

/// What is said of a script that does not sign.
fn failure(script: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let error = sign(signer(&folder, script)).unwrap_err();
    assert_eq!(error.reason(), "signer");
    error.source().unwrap().to_string()
}

#[test]
fn a_command_gets_the_signed_bytes_and_its_signature_stands_in_the_document() {
    let folder = tempfile::tempdir().unwrap();
    let signer = signer(&folder, "cat > \"$1/message\"; cat \"$1/signature\"");
    let envelope = sign(signer).unwrap();
    let here = Envelope::sign(
        "note",
        "t",
        BODY.to_vec(),
        &[&SigningKey::from_seed(&[7; 32])],
    );
    assert_eq!(envelope.write().unwrap(), here.unwrap().write().unwrap());
    let message = fs::read(folder.path().join("message")).unwrap();
    assert_eq!(message, signed_bytes("t", BODY));
}

#[test]
fn a_signature_that_does_not_hold_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let nothing = sign(signer(&folder, "head -c 64 /dev/zero")).unwrap_err();
    assert_eq!(nothing.reason(), "bad-signature");
    // Of another key than the one that is named.
    let mut other = signer(&folder, "cat \"$1/signature\"");
    other.public_key = SigningKey::from_seed(&[8; 32]).public_key();
    assert_eq!(sign(other).unwrap_err().reason(), "bad-signature");
    // Of something else.
    let mut envelope = Envelope::sign("note", "t", b"[]".to_vec(), &[] as &[&Key]).unwrap();
    let signer = Key::Elsewhere(signer(&folder, "cat \"$1/signature\""));
    assert_eq!(
        envelope.cosign(&signer).unwrap_err().reason(),
        "bad-signature"
    );
}

#[test]
fn a_command_that_fails_gives_no_signature_whatever_it_wrote() {
    let said = failure("cat \"$1/signature\"; exit 3");
    assert!(
        said.contains("/bin/sh failed with exit status: 3"),
        "{said}"
    );
    let said = failure("kill -9 $$");
    assert!(said.contains("signal: 9"), "{said}");
}

#[test]
fn anything_but_64_bytes_is_no_signature() {
    let said = failure("head -c 63 \"$1/signature\"");
    assert!(said.contains("wrote 63 bytes, must be the 64"), "{said}");
    let said = failure("cat \"$1/signature\"; echo");
    assert!(said.contains("wrote more than 64 bytes"), "{said}");
    let said = failure("true");
    assert!(said.contains("wrote 0 bytes"), "{said}");
}

#[test]
fn a_command_that_writes_without_an_end_is_ended() {
    let said = failure("exec 2>/dev/null; trap '' PIPE; while :; do cat /dev/zero; done");
    assert!(said.contains("wrote more than 64 bytes"), "{said}");
}

#[test]
fn a_command_that_hangs_is_ended() {
    let hangs = [
        "exec sleep 1000",
        "cat \"$1/signature\"; exec >&-; exec sleep 1000",
        // Another process has the pipes as well, and is not waited for.
        "sleep 100 9>&-",
    ];
    for script in hangs {
        let folder = tempfile::tempdir().unwrap();
        // Its other end is read up to the end of the command.
        let alive = folder.path().join("alive");
        let made = Command::new("mkfifo").arg(&alive).status();
        assert!(made.unwrap().success());
        let ended = in_background(move || fs::read(alive).unwrap());
        let mut signer = signer(&folder, &format!("exec 9> \"$1/alive\"; {script}"));
        signer.timeout = Duration::from_secs(3);
        let error = in_background(move || sign(signer).unwrap_err());
        let error = error.recv_timeout(SOON).unwrap();
        let said = error.source().unwrap().to_string();
        assert!(said.contains("had not signed within 3s"), "{said}");
        assert!(ended.recv_timeout(SOON).is_ok(), "it runs on: {script}");
    }
}

fn in_background<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(work()));
    receiver
}

#[test]
fn what_does_not_read_the_message_may_sign_it() {
    let folder = tempfile::tempdir().unwrap();
    sign(signer(&folder, "exec <&-; cat \"$1/signature\"")).unwrap();
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut signer = signer(&folder, "");
    signer.program = folder.path().join("sign-with-hsm");
    let error = sign(signer).unwrap_err();
    let said = error.source().unwrap().to_string();
    assert!(
        said.starts_with("cannot start /") && said.ends_with("/sign-with-hsm"),
        "{said}"
    );
}

#[test]
fn paths_are_from_the_folder_of_the_file_and_no_path_is_searched() {
    let read = |text| parse(text, Path::new("keys")).unwrap();
    let (program, arguments, public_key) =
        read("command = [\"hsm\", \"$HOME\", \"a b\"]\npublic-key = \"hsm.pub\"");
    assert_eq!(program, Path::new("keys/hsm"));
    assert_eq!(arguments, ["$HOME", "a b"]);
    assert_eq!(public_key, Path::new("keys/hsm.pub"));
    let (program, ..) = read("command = [\"/usr/bin/hsm\"]\npublic-key = \"hsm.pub\"");
    assert_eq!(program, Path::new("/usr/bin/hsm"));
}

#[test]
fn every_problem_of_a_signer_file_is_told_with_its_line() {
    let problems = |text: &str| {
        let problems = parse(text, Path::new(".")).unwrap_err();
        Problems::of(Path::new("hsm.toml"), problems).to_string()
    };
    let said = problems("comand = [\"x\"]\n");
    for words in [
        "hsm.toml:1: unknown key comand",
        "command: a list is expected",
        "public-key is missing",
    ] {
        assert!(said.contains(words), "{words:?} is not in: {said}");
    }
    for text in [
        "command = \"x\"",
        "command = []",
        "command = [\"\"]",
        "command = [1]",
    ] {
        let said = problems(&format!("{text}\npublic-key = \"x.pub\"\n"));
        assert!(said.starts_with("hsm.toml:1: command: "), "{said}");
    }
}
