//! What a centre has of updates: documents, and blobs part by part; and the reports that go to it.
//!
//! The centre may be slow, wrong or an enemy: whoever asks verifies what comes. Here is held that it ends. A document is
//! bounded in bytes and time. A part of a blob ends where it was asked to end; between its bytes no more than
//! [`Limits::fetch_silence_max`] may pass, and they must come at [`Limits::fetch_rate_min`]. Nobody is followed elsewhere.
//!
//! Each request and each part waits for the byte budget, and all bytes are counted in it. What is left for alarms is not
//! spent on updates.

mod error;
mod part;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HOST, IF_NONE_MATCH, IF_RANGE, RANGE,
    RETRY_AFTER,
};
use http::request::Builder;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tidegate_record::{Epoch, Limits, RequestSigner, ToSign};
use tidegate_wire::DEVICE_HEADER;
use tokio::task::JoinSet;

use crate::budget::{Grant, Meter};
use crate::config::CentreConfig;
use crate::error::Error as Broken;
use crate::socket::{self, Traffic};
use crate::tls;

pub use error::Error;
pub use part::Part;

/// Of a refusal, or of the answer to a report, what is read.
const WORDS_BYTES_MAX: usize = 16 << 10;
/// Of an error's text, what is told.
const ERROR_TEXT_MAX: usize = 300;

/// Asks one centre. Cheap to keep: it connects when it is needed.
#[derive(Debug)]
pub struct Fetcher {
    centre: CentreConfig,
    host: HeaderValue,
    tls: Option<Arc<ClientConfig>>,
    limits: Arc<Limits>,
    traffic: Arc<Traffic>,
    meter: Option<Arc<Meter>>,
    signer: Option<(Arc<dyn RequestSigner>, Epoch)>,
    connection: Option<Connection>,
}

/// What a centre answers to the question for a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The document.
    Document(Vec<u8>),
    /// It is one that the gateway knows.
    Unchanged,
    /// There is none.
    Nothing,
}

/// A connection with its task, which ends with it.
#[derive(Debug)]
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    _task: JoinSet<()>,
}

impl Fetcher {
    /// Prepares the connection; nothing is sent yet. What it will carry is added to `traffic`, and waits for `meter`.
    ///
    /// # Errors
    /// When the certificate authorities cannot be read, or TLS cannot be set up.
    pub fn new(
        centre: &CentreConfig,
        limits: &Arc<Limits>,
        traffic: Arc<Traffic>,
        meter: Option<Arc<Meter>>,
    ) -> Result<Self, Broken> {
        let tls = match centre.is_tls() {
            true => Some(tls::client_config(centre.ca.as_deref(), None)?),
            false => None,
        };
        Ok(Self {
            host: centre.host_header().map_err(Broken::Request)?,
            centre: centre.clone(),
            tls,
            limits: limits.clone(),
            traffic,
            meter,
            signer: None,
            connection: None,
        })
    }

    /// Each request is signed, as one of this epoch.
    #[must_use]
    pub fn signed_by(self, signer: Option<Arc<dyn RequestSigner>>, epoch: Epoch) -> Self {
        Self {
            signer: signer.map(|signer| (signer, epoch)),
            ..self
        }
    }

