//! Blobs by their digest: `sha256/<64 hexadecimal digits>`, each a file that never changes.
//!
//! A blob is hashed while it comes in, and named only when it is whole and on disk. It is hashed again each time it is
//! loaded, over exactly the bytes that the caller gets, in memory of its own: a file that was swapped or has rotted since
//! is found then, removed, and can be fetched again. What a folder says of itself is never believed.
//!
//! # Invariants
//!
//! - No bytes leave the store under a digest that they do not have.
//! - All blobs together take no more than the bound given at opening.
//! - A crash leaves a blob or none, and at most an unfinished file: the next opening removes it, unless it is one that
//!   comes in pieces, which goes on ([`unfinished`]).
//!
//! # Failure
//!
//! A blob that is missing or damaged is a [`Error::Missing`] or [`Error::Damaged`] of that blob alone.

mod unfinished;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tidegate_bundle::{BUNDLE_BYTES_MAX, Digest};

use crate::folder::{Folder, length};

/// Largest blob in bytes: no artifact of a bundle can be larger, and it is held in memory when it is loaded.
pub const BLOB_BYTES_MAX: u64 = BUNDLE_BYTES_MAX as u64;
/// What the store takes on disk unless said otherwise, in bytes: room for what runs, what stands by and what comes.
pub const STORE_BYTES_DEFAULT: u64 = 512 << 20;
/// Read and hashed at once: bounds the memory of a download.
const PIECE_BYTES: usize = 64 << 10;

/// What a document says of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blob {
    /// Its digest.
    pub sha256: Digest,
    /// Its length in bytes.
    pub length: u64,
}

impl Blob {
    /// Describes bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self {
            sha256: Digest::of(bytes),
            length: length(bytes),
        }
    }
}

/// Why the store has no blob, or takes none.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not there.
    #[error("blob {} is not in the store", .0)]
    Missing(Digest),
    /// What was there had another digest, and has been removed.
    #[error("blob {} was damaged in the store, and is removed", .0)]
    Damaged(Digest),
    /// What came is not what was asked for.
    #[error("what came for blob {expected} has digest {found}")]
    Mismatch {
        /// The digest asked for.
        expected: Digest,
        /// That of what came, in hexadecimal digits.
        found: String,
    },
    /// What came ends too early.
    #[error("what came for blob {blob} ends after {found} of {expected} bytes")]
    Short {
        /// The digest asked for.
        blob: Digest,
        /// Its length in bytes.
        expected: u64,
        /// Bytes that came.
        found: u64,
    },
    /// What came goes on after the end.
    #[error("what came for blob {blob} is longer than its {expected} bytes")]
    Long {
        /// The digest asked for.
        blob: Digest,
        /// Its length in bytes.
        expected: u64,
    },
    /// A piece does not follow what has come.
    #[error("a piece of blob {blob} begins at byte {at}, and {there} bytes have come")]
    Gap {
        /// Its digest.
        blob: Digest,
        /// Where the piece begins.
        at: u64,
        /// Bytes that have come.
        there: u64,
    },
    /// No blob is so large.
    #[error("blob {blob} has {length} bytes, limit is {BLOB_BYTES_MAX}")]
    TooLarge {
        /// Its digest.
        blob: Digest,
        /// Its length in bytes, by the document.
        length: u64,
    },
    /// There is no room for it beside what is needed.
    #[error("no room for blob {blob} of {length} bytes: {used} of {limit} bytes are used")]
    Full {
        /// Its digest.
        blob: Digest,
        /// Its length in bytes.
        length: u64,
        /// Bytes of all blobs.
        used: u64,
        /// The bound in bytes.
        limit: u64,
    },
    /// Whoever sends it failed.
    #[error("blob {blob} cannot be fetched")]
    Fetch {
        /// Its digest.
        blob: Digest,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The disk failed.
    #[error("the store cannot {what}")]
    Disk {
        /// What was tried.
        what: &'static str,
        /// The reason.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// The stable code of this reason, for reports and programs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing(_) => "missing-blob",
            Self::Damaged(_) => "damaged-blob",
            Self::Mismatch { .. } => "digest-mismatch",
            Self::Short { .. } => "truncated",
            Self::Long { .. } => "trailing-data",
            Self::Gap { .. } => "gap",
            Self::TooLarge { .. } => "too-large",
            Self::Full { .. } => "store-full",
            Self::Fetch { .. } => "source-failed",
            Self::Disk { .. } => "disk-failed",
        }
    }
}

/// The store.
#[derive(Debug)]
pub struct Store {
    folder: Folder,
    bytes_max: u64,
}

impl Store {
    /// Opens the store in `folder` and removes what a crash left unfinished.
    ///
    /// # Errors
    /// When the folder cannot be made, read or written.
    pub fn open(folder: &Path, bytes_max: u64) -> Result<Self, Error> {
        let open = || {
            let folder = Folder::open(&folder.join("sha256"))?;
            folder.remove_unfinished()?;
            Ok(folder)
        };
        let folder = open().map_err(disk("open its folder"))?;
        Ok(Self { folder, bytes_max })
    }

