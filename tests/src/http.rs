//! Single requests, without a client library: the servers under test are on this machine, and answers are small.

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
    /// Status line and headers.
    pub head: String,
    /// Body.
    pub body: String,
}

/// Gets `path`.
///
/// # Errors
/// When there is no server, or no well-formed answer.
pub fn get(address: SocketAddr, path: &str) -> Result<Answer> {
    request(address, "GET", path, &[], &[])
}

/// Gets `path` with these headers.
///
/// # Errors
/// As [`get`].
pub fn get_with(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Result<Answer> {
    request(address, "GET", path, headers, &[])
}

impl Answer {
    /// Its body as JSON.
    ///
    /// # Errors
    /// When the status is not 200 or the body is not JSON.
    pub fn json(&self) -> Result<Value> {
        ensure!(self.status == 200, "{}: {}", self.status, self.body);
        serde_json::from_str(&self.body).with_context(|| format!("no JSON: {}", self.body))
    }

    /// The first header of this name, which is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(": "));
        let header = headers.find(|(found, _)| found.eq_ignore_ascii_case(name));
        header.map(|(_, value)| value)
    }
}

/// Posts `body` to `path`.
///
/// # Errors
/// As [`get`].
pub fn post(address: SocketAddr, path: &str, content_type: &str, body: &[u8]) -> Result<Answer> {
    post_with(address, path, &[("content-type", content_type)], body)
}

/// Posts `body` to `path` with these headers.
///
/// # Errors
/// As [`get`].
pub fn post_with(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Answer> {
    request(address, "POST", path, headers, body)
}

/// HTTP/1.0: the server closes after its answer and does not cut the body into chunks.
fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Answer> {
    let mut stream =
        TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut head = format!("{method} {path} HTTP/1.0\r\nhost: {address}\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if method == "POST" {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
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
        head: head.to_owned(),
        body: body.to_owned(),
    })
}
