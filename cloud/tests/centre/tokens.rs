//! Tokens from the command line, and the first one of a new centre.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use axum::http::StatusCode;
use tokio::process::Command;

use crate::process::{LOCAL, Process};

/// Exit code, stdout and stderr of a command on the database of this folder.
async fn command(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate-cloud"))
        .args(arguments)
        .arg("--database")
        .arg(folder.join("centre.db"))
        .output()
        .await
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    (code, text(output.stdout), text(output.stderr))
}

async fn well(folder: &Path, arguments: &[&str]) -> String {
    let (code, stdout, stderr) = command(folder, arguments).await;
    assert_eq!(code, 0, "{arguments:?}: {stderr}");
    stdout
}

#[tokio::test]
async fn a_new_centre_is_not_open_but_writes_its_first_token_for_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("centre.token");
    let process = Process::start(folder.path(), &LOCAL).await;
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let first = process.client.token.clone();
    assert!(first.starts_with("tgt_"));
    let answer = process.client.get("/v1/gateways").await;
    assert_eq!(answer.status, StatusCode::OK);
    let nobody = process.client.with_token("");
    assert_eq!(nobody.get("/v1/gateways").await.refusal().1, "no-token");
    assert_eq!(nobody.get("/healthz").await.text(), "ok\n");
    drop(process);

    // It makes no second one, and none for whoever takes the file away.
    std::fs::remove_file(&file).unwrap();
    std::fs::write(folder.path().join("centre.token"), "another").unwrap();
    let process = Process::start(folder.path(), &LOCAL).await;
    assert_eq!(process.client.token, "another");
    let answer = process.client.with_token(&first).get("/v1/gateways").await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn a_token_of_a_gateway_is_told_once_and_noted() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &LOCAL).await;
    let add = ["gateway-token", "add", "--gateway", "gw-1"];
    let (one, other) = (
        well(folder.path(), &add).await,
        well(folder.path(), &add[..2]).await,
    );
    assert!(one.starts_with("tge_") && one != other);
    let audit = process.client.get("/v1/audit").await.text();
    for object in ["gw-1", "any gateway"] {
        assert!(audit.contains(object), "{audit}");
    }
    let mistyped = [&add[..3], &["GW"]].concat();
    assert_eq!(command(folder.path(), &mistyped).await.0, 64);
}

#[tokio::test]
async fn a_token_is_told_once_and_worth_something_until_it_is_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &LOCAL).await;
    let add = [
        "token",
        "add",
        "anna",
        "--role",
        "viewer",
        "--expires",
        "30d",
    ];
    let token = well(folder.path(), &add).await;
    let anna = process.client.with_token(token.trim());
    assert_eq!(anna.get("/v1/gateways").await.status, StatusCode::OK);
    let (code, _, stderr) = command(folder.path(), &add).await;
    assert_eq!(code, 1);
    assert!(stderr.contains("there is a token anna already"), "{stderr}");

    let list = well(folder.path(), &["token", "list"]).await;
    let anna_says: Vec<_> = list
        .lines()
        .find(|line| line.starts_with("anna"))
        .unwrap()
        .split_whitespace()
        .collect();
    assert_eq!(anna_says[1], "viewer");
    assert_eq!(list.lines().count(), 3, "{list}");
    assert!(!list.contains("tgt_"));
    // Who reads the files of the centre learns no token.
    for file in ["centre.db", "centre.db-wal"] {
        let bytes = std::fs::read(folder.path().join(file)).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("tgt_"), "{file}");
    }

    let audit = well(folder.path(), &["audit", "list"]).await;
    assert!(
        audit.contains("owner of the database (releaser): token add anna, viewer: done"),
        "{audit}"
    );
    well(folder.path(), &["token", "revoke", "anna"]).await;
    assert_eq!(anna.get("/v1/gateways").await.refusal().1, "bad-token");
    let (code, _, stderr) = command(folder.path(), &["token", "revoke", "anna"]).await;
    assert_eq!(code, 1);
    assert!(stderr.contains("there is no token anna"), "{stderr}");
    // The first token, one added and revoked, and the attempt with what was revoked.
    let verified = well(folder.path(), &["audit", "verify"]).await;
    let (rows, last) = verified
        .trim()
        .split_once(" rows, the last hash is ")
        .unwrap();
    assert_eq!(rows, "4");
    well(folder.path(), &["audit", "verify", "--known", last]).await;
    let other = "0".repeat(64);
    let (code, _, stderr) = command(folder.path(), &["audit", "verify", "--known", &other]).await;
    assert_eq!(code, 1);
    assert!(stderr.contains("rows were cut off"), "{stderr}");
}

#[tokio::test]
async fn a_mistyped_command_gives_no_token_and_makes_no_database() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, expected, fact) in [
        (&["token", "list"][..], 1, "there is no database"),
        (
            &["token", "add", "anna", "--role", "viewer"],
            1,
            "there is no database",
        ),
        (
            &["token", "add", "Anna", "--role", "viewer"],
            64,
            "a name has only",
        ),
        (
            &["token", "add", "anna", "--role", "admin"],
            64,
            "viewer, operator, releaser",
        ),
        (&["token", "add", "anna"], 64, "--role"),
        (
            &[
                "token",
                "add",
                "anna",
                "--role",
                "viewer",
                "--expires",
                "soon",
            ],
            64,
            "12h or 30d",
        ),
    ] {
        let (code, stdout, stderr) = command(folder.path(), arguments).await;
        assert_eq!(code, expected, "{arguments:?}: {stderr}");
        assert!(stderr.contains(fact), "{arguments:?}: {stderr}");
        assert!(stdout.is_empty());
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
