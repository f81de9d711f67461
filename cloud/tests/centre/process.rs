//! The binary: its start, its refusals, its end, and its sudden end.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use axum::http::Request;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustix::process::{Pid, Signal, kill_process};
use rustls::{ClientConfig, RootCertStore};
use tidegate_wire::{CONTENT_TYPE, SyncReply, encode};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

use crate::client::{Caller, answer};
use crate::samples::{epoch, request, rows};

/// A running `tidegate-cloud`; killed when dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) client: Caller,
    scheme: String,
}

impl Process {
    pub(crate) async fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut child = command(folder, arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next_line().await.unwrap().unwrap();
        let (scheme, address) = line
            .strip_prefix("listening on ")
            .unwrap()
            .split_once("://")
            .unwrap();
        let token = std::fs::read_to_string(folder.join("centre.token")).unwrap();
        Self {
            child,
            client: Caller::new(address.parse().unwrap()).with_token(token.trim()),
            scheme: scheme.to_owned(),
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id().unwrap()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    async fn end(mut self) -> ExitStatus {
        self.child.wait().await.unwrap()
    }
}

pub(crate) fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate-cloud"));
    command
        .arg("run")
        .arg("--database")
        .arg(folder.join("centre.db"))
        .args(arguments);
    command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    command
}

pub(crate) const LOCAL: [&str; 3] = ["--listen", "127.0.0.1:0", "--open"];

#[tokio::test]
async fn what_was_answered_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut answered = 0;
    for round in 0..3 {
        let process = Process::start(folder.path(), &LOCAL).await;
        assert_eq!(process.scheme, "http");
        for _ in 0..5 {
            let reply = process
                .client
                .sync(&request(
                    "gw-1",
                    vec![rows("a", epoch(1), answered + 1..=answered + 100)],
                ))
                .await;
            answered = reply.marks[0].seq;
        }
        // A request without an answer: half of its body is sent when the process dies.
        let body = encode(&request("gw-1", vec![rows("b", epoch(1), 1..=100)])).unwrap();
        let mut unfinished = process.client.unfinished(body.len()).await;
        unfinished.write_all(&body[..body.len() / 2]).await.unwrap();
        process.signal(Signal::KILL);
        assert!(!process.end().await.success());
        assert_eq!(answered, (round + 1) * 500);
    }
    let process = Process::start(folder.path(), &LOCAL).await;
    assert_eq!(process.client.count("gw-1", "a").await, answered);
    assert_eq!(
        process.client.seqs("gw-1", "a").await,
        (1..=answered).collect::<Vec<_>>()
    );
    // The control: the same count sees what is missing.
    assert_eq!(process.client.count("gw-1", "b").await, 0);
}

#[tokio::test]
async fn a_request_under_way_is_finished_before_the_end() {
    for signal in [Signal::TERM, Signal::INT] {
        let folder = tempfile::tempdir().unwrap();
        let process = Process::start(folder.path(), &LOCAL).await;
        let body = encode(&request("gw-1", vec![rows("a", epoch(1), 1..=100)])).unwrap();
        let mut unfinished = process.client.unfinished(body.len()).await;
        process.signal(signal);
        // It has heard of the signal when it accepts no more.
        while tokio::net::TcpStream::connect(process.client.address)
            .await
            .is_ok()
        {
            tokio::task::yield_now().await;
        }
        unfinished.write_all(&body).await.unwrap();
        let mut answer = Vec::new();
        unfinished.read_to_end(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200 OK"));
        assert_eq!(process.end().await.code(), Some(0));
        let process = Process::start(folder.path(), &LOCAL).await;
        assert_eq!(process.client.count("gw-1", "a").await, 100);
    }
}

#[tokio::test]
async fn an_open_page_does_not_hold_up_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &LOCAL).await;
    let token = &process.client.token;
    let head =
        format!("GET /v1/events HTTP/1.1\r\nhost: centre\r\nauthorization: Bearer {token}\r\n\r\n");
    let mut events = tokio::net::TcpStream::connect(process.client.address)
        .await
        .unwrap();
    events.write_all(head.as_bytes()).await.unwrap();
    let mut head = [0; 15];
    events.read_exact(&mut head).await.unwrap();
    process.signal(Signal::TERM);
    let mut rest = Vec::new();
    events.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(b"0\r\n\r\n"), "the stream ends in order");
    assert_eq!(process.end().await.code(), Some(0));
}

#[tokio::test]
async fn a_wrong_start_says_why_and_makes_no_database() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, code, fact) in [
        (
            &["--listen", "0.0.0.0:0"][..],
            64,
            "0.0.0.0:0 is not a loopback address",
        ),
        (
            &["--listen", "127.0.0.1:0", "--tls-cert", "missing.pem"],
            64,
            "--tls-key is missing",
        ),
        (&["--listen", "localhost"], 64, "invalid value 'localhost'"),
        (&["--colour"], 64, "unexpected argument '--colour'"),
        (
            &[
                "--listen",
                "0.0.0.0:0",
                "--tls-cert",
                "missing.pem",
                "--tls-key",
                "missing.pem",
            ],
            64,
            "cannot read missing.pem",
        ),
    ] {
        let mut command = command(folder.path(), arguments);
        let output = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()
            .await
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(fact), "{arguments:?}: {stderr}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn with_tls_rows_are_taken_by_those_who_trust_the_certificate_and_only_encrypted() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let (cert, key) = (
        folder.path().join("cert.pem"),
        folder.path().join("key.pem"),
    );
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let tls = [
        "--listen",
        "127.0.0.1:0",
        "--open",
        "--tls-cert",
        cert.to_str().unwrap(),
        "--tls-key",
        key.to_str().unwrap(),
    ];
    let process = Process::start(folder.path(), &tls).await;
    assert_eq!(process.scheme, "https");

    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let trusting = post(&process, roots).await.unwrap();
    assert_eq!(
        tidegate_wire::decode::<SyncReply>(&trusting.body)
            .unwrap()
            .marks[0]
            .seq,
        3
    );
    assert!(post(&process, RootCertStore::empty()).await.is_err());

    let mut plain = tokio::net::TcpStream::connect(process.client.address)
        .await
        .unwrap();
    plain
        .write_all(b"GET /v1/gateways HTTP/1.1\r\nhost: centre\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    plain.read_to_end(&mut answer).await.unwrap_or_default();
    assert!(!answer.starts_with(b"HTTP"));
}

async fn post(
    process: &Process,
    roots: RootCertStore,
) -> Result<crate::client::Answer, hyper_util::client::legacy::Error> {
    let config =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_only()
        .enable_http1()
        .build();
    let body = encode(&request("gw-1", vec![rows("a", epoch(1), 1..=3)])).unwrap();
    let sent = Request::post(format!("https://{}/v1/sync", process.client.address))
        .header("content-type", CONTENT_TYPE)
        .body(Full::<axum::body::Bytes>::from(body))
        .unwrap();
    let response = Client::builder(TokioExecutor::new())
        .build(connector)
        .request(sent)
        .await?;
    Ok(answer(response).await)
}
