//! Files by their digest, in a folder beside the database: `blobs/sha256/<64 digits>`.
//!
//! A file comes in under a name of its own, and gets the name of its digest once it is whole and on disk: temp file, fsync,
//! rename, fsync of the folder. So under a digest there is that file or none. No name is ever made from what a request
//! says: only a [`Digest`] names a file. What an upload left behind that was cut off is removed at the next start.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_bundle::Digest;

/// How the name of a file begins that is not whole yet.
const PART: &str = "part-";

/// The folder.
#[derive(Debug)]
pub struct Blobs {
    folder: PathBuf,
    uploads: AtomicU64,
}

/// A file that comes in. It is removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Upload {
    file: PathBuf,
}

impl Blobs {
    /// Opens the folder `blobs` beside a database, and makes it if it is not there.
    ///
    /// # Errors
    /// When it cannot be made or read.
    pub fn beside(database: &Path) -> io::Result<Self> {
        let folder = database.with_file_name("blobs").join("sha256");
        fs::create_dir_all(&folder)?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(PART) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(Self {
            folder,
            uploads: AtomicU64::new(0),
        })
    }

    /// Begins a file.
    pub(crate) fn begin(&self) -> io::Result<(Upload, File)> {
        let number = self.uploads.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PART}{}-{number}", std::process::id());
        let upload = Upload {
            file: self.folder.join(name),
        };
        let mut options = File::options();
        let file = options
            .read(true)
            .write(true)
            .create_new(true)
            .open(&upload.file)?;
        Ok((upload, file))
    }

    /// Keeps a whole file under its digest. One that is there already is the same.
    pub(crate) fn keep(&self, upload: Upload, digest: Digest) -> io::Result<()> {
        File::open(&upload.file)?.sync_all()?;
        fs::rename(&upload.file, self.path(digest))?;
        File::open(&self.folder)?.sync_all()
    }

    /// Where the file of this digest is, if there is one.
    pub(crate) fn path(&self, digest: Digest) -> PathBuf {
        self.folder.join(digest.to_string())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        match fs::remove_file(&self.file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(file = %self.file.display(), %error, "cannot remove what was not kept");
            }
            // What was kept has another name.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder.join("blobs/sha256")).unwrap();
        let name = |entry: io::Result<fs::DirEntry>| {
            entry.unwrap().file_name().to_string_lossy().into_owned()
        };
        entries.map(name).collect()
    }

    #[test]
    fn a_file_has_its_name_once_it_is_whole_and_leaves_nothing_before() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::beside(&folder.path().join("centre.db")).unwrap();
        let digest = Digest::of(b"whole");
        for _ in 0..2 {
            let (upload, mut file) = blobs.begin().unwrap();
            file.write_all(b"whole").unwrap();
            blobs.keep(upload, digest).unwrap();
            assert_eq!(fs::read(blobs.path(digest)).unwrap(), b"whole");
        }
        let (cut_off, _) = blobs.begin().unwrap();
        assert_eq!(names(folder.path()).len(), 2);
        drop(cut_off);
        assert_eq!(names(folder.path()), [digest.to_string()]);
    }

    #[test]
    fn what_a_killed_process_left_is_gone_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("centre.db");
        let blobs = Blobs::beside(&database).unwrap();
        let (upload, _) = blobs.begin().unwrap();
        std::mem::forget(upload);
        assert_eq!(names(folder.path()).len(), 1);
        Blobs::beside(&database).unwrap();
        assert!(names(folder.path()).is_empty());
    }
}
