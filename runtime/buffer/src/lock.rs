//! The lock that keeps a second process out. It goes with the process, whatever ends it.
//!
//! The file also holds the ordinal of the newest epoch, so that a new database after a damaged one goes on counting:
//! epochs of one gateway stay in order, whatever became of its databases. (Their random part keeps them apart.)

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::error::Error;

/// The lock, held.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Takes it.
    ///
    /// # Errors
    /// When another process has it, or the folder cannot be written.
    pub(crate) fn take(database: &Path) -> Result<Self, Error> {
        let error = |source| Error::Folder {
            path: database.to_owned(),
            source,
        };
        if let Some(folder) = database.parent() {
            fs::create_dir_all(folder).map_err(error)?;
        }
        let path = database.with_extension("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(error)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { file, path }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::InUse {
                path: database.to_owned(),
            }),
            Err(errno) => Err(error(errno.into())),
        }
    }

    /// The ordinal of the newest epoch, as far as it is known.
    pub(crate) fn newest_epoch(&self) -> u64 {
        let mut text = String::new();
        let read = (&self.file).take(32).read_to_string(&mut text);
        match read.map(|_| text.trim().parse()) {
            Ok(Ok(ordinal)) => ordinal,
            _ => 0,
        }
    }

    /// Remembers it. If that fails, epochs of a later database may be out of order, and nothing else.
    pub(crate) fn remember(&self, ordinal: u64) {
        let mut file = &self.file;
        let written = file
            .seek(SeekFrom::Start(0))
            .and_then(|_| file.set_len(0))
            .and_then(|()| writeln!(file, "{ordinal}"));
        if let Err(error) = written {
            tracing::warn!("cannot write {}: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_process_is_kept_out_and_the_newest_epoch_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("state/buffer.db");
        let lock = Lock::take(&database).unwrap();
        assert_eq!(lock.newest_epoch(), 0);
        lock.remember(41);
        lock.remember(7);
        assert!(matches!(Lock::take(&database), Err(Error::InUse { .. })));
        drop(lock);
        assert_eq!(Lock::take(&database).unwrap().newest_epoch(), 7);
    }
}
