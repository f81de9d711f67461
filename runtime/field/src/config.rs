//! Brokers and sensors as the operator describes them: types that cannot hold what makes no sense.

use std::fmt;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;
use tidegate_hardware::{DriverConfig, DriverError};
use tidegate_record::{Limits, Name};

use crate::TlsError;

/// One broker.
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    /// The source of its records, and what publications call it.
    pub name: Name,
    /// Where it is.
    pub url: BrokerUrl,
    /// The version of MQTT that is spoken to it.
    pub protocol: Protocol,
    /// Who we are to it. Its queue for us hangs on this name.
    pub client_id: ClientId,
    /// How we prove it.
    pub credentials: Option<Credentials>,
    /// PEM file with the authorities to trust with TLS; none means the system's.
    pub ca_file: Option<PathBuf>,
    /// What we show a broker that asks for a client certificate.
    pub identity: Option<Identity>,
    /// Where senders put an id of their own into a message; a second delivery of one has no effect.
    pub message_id: Option<MessageIdFrom>,
    /// How many ids each module remembers. A module that listens to several brokers remembers them together, as many as
    /// the one that wants most.
    pub message_ids_max: usize,
    /// Messages that the broker may send before the first is acknowledged: bounds what is in memory, and the size of a
    /// batch. The broker may have a lower bound of its own (mosquitto: 20, unless `max_inflight_messages` says more).
    pub receive_maximum: NonZeroU16,
    /// How long the broker keeps our queue while we are away; whole seconds. MQTT 3.1.1 has no word for it: there the
    /// broker's own setting rules.
    pub session_expiry: Duration,
}

impl BrokerConfig {
    /// Default of [`BrokerConfig::receive_maximum`]: one full batch.
    pub const RECEIVE_MAXIMUM: NonZeroU16 = NonZeroU16::MIN.saturating_add(999);
    /// Default of [`BrokerConfig::session_expiry`]: a month of repair does not lose the queue, and a broker does not
    /// keep that of a gateway which is gone for ever.
    pub const SESSION_EXPIRY: Duration = Duration::from_secs(30 * 24 * 3600);

    /// A broker with every default.
    pub fn new(name: Name, url: BrokerUrl, client_id: ClientId) -> Self {
        Self {
            name,
            url,
            protocol: Protocol::default(),
            client_id,
            credentials: None,
            ca_file: None,
            identity: None,
            message_id: None,
            message_ids_max: Limits::DEFAULT.seen_ids_max,
            receive_maximum: Self::RECEIVE_MAXIMUM,
            session_expiry: Self::SESSION_EXPIRY,
        }
    }
}

/// User name and password at a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user.
    pub username: String,
    /// File with the password; a line end at its end is not part of it.
    pub password_file: Option<PathBuf>,
}

/// A client certificate and its key, read again for each connection: a renewed certificate needs no restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// PEM file with our certificate, and after it those that lead to an authority which the broker trusts.
    pub certificate_file: PathBuf,
    /// PEM file with its private key, not encrypted.
    pub key_file: PathBuf,
}

/// A version of MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// Says why it refuses, and carries user properties and a content type.
    #[default]
    Mqtt5,
    /// What older brokers and devices speak.
    Mqtt311,
}

impl FromStr for Protocol {
    type Err = UnknownProtocol;

    fn from_str(text: &str) -> Result<Self, UnknownProtocol> {
        match text {
            "5" => Ok(Self::Mqtt5),
            "3.1.1" => Ok(Self::Mqtt311),
            other => Err(UnknownProtocol(other.to_owned())),
        }
    }
}

/// Why a text is not a [`Protocol`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is no version of MQTT that is spoken here: \"5\" or \"3.1.1\"")]
pub struct UnknownProtocol(String);

/// Where a sender puts the id of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageIdFrom {
    /// In an MQTT 5 user property of this name.
    Property(String),
    /// In this top-level field of a JSON payload, as text or number.
    Field(String),
}

/// One sensor.
#[derive(Debug, Clone)]
pub struct SensorConfig {
    /// The source of its records.
    pub name: Name,
    /// Its driver.
    pub driver: DriverConfig,
}

/// `mqtt://HOST[:PORT]`, or `mqtts://` for TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerUrl {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: bool,
}

impl BrokerUrl {
    /// Whether the connection is by TLS.
    pub fn is_tls(&self) -> bool {
        self.tls
    }
}

const PORT: u16 = 1883;
const PORT_TLS: u16 = 8883;

