//! Opening the database: lock, schema, the new epoch, what is in it; and a new one where it is damaged.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};
use tidegate_record::seen::IdHasher;
use tidegate_record::{Clock, Epoch, Limits, Name};
use tokio::sync::{mpsc, watch};

use crate::commit::Commits;
use crate::error::Error;
use crate::inbox::{self, Inboxes};
use crate::lock::Lock;
use crate::names::Names;
use crate::outbox::{BufferHandle, Shared};
use crate::policy::Policy;
use crate::quarantine::Aside;
use crate::restore::{Restored, restore};
use crate::roster::{self, Roster};
use crate::sequence::{Second, Sequence, Withheld};
use crate::space::Space;
use crate::writer::{BufferCounters, Writer};
use crate::{extents, quarantine, residency, restamp, schema, tally};

/// Where the buffer is, how large it may grow, and when it commits.
#[derive(Debug, Clone)]
pub struct Config {
    /// The database file.
    pub path: PathBuf,
    /// When it commits.
    pub profile: Profile,
    /// Bytes on disk that it may take: database, write-ahead log and ballast. At least [`QUOTA_BYTES_MIN`].
    ///
    /// [`QUOTA_BYTES_MIN`]: crate::QUOTA_BYTES_MIN
    pub quota_bytes: u64,
    /// What a second centre is for, if there is one.
    pub second: Option<Second>,
    /// What streams do near the quota; one that is not named here degrades.
    pub policies: HashMap<Name, Policy>,
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
    database: Database,
    config: Config,
    limits: Arc<Limits>,
    clock: Arc<dyn Clock>,
    lock: Lock,
    roster: Roster,
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
    /// Opens the database and begins a new epoch. One that is damaged is set aside, and a new one is made.
    ///
    /// # Errors
    /// When it is in use, cannot be opened, or was written by a newer version.
    pub async fn open(
        config: &Config,
        limits: Arc<Limits>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let lock = Lock::take(&config.path)?;
        let folder = |source| Error::Folder {
            path: config.path.clone(),
            source,
        };
        let (mut roster, mut known) = Roster::open(&config.path).map_err(folder)?;
        if quarantine::is_noted(&config.path) {
            known.add(quarantine::set_aside(&config.path).await?);
        }
        let mut ballast = true;
        let database = match Database::open(config, &clock, &lock, &known).await {
            Err(error) if error.is_damage() => {
                tracing::error!("{error}");
                known.add(quarantine::set_aside(&config.path).await?);
                Database::open(config, &clock, &lock, &known).await?
            }
            Err(error) if error.is_full() => {
                tracing::error!("{error}: the ballast is given up for it");
                // Laid again when there is room.
                ballast = false;
                Space::new(&config.path, config.quota_bytes).drop_ballast();
                Database::open(config, &clock, &lock, &known).await?
            }
            other => other?,
        };
        if ballast {
            database.space.lay_ballast();
        }
        // What is gone is entered now: it is not to be found missing again.
        let inboxes = database.shared.inboxes.borrow().waiting();
        roster.write(&database.shared.sequence(), inboxes);
        Ok(Self {
            database,
            config: config.clone(),
            limits,
            clock,
            lock,
            roster,
        })
    }

    /// This opening.
    pub fn epoch(&self) -> Epoch {
        self.database.shared.sequence().epoch()
    }

    /// Hashes message ids with this database's key.
    pub const fn id_hasher(&self) -> IdHasher {
        self.database.hasher
    }

    /// State and seen ids of `module`, of its active generation and of the one that stands by.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn restore(&mut self, module: &Name) -> Result<Restored, Error> {
        let seen_ids_max = self.limits.seen_ids_max;
        let (id, writer) = self.interned(module).await?;
        let restored = restore(writer, id, seen_ids_max).await;
        if let Err(error) = &restored
            && error.is_damage()
        {
            quarantine::note(&self.config.path, error);
        }
        restored
    }

    /// The number of a module, and where to ask for it.
    pub(crate) async fn interned(
        &mut self,
        module: &Name,
    ) -> Result<(i64, &mut SqliteConnection), Error> {
        let Database { names, writer, .. } = &mut self.database;
        let id = names.intern(module, writer).await.map_err(Error::Commit)?;
        Ok((id, writer))
    }

    pub(crate) const fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.database.writer
    }

    pub(crate) fn withhold(&self, withheld: Withheld) {
        self.database.shared.sequence().withhold(withheld);
    }

    /// Takes the buffer apart into what runs.
    pub fn start(self) -> Opened {
        let (applied, queue) = mpsc::channel(self.limits.applied_queue_max);
        let (requests, waiting) = mpsc::channel(self.limits.applied_queue_max);
        let Database {
            writer,
            shared,
            space,
            names,
            ..
        } = self.database;
        let handle = BufferHandle::new(shared.clone(), requests);
        let commits = Commits {
            connection: writer,
            names,
            clock: self.clock,
            limits: self.limits.clone(),
            space,
            policies: self.config.policies.clone(),
            rows_since_step: 0,
            writers: HashMap::new(),
            standby_writers: HashMap::new(),
        };
        let writer = Writer {
            commits,
            shared,
            queue,
            waiting,
            config: self.config,
            limits: self.limits,
            roster: self.roster,
            lock: self.lock,
        };
        Opened {
            writer,
            applied,
            handle,
        }
    }
}

