//! Where the centre is, and how it proves itself.

use std::path::PathBuf;

use http::{HeaderValue, Uri};
use thiserror::Error;

use crate::mqtt::BrokerConfig;
use crate::socket::Address;

/// Where rows go.
#[derive(Debug, Clone)]
pub enum Config {
    /// To a centre.
    Centre(CentreConfig),
    /// To a broker in place of one.
    Broker(BrokerConfig),
}

/// Where a centre is.
#[derive(Debug, Clone)]
pub struct CentreConfig {
    url: Uri,
    /// Certificate authorities (PEM) to trust instead of the system's.
    pub ca: Option<PathBuf>,
}

impl CentreConfig {
    /// Checks the centre's address. Plain HTTP is only for this machine: rows and, later, credentials would be readable
    /// on the way.
    ///
    /// # Errors
    /// When it is not an `https://` URL, nor an `http://` URL of the loopback interface.
    pub fn new(url: &str, ca: Option<PathBuf>) -> Result<Self, ConfigError> {
        let uri: Uri = url
            .parse()
            .map_err(|_| ConfigError::Malformed(url.to_owned()))?;
        let host = uri
            .host()
            .ok_or_else(|| ConfigError::Malformed(url.to_owned()))?;
        match uri.scheme_str() {
            Some("https") => {}
            Some("http") => check_plain(url, host)?,
            _ => return Err(ConfigError::Malformed(url.to_owned())),
        }
        if uri.query().is_some() {
            return Err(ConfigError::Malformed(url.to_owned()));
        }
        Ok(Self { url: uri, ca })
    }

    /// Its address, in one form.
    pub fn url(&self) -> String {
        self.url.to_string()
    }

    /// Whether the connection is by TLS.
    pub(crate) fn is_tls(&self) -> bool {
        self.url.scheme_str() == Some("https")
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> Address {
        let port = if self.is_tls() { 443 } else { 80 };
        let host = self.url.host().unwrap_or_default();
        Address {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: self.url.port_u16().unwrap_or(port),
        }
    }

    /// What the header `Host` says.
    pub(crate) fn host_header(&self) -> Result<HeaderValue, http::Error> {
        let host = self.url.host().unwrap_or_default();
        let text = match self.url.port_u16() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        Ok(HeaderValue::try_from(text)?)
    }

    /// The path of an API path such as `/v1/sync`.
    pub(crate) fn path(&self, path: &str) -> Result<Uri, http::Error> {
        let prefix = self.url.path().trim_end_matches('/');
        Ok(Uri::try_from(format!("{prefix}{path}"))?)
    }
}

/// What is not encrypted must not leave this machine.
pub(crate) fn check_plain(url: &str, host: &str) -> Result<(), ConfigError> {
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    match host == "localhost" || address.is_ok_and(|address| address.is_loopback()) {
        true => Ok(()),
        false => Err(ConfigError::Plain(url.to_owned())),
    }
}

/// Why an address cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// Not a URL that can be used.
    #[error("{0:?} is not an https:// address")]
    Malformed(String),
    /// Not a URL of a broker that can be used.
    #[error("{0:?} is not an mqtts:// address of a host and port")]
    MalformedBroker(String),
    /// Readable on the way.
    #[error(
        "{0:?} is not encrypted: plain http:// and mqtt:// are only for this machine, use https:// or mqtts://"
    )]
    Plain(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_and_plain_loopback_are_taken() {
        for good in [
            "https://centre.example",
            "https://centre.example:8443/tidegate",
            "http://127.0.0.1:80",
            "http://[::1]:8080",
            "http://localhost:1",
        ] {
            assert!(CentreConfig::new(good, None).is_ok(), "{good}");
        }
        assert!(matches!(
            CentreConfig::new("http://centre.example", None),
            Err(ConfigError::Plain(_))
        ));
        for bad in [
            "",
            "centre",
            "ftp://centre",
            "https://",
            "/v1",
            "https://c?x=1",
        ] {
            assert!(
                matches!(CentreConfig::new(bad, None), Err(ConfigError::Malformed(_))),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_path_in_the_address_is_kept() {
        let config = CentreConfig::new("https://centre.example/plant/", None).unwrap();
        assert_eq!(config.path("/v1/sync").unwrap(), "/plant/v1/sync");
        assert_eq!(config.host_header().unwrap(), "centre.example");
        let plain = CentreConfig::new("http://[::1]:8080", None).unwrap();
        assert_eq!(plain.path("/v1/sync").unwrap(), "/v1/sync");
        assert_eq!(plain.host_header().unwrap(), "[::1]:8080");
        let Address { host, port } = plain.address();
        assert_eq!((host.as_str(), port), ("::1", 8080));
        assert_eq!(config.address().port, 443);
    }
}
