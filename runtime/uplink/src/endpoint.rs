//! Where rows go: to a centre, or to a broker in place of one.

use std::sync::Arc;

use tidegate_record::{Limits, Name, RequestSigner};
use tidegate_wire::{SyncReply, SyncRequest};

use crate::client::Client;
use crate::config::Config;
use crate::error::Error;
use crate::mqtt::{Broker, Publication};
use crate::socket::Traffic;

/// Rows beyond which a request is packed beside the thread on which messages flow: it takes milliseconds.
const ROWS_PACKED_AT_ONCE: usize = 100;

/// A connection to where rows go, made when needed and kept while used.
#[derive(Debug)]
pub struct Endpoint(Kind);

#[derive(Debug)]
enum Kind {
    /// With the body that was packed.
    Centre(Client, Vec<u8>),
    /// With the messages that were packed.
    Broker(Broker, Vec<Publication>),
}

impl Endpoint {
    /// Prepares the connection of `gateway`; nothing is sent yet. What it will carry is added to `traffic`, and signed for a
    /// centre.
    ///
    /// # Errors
    /// When a file that `config` names cannot be used, or TLS cannot be set up.
    pub fn new(
        config: &Config,
        gateway: &Name,
        limits: &Limits,
        traffic: Arc<Traffic>,
        signer: Option<Arc<dyn RequestSigner>>,
    ) -> Result<Self, Error> {
        Ok(Self(match config {
            Config::Centre(config) => {
                let client = Client::new(config, limits.sync_timeout, traffic)?;
                Kind::Centre(client.signed_by(signer), Vec::new())
            }
            Config::Broker(config) => {
                let broker = Broker::new(config, gateway, limits, traffic)?;
                Kind::Broker(broker, Vec::new())
            }
        }))
    }

    /// Makes of a request what goes over the wire. Answers how many bytes that takes: of messages to a broker, about.
    ///
    /// # Errors
    /// When it is too large.
    pub(crate) async fn pack(&mut self, request: &Arc<SyncRequest>) -> Result<usize, Error> {
        match &mut self.0 {
            Kind::Centre(_, body) => {
                *body = encode(request).await?;
                Ok(body.len())
            }
            Kind::Broker(broker, publications) => {
                *publications = broker.pack(request);
                Ok(publications.iter().map(Publication::bytes).sum())
            }
        }
    }

    /// Sends `request`, which was packed last.
    ///
    /// # Errors
    /// When it was not taken.
    pub(crate) async fn send(&mut self, request: &SyncRequest) -> Result<SyncReply, Error> {
        match &mut self.0 {
            #[cfg(feature = "faults")]
            Kind::Centre(client, _) => crate::faults::sync(client, request).await,
            #[cfg(not(feature = "faults"))]
            Kind::Centre(client, body) => client.sync(std::mem::take(body), request.epoch).await,
            Kind::Broker(broker, publications) => {
                let publications = std::mem::take(publications);
                broker.exchange(request, &publications).await
            }
        }
    }

    /// Closes the connection: nobody will use it for a while.
    pub(crate) fn rest(&mut self) {
        match &mut self.0 {
            Kind::Centre(client, _) => client.rest(),
            Kind::Broker(broker, _) => broker.rest(),
        }
    }
}

async fn encode(request: &Arc<SyncRequest>) -> Result<Vec<u8>, Error> {
    let rows: usize = request.rows.iter().map(|rows| rows.rows.len()).sum();
    if rows <= ROWS_PACKED_AT_ONCE {
        return Ok(tidegate_wire::encode(&**request)?);
    }
    let request = request.clone();
    let encoding = tokio::task::spawn_blocking(move || tidegate_wire::encode(&*request));
    match encoding.await {
        Ok(encoded) => Ok(encoded?),
        Err(failed) => Err(Error::Task(failed)),
    }
}