/// The connections, and what is in the database.
#[derive(Debug)]
struct Database {
    writer: SqliteConnection,
    shared: Arc<Shared>,
    space: Space,
    names: Names,
    hasher: IdHasher,
}

impl Database {
    async fn open(
        config: &Config,
        clock: &Arc<dyn Clock>,
        lock: &Lock,
        known: &Aside,
    ) -> Result<Self, Error> {
        let path = &config.path;
        let open = |source| Error::Open {
            path: path.clone(),
            source,
        };
        let mut space = Space::new(path, config.quota_bytes);
        let options = schema::writer(path, space.pages_max());
        let mut writer = options.connect().await.map_err(open)?;
        schema::bring_up_to_date(&mut writer).await?;
        let mut names = Names::read(&mut writer).await?;
        // One after the other: two sources may name the same rows.
        let mut end_is_gone = is_new(&mut writer).await?;
        for numbered in &known.numbered {
            let found = extents::read(&mut writer, &names).await?;
            let found: Vec<_> = found.into_values().collect();
            for gone in roster::missing(std::slice::from_ref(numbered), &found) {
                end_is_gone = true;
                quarantine::enter(&mut writer, &mut names, &gone, clock.wall_time())
                    .await
                    .map_err(Error::Commit)?;
            }
        }
        let waited = known.inboxes.as_deref().unwrap_or_default();
        let found = Inboxes::read(&mut writer, &names, 0).await?.waiting();
        let lost = inbox::lost(waited, &found, end_is_gone);
        let epoch = first_begin(&mut writer, &mut names, &lost, (&**clock, lock))
            .await
            .map_err(Error::Commit)?;
        lock.remember(epoch.ordinal);
        let extents = extents::read(&mut writer, &names).await?;
        let boots = restamp::read(&mut writer).await?;
        let hasher = IdHasher::new(number(&mut writer, "id_key").await?);
        let shared = Shared {
            sequence: Mutex::new(Sequence::new(epoch, extents, config.second, boots)),
            reader: schema::reader(path).connect().await.map_err(open)?.into(),
            rows: watch::Sender::default(),
            posted: watch::Sender::default(),
            counters: BufferCounters::default(),
            database: number(&mut writer, "database").await?,
            clock: clock.clone(),
            tallies: Mutex::new(tally::read(&mut writer, &names).await?),
            inboxes: watch::Sender::new(
                Inboxes::read(&mut writer, &names, space.row_bytes_max()).await?,
            ),
        };
        let withheld = residency::read(&mut writer).await.map_err(Error::Read)?;
        shared.sequence().withhold(withheld);
        space.measure(&mut writer).await.map_err(Error::Read)?;
        Ok(Self {
            writer,
            shared: Arc::new(shared),
            space,
            names,
            hasher,
        })
    }
}

/// Whether no epoch was begun in this database. (Entries for rows that are gone bring epochs that were never opened here.)
async fn is_new(connection: &mut SqliteConnection) -> Result<bool, Error> {
    let opened: i64 = sqlx::query_scalar("SELECT count(*) FROM epoch WHERE opened > 0")
        .fetch_one(connection)
        .await
        .map_err(Error::Read)?;
    Ok(opened == 0)
}

/// As [`begin`], together with the count of messages that waited for their modules and are gone.
async fn first_begin(
    connection: &mut SqliteConnection,
    names: &mut Names,
    lost: &[(Name, u64)],
    (clock, lock): (&dyn Clock, &Lock),
) -> Result<Epoch, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    quarantine::count(&mut transaction, names, lost, clock.wall_time()).await?;
    let epoch = begin(&mut transaction, clock, lock.newest_epoch()).await?;
    transaction.commit().await?;
    Ok(epoch)
}

/// Writes a new epoch before anything can be numbered in it. It comes after all others, and after `newest`.
pub(crate) async fn begin(
    connection: &mut SqliteConnection,
    clock: &dyn Clock,
    newest: u64,
) -> Result<Epoch, sqlx::Error> {
    let random = random()?;
    // Not with RETURNING: outside of a transaction such a statement commits when it is put away, and then nobody hears
    // that it could not.
    let ordinal = sqlx::query(
        "INSERT INTO epoch (ordinal, random, boot, opened) \
         SELECT max(coalesce(max(ordinal), 0), ?) + 1, ?, ?, ? FROM epoch",
    )
    .bind(newest.cast_signed())
    .bind(random.cast_signed())
    .bind(clock.boot().0.cast_signed())
    .bind(clock.wall_time().0.cast_signed())
    .execute(connection)
    .await?
    .last_insert_rowid();
    Ok(Epoch {
        ordinal: ordinal.unsigned_abs(),
        random,
    })
}

fn random() -> Result<u64, sqlx::Error> {
    getrandom::u64().map_err(|error| sqlx::Error::Io(error.into()))
}

/// A random number that is the database's own for ever.
async fn number(connection: &mut SqliteConnection, key: &'static str) -> Result<u64, Error> {
    let random = random().map_err(Error::Commit)?;
    sqlx::query("INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT DO NOTHING")
        .bind(key)
        .bind(random.cast_signed())
        .execute(&mut *connection)
        .await
        .map_err(Error::Commit)?;
    let value: i64 = sqlx::query("SELECT value FROM meta WHERE key = ?")
        .bind(key)
        .fetch_one(connection)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(Error::Read)?;
    Ok(value.cast_unsigned())
}
