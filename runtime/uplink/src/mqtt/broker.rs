//! An exchange with a broker, in the shape of one with a centre: rows out, marks back.

use std::sync::Arc;
use std::time::Duration;

use rumqttc::mqttbytes::v5::ConnectAuth;
use tidegate_record::{Limits, Mark, Name};
use tidegate_wire::{SyncReply, SyncRequest, WallTime};

use super::config::BrokerConfig;
use super::payload::Publication;
use super::session::{Hello, Session, SessionError};
use crate::error::Error;
use crate::socket::{self, Traffic};
use crate::tls;

/// How often a broker is asked whether it is alive while no row waits.
const POLL: Duration = Duration::from_secs(30);

/// A connection to a broker, made when needed and kept while used.
#[derive(Debug)]
pub(crate) struct Broker {
    config: BrokerConfig,
    client_id: String,
    window_max: u16,
    timeout: Duration,
    traffic: Arc<Traffic>,
    session: Option<Session>,
}

impl Broker {
    /// Prepares the connection; nothing is sent yet.
    ///
    /// # Errors
    /// When a file that `config` names cannot be used.
    pub(crate) fn new(
        config: &BrokerConfig,
        gateway: &Name,
        limits: &Limits,
        traffic: Arc<Traffic>,
    ) -> Result<Self, Error> {
        let broker = Self {
            config: config.clone(),
            // Where the broker is the plant's as well, the gateway's own name is taken.
            client_id: format!("{gateway}-uplink"),
            window_max: limits.publish_window,
            timeout: limits.sync_timeout,
            traffic,
            session: None,
        };
        broker.tls()?;
        broker.auth()?;
        Ok(broker)
    }

    /// Closes the connection: nobody will use it for a while.
    pub(crate) fn rest(&mut self) {
        self.session = None;
    }

    /// The rows of a request as messages, in its order.
    pub(crate) fn pack(&self, request: &SyncRequest) -> Vec<Publication> {
        let prefix = self.config.prefix.as_str();
        let streams = request.rows.iter();
        let rows = streams.flat_map(|stream| {
            let rows = stream.rows.iter();
            rows.map(|row| Publication::new(prefix, &request.gateway, &stream.of, row))
        });
        rows.collect()
    }

    /// Publishes the rows of `request`, or asks whether the broker is alive. What was acknowledged counts even when the rest
    /// fails.
    ///
    /// # Errors
    /// When the broker cannot be reached, or takes none of the rows.
    pub(crate) async fn exchange(
        &mut self,
        request: &SyncRequest,
        publications: &[Publication],
    ) -> Result<SyncReply, Error> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => {
                let opening = tokio::time::timeout(self.timeout, self.connect()).await;
                opening.map_err(|_| Error::Timeout(self.timeout.as_secs()))??
            }
        };
        let mut taken = vec![false; publications.len()];
        let outcome = match publications.is_empty() {
            true => session.ping().await,
            false => {
                let take = |index| {
                    if let Some(taken) = taken.get_mut(index) {
                        *taken = true;
                    }
                };
                session.publish(publications, take).await
            }
        };
        let marks = marks(request, &taken);
        match outcome {
            Ok(()) => self.session = Some(session),
            Err(error) if marks.is_empty() => return Err(error.into()),
            // The next exchange finds out again.
            Err(error) => tracing::debug!("{error}"),
        }
        Ok(SyncReply {
            version: tidegate_wire::VERSION,
            marks,
            server_time: WallTime::default(),
            next_poll_ms: u32::try_from(POLL.as_millis()).unwrap_or(u32::MAX),
            pace: None,
        })
    }

    async fn connect(&self) -> Result<Session, Error> {
        let socket = socket::connect(&self.config.address, self.tls()?, self.traffic.clone());
        let socket = socket.await.map_err(Error::Connect)?;
        let hello = Hello {
            client_id: self.client_id.clone(),
            auth: self.auth()?,
        };
        Ok(Session::open(socket, hello, self.window_max, self.timeout).await?)
    }

    fn tls(&self) -> Result<Option<Arc<rustls::ClientConfig>>, Error> {
        let config = &self.config;
        let made = config
            .tls
            .then(|| tls::client_config(config.ca.as_deref(), config.identity.as_ref()));
        made.transpose()
    }

    fn auth(&self) -> Result<ConnectAuth, Error> {
        let Some(credentials) = &self.config.credentials else {
            return Ok(ConnectAuth::None);
        };
        let username = credentials.username.clone();
        let Some(path) = &credentials.password_file else {
            return Ok(ConnectAuth::Username { username });
        };
        let password = std::fs::read(path).map_err(|source| Error::File {
            what: "password",
            path: path.display().to_string(),
            source: source.into(),
        })?;
        let end = password.iter().rposition(|byte| !b"\r\n".contains(byte));
        let password = password
            .get(..end.map_or(0, |end| end + 1))
            .unwrap_or_default();
        Ok(ConnectAuth::UsernamePassword {
            username,
            password: password.to_vec().into(),
        })
    }
}

impl From<SessionError> for Error {
    fn from(error: SessionError) -> Self {
        Self::Broker(Box::new(error))
    }
}

/// How far each stream was taken without a gap.
fn marks(request: &SyncRequest, taken: &[bool]) -> Vec<Mark> {
    let mut taken = taken.iter();
    let marks = request.rows.iter().map(|stream| {
        let mine: Vec<_> = stream.rows.iter().zip(taken.by_ref()).collect();
        let whole = mine.iter().take_while(|(_, taken)| **taken).last();
        whole.map(|(row, _)| Mark {
            of: stream.of.clone(),
            seq: row.seq,
        })
    });
    marks.flatten().collect()
}
