//! One exchange with a centre, over HTTP: signed, if this gateway is enrolled there.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tidegate_record::{Epoch, RequestSigner, ToSign};
use tidegate_wire::{DEVICE_HEADER, SyncReply};
use tokio::task::JoinSet;

use crate::config::CentreConfig;
use crate::error::Error;
use crate::socket::{self, Address, Traffic};
use crate::tls;

/// Where rows go.
const SYNC: &str = "/v1/sync";
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
    signer: Option<Arc<dyn RequestSigner>>,
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
            path: config.path(SYNC).map_err(Error::Request)?,
            signer: None,
            timeout,
            traffic,
            connection: None,
        })
    }

    /// Lets requests be signed.
    pub(crate) fn signed_by(self, signer: Option<Arc<dyn RequestSigner>>) -> Self {
        Self { signer, ..self }
    }

    /// Closes the connection: nobody will use it for a while.
    pub(crate) fn rest(&mut self) {
        self.connection = None;
    }

    /// Sends one request of this epoch.
    ///
    /// # Errors
    /// When it cannot be signed, the centre cannot be reached, does not answer in time, refuses, or answers what is not a
    /// reply.
    pub(crate) async fn sync(&mut self, body: Vec<u8>, epoch: Epoch) -> Result<SyncReply, Error> {
        let timeout = self.timeout;
        let reply = tokio::time::timeout(timeout, self.post(body.into(), epoch)).await;
        let reply = reply.map_err(|_| Error::Timeout(timeout.as_secs()))??;
        match reply.version {
            tidegate_wire::VERSION => Ok(reply),
            version => Err(Error::Version(version)),
        }
    }

    async fn post(&mut self, body: Bytes, epoch: Epoch) -> Result<SyncReply, Error> {
        if let Some(connection) = self.connection.take() {
            match self.post_on(connection, body.clone(), epoch).await {
                // It was closed since the last request. A request may be sent any number of times.
                Err(Error::Exchange(_)) => {}
                outcome => return outcome,
            }
        }
        let connection = self.connect().await?;
        self.post_on(connection, body, epoch).await
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
        epoch: Epoch,
    ) -> Result<SyncReply, Error> {
        let mut request = Request::post(self.path.clone())
            .header(HOST, self.host.clone())
            .header(CONTENT_TYPE, tidegate_wire::CONTENT_TYPE);
        if let Some(signer) = &self.signer {
            let signed = signer.sign(&ToSign {
                method: Method::POST.as_str(),
                path: SYNC,
                epoch,
                body: &body,
            });
            if let Some(claim) = signed.map_err(Error::Sign)? {
                request = request.header(DEVICE_HEADER, claim);
            }
        }
        let request = request.body(Full::new(body)).map_err(Error::Request)?;
        let reply = connection.exchange(request).await;
        if matches!(reply, Ok(_) | Err(Error::Refused { .. })) {
            self.connection = Some(connection);
        }
        Ok(tidegate_wire::decode(&reply?)?)
    }
}

impl Connection {
    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Bytes, Error> {
        self.sender.ready().await.map_err(Error::Exchange)?;
        let response = self.sender.send_request(request).await;
        read(response.map_err(Error::Exchange)?).await
    }
}

/// Posts one JSON document to an address of the centre's API such as `/v1/enrol`, on a connection of its own. Gives the body
/// of the answer.
///
/// # Errors
/// When the centre cannot be reached, does not answer within `timeout`, or refuses.
pub async fn post_json(
    config: &CentreConfig,
    timeout: Duration,
    path: &str,
    json: &serde_json::Value,
) -> Result<Bytes, Error> {
    let client = Client::new(config, timeout, Arc::default())?;
    let request = Request::post(config.path(path).map_err(Error::Request)?)
        .header(HOST, client.host.clone())
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(json.to_string().into()))
        .map_err(Error::Request)?;
    let exchange = async { client.connect().await?.exchange(request).await };
    let answer = tokio::time::timeout(timeout, exchange).await;
    answer.map_err(|_| Error::Timeout(timeout.as_secs()))?
}

async fn read(response: Response<Incoming>) -> Result<Bytes, Error> {
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
        return Ok(body);
    }
    let (code, text) = told(&body);
    let text: String = text.chars().take(ERROR_TEXT_MAX).collect();
    Err(Error::Refused {
        status: status.as_u16(),
        code,
        text: text.escape_debug().to_string(),
        retry_after,
    })
}

/// Code and text of a refusal: the centre's own, or what something between said.
fn told(body: &[u8]) -> (Option<String>, String) {
    let json: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let field = |name: &str| {
        let field = json.as_ref()?.get("error")?.get(name)?.as_str()?;
        Some(field.to_owned())
    };
    match (field("code"), field("message")) {
        (Some(code), Some(message)) => {
            let text = format!("{code}: {message}");
            (Some(code), text)
        }
        _ => (None, String::from_utf8_lossy(body).into_owned()),
    }
}

#[cfg(test)]
mod tests;
