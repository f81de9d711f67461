//! One stream of bytes to a broker, plain or TLS.

use std::io;
use std::sync::Arc;

use rustix::net::sockopt::set_tcp_user_timeout;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use crate::BrokerUrl;
use crate::broker::KEEP_ALIVE;

/// A connected stream.
pub(crate) type Socket = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Connects to `url`, by TLS when `tls` is given.
pub(crate) async fn connect(url: &BrokerUrl, tls: Option<Arc<ClientConfig>>) -> io::Result<Socket> {
    let stream = TcpStream::connect((url.host.as_str(), url.port)).await?;
    // With Nagle's algorithm an acknowledgement waits 40 ms for company.
    stream.set_nodelay(true)?;
    // While the socket is left unread no silence is heard. The kernel sees that nobody takes our pings.
    let untaken_max = u32::try_from(KEEP_ALIVE.as_millis()).unwrap_or(u32::MAX);
    set_tcp_user_timeout(&stream, untaken_max)?;
    let Some(config) = tls else {
        return Ok(Either::Left(stream));
    };
    let name = ServerName::try_from(url.host.clone()).map_err(io::Error::other)?;
    let stream = TlsConnector::from(config).connect(name, stream).await?;
    Ok(Either::Right(Box::new(stream)))
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
        let socket = connect(&url.parse().unwrap(), None).await.unwrap();
        let Either::Left(stream) = socket else {
            panic!("no TLS was asked for");
        };
        // The ping before it is at most as old: together that is twice the keep-alive.
        assert_eq!(tcp_user_timeout(&stream).unwrap(), 15_000);
        assert!(stream.nodelay().unwrap());
    }
}
