//! A connection to a centre: HTTPS, or plain HTTP on this machine, with a token that says who it is.
//!
//! The token comes from a file that only its owner can read or from the environment, and never from the command line, which
//! every process of the machine can read.

use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{CertificateError, ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::Value;
use tidegate_bundle::{BUNDLE_BYTES_MAX, Digest};

use crate::files;

/// Largest answer to what is sent; a file may be as large as a bundle.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// One request, from connecting to the last byte of the answer, ...
const TIMEOUT: Duration = Duration::from_secs(60);
/// ... and a second more for so many bytes that are sent, or may be.
const BYTES_PER_SECOND_MIN: usize = 64 << 10;
/// Times that a centre which is busy is asked again.
const BUSY_RETRIES: u32 = 10;
/// Longest wait before it is.
const BUSY_WAIT_MAX: Duration = Duration::from_secs(30);

/// How a certificate that may sign others and was shown as a server's own is called.
const CA_AS_OWN: &str = "CaUsedAsEndEntity";

/// The variable that can hold a token.
const TOKEN_VARIABLE: &str = "TIDEGATE_TOKEN";

/// Which centre, and as whom.
#[derive(Debug, clap::Args)]
pub(crate) struct Access {
    /// The centre's address: https://…
    #[arg(long, value_name = "URL")]
    centre: String,
    /// Certificate authorities to trust instead of the system's (PEM).
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// File with your token at the centre; otherwise it is taken from TIDEGATE_TOKEN.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl Access {
    /// Prepares the connection; nothing is sent yet.
    pub(crate) fn prepare(&self) -> Result<Centre, crate::error::Error> {
        let token = match &self.token_file {
            Some(path) => files::read_private_text(path)?,
            None => std::env::var(TOKEN_VARIABLE).map_err(|_| Error::NoToken)?,
        };
        Ok(Centre::new(&self.centre, self.ca.as_deref(), token.trim())?)
    }
}

/// The same for a command that can do without a centre.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct MaybeAccess {
    /// A centre that has what is not given: https://…
    #[arg(long, value_name = "URL")]
    centre: Option<String>,
    /// Certificate authorities to trust instead of the system's (PEM).
    #[arg(long, value_name = "FILE", requires = "centre")]
    ca: Option<PathBuf>,
    /// File with your token at the centre; otherwise it is taken from TIDEGATE_TOKEN.
    #[arg(long, value_name = "FILE", requires = "centre")]
    token_file: Option<PathBuf>,
}

impl MaybeAccess {
    /// As [`Access::prepare`], if a centre is named.
    pub(crate) fn prepare(&self) -> Result<Option<Centre>, crate::error::Error> {
        let Self {
            centre,
            ca,
            token_file,
        } = self.clone();
        let access = centre.map(|centre| Access {
            centre,
            ca,
            token_file,
        });
        access.as_ref().map(Access::prepare).transpose()
    }
}

type BoxError = Box<dyn StdError + Send + Sync>;

/// A connection to a centre, made when needed and kept while used.
#[derive(Debug)]
pub(crate) struct Centre {
    runtime: tokio::runtime::Runtime,
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    url: Uri,
    authorization: HeaderValue,
}

/// Why a centre cannot be asked, or does not do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0:?} is not an https:// address, nor an http:// address of this machine")]
    Address(String),
    #[error("the centre wants a token: give --token-file FILE, or set {TOKEN_VARIABLE}")]
    NoToken,
    #[error("the token has signs that no token has")]
    Token,
    #[error("cannot prepare the connection")]
    Prepare(#[source] BoxError),
    #[error("the centre at {url} cannot be reached")]
    Reach { url: String, source: BoxError },
    #[error("the centre refuses ({code}): {message}")]
    Refused {
        code: String,
        message: String,
        /// The reason code of a signed file.
        reason: Option<String>,
    },
}

impl Error {
    /// What may help, where that is known.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        let Self::Reach { source, .. } = self else {
            return None;
        };
        match certificate_problem(&**source)? {
            CertificateError::UnknownIssuer => Some(
                "--ca FILE says whose certificates are trusted: give the centre's own, or that of who has signed it",
            ),
            problem if problem.to_string().contains(CA_AS_OWN) => Some(
                "the centre shows the certificate of an authority (CA:TRUE) as its own: it needs one with CA:FALSE",
            ),
            _ => None,
        }
    }
}

