//! Opening the database: lock, settings, schema, the new epoch, and what a module needs to start.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use rustix::fs::{FlockOperation, flock};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row, SqliteConnection};
use tidegate_record::seen::IdHasher;
use tidegate_record::{Clock, Epoch, Limits, MessageId, Name, Seen, StreamEpoch};
use tokio::sync::{mpsc, watch};

use crate::commit::Commits;
use crate::error::Error;
use crate::outbox::{BufferHandle, Shared};
use crate::schema;
use crate::sequence::{Extent, Place, Sequence};
use crate::writer::{BufferCounters, Writer};

/// Where the buffer is and when it commits.
#[derive(Debug, Clone)]
pub struct Config {
    /// The database file.
    pub path: PathBuf,
    /// When it commits.
    pub profile: Profile,
}

/// When the buffer commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// At once, with whatever is there.
    #[default]
    Latency,
    /// After up to 1 s or 100 messages: spares a flash chip, and wants a broker window of 100 or more.
    Flash,
}

/// An opened database: make the modules ready, then [`Buffer::start`] it.
#[derive(Debug)]
pub struct Buffer {
    writer: SqliteConnection,
    shared: Arc<Shared>,
    profile: Profile,
    limits: Arc<Limits>,
    clock: Arc<dyn Clock>,
    ids: Ids,
    hasher: IdHasher,
    lock: File,
}

/// Names that have a number in the database.
#[derive(Debug, Default)]
pub(crate) struct Ids(HashMap<Name, i64>);

impl Ids {
    pub(crate) fn get(&self, name: &Name) -> Option<i64> {
        self.0.get(name).copied()
    }

    /// Numbers `name`. Called while opening and within a commit, so that a number is on disk before it is used.
    pub(crate) async fn intern(
        &mut self,
        name: &Name,
        connection: &mut SqliteConnection,
    ) -> Result<i64, sqlx::Error> {
        if let Some(id) = self.get(name) {
            return Ok(id);
        }
        let row = sqlx::query("INSERT INTO name (text) VALUES (?) RETURNING id")
            .bind(name.as_str())
            .fetch_one(connection)
            .await?;
        let id = row.try_get(0)?;
        self.0.insert(name.clone(), id);
        Ok(id)
    }
}

/// What a module needs to go on where it was.
#[derive(Debug)]
pub struct Restored {
    /// Its committed state.
    pub state: BTreeMap<String, Bytes>,
    /// Version of the release that wrote it last; none without state.
    pub state_written_by: Option<String>,
    /// Ids of messages that it has taken.
    pub seen: Seen,
}

/// The running parts of a buffer.
#[derive(Debug)]
pub struct Opened {
    /// To be run by one task until its queue closes.
    pub writer: Writer,
    /// Where modules send what is to be committed.
    pub applied: mpsc::Sender<tidegate_record::Applied>,
    /// The way out: outbox, postbox, counters.
    pub handle: BufferHandle,
}

impl Buffer {
    /// Opens the database and begins a new epoch.
    ///
    /// # Errors
    /// When it is in use, cannot be opened, or was written by a newer version.
    pub async fn open(
        config: &Config,
        limits: Arc<Limits>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let lock = lock(&config.path)?;
        let open = |source| Error::Open {
            path: config.path.clone(),
            source,
        };
        let mut writer = schema::writer(&config.path).connect().await.map_err(open)?;
        check_version(&mut writer).await?;
        let epoch = begin(&mut writer, clock.as_ref()).await?;
        let ids = Ids(names(&mut writer).await?);
        let sequence = Sequence::new(epoch, extents(&mut writer, &ids).await?);
        let hasher = IdHasher::new(id_key(&mut writer).await?);
        let reader = schema::reader(&config.path).connect().await.map_err(open)?;
        let shared = Shared {
            epoch,
            sequence: Mutex::new(sequence),
            reader: tokio::sync::Mutex::new(reader),
            rows: watch::Sender::default(),
            posted: watch::Sender::default(),
            counters: BufferCounters::default(),
        };
        Ok(Self {
            writer,
            shared: Arc::new(shared),
            profile: config.profile,
            limits,
            clock,
            ids,
            hasher,
            lock,
        })
    }