    /// Whether a blob seems to be there. Only [`Store::load`] knows.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn has(&self, blob: Blob) -> Result<bool, Error> {
        let found = self.folder.length(&name(blob.sha256));
        Ok(found.map_err(disk("look at a blob"))? == Some(blob.length))
    }

    /// Takes a blob from `source`, unless a good one is there. No more than one byte beyond its length is read, and none
    /// of what is not the blob stays.
    ///
    /// # Errors
    /// When there is no room, the source ends too early or too late, or what it gives has another digest.
    pub fn put(&self, blob: Blob, source: &mut dyn Read) -> Result<(), Error> {
        match self.load(blob) {
            Ok(_) => return Ok(()),
            Err(Error::Missing(_) | Error::Damaged(_)) => {}
            Err(error) => return Err(error),
        }
        self.forget(blob)?;
        self.check(blob, 0)?;
        let name = name(blob.sha256);
        let file = self.folder.begin(&name).map_err(disk("begin a blob"))?;
        let written = receive(blob, source, &file).and_then(|()| {
            let finished = self.folder.finish(&name, &file);
            finished.map_err(disk("finish a blob"))
        });
        if written.is_err() {
            let removed = self.folder.abandon(&name);
            removed.map_err(disk("remove what came for a blob"))?;
        }
        written
    }

    /// A blob, in memory that nothing else can change.
    ///
    /// # Errors
    /// [`Error::Missing`], and [`Error::Damaged`] where something else stood in its place, which is removed.
    pub fn load(&self, blob: Blob) -> Result<Vec<u8>, Error> {
        let name = name(blob.sha256);
        let read = self.folder.read(&name, blob.length.min(BLOB_BYTES_MAX));
        match read {
            Ok(None) => return Err(Error::Missing(blob.sha256)),
            Ok(Some(bytes)) if Blob::of(&bytes) == blob => return Ok(bytes),
            // Shorter, longer, other bytes, a link or a pipe: not ours, whatever it is.
            Ok(Some(_)) => {}
            Err(error) if is_damage(&error) => {}
            Err(error) => return Err(disk("read a blob")(error)),
        }
        let removed = self.folder.remove(&name);
        removed.map_err(disk("remove a damaged blob"))?;
        Err(Error::Damaged(blob.sha256))
    }

    /// Removes every blob that is not named. Files that are no blobs are not the store's, and stay.
    ///
    /// # Errors
    /// When the folder cannot be read or written.
    pub fn keep_only(&self, named: &BTreeSet<Digest>) -> Result<(), Error> {
        let (whole, begun) = (self.digests()?, self.all_begun()?);
        let whole = whole.difference(named).map(|digest| name(*digest));
        let begun = begun.difference(named);
        let mut unnamed = whole.chain(begun.map(|digest| unfinished::begun(*digest)));
        let removed = unnamed.try_for_each(|name| self.folder.remove(&name));
        removed.map_err(disk("remove a blob that is not needed"))
    }

    /// Bytes of all blobs, and of what has come of further ones.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn used(&self) -> Result<u64, Error> {
        let mut used = 0_u64;
        let begun = self.all_begun()?.into_iter().map(unfinished::begun);
        for name in self.digests()?.into_iter().map(name).chain(begun) {
            let found = self.folder.length(&name);
            let length = found.map_err(disk("look at a blob"))?;
            used = used.saturating_add(length.unwrap_or(0));
        }
        Ok(used)
    }

    fn digests(&self) -> Result<BTreeSet<Digest>, Error> {
        let names = self.folder.names().map_err(disk("list its blobs"))?;
        let digests = names.iter().filter_map(|name| Digest::parse(name).ok());
        Ok(digests.collect())
    }

    /// Whether a blob may come, of which so many bytes are there.
    fn check(&self, blob: Blob, there: u64) -> Result<(), Error> {
        if blob.length > BLOB_BYTES_MAX {
            return Err(Error::TooLarge {
                blob: blob.sha256,
                length: blob.length,
            });
        }
        let used = self.used()?;
        match used.checked_add(blob.length.saturating_sub(there)) {
            Some(needed) if needed <= self.bytes_max => Ok(()),
            _ => Err(Error::Full {
                blob: blob.sha256,
                length: blob.length,
                used,
                limit: self.bytes_max,
            }),
        }
    }
}

/// Copies a blob piece by piece, hashing it, and reads one byte further to see that it ends.
fn receive(blob: Blob, source: &mut dyn Read, mut file: &File) -> Result<(), Error> {
    let mut hash = Sha256::new();
    let mut piece = vec![0; PIECE_BYTES];
    let mut found = 0_u64;
    let mut source = source.take(blob.length.saturating_add(1));
    loop {
        let read = match source.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => piece.get(..read).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => {
                return Err(Error::Fetch {
                    blob: blob.sha256,
                    source,
                });
            }
        };
        found = found.saturating_add(length(read));
        if found > blob.length {
            return Err(Error::Long {
                blob: blob.sha256,
                expected: blob.length,
            });
        }
        hash.update(read);
        file.write_all(read).map_err(disk("write a blob"))?;
    }
    if found < blob.length {
        return Err(Error::Short {
            blob: blob.sha256,
            expected: blob.length,
            found,
        });
    }
    let hash: [u8; 32] = hash.finalize().into();
    if hash != *blob.sha256.as_bytes() {
        return Err(Error::Mismatch {
            expected: blob.sha256,
            found: hash.iter().map(|byte| format!("{byte:02x}")).collect(),
        });
    }
    Ok(())
}

/// Whether this file is to blame: it is none of ours, or the disk can no longer read it. Another may take its place.
fn is_damage(error: &io::Error) -> bool {
    let kinds = [io::ErrorKind::InvalidData, io::ErrorKind::FileTooLarge];
    let errno = Errno::from_io_error(error);
    kinds.contains(&error.kind()) || matches!(errno, Some(Errno::LOOP | Errno::IO))
}

fn name(digest: Digest) -> String {
    digest.to_string()
}

fn disk(what: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::Disk { what, source }
}

#[cfg(test)]
mod tests;
