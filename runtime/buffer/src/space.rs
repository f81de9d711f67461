//! How much room the buffer has, and how much of it is taken.
//!
//! The quota counts everything that the buffer has on disk: the database, its write-ahead log up to a bound, and the
//! ballast. The rest is for pages of the database, and SQLite itself holds that bound (`max_page_count`), so that no
//! mistake here can break it.
//!
//! The ballast is a file of nothing. When others have filled the disk it is removed, so that SQLite can write what it
//! needs to delete rows; a full disk leaves it no room even for that.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;
use sqlx::{Row, SqliteConnection};

use crate::prune::Pressure;

/// Bytes of a page.
pub(crate) const PAGE_BYTES: u64 = 4096;
/// Smallest quota: below it the fixed parts leave too little room for rows.
pub const QUOTA_BYTES_MIN: u64 = 16 << 20;
/// Quota unless told otherwise.
pub const QUOTA_BYTES_DEFAULT: u64 = 256 << 20;
/// What the write-ahead log may take. It is reset every 4 MiB, unless someone holds a reader open.
pub(crate) const LOG_BYTES_MAX: u64 = 8 << 20;
/// What is kept free for the worst day; a quarter of it with a small quota.
const BALLAST_BYTES: u64 = 4 << 20;

/// Parts of the pages at which rows give way: those that the centre holds, and any.
const FILLING_PERCENT: u64 = 80;
const FULL_PERCENT: u64 = 90;

/// The room, and what is taken.
#[derive(Debug)]
pub(crate) struct Space {
    database: PathBuf,
    pages_max: u64,
    ballast_bytes: u64,
    pages_used: u64,
    /// Bytes that were written since the pages were counted.
    unmeasured: u64,
}

impl Space {
    /// The room of a database with this quota.
    pub(crate) fn new(database: &Path, quota_bytes: u64) -> Self {
        let quota = quota_bytes.max(QUOTA_BYTES_MIN);
        let ballast_bytes = if quota < 4 * QUOTA_BYTES_MIN {
            BALLAST_BYTES / 4
        } else {
            BALLAST_BYTES
        };
        Self {
            database: database.to_owned(),
            pages_max: (quota - LOG_BYTES_MAX - ballast_bytes) / PAGE_BYTES,
            ballast_bytes,
            pages_used: 0,
            unmeasured: 0,
        }
    }

    /// The bound that SQLite is told.
    pub(crate) const fn pages_max(&self) -> u64 {
        self.pages_max
    }

    /// Bytes that rows can take.
    pub(crate) const fn row_bytes_max(&self) -> u64 {
        self.pages_max * PAGE_BYTES / 100 * FULL_PERCENT
    }

    /// What has to give way.
    pub(crate) const fn pressure(&self) -> Pressure {
        let used = (self.pages_used + self.unmeasured / PAGE_BYTES) * 100;
        if used >= self.pages_max * FULL_PERCENT {
            Pressure::Full
        } else if used >= self.pages_max * FILLING_PERCENT {
            Pressure::Filling
        } else {
            Pressure::None
        }
    }

    /// So many bytes of rows were added.
    pub(crate) const fn wrote(&mut self, bytes: u64) {
        self.unmeasured = self.unmeasured.saturating_add(bytes);
    }

    /// There was no room, whatever was counted.
    pub(crate) const fn found_full(&mut self) {
        self.pages_used = self.pages_max;
    }

    /// Whether enough was written for the pages to be counted again.
    pub(crate) const fn is_stale(&self) -> bool {
        self.unmeasured > self.pages_max * PAGE_BYTES / 256
    }

    /// Counts the pages that are taken.
    pub(crate) async fn measure(
        &mut self,
        connection: &mut SqliteConnection,
    ) -> Result<(), sqlx::Error> {
        let row = sqlx::query(
            "SELECT (SELECT page_count FROM pragma_page_count()) - (SELECT freelist_count FROM pragma_freelist_count())",
        )
        .fetch_one(connection)
        .await?;
        self.pages_used = row.try_get::<i64, _>(0)?.unsigned_abs();
        self.unmeasured = 0;
        Ok(())
    }

    /// Bytes on disk: database, write-ahead log and ballast.
    pub(crate) fn bytes_used(&self) -> u64 {
        let length = |path: &Path| path.metadata().map_or(0, |metadata| metadata.len());
        length(&self.database) + self.log_bytes() + length(&self.ballast())
    }

    /// Bytes of the write-ahead log.
    pub(crate) fn log_bytes(&self) -> u64 {
        let mut log = self.database.clone().into_os_string();
        log.push("-wal");
        PathBuf::from(log)
            .metadata()
            .map_or(0, |metadata| metadata.len())
    }

    /// Lays the ballast, unless it is there. A disk without room for it has none for us either, but is no reason to stop.
    pub(crate) fn lay_ballast(&self) {
        let path = self.ballast();
        let laid = || -> io::Result<()> {
            if path
                .metadata()
                .is_ok_and(|metadata| metadata.len() >= self.ballast_bytes)
            {
                return Ok(());
            }
            let file = File::create(&path)?;
            match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, self.ballast_bytes) {
                // A file system that cannot promise room.
                Err(rustix::io::Errno::OPNOTSUPP) => file.set_len(self.ballast_bytes),
                other => Ok(other?),
            }
        };
        if let Err(error) = laid() {
            fs::remove_file(&path).ok();
            tracing::warn!(
                "cannot lay ballast of {} bytes: {error}",
                self.ballast_bytes
            );
        }
    }

    /// Gives the ballast up, for SQLite to write into.
    pub(crate) fn drop_ballast(&self) {
        // It may be gone already.
        fs::remove_file(self.ballast()).ok();
    }

    fn ballast(&self) -> PathBuf {
        self.database.with_extension("ballast")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_together_is_within_the_quota() {
        for quota in [QUOTA_BYTES_MIN, 64 << 20, QUOTA_BYTES_DEFAULT, 10 << 30] {
            let space = Space::new(Path::new("buffer.db"), quota);
            let all = space.pages_max * PAGE_BYTES + LOG_BYTES_MAX + space.ballast_bytes;
            assert!(all <= quota && all > quota - PAGE_BYTES, "{quota}");
        }
    }

    #[test]
    fn pressure_rises_with_what_is_written_before_it_is_measured() {
        let mut space = Space::new(Path::new("buffer.db"), QUOTA_BYTES_MIN);
        assert_eq!(space.pressure(), Pressure::None);
        let all = space.pages_max * PAGE_BYTES;
        space.wrote(all / 100 * 85);
        assert_eq!(
            (space.pressure(), space.is_stale()),
            (Pressure::Filling, true)
        );
        space.wrote(all / 100 * 6);
        assert_eq!(space.pressure(), Pressure::Full);
    }

    #[test]
    fn ballast_is_laid_once_and_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let space = Space::new(&folder.path().join("buffer.db"), QUOTA_BYTES_MIN);
        space.lay_ballast();
        space.lay_ballast();
        assert_eq!(space.bytes_used(), space.ballast_bytes);
        space.drop_ballast();
        space.drop_ballast();
        assert_eq!(space.bytes_used(), 0);
    }
}