    /// Asks for a document of this type, of at most `bytes_max` bytes, at a path of the API such as `/v1/roots/2`. Those with
    /// the tags `known` need not come.
    ///
    /// # Errors
    /// When the centre cannot be reached, refuses, answers anything else, or is not done in [`Limits::sync_timeout`].
    pub async fn document(
        &mut self,
        path: &str,
        content_type: &'static str,
        known: &[String],
        bytes_max: usize,
    ) -> Result<Found, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(content_type));
        if !known.is_empty() {
            let tags: Vec<_> = known.iter().map(|tag| format!("\"{tag}\"")).collect();
            headers.insert(IF_NONE_MATCH, value(tags.join(", "))?);
        }
        let timeout = self.limits.sync_timeout;
        let exchange = async {
            let (connection, response) = self.exchange(Method::GET, path, &headers, None).await?;
            let (response, found) = match response.status() {
                StatusCode::NOT_MODIFIED => (response, Found::Unchanged),
                StatusCode::NO_CONTENT | StatusCode::NOT_FOUND => (response, Found::Nothing),
                StatusCode::OK => {
                    check_type(&response, content_type)?;
                    let bytes = read(response, bytes_max).await?;
                    return Ok((connection, Found::Document(bytes)));
                }
                _ => return Err(refused(response).await),
            };
            read(response, WORDS_BYTES_MAX).await?;
            Ok((connection, found))
        };
        let done = tokio::time::timeout(timeout, exchange).await;
        let (connection, found) = done.map_err(|_| Error::Late(timeout))??;
        self.done(connection).await;
        Ok(found)
    }

    /// Sends a report of this type.
    ///
    /// # Errors
    /// As [`Fetcher::document`].
    pub async fn report(
        &mut self,
        path: &str,
        content_type: &'static str,
        document: Vec<u8>,
    ) -> Result<(), Error> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        let timeout = self.limits.sync_timeout;
        let exchange = async {
            let body = Some(document.into());
            let (connection, response) = self.exchange(Method::POST, path, &headers, body).await?;
            if !response.status().is_success() {
                return Err(refused(response).await);
            }
            read(response, WORDS_BYTES_MAX).await?;
            Ok(connection)
        };
        let done = tokio::time::timeout(timeout, exchange).await;
        let connection = done.map_err(|_| Error::Late(timeout))??;
        self.done(connection).await;
        Ok(())
    }

    /// Asks for a file of `length` bytes from byte `from` on, by the tag that it has for ever. None where the centre does not
    /// have it. A centre that knows no parts gives it from its beginning, as [`Part::at`] says.
    ///
    /// # Errors
    /// As [`Fetcher::document`]; and when what comes is another part, or another length.
    pub async fn part(
        &mut self,
        path: &str,
        tag: &str,
        from: u64,
        length: u64,
    ) -> Result<Option<Part<'_>>, Error> {
        let mut headers = HeaderMap::new();
        if from > 0 {
            headers.insert(RANGE, value(format!("bytes={from}-"))?);
            headers.insert(IF_RANGE, value(format!("\"{tag}\""))?);
        }
        let timeout = self.limits.sync_timeout;
        let begin = async {
            let (connection, response) = self.exchange(Method::GET, path, &headers, None).await?;
            let last = length.saturating_sub(1);
            let at = match response.status() {
                StatusCode::PARTIAL_CONTENT => {
                    let expected = format!("bytes {from}-{last}/{length}");
                    if text(&response, CONTENT_RANGE) != Some(expected.as_str()) {
                        return Err(Error::WrongPart { expected });
                    }
                    from
                }
                StatusCode::OK => 0,
                StatusCode::NOT_FOUND => {
                    read(response, WORDS_BYTES_MAX).await?;
                    return Ok((connection, None));
                }
                _ => return Err(refused(response).await),
            };
            let left = length.saturating_sub(at);
            let said = text(&response, CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
            if said.is_some_and(|said| said != left) {
                let expected = format!("{left} bytes");
                return Err(Error::WrongPart { expected });
            }
            Ok((connection, Some((response.into_body(), at))))
        };
        let done = tokio::time::timeout(timeout, begin).await;
        match done.map_err(|_| Error::Late(timeout))?? {
            (connection, Some((body, at))) => {
                Ok(Some(Part::new(self, connection, body, at..length)))
            }
            (connection, None) => {
                self.done(connection).await;
                Ok(None)
            }
        }
    }

    /// Closes the connection: nobody will use it for a while.
    pub fn rest(&mut self) {
        self.connection = None;
    }

    /// Keeps a connection whose answer was read whole, and what was spent on it.
    async fn done(&mut self, connection: Connection) {
        self.connection = Some(connection);
        if let Some(meter) = &self.meter {
            meter.keep(false).await;
        }
    }

    /// Holds the byte budget against it: rows come first, and what is left for alarms is theirs.
    fn check_budget(&self) -> Result<(), Error> {
        match self.meter.as_ref().map(|meter| meter.grant()) {
            None | Some(Grant::All { .. }) => Ok(()),
            Some(Grant::Alarms { relief, .. } | Grant::Spent { relief }) => {
                Err(Error::Budget(relief))
            }
        }
    }

    async fn exchange(
        &mut self,
        method: Method,
        path: &str,
        headers: &HeaderMap,
        body: Option<Bytes>,
    ) -> Result<(Connection, Response<Incoming>), Error> {
        self.check_budget()?;
        let body = body.unwrap_or_default();
        if let Some(connection) = self.connection.take() {
            let request = self.request(&method, path, headers, body.clone())?;
            match send(connection, request).await {
                // It was closed since the last request, and each of ours may be sent any number of times.
                Err(Error::Broken(Broken::Exchange(_))) => {}
                outcome => return outcome,
            }
        }
        let request = self.request(&method, path, headers, body)?;
        send(self.connect().await?, request).await
    }

    /// The one place where requests are made.
    fn request(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, Error> {
        let uri = self.centre.path(path).map_err(Broken::Request)?;
        let mut request: Builder = Request::builder().method(method).uri(uri);
        request = request.header(HOST, self.host.clone());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some((signer, epoch)) = &self.signer {
            let signed = signer.sign(&ToSign {
                method: method.as_str(),
                path,
                epoch: *epoch,
                body: &body,
            });
            if let Some(claim) = signed.map_err(Broken::Sign)? {
                request = request.header(DEVICE_HEADER, claim);
            }
        }
        Ok(request.body(Full::new(body)).map_err(Broken::Request)?)
    }

    async fn connect(&self) -> Result<Connection, Error> {
        let address = self.centre.address();
        let socket = socket::connect(&address, self.tls.clone(), self.traffic.clone());
        let socket = TokioIo::new(socket.await.map_err(Broken::Connect)?);
        let (sender, connection) = http1::handshake(socket).await.map_err(Broken::Exchange)?;
        let mut task = JoinSet::new();
        // Why it ended, the request says.
        task.spawn(async { drop(connection.await) });
        Ok(Connection {
            sender,
            _task: task,
        })
    }
}

