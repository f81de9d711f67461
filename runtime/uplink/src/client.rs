//! One exchange with the centre.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tidegate_wire::{SyncReply, SyncRequest};

use crate::config::Config;
use crate::error::Error;

/// Largest reply: marks of some thousand streams.
const REPLY_BYTES_MAX: usize = 1 << 20;
/// Of an error's text, what is logged.
const ERROR_TEXT_MAX: usize = 300;
/// A connection that nobody has used for this long is closed, so that a quiet gateway holds none.
const IDLE_CONNECTION: Duration = Duration::from_secs(90);

/// A connection to the centre, made when needed and kept while used.
#[derive(Debug)]
pub struct Client {
    http: hyper_util::client::legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    sync: Uri,
    timeout: Duration,
}

impl Client {
    /// Prepares the connection; nothing is sent yet.
    ///
    /// # Errors
    /// When the certificate authorities cannot be read, or TLS cannot be set up.
    pub fn new(config: &Config, timeout: Duration) -> Result<Self, Error> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(timeout));
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls(config)?)
            .https_or_http() // `Config` has refused plain HTTP to other machines.
            .enable_http1()
            .wrap_connector(tcp);
        let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_CONNECTION)
            .pool_max_idle_per_host(1)
            .build(https);
        Ok(Self {
            http,
            sync: config.endpoint("/v1/sync").map_err(Error::Request)?,
            timeout,
        })
    }

    /// Sends one request. Returns the reply and the bytes sent as the request's body.
    ///
    /// # Errors
    /// When the centre cannot be reached, does not answer in time, refuses, or answers what is not a reply.
    pub(crate) async fn sync(&self, request: &SyncRequest) -> Result<(SyncReply, usize), Error> {
        let body = tidegate_wire::encode(request)?;
        let bytes = body.len();
        let request = Request::post(self.sync.clone())
            .header(CONTENT_TYPE, tidegate_wire::CONTENT_TYPE)
            .body(Full::new(Bytes::from(body)))
            .map_err(Error::Request)?;
        let exchange = async {
            let response = self.http.request(request).await.map_err(Error::Connect)?;
            read(response).await
        };
        let timeout = || Error::Timeout(self.timeout.as_secs());
        let reply = tokio::time::timeout(self.timeout, exchange)
            .await
            .map_err(|_| timeout())??;
        match reply.version {
            tidegate_wire::VERSION => Ok((reply, bytes)),
            version => Err(Error::Version(version)),
        }
    }
}

async fn read(response: Response<hyper::body::Incoming>) -> Result<SyncReply, Error> {
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

fn tls(config: &Config) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::Tls)?;
    let mut roots = RootCertStore::empty();
    if let Some(path) = &config.ca {
        let error = |source: Box<dyn std::error::Error + Send + Sync>| Error::Authorities {
            path: path.display().to_string(),
            source,
        };
        let certificates =
            CertificateDer::pem_file_iter(path).map_err(|source| error(source.into()))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|source| error(source.into()))?;
            roots
                .add(certificate)
                .map_err(|source| error(source.into()))?;
        }
        if roots.is_empty() {
            return Err(error("no certificate in it".into()));
        }
        return Ok(builder.with_root_certificates(roots).with_no_client_auth());
    }
    // A machine without a store can still speak to a centre on loopback; any other is refused by the handshake.
    let (_, unusable) = roots.add_parsable_certificates(system_authorities());
    if unusable > 0 {
        tracing::warn!("{unusable} of the system's certificate authorities cannot be used");
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn system_authorities() -> Vec<CertificateDer<'static>> {
    let found = rustls_native_certs::load_native_certs();
    for error in found.errors {
        tracing::warn!("cannot read one of the system's certificate authorities: {error}");
    }
    found.certs
}
