//! One exchange with a centre, over HTTP.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tidegate_wire::SyncReply;
use tokio::task::JoinSet;

use crate::config::CentreConfig;
use crate::error::Error;
use crate::socket::{self, Address, Traffic};
use crate::tls;

/// Largest reply: marks of some thousand streams.
const REPLY_BYTES_MAX: usize = 1 << 20;
/// Of an error's text, what is logged.
const ERROR_TEXT_MAX: usize = 300;

/// A connection to a centre, made when needed and kept while used.
#[derive(Debug)]
pub(crate) struct Client {
    address: Address,
    tls: Option<Arc<ClientConfig>>,
    host: HeaderValue,
    path: Uri,
    timeout: Duration,
    traffic: Arc<Traffic>,
    connection: Option<Connection>,
}

/// A connection with its task, which ends with it.
#[derive(Debug)]
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    _task: JoinSet<()>,
}

impl Client {
    /// Prepares the connection; nothing is sent yet. What it will carry is added to `traffic`.
    ///
    /// # Errors
    /// When the certificate authorities cannot be read, or TLS cannot be set up.
    pub(crate) fn new(
        config: &CentreConfig,
        timeout: Duration,
        traffic: Arc<Traffic>,
    ) -> Result<Self, Error> {
        let tls = match config.is_tls() {
            true => Some(tls::client_config(config.ca.as_deref(), None)?),
            false => None,
        };
        Ok(Self {
            address: config.address(),
            tls,
            host: config.host_header().map_err(Error::Request)?,
            path: config.path("/v1/sync").map_err(Error::Request)?,
            timeout,
            traffic,
            connection: None,
        })
    }

    /// Closes the connection: nobody will use it for a while.
    pub(crate) fn rest(&mut self) {
        self.connection = None;
    }

    /// Sends one request.
    ///
    /// # Errors
    /// When the centre cannot be reached, does not answer in time, refuses, or answers what is not a reply.
    pub(crate) async fn sync(&mut self, body: Vec<u8>) -> Result<SyncReply, Error> {
        let timeout = self.timeout;
        let reply = tokio::time::timeout(timeout, self.post(body.into())).await;
        let reply = reply.map_err(|_| Error::Timeout(timeout.as_secs()))??;
        match reply.version {
            tidegate_wire::VERSION => Ok(reply),
            version => Err(Error::Version(version)),
        }
    }

    async fn post(&mut self, body: Bytes) -> Result<SyncReply, Error> {
        if let Some(connection) = self.connection.take() {
            match self.post_on(connection, body.clone()).await {
                // It was closed since the last request. A request may be sent any number of times.
                Err(Error::Exchange(_)) => {}
                outcome => return outcome,
            }
        }
        let connection = self.connect().await?;
        self.post_on(connection, body).await
    }

    async fn connect(&self) -> Result<Connection, Error> {
        let socket = socket::connect(&self.address, self.tls.clone(), self.traffic.clone());
        let socket = TokioIo::new(socket.await.map_err(Error::Connect)?);
        let (sender, connection) = http1::handshake(socket).await.map_err(Error::Exchange)?;
        let mut task = JoinSet::new();
        // Why it ended, the request says.
        task.spawn(async { drop(connection.await) });
        Ok(Connection {
            sender,
            _task: task,
        })
    }

    /// The connection is kept when the answer was read whole.
    async fn post_on(
        &mut self,
        mut connection: Connection,
        body: Bytes,
    ) -> Result<SyncReply, Error> {
        let request = Request::post(self.path.clone())
            .header(HOST, self.host.clone())
            .header(CONTENT_TYPE, tidegate_wire::CONTENT_TYPE)
            .body(Full::new(body))
            .map_err(Error::Request)?;
        let sender = &mut connection.sender;
        sender.ready().await.map_err(Error::Exchange)?;
        let response = sender.send_request(request).await;
        let reply = read(response.map_err(Error::Exchange)?).await;
        if matches!(reply, Ok(_) | Err(Error::Refused { .. })) {
            self.connection = Some(connection);
        }
        reply
    }
}

async fn read(response: Response<Incoming>) -> Result<SyncReply, Error> {
    let status = response.status();
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    let body = Limited::new(response.into_body(), REPLY_BYTES_MAX)
        .collect()
        .await
        .map_err(Error::Reply)?
        .to_bytes();
    if status.is_success() {
        return Ok(tidegate_wire::decode(&body)?);
    }
    let text: String = String::from_utf8_lossy(&body)
        .chars()
        .take(ERROR_TEXT_MAX)
        .collect();
    Err(Error::Refused {
        status: status.as_u16(),
        text: text.escape_debug().to_string(),
        retry_after,
    })
}

#[cfg(test)]
mod tests;