async fn send(
    mut connection: Connection,
    request: Request<Full<Bytes>>,
) -> Result<(Connection, Response<Incoming>), Error> {
    let sender = &mut connection.sender;
    sender.ready().await.map_err(Broken::Exchange)?;
    let response = sender.send_request(request).await;
    let response = response.map_err(Broken::Exchange)?;
    Ok((connection, response))
}

async fn read(response: Response<Incoming>, bytes_max: usize) -> Result<Vec<u8>, Error> {
    let body = Limited::new(response.into_body(), bytes_max);
    let collected = body.collect().await;
    let collected = collected.map_err(|source| Error::Body { bytes_max, source })?;
    Ok(collected.to_bytes().to_vec())
}

/// Why the centre does not answer the question: in its own words, as far as they are readable.
async fn refused(response: Response<Incoming>) -> Error {
    let status = response.status();
    if status.is_redirection() {
        return Error::Redirected(status.as_u16());
    }
    let retry_after = text(&response, RETRY_AFTER).and_then(|text| text.parse().ok());
    let body = read(response, WORDS_BYTES_MAX).await.unwrap_or_default();
    let words = String::from_utf8_lossy(&body);
    let words: String = words.chars().take(ERROR_TEXT_MAX).collect();
    Error::Refused {
        status: status.as_u16(),
        text: words.escape_debug().to_string(),
        retry_after: retry_after.map(Duration::from_secs),
    }
}

fn check_type(response: &Response<Incoming>, expected: &'static str) -> Result<(), Error> {
    let found = text(response, CONTENT_TYPE).unwrap_or_default();
    let essence = found.split(';').next().unwrap_or_default();
    match essence.trim().eq_ignore_ascii_case(expected) {
        true => Ok(()),
        false => Err(Error::WrongType {
            expected,
            found: found.chars().take(ERROR_TEXT_MAX).collect(),
        }),
    }
}

fn text<T>(response: &Response<T>, name: HeaderName) -> Option<&str> {
    response.headers().get(name)?.to_str().ok()
}

fn value(text: String) -> Result<HeaderValue, Error> {
    let value = HeaderValue::try_from(text).map_err(http::Error::from);
    Ok(value.map_err(Broken::Request)?)
}

#[cfg(test)]
mod tests;
