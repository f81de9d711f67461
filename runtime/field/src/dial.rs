//! Connects to a broker, and says why it could not.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tidegate_record::{Clock, TopicFilter};
use tokio::time::timeout;

use crate::broker::{Broker, KEEP_ALIVE, SILENCE_MAX};
use crate::mqtt::connection::{Connection, ProtocolError, Reading};
use crate::mqtt::socket;
use crate::mqtt::tls::{Tls, TlsError, refuses_certificate};
use crate::mqtt::{DecodeError, Hello, Incoming, Welcome};
use crate::session::TOPIC_BYTES_MAX;
use crate::{BrokerUrl, Surroundings};

/// How long connecting may take, from the name's look-up to the broker's answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What a packet may have besides its payload and properties: a topic, and the headers.
const PACKET_OVERHEAD_MAX: usize = TOPIC_BYTES_MAX + 64;

/// What is needed to connect.
#[derive(Debug)]
pub(crate) struct Dial {
    broker: Broker,
    hello: Hello,
    packet_bytes_max: usize,
    pub(crate) filters: Vec<TopicFilter>,
    clock: Arc<dyn Clock>,
}

impl Dial {
    pub(crate) fn new(
        broker: Broker,
        filters: Vec<TopicFilter>,
        surroundings: &Surroundings,
    ) -> Self {
        let config = &broker.config;
        let keep_alive = u16::try_from(KEEP_ALIVE.as_secs()).unwrap_or(u16::MAX);
        let hello = Hello {
            client_id: config.client_id.as_str().to_owned(),
            credentials: config
                .credentials
                .as_ref()
                .map(|given| (given.username.clone(), broker.password.clone())),
            keep_alive_seconds: keep_alive,
            session_expiry_seconds: u32::try_from(config.session_expiry.as_secs())
                .unwrap_or(u32::MAX),
            receive_maximum: config.receive_maximum.get(),
        };
        let payload_bytes_max = surroundings.limits.payload_bytes_max;
        Self {
            broker,
            hello,
            packet_bytes_max: payload_bytes_max.saturating_add(PACKET_OVERHEAD_MAX),
            filters,
            clock: surroundings.clock.clone(),
        }
    }

    pub(crate) fn url(&self) -> &BrokerUrl {
        &self.broker.config.url
    }

    pub(crate) fn receive_maximum(&self) -> usize {
        usize::from(self.hello.receive_maximum)
    }

    /// Connects, within a bounded time.
    pub(crate) async fn open(&self) -> Result<(Connection, Welcome), LinkError> {
        let opened = timeout(CONNECT_TIMEOUT, self.open_unbounded()).await;
        let opened = opened.unwrap_or(Err(LinkError::Timeout));
        opened.map_err(|error| self.explain(error))
    }

    /// Names our certificate where it is the reason, or may be: a broker that refuses an expired one need not say why.
    fn explain(&self, error: LinkError) -> LinkError {
        let Some(tls) = &self.broker.tls else {
            return error;
        };
        let now = Duration::from_nanos(self.clock.wall_time().0);
        if let Some((path, since)) = tls.expired(now) {
            return LinkError::Expired {
                path: path.to_owned(),
                hours: since.as_secs() / 3600,
                source: Box::new(error),
            };
        }
        let refused = match &error {
            LinkError::Connect { source, .. } | LinkError::Broken(source) => {
                refuses_certificate(source)
            }
            _ => false,
        };
        match (refused, tls.certificate_file()) {
            (false, _) => error,
            (true, None) => LinkError::CertificateWanted(Box::new(error)),
            (true, Some(path)) => LinkError::CertificateRefused {
                path: path.to_owned(),
                source: Box::new(error),
            },
        }
    }

    async fn open_unbounded(&self) -> Result<(Connection, Welcome), LinkError> {
        let url = &self.broker.config.url;
        let tls = self.broker.tls.as_ref().map(Tls::client_config);
        let socket = socket::connect(url, tls.transpose()?).await;
        let socket = socket.map_err(|source| LinkError::Connect {
            url: url.clone(),
            source,
        })?;
        let protocol = self.broker.config.protocol;
        let mut connection = Connection::new(socket, protocol, self.packet_bytes_max);
        connection
            .write_connect(&self.hello)
            .map_err(LinkError::Encode)?;
        loop {
            connection
                .exchange(Reading::Yes)
                .await
                .map_err(LinkError::Broken)?;
            match connection.next()? {
                None => {}
                Some(Incoming::Welcome(welcome)) => return Ok((connection, welcome)),
                Some(Incoming::Refused(reason)) => return Err(LinkError::Refused(reason)),
                Some(Incoming::Disconnected(reason)) => return Err(LinkError::Closed(reason)),
                Some(_) => {
                    return Err(ProtocolError::Unexpected("something before its CONNACK").into());
                }
            }
        }
    }
}

/// Why there is no connection.
#[derive(Debug, Error)]
pub(crate) enum LinkError {
    #[error("cannot connect to {url}")]
    Connect {
        url: BrokerUrl,
        #[source]
        source: io::Error,
    },
    #[error("the broker did not answer within {} s", CONNECT_TIMEOUT.as_secs())]
    Timeout,
    #[error("the broker refused the connection: {0}")]
    Refused(String),
    #[error("the broker closed the connection: {0}")]
    Closed(String),
    #[error("the connection broke")]
    Broken(#[source] io::Error),
    #[error("the broker was silent for {} s", SILENCE_MAX.as_secs())]
    Silent,
    #[error("our certificate {path} expired {hours} h ago, by the clock of this gateway")]
    Expired {
        path: PathBuf,
        hours: u64,
        #[source]
        source: Box<LinkError>,
    },
    #[error("the broker does not accept our certificate {path}")]
    CertificateRefused {
        path: PathBuf,
        #[source]
        source: Box<LinkError>,
    },
    #[error("the broker wants a client certificate: name one with certificate and key")]
    CertificateWanted(#[source] Box<LinkError>),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    #[error("cannot encode a packet")]
    Encode(#[source] DecodeError),
    #[error(
        "a message was given up by a later stage; connecting again, so that the broker delivers it again"
    )]
    Abandoned,
}

impl LinkError {
    /// Whether the broker is away, rather than unwilling or not to be understood.
    pub(crate) fn is_absence(&self) -> bool {
        match self {
            // What TLS does not like comes as invalid data.
            Self::Connect { source, .. } | Self::Broken(source) => {
                source.kind() != io::ErrorKind::InvalidData
            }
            Self::Timeout | Self::Silent => true,
            _ => false,
        }
    }
}
