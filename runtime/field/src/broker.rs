//! The handle on a broker, and the task that connects to it and connects again.
//!
//! A link that fails or ends is tried again after a jittered back-off, for ever: a broker that is down, refuses us or
//! speaks nonsense is the operator's to mend, and shows in the counters with the last error. One that is away comes back
//! by itself, and is then found within seconds. While there is no connection `at-once` publications are dropped and
//! counted (a late actuation is worse than none) and durable ones wait.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tidegate_record::{Backoff, Limits, Name, Postbox, Publication, Record, SkipSink, TopicFilter};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::acks::AckDesk;
use crate::budget::Budget;
use crate::causes::with_causes;
use crate::courier::{Letter, Route, courier};
use crate::dial::{Dial, LinkError};
use crate::inbound::Inbound;
use crate::mqtt::Welcome;
use crate::mqtt::connection::Connection;
use crate::mqtt::tls::Tls;
use crate::session::{End, Session, uncommitted_bytes_max};
use crate::surroundings::{now, reached};
use crate::{BrokerConfig, BrokerCounters, FieldError, Phase, Surroundings, counters};

/// How often the broker hears from us at least; a dead link shows after twice this.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// After so long a silence the link is dead.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(2 * KEEP_ALIVE.as_secs());
/// Longest wait before the next attempt when the broker is away: when it is back, its plant waits for us. One that
/// refuses us is left alone for up to `backoff_max`.
const ABSENT_WAIT_MAX: Duration = Duration::from_secs(3);
/// A broker that is away for a month does not fill the log with one and the same line.
const TOLD_AGAIN_AFTER: Duration = Duration::from_secs(600);

/// A broker that can be connected to: its files were read and its settings fit together.
#[derive(Debug)]
pub struct Broker {
    pub(crate) config: BrokerConfig,
    pub(crate) password: Option<Bytes>,
    pub(crate) tls: Option<Tls>,
}

impl Broker {
    /// Reads the password and the files for TLS. Does not connect.
    ///
    /// # Errors
    /// When a file cannot be read or does not hold what it should, or the key does not fit the certificate.
    pub fn new(config: BrokerConfig) -> Result<Self, FieldError> {
        let password_file = config
            .credentials
            .as_ref()
            .and_then(|credentials| credentials.password_file.as_ref());
        let password = password_file.map(|path| {
            std::fs::read_to_string(path).map_err(|source| FieldError::Password {
                broker: config.name.clone(),
                path: path.clone(),
                source,
            })
        });
        let password = password
            .transpose()?
            .map(|text| Bytes::copy_from_slice(text.trim_end_matches(['\r', '\n']).as_bytes()));
        let tls = match config.url.tls {
            true => Some(read_tls(&config)?),
            false => None,
        };
        Ok(Self {
            config,
            password,
            tls,
        })
    }

    /// Starts the broker's tasks: messages that match `filters` become records, durable publications come from `postbox`.
    pub fn spawn<P: Postbox + 'static>(
        self,
        filters: Vec<TopicFilter>,
        postbox: Arc<P>,
        surroundings: &Surroundings,
        tasks: &mut JoinSet<()>,
    ) -> BrokerHandle {
        let limits = &surroundings.limits;
        let counters = Arc::new(BrokerCounters::default());
        let (at_once_in, at_once) = mpsc::channel(limits.publish_queue_max.max(1));
        let handle = BrokerHandle {
            name: self.config.name.clone(),
            at_once: at_once_in,
            counters: counters.clone(),
        };
        let (courier, Route { letters, receipts }) = courier(self.config.name.clone(), limits);
        tasks.spawn(courier.run(postbox));
        let link = Link {
            name: self.config.name.clone(),
            inbound: Inbound::new(
                self.config.name.clone(),
                self.config.message_id.clone(),
                surroundings,
            ),
            records: Some(surroundings.records.clone()),
            held: VecDeque::new(),
            budget: Budget::new(uncommitted_bytes_max(limits)),
            desk: Arc::default(),
            next_delivery: 0,
            at_once,
            letters,
            receipts,
            to_send: VecDeque::new(),
            phase: surroundings.phase.clone(),
            skips: surroundings.skips.clone(),
            limits: limits.clone(),
            counters,
            told: None,
        };
        let dial = Dial::new(self, filters, surroundings);
        tasks.spawn(async move {
            let counters = link.counters.clone();
            link.run(Arc::new(dial)).await;
            counters.pulse.end();
        });
        handle
    }
}

fn read_tls(config: &BrokerConfig) -> Result<Tls, FieldError> {
    let tls = Tls::new(config.ca_file.as_deref(), config.identity.clone());
    let tls = tls.map_err(|source| FieldError::Tls {
        broker: config.name.clone(),
        source,
    })?;
    if let Some(path) = tls.key_open_to_all() {
        tracing::warn!(broker = %config.name, "everybody on this machine can read the private key {}", path.display());
    }
    Ok(tls)
}

/// The handle on a running broker.
#[derive(Debug, Clone)]
pub struct BrokerHandle {
    name: Name,
    at_once: mpsc::Sender<Publication>,
    counters: Arc<BrokerCounters>,
}

