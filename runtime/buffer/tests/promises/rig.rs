//! A buffer in a folder of its own, what its sources hear, and rows for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use sqlx::{ConnectOptions, SqliteConnection};
use tidegate_buffer::{
    Buffer, BufferHandle, Config, Error, Opened, Policy, Profile, QUOTA_BYTES_MIN, Second,
};
use tidegate_record::{
    Ack, AckSink, Applied, Body, BootTime, Channel, Class, Clock, ClockQuality, Content,
    DeliveryFlags, Limits, Mark, Name, NamedValue, Outbox, Quality, Record, Row, Scalar, StoredRow,
    StreamEpoch, SystemClock, WallTime,
};
use tokio::task::JoinHandle;

/// What a source hears.
#[derive(Default)]
pub(crate) struct Heard(Mutex<Vec<(&'static str, u64)>>);

impl AckSink for Heard {
    fn acknowledge(&self, token: u64) {
        self.0.lock().unwrap().push(("ack", token));
    }
    fn abandon(&self, token: u64) {
        self.0.lock().unwrap().push(("abandon", token));
    }
}

pub(crate) struct Rig {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) heard: Arc<Heard>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) second: Option<Second>,
    pub(crate) policies: HashMap<Name, Policy>,
}

/// A running buffer: dropping `applied` and `handle` ends the writer.
pub(crate) struct Open {
    pub(crate) applied: tokio::sync::mpsc::Sender<Applied>,
    pub(crate) handle: BufferHandle,
    pub(crate) writer: JoinHandle<Result<(), Error>>,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            heard: Arc::default(),
            clock: Arc::new(SystemClock::new()),
            second: None,
            policies: HashMap::new(),
        }
    }

    pub(crate) fn config(&self) -> Config {
        Config {
            path: self.folder.path().join("buffer.db"),
            profile: Profile::Latency,
            quota_bytes: QUOTA_BYTES_MIN,
            second: self.second,
            policies: self.policies.clone(),
        }
    }

    pub(crate) async fn buffer(&self) -> Result<Buffer, Error> {
        let limits = Arc::new(Limits::DEFAULT);
        Buffer::open(&self.config(), limits, self.clock.clone()).await
    }

    pub(crate) async fn open(&self) -> Open {
        run(self.buffer().await.unwrap())
    }

    pub(crate) fn acks(&self) -> Vec<(&'static str, u64)> {
        self.heard.0.lock().unwrap().clone()
    }

    pub(crate) fn applied(&self, token: u64, rows: usize) -> Applied {
        Applied {
            rows: (0..rows)
                .map(|number| (row("readings", number), None))
                .collect(),
            acks: vec![Ack::new(self.heard.clone(), token)],
            ..nothing()
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "joined by `Open::close`")]
pub(crate) fn run(buffer: Buffer) -> Open {
    let Opened {
        writer,
        applied,
        handle,
    } = buffer.start();
    Open {
        applied,
        handle,
        writer: tokio::spawn(writer.run()),
    }
}

impl Open {
    pub(crate) async fn commit(&self, applied: Applied) {
        self.applied.send(applied).await.unwrap();
        self.handle.flushed().await.unwrap();
    }

    pub(crate) async fn close(self) {
        drop((self.applied, self.handle));
        self.writer.await.unwrap().unwrap();
    }
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn nothing() -> Applied {
    Applied::new(name("module"), 1, "1.0.0".into())
}

pub(crate) fn row(stream: &str, number: usize) -> Row {
    let value = NamedValue {
        name: "n".into(),
        value: Scalar::Integer(i64::try_from(number).unwrap()),
    };
    Row {
        stream: name(stream),
        class: Class::Raw,
        key: "press-7".into(),
        time: WallTime(1),
        duration_ns: 0,
        content: Content::Values(vec![value]),
    }
}

pub(crate) fn record(topic: &str, payload: Vec<u8>) -> Record {
    let channel = Channel {
        source: name("plant"),
        topic: topic.into(),
        unit: None,
    };
    Record {
        channel: channel.into(),
        body: Body::Payload(payload.into()),
        time: WallTime(1),
        clock: ClockQuality::Synced,
        quality: Quality::Good,
        delivery: DeliveryFlags::default(),
        received: BootTime(0),
        properties: Vec::new(),
        id: None,
        ack: Ack::none(),
    }
}

impl Rig {
    /// The database, behind the buffer's back.
    pub(crate) async fn database(&self) -> SqliteConnection {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.config().path);
        options.connect().await.unwrap()
    }

    /// Bytes of everything that the buffer has on disk.
    pub(crate) fn bytes(&self) -> u64 {
        let files = std::fs::read_dir(self.folder.path()).unwrap();
        files
            .map(|file| file.unwrap().metadata().unwrap().len())
            .sum()
    }
}

impl Open {
    /// Takes everything out as far as the file allows. False when it does not.
    pub(crate) async fn try_drain(&self) -> bool {
        while let Ok(waiting) = Outbox::next(&self.handle, 5000, Class::Raw).await {
            let Some((of, rows)) = waiting.into_iter().next() else {
                return true;
            };
            let number = |row: &StoredRow| match &row.content {
                Content::Values(values) => Some(values[0].value.clone()),
                _ => None,
            };
            let kept =
                |row: &StoredRow| number(row).is_none_or(|n| matches!(n, Scalar::Integer(0..1000)));
            assert!(rows.iter().all(kept), "{rows:?}");
            let seq = rows.last().unwrap().seq;
            if self.handle.acknowledged(&[Mark { of, seq }]).await.is_err() {
                return false;
            }
        }
        false
    }

    /// Ends it, whatever the end.
    pub(crate) async fn close_anyhow(self) {
        drop((self.applied, self.handle));
        let _ended = self.writer.await.unwrap();
    }

    /// Takes everything out, as the centre does.
    pub(crate) async fn drain(&self) -> Vec<(StreamEpoch, StoredRow)> {
        let mut all = Vec::new();
        loop {
            let waiting = Outbox::next(&self.handle, 5000, Class::Raw).await.unwrap();
            if waiting.is_empty() {
                return all;
            }
            let marks: Vec<Mark> = waiting
                .iter()
                .map(|(of, rows)| Mark {
                    of: of.clone(),
                    seq: rows.last().unwrap().seq,
                })
                .collect();
            for (of, rows) in waiting {
                all.extend(rows.into_iter().map(|row| (of.clone(), row)));
            }
            self.handle.acknowledged(&marks).await.unwrap();
        }
    }
}
