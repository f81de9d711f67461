//! A damaged database is set aside, and a new one takes its place: a gateway far from anyone goes on by itself.
//!
//! What can still be read of it says which rows are gone; each stream and epoch gets an entry of the loss ledger for
//! them, and messages that waited for their modules are counted. The file stays for whoever wants to look at it, until the next one is set aside.
//!
//! Damage that shows only while running ends the process, after it was noted in a file beside the database: the next start
//! would not see it otherwise, and the one after would run into it again.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tidegate_record::{Class, Name, Reason, StoredRow, WallTime};

use crate::error::Error;
use crate::extents;
use crate::inbox::{Inboxes, Waited};
use crate::names::Names;
use crate::roster::Gone;
use crate::rows::{self, Placed};
use crate::schema;
use crate::sequence::Extent;
use crate::tally::{self, Tallies, Tally};

/// Notes that the database is damaged, for the next start.
pub(crate) fn note(path: &Path, error: &Error) {
    tracing::error!("{error}: the database is set aside at the next start");
    // If this fails as well, the next start may run into the damage again, and note it then.
    if let Err(failed) = fs::write(noted(path), format!("{error}\n")) {
        tracing::error!("cannot note that {} is damaged: {failed}", path.display());
    }
}

/// Whether damage was noted.
pub(crate) fn is_noted(path: &Path) -> bool {
    noted(path).exists()
}

/// What was in a database, as far as that is known from elsewhere.
#[derive(Debug, Default)]
pub(crate) struct Aside {
    /// How far its rows were numbered.
    pub(crate) numbered: Vec<Extent>,
    /// Messages that waited in it for their modules; none when nobody knows.
    pub(crate) inboxes: Option<Vec<Waited>>,
}

impl Aside {
    /// With what another source knows: more numbers, and of the inboxes the later word.
    pub(crate) fn add(&mut self, other: Self) {
        self.numbered.extend(other.numbered);
        self.inboxes = other.inboxes.or(self.inboxes.take());
    }
}

/// Moves the database aside.
///
/// # Errors
/// When it cannot be moved.
pub(crate) async fn set_aside(path: &Path) -> Result<Aside, Error> {
    let aside = with_suffix(path, ".quarantine");
    for suffix in ["", "-wal", "-shm"] {
        let (from, to) = (with_suffix(path, suffix), with_suffix(&aside, suffix));
        match fs::rename(&from, &to) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                // One of an earlier time does not belong to this one.
                fs::remove_file(&to).ok();
            }
            Err(source) => {
                return Err(Error::Folder { path: from, source });
            }
            Ok(()) => {}
        }
    }
    fs::remove_file(noted(path)).ok();
    tracing::error!(
        "the database at {} is damaged: it is kept as {}, and a new one takes its place",
        path.display(),
        aside.display()
    );
    Ok(readable(&aside).await.unwrap_or_else(|error| {
        tracing::error!("which rows were in it cannot be read: {error}");
        Aside::default()
    }))
}

async fn readable(aside: &Path) -> Result<Aside, Error> {
    let mut connection = schema::reader(aside).connect().await.map_err(Error::Read)?;
    let names = Names::read(&mut connection).await?;
    let extents = extents::read(&mut connection, &names).await?;
    let inboxes = Inboxes::read(&mut connection, &names, 0).await;
    connection.close().await.map_err(Error::Read)?;
    Ok(Aside {
        numbered: extents.into_values().collect(),
        inboxes: inboxes.ok().map(|inboxes| inboxes.waiting()),
    })
}

/// Counts messages that waited for their modules and are gone: they were acknowledged.
pub(crate) async fn count(
    connection: &mut SqliteConnection,
    names: &mut Names,
    lost: &[(Name, u64)],
    now: WallTime,
) -> Result<(), sqlx::Error> {
    let mut tallies = Tallies::new();
    for (module, messages) in lost {
        let lost = Tally {
            of: module.clone(),
            reason: Reason::Quarantined.as_str().to_owned(),
            messages: *messages,
            bytes: 0,
            last: now,
        };
        tally::add(&mut tallies, lost);
    }
    tally::write(connection, names, &tallies).await
}

/// Enters what is gone: how far the centre held it, and in the ledger the rows that it lacked.
pub(crate) async fn enter(
    connection: &mut SqliteConnection,
    names: &mut Names,
    gone: &Gone,
    now: WallTime,
) -> Result<(), sqlx::Error> {
    let epoch = gone.of.epoch;
    sqlx::query("INSERT INTO epoch (ordinal, random, boot, opened) VALUES (?, ?, 0, 0) ON CONFLICT DO NOTHING")
        .bind(epoch.ordinal.cast_signed())
        .bind(epoch.random.cast_signed())
        .execute(&mut *connection)
        .await?;
    let random: i64 = sqlx::query_scalar("SELECT random FROM epoch WHERE ordinal = ?")
        .bind(epoch.ordinal.cast_signed())
        .fetch_one(&mut *connection)
        .await?;
    if random.cast_unsigned() != epoch.random {
        tracing::error!(
            "rows {} to {} of stream {} are gone, and their epoch has the number of another one: they have no entry",
            gone.after.saturating_add(1),
            gone.last,
            gone.of.stream
        );
        return Ok(());
    }
    let stream = names.intern(&gone.of.stream, connection).await?;
    let place = (stream, epoch.ordinal);
    sqlx::query(
        "INSERT INTO mark (stream, epoch, seq, second, sent, trimmed) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (stream, epoch) \
         DO UPDATE SET seq = max(seq, excluded.seq), second = max(second, excluded.second), sent = excluded.sent",
    )
    .bind(place.0)
    .bind(place.1.cast_signed())
    .bind(gone.mark.cast_signed())
    .bind(gone.second.cast_signed())
    .bind(gone.last.cast_signed())
    .bind(gone.after.cast_signed())
    .execute(&mut *connection)
    .await?;
    let rows = gone.last.saturating_sub(gone.after);
    if rows == 0 {
        return Ok(());
    }
    #[cfg(feature = "faults")]
    if crate::faults::is_on("silent-quarantine") {
        return Ok(());
    }
    let from = (rows > 1).then_some(gone.after.saturating_add(1));
    let entry = rows::lost(gone.last, from, Class::Alarm, Reason::Quarantined, rows);
    let entry = StoredRow { time: now, ..entry };
    let placed = Placed::new(place, &entry)?;
    rows::insert_covering(connection, &placed, from).await
}

fn noted(path: &Path) -> PathBuf {
    path.with_extension("damaged")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut text = OsString::from(path);
    text.push(suffix);
    text.into()
}