impl FromStr for BrokerUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| UrlError::Scheme(text.to_owned()))?;
        let tls = match scheme {
            "mqtt" => false,
            "mqtts" => true,
            _ => return Err(UrlError::Scheme(text.to_owned())),
        };
        let address = rest.strip_suffix('/').unwrap_or(rest);
        if address.contains('@') {
            return Err(UrlError::Credentials);
        }
        if address.contains(['/', '?', '#']) {
            return Err(UrlError::Path(text.to_owned()));
        }
        let (host, port) = match address
            .strip_prefix('[')
            .and_then(|rest| rest.split_once(']'))
        {
            // An IPv6 address in brackets.
            Some((host, rest)) => (
                host,
                rest.strip_prefix(':')
                    .or((!rest.is_empty()).then_some(rest)),
            ),
            None => match address.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (address, None),
            },
        };
        let host_is_plain = host
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%'));
        if host.is_empty() || !host_is_plain {
            return Err(UrlError::Host(text.to_owned()));
        }
        let port = match port {
            None if tls => PORT_TLS,
            None => PORT,
            Some(port) => match port.parse() {
                Ok(0) | Err(_) => return Err(UrlError::Port(port.to_owned())),
                Ok(port) => port,
            },
        };
        Ok(Self {
            host: host.to_owned(),
            port,
            tls,
        })
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "mqtts" } else { "mqtt" };
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]:{}", self.host, self.port),
            false => write!(f, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}

/// Why a text is not the URL of a broker.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UrlError {
    /// Another scheme.
    #[error("the url of a broker begins with mqtt:// or mqtts://, this is {0:?}")]
    Scheme(String),
    /// User name or password in it.
    #[error("the url of a broker has no user name in it: use username and password-file")]
    Credentials,
    /// Something after the address.
    #[error("the url of a broker ends after its port, this is {0:?}")]
    Path(String),
    /// No usable host.
    #[error("{0:?} has no usable host name")]
    Host(String),
    /// No usable port.
    #[error("{0:?} is no port: a port is 1 to 65535")]
    Port(String),
}

/// A client's name at a broker: 1 to 256 characters, none of them a control character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientId(String);

/// Longest client id, in characters; brokers need not take more than 23, and commonly take far more.
const CLIENT_ID_MAX: usize = 256;

impl ClientId {
    /// Checks `text`.
    ///
    /// # Errors
    /// When it is empty or too long, or has a control character.
    pub fn new(text: &str) -> Result<Self, ClientIdError> {
        let length = text.chars().count();
        match (1..=CLIENT_ID_MAX).contains(&length) && !text.chars().any(char::is_control) {
            true => Ok(Self(text.to_owned())),
            false => Err(ClientIdError(length)),
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is not a client id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a client id has 1 to 256 characters and no control character, this has {0} characters")]
pub struct ClientIdError(usize);

/// Why a broker or sensor cannot be set up.
#[derive(Debug, Error)]
pub enum FieldError {
    /// The password cannot be read.
    #[error("cannot read the password of broker {broker} from {path}")]
    Password {
        /// Which broker.
        broker: Name,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The files for TLS cannot be used.
    #[error("cannot set up tls for broker {broker}")]
    Tls {
        /// Which broker.
        broker: Name,
        /// What is wrong, and with which file.
        #[source]
        source: TlsError,
    },
    /// A driver cannot be opened.
    #[error("cannot open sensor {sensor}")]
    Driver {
        /// Which sensor.
        sensor: Name,
        /// Why.
        #[source]
        source: DriverError,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_host_and_port() {
        for (text, expected) in [
            ("mqtt://plant", "mqtt://plant:1883"),
            ("mqtts://broker.example/", "mqtts://broker.example:8883"),
            ("mqtt://127.0.0.1:18830", "mqtt://127.0.0.1:18830"),
            ("mqtt://[::1]:99", "mqtt://[::1]:99"),
            ("mqtts://[fe80::1%eth0]", "mqtts://[fe80::1%eth0]:8883"),
        ] {
            assert_eq!(text.parse::<BrokerUrl>().unwrap().to_string(), expected);
        }
    }

    #[test]
    fn what_is_no_broker_url_is_refused_with_the_reason() {
        for (text, reason) in [
            ("plant:1883", "begins with mqtt://"),
            ("http://plant", "begins with mqtt://"),
            ("mqtt://", "no usable host"),
            ("mqtt://:1883", "no usable host"),
            ("mqtt://a b", "no usable host"),
            ("mqtt://user:secret@plant", "no user name"),
            ("mqtt://plant:0", "is no port"),
            ("mqtt://plant:65536", "is no port"),
            ("mqtt://plant:1883x", "is no port"),
            ("mqtt://[::1]x", "is no port"),
            ("mqtt://plant/topic", "ends after its port"),
        ] {
            let error = text.parse::<BrokerUrl>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn a_url_error_does_not_repeat_a_password() {
        let error = "mqtt://user:secret@plant".parse::<BrokerUrl>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"));
    }

    #[test]
    fn a_version_of_mqtt_is_named_as_its_standard_is() {
        assert_eq!("5".parse(), Ok(Protocol::Mqtt5));
        assert_eq!("3.1.1".parse(), Ok(Protocol::Mqtt311));
        for other in ["", "4", "3.1", "5.0", "v5"] {
            let error = other.parse::<Protocol>().unwrap_err().to_string();
            assert!(error.ends_with("\"5\" or \"3.1.1\""), "{error}");
        }
    }

    #[test]
    fn client_ids_are_bounded() {
        assert!(ClientId::new("gateway-1").is_ok());
        assert!(ClientId::new("").is_err());
        assert!(ClientId::new("a\0").is_err());
        assert!(ClientId::new(&"a".repeat(257)).is_err());
    }
}
