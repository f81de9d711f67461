//! A stream of bytes to a server, plain or TLS, counted beneath TLS.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

/// How long one address of a name is tried before the next.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of our connections at the TCP socket, TLS included; the headers of TCP and IP are not.
#[derive(Debug, Default)]
pub struct Traffic {
    up: AtomicU64,
    down: AtomicU64,
}

impl Traffic {
    /// Both ways.
    pub fn total(&self) -> u64 {
        let (up, down) = (
            self.up.load(Ordering::Relaxed),
            self.down.load(Ordering::Relaxed),
        );
        up.saturating_add(down)
    }

    #[cfg(test)]
    pub(crate) fn carried(&self, bytes: u64) {
        self.up.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Counts what passes.
#[derive(Debug)]
pub(crate) struct Counted<S> {
    stream: S,
    traffic: Arc<Traffic>,
}

/// Where a server listens.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// A connected stream.
pub(crate) type Socket = Either<Counted<TcpStream>, Box<TlsStream<Counted<TcpStream>>>>;

/// Connects, by TLS when `tls` is given.
pub(crate) async fn connect(
    address: &Address,
    tls: Option<Arc<ClientConfig>>,
    traffic: Arc<Traffic>,
) -> io::Result<Socket> {
    let stream = connect_tcp(address).await?;
    stream.set_nodelay(true)?;
    let stream = Counted { stream, traffic };
    let Some(config) = tls else {
        return Ok(Either::Left(stream));
    };
    let name = ServerName::try_from(address.host.clone()).map_err(io::Error::other)?;
    let stream = TlsConnector::from(config).connect(name, stream).await?;
    Ok(Either::Right(Box::new(stream)))
}
/// Tries each address of the name.
async fn connect_tcp(address: &Address) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for found in tokio::net::lookup_host((address.host.as_str(), address.port)).await? {
        match tokio::time::timeout(ADDRESS_TIMEOUT, TcpStream::connect(found)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        add(&self.traffic.down, buffer.filled().len() - before);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(written)) = polled {
            add(&self.traffic.up, written);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

fn add(counter: &AtomicU64, bytes: usize) {
    counter.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn what_passes_is_counted_both_ways() {
        let (near, mut far) = tokio::io::duplex(64);
        let traffic = Arc::<Traffic>::default();
        let mut near = Counted {
            stream: near,
            traffic: traffic.clone(),
        };
        near.write_all(b"12345").await.unwrap();
        far.write_all(b"123").await.unwrap();
        drop(far);
        near.read_to_end(&mut Vec::new()).await.unwrap();
        assert_eq!(traffic.up.load(Ordering::Relaxed), 5);
        assert_eq!(traffic.total(), 8);
    }
}
