//! Connections: a bounded number, each owned, plain or TLS, and their orderly end.
//!
//! `axum::serve` bounds neither connections nor the time of a request's head, so the loop is our own: a client that
//! connects and sends nothing costs a place for [`HEAD_TIMEOUT`] and no more.

use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::{App, router};
use crate::conductor::conduct;
use crate::store::Store;

/// Connections at once. Beyond it a new one waits in the kernel's queue.
const CONNECTIONS_MAX: usize = 1024;

/// For the TLS handshake, and for the head of each request: a slow client holds a place no longer.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// From the signal to the end of the last request.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// After a failed accept, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where connections come from.
#[derive(Debug)]
pub struct Listening {
    /// The socket.
    pub listener: TcpListener,
    /// Encrypts, if it should.
    pub tls: Option<Arc<ServerConfig>>,
}

/// Serves until `stop`, then accepts no more and lets requests under way finish, for a bounded time.
pub async fn serve<S: Store>(
    listening: Listening,
    app: Arc<App<S>>,
    stop: impl Future<Output = ()>,
) {
    let service = TowerToHyperService::new(router(app.clone()));
    let tls = listening.tls.clone().map(TlsAcceptor::from);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    // Ends when it is dropped, which is with this function.
    let mut conducting = JoinSet::new();
    conducting.spawn(conduct(app.clone()));
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            Some(_ended) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = accept(&listening.listener, &places) => accepted,
        };
        let Some((stream, place)) = accepted else {
            continue;
        };
        let connection = Connection {
            tls: tls.clone(),
            service: service.clone(),
            watcher: graceful.watcher(),
        };
        connections.spawn(async move {
            connection.serve(stream).await;
            drop(place);
        });
    }
    drop(listening);
    app.events.close();
    if tokio::time::timeout(SHUTDOWN_GRACE, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!(
            connections = connections.len(),
            "requests were cut off after {SHUTDOWN_GRACE:?}"
        );
    }
    connections.shutdown().await;
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _peer)) => Some((stream, place)),
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

struct Connection {
    tls: Option<TlsAcceptor>,
    service: TowerToHyperService<axum::Router>,
    watcher: Watcher,
}

impl Connection {
    async fn serve(self, stream: TcpStream) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection ended");
            return;
        }
        let Some(tls) = self.tls.clone() else {
            return self.requests(stream).await;
        };
        match tokio::time::timeout(HEAD_TIMEOUT, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.requests(stream).await,
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took longer than {HEAD_TIMEOUT:?}"),
        }
    }

    async fn requests(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(stream), self.service);
        if let Err(error) = self.watcher.watch(connection).await {
            tracing::debug!(%error, "a connection ended");
        }
    }
}
