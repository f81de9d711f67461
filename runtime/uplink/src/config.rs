//! Where the centre is, and how it proves itself.

use std::path::PathBuf;

use http::Uri;
use thiserror::Error;

/// Where the centre is.
#[derive(Debug, Clone)]
pub struct Config {
    url: Uri,
    /// Certificate authorities (PEM) to trust instead of the system's.
    pub ca: Option<PathBuf>,
}

impl Config {
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
        let address = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<std::net::IpAddr>();
        let loopback = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
        match uri.scheme_str() {
            Some("https") => {}
            Some("http") if loopback => {}
            Some("http") => return Err(ConfigError::Plain(url.to_owned())),
            _ => return Err(ConfigError::Malformed(url.to_owned())),
        }
        if uri.query().is_some() {
            return Err(ConfigError::Malformed(url.to_owned()));
        }
        Ok(Self { url: uri, ca })
    }

    /// The address of an API path such as `/v1/sync`.
    pub(crate) fn endpoint(&self, path: &str) -> Result<Uri, http::Error> {
        let prefix = self.url.path().trim_end_matches('/');
        let mut builder = Uri::builder().path_and_query(format!("{prefix}{path}"));
        if let Some(scheme) = self.url.scheme() {
            builder = builder.scheme(scheme.clone());
        }
        if let Some(authority) = self.url.authority() {
            builder = builder.authority(authority.clone());
        }
        builder.build()
    }
}

/// Why an address is not the centre's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// Not a URL that can be used.
    #[error("{0:?} is not an https:// address")]
    Malformed(String),
    /// Readable on the way.
    #[error("{0:?} is not encrypted: plain http:// is only for this machine, use https://")]
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
            assert!(Config::new(good, None).is_ok(), "{good}");
        }
        assert!(matches!(
            Config::new("http://centre.example", None),
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
                matches!(Config::new(bad, None), Err(ConfigError::Malformed(_))),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_path_in_the_address_is_kept() {
        let config = Config::new("https://centre.example/plant/", None).unwrap();
        assert_eq!(
            config.endpoint("/v1/sync").unwrap(),
            "https://centre.example/plant/v1/sync"
        );
    }
}