    /// This opening.
    pub fn epoch(&self) -> Epoch {
        self.shared.epoch
    }

    /// Hashes message ids with this database's key.
    pub const fn id_hasher(&self) -> IdHasher {
        self.hasher
    }

    /// State and seen ids of `module`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn restore(&mut self, module: &Name) -> Result<Restored, Error> {
        let id = self
            .ids
            .intern(module, &mut self.writer)
            .await
            .map_err(Error::Commit)?;
        let rows = sqlx::query("SELECT key, value FROM state WHERE module = ?")
            .bind(id)
            .fetch_all(&mut self.writer)
            .await
            .map_err(Error::Read)?;
        let mut state = BTreeMap::new();
        for row in rows {
            let value: Vec<u8> = row.try_get(1).map_err(Error::Read)?;
            state.insert(row.try_get(0).map_err(Error::Read)?, Bytes::from(value));
        }
        let chunks = sqlx::query("SELECT ids FROM seen WHERE module = ? ORDER BY chunk")
            .bind(id)
            .fetch_all(&mut self.writer)
            .await
            .map_err(Error::Read)?;
        let mut ids = Vec::new();
        for chunk in chunks {
            let bytes: Vec<u8> = chunk.try_get(0).map_err(Error::Read)?;
            let (whole, _) = bytes.as_chunks::<8>();
            ids.extend(
                whole
                    .iter()
                    .map(|bytes| MessageId(u64::from_le_bytes(*bytes))),
            );
        }
        let written = sqlx::query("SELECT version FROM writer WHERE module = ?")
            .bind(id)
            .fetch_optional(&mut self.writer)
            .await
            .and_then(|row| row.map(|row| row.try_get(0)).transpose())
            .map_err(Error::Read)?;
        Ok(Restored {
            state,
            state_written_by: written,
            seen: Seen::new(self.limits.seen_ids_max, ids),
        })
    }

    /// Takes the buffer apart into what runs.
    pub fn start(self) -> Opened {
        let (applied, queue) = mpsc::channel(self.limits.applied_queue_max);
        let (requests, waiting) = mpsc::channel(self.limits.applied_queue_max);
        let handle = BufferHandle::new(self.shared.clone(), requests);
        let commits = Commits {
            connection: self.writer,
            ids: self.ids,
            clock: self.clock,
            limits: self.limits.clone(),
            writers: HashMap::new(),
        };
        let writer = Writer {
            commits,
            shared: self.shared,
            queue,
            waiting,
            profile: self.profile,
            limits: self.limits,
            _lock: self.lock,
        };
        Opened {
            writer,
            applied,
            handle,
        }
    }
}

/// Takes the lock that keeps a second process out. It is held by the writer and goes with the process.
fn lock(path: &Path) -> Result<File, Error> {
    let error = |source| Error::Folder {
        path: path.to_owned(),
        source,
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(error)?;
    }
    let lock = File::create(path.with_extension("lock")).map_err(error)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::InUse {
            path: path.to_owned(),
        }),
        Err(errno) => Err(error(errno.into())),
    }
}

async fn check_version(connection: &mut SqliteConnection) -> Result<(), Error> {
    let found: String = scalar(connection, "SELECT sqlite_version()").await?;
    let number = |version: &str| {
        version
            .split('.')
            .filter_map(|part| part.parse().ok())
            .collect::<Vec<u32>>()
    };
    if number(&found) < number(schema::SQLITE_VERSION_MIN) {
        return Err(Error::SqliteVersion {
            found,
            needed: schema::SQLITE_VERSION_MIN,
        });
    }
    match scalar::<i64>(connection, "PRAGMA user_version").await? {
        0 => create(connection).await.map_err(Error::Commit),
        schema::VERSION => Ok(()),
        found => Err(Error::Newer {
            found,
            known: schema::VERSION,
        }),
    }
}

async fn create(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    for statement in schema::SCHEMA {
        sqlx::query(statement).execute(&mut *transaction).await?;
    }
    let version = format!("PRAGMA user_version = {}", schema::VERSION);
    sqlx::query(AssertSqlSafe(version))
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await
}

