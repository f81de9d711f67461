//! One GET, without a client library: the servers under test are on this machine, and answers are small.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Body.
    pub body: String,
}

/// Gets `path`.
///
/// # Errors
/// When there is no server, or no well-formed answer.
pub fn get(address: SocketAddr, path: &str) -> Result<Answer> {
    request(address, "GET", path, "", &[])
}

/// Gets `path` as JSON.
///
/// # Errors
/// As [`get`], and when the status is not 200 or the body is not JSON.
pub fn get_json(address: SocketAddr, path: &str) -> Result<Value> {
    let answer = get(address, path)?;
    ensure!(
        answer.status == 200,
        "GET {path} answered {}: {}",
        answer.status,
        answer.body
    );
    serde_json::from_str(&answer.body)
        .with_context(|| format!("GET {path} did not answer JSON: {}", answer.body))
}

/// Posts `body` to `path`.
///
/// # Errors
/// As [`get`].
pub fn post(address: SocketAddr, path: &str, content_type: &str, body: &[u8]) -> Result<Answer> {
    request(address, "POST", path, content_type, body)
}

/// HTTP/1.0: the server closes after its answer and does not cut the body into chunks.
fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    content_type: &str,
    body: &[u8],
) -> Result<Answer> {
    let mut stream =
        TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut head = format!("{method} {path} HTTP/1.0\r\nhost: {address}\r\n");
    if method == "POST" {
        head.push_str(&format!(
            "content-type: {content_type}\r\ncontent-length: {}\r\n",
            body.len()
        ));
    }
    head.push_str("\r\n");
    // A server may refuse by the head alone and close: what it answered counts, not what it left unread.
    let sent = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body));
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    if bytes.is_empty() {
        sent.and(read.map(drop))
            .with_context(|| format!("no answer to {method} {path}"))?;
    }
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text
        .split_once("\r\n\r\n")
        .with_context(|| format!("malformed answer to {method} {path}"))?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .context("an answer without a status")?;
    Ok(Answer {
        status,
        body: body.to_owned(),
    })
}