impl BrokerHandle {
    /// The broker's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Sends an `at-once` publication. Never waits: when the queue is full or the link down, it is dropped and counted.
    pub fn publish(&self, publication: Publication) {
        if self.at_once.try_send(publication).is_err() {
            counters::count(&self.counters.publish_dropped);
        }
    }

    /// What happened so far.
    pub fn counters(&self) -> &BrokerCounters {
        &self.counters
    }
}

/// A record that waits for room in the inbox.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) record: Record,
    /// Whether it comes again on the next connection unless it is acknowledged on this one.
    pub(crate) comes_again: bool,
}

/// What of a broker outlives its connections.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) name: Name,
    pub(crate) inbound: Inbound,
    /// Gone when no more records are taken.
    pub(crate) records: Option<mpsc::Sender<Record>>,
    /// Received, and not yet forwarded because the inbox is full. Bounded by the broker's window.
    pub(crate) held: VecDeque<Held>,
    /// Room for messages that want no acknowledgement.
    pub(crate) budget: Arc<Budget>,
    pub(crate) desk: Arc<AckDesk>,
    /// Number of the next delivery; never one that was used before.
    pub(crate) next_delivery: u64,
    pub(crate) at_once: mpsc::Receiver<Publication>,
    pub(crate) letters: mpsc::Receiver<Letter>,
    pub(crate) receipts: mpsc::Sender<u64>,
    /// Durable publications to be sent next: first those that were in flight when a connection ended.
    pub(crate) to_send: VecDeque<Letter>,
    pub(crate) phase: watch::Receiver<Phase>,
    pub(crate) skips: Arc<dyn SkipSink>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) counters: Arc<BrokerCounters>,
    /// The error that the log has, and since when.
    told: Option<(String, Instant)>,
}

impl Link {
    /// Connects, serves the connection, and connects again, until the run drains.
    async fn run(mut self, dial: Arc<Dial>) {
        let (wait_min, wait_max) = (self.limits.backoff_min, self.limits.backoff_max);
        let mut while_refused = Backoff::new(wait_min, wait_max);
        let mut while_absent = Backoff::new(wait_min, wait_max.min(ABSENT_WAIT_MAX));
        loop {
            let opening = dial.clone();
            let Some(opened) = self.offline(async move { opening.open().await }).await else {
                return;
            };
            let (lived, error) = match opened {
                Err(error) => (Duration::ZERO, error),
                Ok((connection, welcome)) => {
                    let since = Instant::now();
                    match self.serve(connection, welcome, &dial).await {
                        End::Stopped => return,
                        End::Lost(error) => (since.elapsed(), error),
                    }
                }
            };
            // A connection that ends soon counts as a failed attempt, whatever ended it: else a broker that takes us and
            // then throws us out, or a message that is abandoned each time, would make us busy for ever.
            if lived >= wait_max {
                while_refused.reset();
                while_absent.reset();
            }
            let wait = match error.is_absence() {
                true => while_absent.jittered(),
                false => while_refused.jittered(),
            };
            self.report(&error, wait);
            if self.offline(sleep(wait)).await.is_none() {
                return;
            }
        }
    }

    async fn serve(&mut self, connection: Connection, welcome: Welcome, dial: &Dial) -> End {
        counters::count(&self.counters.connections);
        tracing::info!(broker = %self.name, url = %dial.url(), welcome.session_present, "connected");
        self.counters.connected.store(true, Ordering::Relaxed);
        let mut session = Session::new(connection, welcome, dial.receive_maximum(), self);
        let end = session.run(self, &dial.filters).await;
        self.counters.connected.store(false, Ordering::Relaxed);
        self.counters.subscribed.store(false, Ordering::Relaxed);
        session.close(self);
        end
    }

    /// Waits for `done` without a connection; none when the run no longer goes on.
    async fn offline<T>(&mut self, done: impl Future<Output = T>) -> Option<T> {
        let counters = self.counters.clone();
        let mut done = std::pin::pin!(done);
        let waiting = async {
            loop {
                if now(&self.phase) != Phase::Running {
                    return None;
                }
                tokio::select! {
                    biased;
                    () = reached(&mut self.phase, Phase::Draining) => return None,
                    Some(_) = self.at_once.recv() => counters::count(&counters.publish_dropped),
                    output = &mut done => return Some(output),
                }
            }
        };
        counters.pulse.during(waiting).await
    }

    /// Shows the error. The log has it again only when it is another one, or after a while.
    fn report(&mut self, error: &LinkError, wait: Duration) {
        let text = with_causes(error);
        let wait_ms = wait.as_millis();
        let told = self.told.as_ref();
        if told.is_some_and(|(told, at)| *told == text && at.elapsed() < TOLD_AGAIN_AFTER) {
            tracing::debug!(broker = %self.name, error = text, wait_ms, "not connected");
        } else {
            tracing::warn!(broker = %self.name, error = text, wait_ms, "not connected");
            self.told = Some((text.clone(), Instant::now()));
        }
        self.counters.set_last_error(text);
    }
}