/// Writes the new epoch before anything can be numbered in it.
async fn begin(connection: &mut SqliteConnection, clock: &dyn Clock) -> Result<Epoch, Error> {
    let random = random()?;
    let ordinal: i64 = sqlx::query(
        "INSERT INTO epoch (ordinal, random, boot, opened) SELECT coalesce(max(ordinal), 0) + 1, ?, ?, ? FROM epoch \
         RETURNING ordinal",
    )
    .bind(random.cast_signed())
    .bind(clock.boot().0.cast_signed())
    .bind(clock.wall_time().0.cast_signed())
    .fetch_one(connection)
    .await
    .and_then(|row| row.try_get(0))
    .map_err(Error::Commit)?;
    Ok(Epoch {
        ordinal: unsigned("epoch", ordinal)?,
        random,
    })
}

fn random() -> Result<u64, Error> {
    getrandom::u64().map_err(|error| Error::Folder {
        path: "/dev/urandom".into(),
        source: error.into(),
    })
}

async fn id_key(connection: &mut SqliteConnection) -> Result<u64, Error> {
    sqlx::query("INSERT INTO meta (key, value) VALUES ('id_key', ?) ON CONFLICT DO NOTHING")
        .bind(random()?.cast_signed())
        .execute(&mut *connection)
        .await
        .map_err(Error::Commit)?;
    Ok(
        scalar::<i64>(connection, "SELECT value FROM meta WHERE key = 'id_key'")
            .await?
            .cast_unsigned(),
    )
}

async fn names(connection: &mut SqliteConnection) -> Result<HashMap<Name, i64>, Error> {
    let rows = sqlx::query("SELECT text, id FROM name")
        .fetch_all(connection)
        .await
        .map_err(Error::Read)?;
    let mut names = HashMap::new();
    for row in rows {
        let (text, id): (String, i64) = (
            row.try_get(0).map_err(Error::Read)?,
            row.try_get(1).map_err(Error::Read)?,
        );
        let name = Name::new(&text).map_err(|_| Error::Impossible {
            what: "a name with number",
            value: id,
        })?;
        names.insert(name, id);
    }
    Ok(names)
}

/// Where each stream and epoch stands. One seek per place, whatever the number of rows.
async fn extents(
    connection: &mut SqliteConnection,
    ids: &Ids,
) -> Result<BTreeMap<Place, Extent>, Error> {
    let rows = sqlx::query(
        "SELECT m.stream, m.epoch, e.random, m.seq, \
           coalesce((SELECT max(seq) FROM row r WHERE r.stream = m.stream AND r.epoch = m.epoch), m.seq), \
           coalesce((SELECT min(seq) FROM row r WHERE r.stream = m.stream AND r.epoch = m.epoch) - 1, m.seq) \
         FROM mark m JOIN epoch e ON e.ordinal = m.epoch",
    )
    .fetch_all(connection)
    .await
    .map_err(Error::Read)?;
    let mut extents = BTreeMap::new();
    for row in rows {
        let column = |index: usize| row.try_get::<i64, _>(index).map_err(Error::Read);
        let stream = column(0)?;
        let Some(name) = ids
            .0
            .iter()
            .find(|(_, id)| **id == stream)
            .map(|(name, _)| name.clone())
        else {
            return Err(Error::Impossible {
                what: "a mark of stream",
                value: stream,
            });
        };
        let epoch = Epoch {
            ordinal: unsigned("epoch", column(1)?)?,
            random: column(2)?.cast_unsigned(),
        };
        let extent = Extent {
            of: StreamEpoch {
                stream: name,
                epoch,
            },
            mark: unsigned("mark", column(3)?)?,
            last: unsigned("seq", column(4)?)?,
            trimmed: unsigned("seq", column(5)?)?,
        };
        extents.insert((stream, epoch.ordinal), extent);
    }
    Ok(extents)
}

pub(crate) fn unsigned(what: &'static str, value: i64) -> Result<u64, Error> {
    u64::try_from(value).map_err(|_| Error::Impossible { what, value })
}

async fn scalar<T>(connection: &mut SqliteConnection, sql: &'static str) -> Result<T, Error>
where
    T: for<'r> sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    sqlx::query(sql)
        .fetch_one(connection)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(Error::Read)
}
