//! The field under test, with the ends of its channels in the test's hands.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tidegate_field::{Broker, BrokerConfig, BrokerHandle, ClientId, Phase, Protocol, Surroundings};
use tidegate_record::{
    Ack, Body, Delivery, IdHasher, Limits, Name, Postbox, Publication, Record, SkipReason,
    SkipSink, SystemClock, Topic, TopicFilter,
};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Far longer than anything takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// `future`, which must not take long.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future)
        .await
        .expect("nothing happened for 30 s")
}

/// Waits until `holds`.
pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    soon(async {
        while !holds() {
            sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// What a rig is started with.
pub(crate) struct Setup {
    pub(crate) config: BrokerConfig,
    pub(crate) filters: Vec<&'static str>,
    pub(crate) limits: Limits,
    pub(crate) inbox: usize,
    pub(crate) postbox: Arc<MemoryPostbox>,
}

impl Setup {
    pub(crate) fn new(url: &str, protocol: Protocol) -> Self {
        let limits = Limits {
            backoff_max: Duration::from_millis(200),
            ..Limits::DEFAULT
        };
        let mut config = BrokerConfig::new(
            Name::new("plant").unwrap(),
            url.parse().unwrap(),
            ClientId::new("gateway-1").unwrap(),
        );
        config.protocol = protocol;
        Self {
            config,
            filters: vec!["in/#"],
            limits,
            inbox: 4096,
            postbox: Arc::default(),
        }
    }

    pub(crate) fn start(self) -> Rig {
        let (records_in, records) = mpsc::channel(self.inbox);
        let (phase, phase_out) = watch::channel(Phase::Running);
        let skips = Arc::<Skips>::default();
        let surroundings = Surroundings {
            records: records_in,
            phase: phase_out,
            clock: Arc::new(SystemClock::new()),
            ids: IdHasher::new(1),
            skips: skips.clone(),
            limits: Arc::new(self.limits.clone()),
        };
        let mut tasks = JoinSet::new();
        let postbox = self.postbox.clone();
        let handle = self.spawn(&surroundings, &mut tasks);
        Rig {
            records,
            phase,
            surroundings: Some(surroundings),
            tasks,
            handle,
            postbox,
            skips,
        }
    }

    fn spawn(self, surroundings: &Surroundings, tasks: &mut JoinSet<()>) -> BrokerHandle {
        let filters = self.filters.iter();
        let filters = filters.map(|filter| TopicFilter::new(filter).unwrap());
        let broker = Broker::new(self.config).unwrap();
        broker.spawn(filters.collect(), self.postbox, surroundings, tasks)
    }
}

/// A running field.
pub(crate) struct Rig {
    pub(crate) records: mpsc::Receiver<Record>,
    pub(crate) phase: watch::Sender<Phase>,
    pub(crate) surroundings: Option<Surroundings>,
    pub(crate) tasks: JoinSet<()>,
    pub(crate) handle: BrokerHandle,
    pub(crate) postbox: Arc<MemoryPostbox>,
    pub(crate) skips: Arc<Skips>,
}

/// Counts what leads to nothing, and acknowledges it at once.
#[derive(Debug, Default)]
pub(crate) struct Skips(Mutex<BTreeMap<SkipReason, (u64, u64)>>);

impl SkipSink for Skips {
    fn skipped(&self, _: &Name, reason: SkipReason, bytes: u64, ack: Ack) {
        let mut counts = self.0.lock().unwrap();
        let count = counts.entry(reason).or_default();
        *count = (count.0 + 1, count.1 + bytes);
        ack.committed();
    }
}

impl Skips {
    /// Messages with this reason, and their bytes.
    pub(crate) fn of(&self, reason: SkipReason) -> (u64, u64) {
        let counts = self.0.lock().unwrap();
        counts.get(&reason).copied().unwrap_or_default()
    }
}

impl Rig {
    /// Another broker of the same gateway.
    pub(crate) fn join(&mut self, name: &str, mut setup: Setup) -> BrokerHandle {
        setup.config.name = Name::new(name).unwrap();
        setup.spawn(self.surroundings.as_ref().unwrap(), &mut self.tasks)
    }

    /// The error of the last connection, once there is one.
    pub(crate) async fn error(&self) -> String {
        until(|| self.handle.counters().last_error().is_some()).await;
        self.handle.counters().last_error().unwrap()
    }

    pub(crate) fn connections(&self) -> u64 {
        self.handle.counters().connections.load(Ordering::Relaxed)
    }

    /// Waits until `count` messages are acknowledged.
    pub(crate) async fn acknowledged(&self, count: u64) {
        until(|| self.handle.counters().acknowledged.load(Ordering::Relaxed) == count).await;
    }

    pub(crate) async fn subscribed(&self) {
        until(|| self.handle.counters().subscribed.load(Ordering::Relaxed)).await;
    }

    pub(crate) async fn record(&mut self) -> Record {
        soon(self.records.recv()).await.expect("the field is gone")
    }

    /// The next `count` records.
    pub(crate) async fn take(&mut self, count: usize) -> Vec<Record> {
        let mut records = Vec::new();
        while records.len() < count {
            records.push(self.record().await);
        }
        records
    }

    /// Ends the run and waits for its tasks.
    pub(crate) async fn stop(mut self) {
        self.surroundings = None;
        self.phase.send(Phase::Ended).unwrap();
        while let Some(ended) = soon(self.tasks.join_next()).await {
            ended.unwrap();
        }
    }
}

/// The payload as text.
pub(crate) fn text(record: &Record) -> String {
    let Body::Payload(payload) = &record.body else {
        panic!("no payload")
    };
    String::from_utf8(payload.to_vec()).unwrap()
}

pub(crate) fn texts(records: &[Record]) -> Vec<String> {
    records.iter().map(text).collect()
}

/// Payloads that are told apart.
pub(crate) fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

pub(crate) fn commit(records: impl IntoIterator<Item = Record>) {
    for record in records {
        record.ack.committed();
    }
}

pub(crate) fn publication(topic: &str, payload: &str) -> Publication {
    Publication {
        broker: Name::new("plant").unwrap(),
        topic: Topic::new(topic).unwrap(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        content_type: None,
        retain: false,
        delivery: Delivery::AtOnce,
    }
}

/// Durable publications in memory.
#[derive(Debug, Default)]
pub(crate) struct MemoryPostbox {
    letters: Mutex<Vec<(u64, Publication)>>,
    posted: Notify,
    crossed_off: Mutex<Vec<u64>>,
}

impl MemoryPostbox {
    pub(crate) fn post(&self, id: u64, mut publication: Publication) {
        publication.delivery = Delivery::Durable;
        self.letters.lock().unwrap().push((id, publication));
        self.posted.notify_one();
    }

    /// Ids of the publications that the broker acknowledged, in order.
    pub(crate) fn crossed_off(&self) -> Vec<u64> {
        let mut ids = self.crossed_off.lock().unwrap().clone();
        ids.sort_unstable();
        ids
    }
}

impl Postbox for MemoryPostbox {
    type Error = std::io::Error;

    async fn next(
        &self,
        _: &Name,
        after: u64,
        count: usize,
    ) -> std::io::Result<Vec<(u64, Publication)>> {
        let letters = self.letters.lock().unwrap();
        Ok(letters
            .iter()
            .filter(|(id, _)| *id > after)
            .take(count)
            .cloned()
            .collect())
    }

    async fn delivered(&self, ids: &[u64]) -> std::io::Result<()> {
        self.crossed_off.lock().unwrap().extend(ids);
        self.letters
            .lock()
            .unwrap()
            .retain(|(id, _)| !ids.contains(id));
        Ok(())
    }

    async fn posted(&self) {
        self.posted.notified().await;
    }
}

/// A file with `text` in `dir`.
pub(crate) fn file(dir: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}
