//! A broker, as the operator describes it.

use std::path::PathBuf;

use tidegate_record::Topic;

use crate::config::{ConfigError, check_plain};
use crate::socket::Address;

/// A broker that gets the rows.
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    pub(crate) address: Address,
    pub(crate) tls: bool,
    /// Certificate authorities (PEM) to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// What we show a broker that asks for a client certificate.
    pub identity: Option<Identity>,
    /// Who we are, where certificates do not say it.
    pub credentials: Option<Credentials>,
    /// What each topic begins with.
    pub prefix: Topic,
}

/// A client certificate and its key, read again for each connection: a renewed certificate needs no restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// PEM file with our certificate, and after it those that lead to an authority which the broker trusts.
    pub certificate: PathBuf,
    /// PEM file with its private key, not encrypted.
    pub key: PathBuf,
}

/// User name and password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user.
    pub username: String,
    /// File with the password; a line end at its end is not part of it. Read for each connection.
    pub password_file: Option<PathBuf>,
}

const PORT: u16 = 1883;
const PORT_TLS: u16 = 8883;

impl BrokerConfig {
    /// A broker at `mqtts://HOST[:PORT]`, or `mqtt://` on the loopback interface, with topics below `tidegate`.
    ///
    /// # Errors
    /// When it is neither.
    pub fn new(url: &str) -> Result<Self, ConfigError> {
        let malformed = || ConfigError::MalformedBroker(url.to_owned());
        let uri: http::Uri = url.parse().map_err(|_| malformed())?;
        let tls = match uri.scheme_str() {
            Some("mqtts") => true,
            Some("mqtt") => false,
            _ => return Err(malformed()),
        };
        let host = uri
            .host()
            .filter(|host| !host.is_empty())
            .ok_or_else(malformed)?;
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() || authority.contains('@') {
            return Err(malformed());
        }
        if !tls {
            check_plain(url, host)?;
        }
        let port = if tls { PORT_TLS } else { PORT };
        Ok(Self {
            address: Address {
                host: host.trim_matches(['[', ']']).to_owned(),
                port: uri.port_u16().unwrap_or(port),
            },
            tls,
            ca: None,
            identity: None,
            credentials: None,
            prefix: Topic::new("tidegate").map_err(|_| malformed())?,
        })
    }

    /// Whether the connection is by TLS.
    pub const fn is_tls(&self) -> bool {
        self.tls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mqtts_and_plain_loopback_are_taken() {
        for (good, port) in [
            ("mqtts://broker.example", 8883),
            ("mqtts://broker.example:443/", 443),
            ("mqtt://127.0.0.1", 1883),
            ("mqtt://[::1]:1884", 1884),
        ] {
            assert_eq!(
                BrokerConfig::new(good).unwrap().address.port,
                port,
                "{good}"
            );
        }
        assert!(matches!(
            BrokerConfig::new("mqtt://broker.example"),
            Err(ConfigError::Plain(_))
        ));
        for bad in [
            "",
            "https://broker.example",
            "mqtts://",
            "mqtts://user:secret@broker.example",
            "mqtts://broker.example/topic",
        ] {
            assert!(
                matches!(BrokerConfig::new(bad), Err(ConfigError::MalformedBroker(_))),
                "{bad}"
            );
        }
    }
}
