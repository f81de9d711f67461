//! The port on which a monitoring system reads the counters, if the operator wants one: `GET /metrics` on loopback.
//!
//! One answer a connection. Requests are bounded in size, time and number; what else is asked for is not here.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tidegate_record::openmetrics::CONTENT_TYPE;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::error::Error;
use crate::metrics::openmetrics;
use crate::status::Status;

/// Requests answered at a time; further ones wait.
const CONNECTIONS_MAX: usize = 4;
/// Longest head of a request, in bytes.
const HEAD_BYTES_MAX: u64 = 8192;
/// Longest time for one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// An open port.
#[derive(Debug)]
pub(crate) struct Scrape(TcpListener);

impl Scrape {
    /// Opens the port.
    pub(crate) async fn open(address: SocketAddr) -> Result<Self, Error> {
        let listen = async {
            let listener = TcpListener::bind(address).await?;
            // With port 0 the system has chosen one.
            tracing::info!("metrics are at http://{}/metrics", listener.local_addr()?);
            Ok(listener)
        };
        let listener = listen.await;
        listener
            .map(Self)
            .map_err(|source| Error::Port { address, source })
    }

    /// Answers until it is dropped.
    pub(crate) async fn run(self, status: Arc<Status>) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.0.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                    Ok((stream, _)) => {
                        let status = status.clone();
                        connections.spawn(async move {
                            tokio::time::timeout(REQUEST_TIMEOUT, answer(stream, &status)).await
                        });
                    }
                    Err(error) => {
                        tracing::warn!("cannot accept on the port for metrics: {error}");
                        tokio::time::sleep(REQUEST_TIMEOUT).await;
                    }
                },
                // What became of it, the other end has seen.
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

async fn answer(mut stream: TcpStream, status: &Status) -> io::Result<()> {
    let head = head(&mut stream).await?;
    let mut words = head.split(|byte| *byte == b' ');
    let path = words.next().zip(words.next());
    let text = match path {
        Some((b"GET", b"/metrics")) => {
            let text = openmetrics(status);
            let length = text.len();
            format!(
                "HTTP/1.1 200 OK\r\ncontent-type: {CONTENT_TYPE}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}"
            )
        }
        _ => {
            let text = "here is GET /metrics, and nothing else\n";
            let length = text.len();
            format!(
                "HTTP/1.1 404 Not Found\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}"
            )
        }
    };
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}

/// Up to the empty line, or what fits.
async fn head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut bounded = stream.take(HEAD_BYTES_MAX);
    while !head.ends_with(b"\r\n\r\n") && bounded.read_buf(&mut head).await? > 0 {}
    Ok(head)
}