/// What is wrong with the certificate of the other side, if that ended the connection.
fn certificate_problem<'e>(
    mut error: &'e (dyn StdError + 'static),
) -> Option<&'e CertificateError> {
    loop {
        if let Some(rustls::Error::InvalidCertificate(problem)) = error.downcast_ref() {
            return Some(problem);
        }
        let inner = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        error = match inner {
            Some(inner) => inner,
            None => error.source()?,
        };
    }
}

impl Centre {
    /// Prepares the connection; nothing is sent yet. `ca` is trusted instead of the system's authorities.
    fn new(url: &str, ca: Option<&Path>, token: &str) -> Result<Self, Error> {
        let address = || Error::Address(url.to_owned());
        let parsed: Uri = url.parse().map_err(|_| address())?;
        let host = parsed.host().ok_or_else(address)?;
        let ip = host.trim_start_matches('[').trim_end_matches(']');
        let ip: Result<std::net::IpAddr, _> = ip.parse();
        let here = host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback());
        // Whoever reads along on the way must not learn what a sealed stick kept from them.
        match parsed.scheme_str() {
            Some("https") => {}
            Some("http") if here => {}
            _ => return Err(address()),
        }
        let authorization = HeaderValue::from_str(&format!("Bearer {token}"));
        let mut authorization = authorization.map_err(|_| Error::Token)?;
        authorization.set_sensitive(true);
        let prepare = |source| Error::Prepare(source);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| prepare(source.into()))?;
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(ca).map_err(prepare)?)
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self {
            runtime,
            http: Client::builder(TokioExecutor::new()).build(connector),
            url: parsed,
            authorization,
        })
    }

    /// Posts to an API path such as `/v1/sync`; gives the JSON of the answer. A busy centre is asked again.
    pub(crate) fn post(
        &self,
        path: &str,
        content_type: &'static str,
        body: Vec<u8>,
    ) -> Result<Value, Error> {
        let (status, answer) = self.ask(Method::POST, path, content_type, body.into())?;
        read(status, &answer)
    }

    /// Posts JSON.
    pub(crate) fn post_json(&self, path: &str, body: &Value) -> Result<Value, Error> {
        self.post(path, "application/json", body.to_string().into_bytes())
    }

    /// Gets the JSON of an API path such as `/v1/fleet`.
    pub(crate) fn get(&self, path: &str) -> Result<Value, Error> {
        let (status, answer) = self.ask(Method::GET, path, "", Bytes::new())?;
        read(status, &answer)
    }

    /// Gets a file; none if there is none.
    pub(crate) fn file(&self, path: &str) -> Result<Option<Vec<u8>>, Error> {
        let (status, answer) = self.ask(Method::GET, path, "", Bytes::new())?;
        match status {
            StatusCode::NOT_FOUND | StatusCode::NO_CONTENT => Ok(None),
            status if status.is_success() => Ok(Some(answer.into())),
            status => Err(refused(
                status,
                serde_json::from_slice(&answer).ok().as_ref(),
            )),
        }
    }

    /// Gets a whole list, page by page: the items under this name.
    pub(crate) fn list(&self, path: &str, name: &str) -> Result<Vec<Value>, Error> {
        let mut items = Vec::new();
        let mut page = path.to_owned();
        loop {
            let mut answer = self.get(&page)?;
            let found = answer.get_mut(name).and_then(Value::as_array_mut);
            items.append(found.unwrap_or(&mut Vec::new()));
            match answer.get("next").and_then(Value::as_str) {
                Some(next) => page = format!("{path}?after={next}"),
                None => return Ok(items),
            }
        }
    }

    /// Where the file of the release with this identity is, if it is there.
    pub(crate) fn blob_of(&self, identity: Digest) -> Result<Option<String>, Error> {
        let identity = identity.to_string();
        let text = |value: &Value, name| value.get(name)?.as_str().map(str::to_owned);
        let releases = self.list("/v1/releases", "releases")?;
        let found = releases
            .iter()
            .find(|release| text(release, "identity").as_ref() == Some(&identity));
        Ok(found.and_then(|release| text(release, "blob")))
    }

    fn ask(
        &self,
        method: Method,
        path: &str,
        content_type: &'static str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), Error> {
        self.runtime.block_on(async {
            let mut tries = 0;
            loop {
                let once = self.once(method.clone(), path, content_type, body.clone());
                let (status, wait, answer) = once.await?;
                if status == StatusCode::SERVICE_UNAVAILABLE && tries < BUSY_RETRIES {
                    tries += 1;
                    tokio::time::sleep(wait.min(BUSY_WAIT_MAX)).await;
                } else {
                    return Ok((status, answer));
                }
            }
        })
    }

    async fn once(
        &self,
        method: Method,
        path: &str,
        content_type: &'static str,
        body: Bytes,
    ) -> Result<(StatusCode, Duration, Bytes), Error> {
        let (answer_max, travelling) = match method {
            Method::GET => (BUNDLE_BYTES_MAX, BUNDLE_BYTES_MAX),
            _ => (ANSWER_BYTES_MAX, body.len()),
        };
        let seconds = u64::try_from(travelling / BYTES_PER_SECOND_MIN).unwrap_or(u64::MAX);
        let limit = TIMEOUT.saturating_add(Duration::from_secs(seconds));
        let reach = |source: BoxError| Error::Reach {
            url: self.url.to_string(),
            source,
        };
        let request = Request::builder()
            .method(method)
            .uri(self.endpoint(path).map_err(|error| reach(error.into()))?)
            .header(CONTENT_TYPE, content_type)
            .header(AUTHORIZATION, self.authorization.clone())
            .body(Full::new(body))
            .map_err(|error| reach(error.into()))?;
        let exchange = async {
            let response = self.http.request(request).await?;
            let (status, wait) = (response.status(), retry_after(&response));
            let body = Limited::new(response.into_body(), answer_max);
            Ok((status, wait, body.collect().await?.to_bytes()))
        };
        match tokio::time::timeout(limit, exchange).await {
            Ok(outcome) => outcome.map_err(reach),
            Err(late) => Err(reach(late.into())),
        }
    }

    fn endpoint(&self, path: &str) -> Result<Uri, http::Error> {
        let prefix = self.url.path().trim_end_matches('/');
        let builder = Uri::builder().path_and_query(format!("{prefix}{path}"));
        let builder = match self.url.scheme() {
            Some(scheme) => builder.scheme(scheme.clone()),
            None => builder,
        };
        match self.url.authority() {
            Some(authority) => builder.authority(authority.clone()).build(),
            None => builder.build(),
        }
    }
}

