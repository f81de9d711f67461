//! One stream of bytes to a broker, plain or TLS.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustix::net::sockopt::set_tcp_user_timeout;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::BrokerUrl;
use crate::broker::KEEP_ALIVE;

/// A connected stream.
#[derive(Debug)]
pub(crate) enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Socket {
    /// Connects to `url`, by TLS when `tls` is given.
    pub(crate) async fn connect(
        url: &BrokerUrl,
        tls: Option<Arc<ClientConfig>>,
    ) -> io::Result<Self> {
        let stream = TcpStream::connect((url.host.as_str(), url.port)).await?;
        // With Nagle's algorithm an acknowledgement waits 40 ms for company.
        stream.set_nodelay(true)?;
        // While the socket is left unread no silence is heard. The kernel sees that nobody takes our pings.
        let untaken_max = u32::try_from(KEEP_ALIVE.as_millis()).unwrap_or(u32::MAX);
        set_tcp_user_timeout(&stream, untaken_max)?;
        let Some(config) = tls else {
            return Ok(Self::Plain(stream));
        };
        let name = ServerName::try_from(url.host.clone()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        Ok(Self::Tls(Box::new(stream)))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::sockopt::tcp_user_timeout;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn the_kernel_gives_up_a_peer_that_takes_no_ping() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("mqtt://{}", listener.local_addr().unwrap());
        let socket = Socket::connect(&url.parse().unwrap(), None).await.unwrap();
        let Socket::Plain(stream) = socket else {
            panic!("no TLS was asked for");
        };
        // The ping before it is at most as old: together that is twice the keep-alive.
        assert_eq!(tcp_user_timeout(&stream).unwrap(), 15_000);
        assert!(stream.nodelay().unwrap());
    }
}
