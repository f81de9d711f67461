//! A blob that comes in pieces, over a link that may end at any byte: what has come stays, over a restart as well, and the
//! next piece goes on from there. Its file has another name than a blob's until it is whole.
//!
//! Pieces are not synced one by one. After a power cut the file may be shorter, or hold what never came: then its digest is
//! wrong at the end, it is removed, and the blob begins anew.

use std::collections::BTreeSet;
use std::io::Write;

use tidegate_bundle::Digest;

use super::{Blob, Error, Store, disk, name};
use crate::folder::length;

/// What follows the digest in the name of a file.
const BEGUN: &str = ".begun";

impl Store {
    /// How many bytes of a blob have come in pieces.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn begun(&self, blob: Blob) -> Result<u64, Error> {
        let found = self.folder.length(&begun(blob.sha256));
        Ok(found
            .map_err(disk("look at what has come of a blob"))?
            .unwrap_or(0))
    }

    /// Takes the piece of a blob that begins at byte `at`. True when the blob is whole, and in the store.
    ///
    /// # Errors
    /// When the piece does not follow what has come, there is no room, it goes on after the end, or the whole has another
    /// digest: of that nothing stays.
    pub fn append(&self, blob: Blob, at: u64, piece: &[u8]) -> Result<bool, Error> {
        let there = self.begun(blob)?;
        if there != at {
            return Err(Error::Gap {
                blob: blob.sha256,
                at,
                there,
            });
        }
        self.check(blob, at)?;
        let came = at.saturating_add(length(piece));
        if came > blob.length {
            self.forget(blob)?;
            return Err(Error::Long {
                blob: blob.sha256,
                expected: blob.length,
            });
        }
        let name = begun(blob.sha256);
        let file = self.folder.extend(&name);
        let mut file = file.map_err(disk("begin a blob"))?;
        file.write_all(piece).map_err(disk("write a blob"))?;
        if came < blob.length {
            return Ok(false);
        }
        file.sync_all().map_err(disk("write a blob"))?;
        self.finish(blob).map(|()| true)
    }

    /// Removes what has come of a blob in pieces.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn forget(&self, blob: Blob) -> Result<(), Error> {
        let removed = self.folder.remove(&begun(blob.sha256));
        removed.map_err(disk("remove what came for a blob"))
    }

    /// Blobs of which something has come in pieces.
    pub(super) fn all_begun(&self) -> Result<BTreeSet<Digest>, Error> {
        let names = self.folder.names().map_err(disk("list its blobs"))?;
        let digests = names.iter().filter_map(|name| name.strip_suffix(BEGUN));
        Ok(digests
            .filter_map(|name| Digest::parse(name).ok())
            .collect())
    }

    fn finish(&self, blob: Blob) -> Result<(), Error> {
        let begun = begun(blob.sha256);
        let read = self.folder.read(&begun, blob.length);
        let bytes = read.map_err(disk("read what came for a blob"))?;
        let found = Digest::of(&bytes.unwrap_or_default());
        if found != blob.sha256 {
            self.forget(blob)?;
            return Err(Error::Mismatch {
                expected: blob.sha256,
                found: found.to_string(),
            });
        }
        let named = self.folder.rename(&begun, &name(blob.sha256));
        named.map_err(disk("finish a blob"))
    }
}

pub(super) fn begun(digest: Digest) -> String {
    format!("{digest}{BEGUN}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{files, store};

    #[test]
    fn a_blob_goes_on_where_it_broke_off_and_after_a_restart() {
        let (folder, store) = store();
        let blob = Blob::of(b"component");
        assert!(!store.append(blob, 0, b"comp").unwrap());
        let store = Store::open(folder.path(), 1 << 20).unwrap();
        assert_eq!(store.begun(blob).unwrap(), 4);
        assert!(matches!(store.load(blob), Err(Error::Missing(_))));
        // Neither from the start nor beyond what is there.
        for at in [0, 5] {
            let error = store.append(blob, at, b"x").unwrap_err();
            assert_eq!(error.reason(), "gap", "{at}");
        }
        assert!(store.append(blob, 4, b"onent").unwrap());
        assert_eq!(store.load(blob).unwrap(), b"component");
        assert_eq!((store.begun(blob).unwrap(), files(&folder)), (0, 1));
    }

    #[test]
    fn pieces_that_are_not_the_blob_leave_nothing_behind() {
        let (folder, store) = store();
        let blob = Blob::of(b"component");
        store.append(blob, 0, b"comp").unwrap();
        let error = store.append(blob, 4, b"ONENT").unwrap_err();
        assert_eq!((error.reason(), files(&folder)), ("digest-mismatch", 0));
        store.append(blob, 0, b"comp").unwrap();
        let error = store.append(blob, 4, b"onents").unwrap_err();
        assert_eq!((error.reason(), files(&folder)), ("trailing-data", 0));
        // Control: the same pieces, as they should be.
        store.append(blob, 0, b"comp").unwrap();
        assert!(store.append(blob, 4, b"onent").unwrap());
    }

    #[test]
    fn what_has_come_takes_room_and_goes_when_nothing_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), 100).unwrap();
        let (one, other) = (Blob::of(&[1; 60]), Blob::of(&[2; 60]));
        store.append(one, 0, &[1; 50]).unwrap();
        let full = store.append(other, 0, &[2; 10]).unwrap_err();
        assert_eq!(full.reason(), "store-full");
        store.keep_only(&BTreeSet::from([one.sha256])).unwrap();
        assert_eq!(store.begun(one).unwrap(), 50);
        store.keep_only(&BTreeSet::new()).unwrap();
        assert_eq!((store.begun(one).unwrap(), files(&folder)), (0, 0));
    }

    #[test]
    fn a_blob_that_came_whole_by_another_way_leaves_no_pieces_behind() {
        let (folder, store) = store();
        let blob = Blob::of(b"component");
        store.append(blob, 0, b"comp").unwrap();
        store.put(blob, &mut &b"component"[..]).unwrap();
        assert_eq!((store.begun(blob).unwrap(), files(&folder)), (0, 1));
    }
}