fn retry_after<B>(response: &Response<B>) -> Duration {
    let header = response.headers().get(RETRY_AFTER);
    let seconds = header.and_then(|value| value.to_str().ok()?.parse().ok());
    Duration::from_secs(seconds.unwrap_or(1))
}

fn read(status: StatusCode, answer: &[u8]) -> Result<Value, Error> {
    let json: Option<Value> = serde_json::from_slice(answer).ok();
    match json {
        Some(json) if status.is_success() => Ok(json),
        json => Err(refused(status, json.as_ref())),
    }
}

fn refused(status: StatusCode, json: Option<&Value>) -> Error {
    let text = |pointer| {
        let text = json?.pointer(pointer)?.as_str()?;
        Some(text.escape_debug().to_string())
    };
    Error::Refused {
        code: text("/error/code").unwrap_or_else(|| status.to_string()),
        message: text("/error/message").unwrap_or_else(|| "without a reason".to_owned()),
        reason: text("/error/reason"),
    }
}

fn tls(ca: Option<&Path>) -> Result<ClientConfig, BoxError> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            for certificate in CertificateDer::pem_file_iter(path)? {
                roots.add(certificate?)?;
            }
        }
        // One that cannot be used is as good as none: the handshake says so.
        None => {
            let (_added, _unusable) =
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_and_plain_http_to_this_machine_are_taken() {
        for good in [
            "https://centre.example/x",
            "http://127.0.0.1:1",
            "http://[::1]:1",
        ] {
            assert!(Centre::new(good, None, "tgt_x").is_ok(), "{good}");
        }
        for bad in ["http://centre.example", "ftp://127.0.0.1", "centre", ""] {
            assert!(
                matches!(Centre::new(bad, None, "tgt_x"), Err(Error::Address(_))),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_token_is_in_no_debug_text_and_adds_no_header() {
        let centre = Centre::new("http://127.0.0.1:1", None, "tgt_secret").unwrap();
        assert!(!format!("{centre:?}").contains("secret"));
        let broken = Centre::new("http://127.0.0.1:1", None, "tgt_x\r\nhost: other");
        assert!(matches!(broken, Err(Error::Token)));
    }
}
