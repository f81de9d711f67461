use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::*;

pub(super) fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), 1 << 20).unwrap();
    (folder, store)
}

fn path(folder: &tempfile::TempDir, blob: Blob) -> PathBuf {
    folder.path().join("sha256").join(name(blob.sha256))
}

pub(super) fn files(folder: &tempfile::TempDir) -> usize {
    let folder = std::fs::read_dir(folder.path().join("sha256")).unwrap();
    folder.count()
}

/// What a store that trusts its folder would hand out.
fn unhashed(folder: &tempfile::TempDir, blob: Blob) -> Vec<u8> {
    std::fs::read(path(folder, blob)).unwrap()
}

#[test]
fn a_blob_is_there_once_it_is_whole_and_has_its_digest() {
    let (folder, store) = store();
    let blob = Blob::of(b"component");
    assert!(matches!(store.load(blob), Err(Error::Missing(_))));
    store.put(blob, &mut &b"component"[..]).unwrap();
    assert_eq!(store.load(blob).unwrap(), b"component");
    assert!(store.has(blob).unwrap());
    // A good one is left alone: the source is not even read.
    store.put(blob, &mut FailsAt(0)).unwrap();
    let again = Store::open(folder.path(), 1 << 20).unwrap();
    assert_eq!(again.load(blob).unwrap(), b"component");
}

/// Gives so many bytes, then fails.
struct FailsAt(usize);

impl Read for FailsAt {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::Error::other("the link is gone"));
        }
        let count = self.0.min(buffer.len());
        self.0 -= count;
        Ok(count)
    }
}

#[test]
fn what_is_not_the_blob_leaves_nothing_behind() {
    let (folder, store) = store();
    let blob = Blob::of(&[7; 100_000]);
    let endless = &mut io::repeat(7);
    let cases: [(&mut dyn Read, &str); 5] = [
        (&mut &[7; 99_999][..], "truncated"),
        (&mut &[7; 100_001][..], "trailing-data"),
        (endless, "trailing-data"),
        (&mut &[8; 100_000][..], "digest-mismatch"),
        (&mut FailsAt(70_000), "source-failed"),
    ];
    for (source, reason) in cases {
        assert_eq!(store.put(blob, source).unwrap_err().reason(), reason);
        assert_eq!(files(&folder), 0, "{reason}");
    }
    let huge = Blob {
        length: BLOB_BYTES_MAX + 1,
        ..blob
    };
    let refused = store.put(huge, &mut io::repeat(7)).unwrap_err();
    assert_eq!(refused.reason(), "too-large");
}

#[test]
fn a_store_is_never_fuller_than_its_bound() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), 250).unwrap();
    let blobs: Vec<_> = (0..3_u8).map(|byte| [byte; 100]).collect();
    store.put(Blob::of(&blobs[0]), &mut &blobs[0][..]).unwrap();
    store.put(Blob::of(&blobs[1]), &mut &blobs[1][..]).unwrap();
    let full = store.put(Blob::of(&blobs[2]), &mut &blobs[2][..]);
    assert_eq!(full.unwrap_err().reason(), "store-full");
    assert_eq!(store.used().unwrap(), 200);
    store
        .keep_only(&BTreeSet::from([Digest::of(&blobs[1])]))
        .unwrap();
    store.put(Blob::of(&blobs[2]), &mut &blobs[2][..]).unwrap();
    assert!(matches!(
        store.load(Blob::of(&blobs[0])),
        Err(Error::Missing(_))
    ));
    assert!(store.load(Blob::of(&blobs[1])).is_ok());
}

#[test]
fn a_file_that_was_swapped_or_has_rotted_is_found_at_load_and_can_be_fetched_again() {
    let (folder, store) = store();
    let good = b"good component".to_vec();
    let blob = Blob::of(&good);
    let mut swaps: Vec<Vec<u8>> = (0..good.len() * 8)
        .map(|bit| {
            let mut rotten = good.clone();
            rotten[bit / 8] ^= 1 << (bit % 8);
            rotten
        })
        .collect();
    swaps.extend([
        b"evil component".to_vec(),
        vec![],
        good[..5].to_vec(),
        vec![0; 1 << 20],
    ]);
    for swap in swaps {
        store.put(blob, &mut &*good).unwrap();
        std::fs::write(path(&folder, blob), &swap).unwrap();
        // Control: without a hash at load the swapped file gets through.
        assert_eq!(unhashed(&folder, blob), swap);
        assert!(matches!(store.load(blob), Err(Error::Damaged(_))));
        assert!(matches!(store.load(blob), Err(Error::Missing(_))));
        store.put(blob, &mut &*good).unwrap();
        assert_eq!(store.load(blob).unwrap(), good);
    }
}

#[test]
fn a_link_in_the_store_is_removed_and_never_followed() {
    let (folder, store) = store();
    let outside = folder.path().join("outside");
    std::fs::write(&outside, b"component").unwrap();
    let blob = Blob::of(b"component");
    symlink(&outside, path(&folder, blob)).unwrap();
    // Control: followed, the link gives the right bytes, as long as whoever set it likes.
    assert_eq!(unhashed(&folder, blob), b"component");
    assert!(!store.has(blob).unwrap());
    assert!(matches!(store.load(blob), Err(Error::Damaged(_))));
    assert_eq!(std::fs::read(&outside).unwrap(), b"component");
    store.put(blob, &mut &b"component"[..]).unwrap();
    assert!(path(&folder, blob).symlink_metadata().unwrap().is_file());
}

#[test]
fn a_pipe_in_the_store_holds_nobody_up() {
    let (folder, store) = store();
    let blob = Blob::of(b"component");
    let path = path(&folder, blob);
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert!(matches!(store.load(blob), Err(Error::Damaged(_))));
}

#[test]
fn a_crash_leaves_no_unfinished_file_and_foreign_files_stay() {
    let (folder, store) = store();
    let blob = Blob::of(b"component");
    let inside = folder.path().join("sha256");
    let unfinished = inside.join(format!("{}.part", blob.sha256));
    std::fs::write(&unfinished, b"compo").unwrap();
    std::fs::write(inside.join("notes.txt"), b"of the operator").unwrap();
    drop(store);
    let store = Store::open(folder.path(), 1 << 20).unwrap();
    assert!(!unfinished.exists());
    store.keep_only(&BTreeSet::new()).unwrap();
    assert!(inside.join("notes.txt").exists());
    assert_eq!(store.used().unwrap(), 0);
}

#[test]
fn ten_thousand_swaps_beside_the_loader_never_hand_out_other_bytes() {
    use std::sync::atomic::{AtomicBool, Ordering};

    let (folder, store) = store();
    let (good, evil) = (vec![1; 4096], vec![2; 4096]);
    let blob = Blob::of(&good);
    let target = path(&folder, blob);
    let ready = folder.path().join("ready");
    let done = AtomicBool::new(false);
    let (mut loaded, mut refused, mut seen_unhashed) = (0, 0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for swap in 0..10_000 {
                let bytes = if swap % 2 == 0 { &evil } else { &good };
                std::fs::write(&ready, bytes).unwrap();
                std::fs::rename(&ready, &target).unwrap();
            }
            done.store(true, Ordering::Release);
        });
        while !done.load(Ordering::Acquire) {
            // Control: what a loader sees that does not hash.
            if std::fs::read(&target).is_ok_and(|bytes| bytes == evil) {
                seen_unhashed += 1;
            }
            match store.load(blob) {
                Ok(bytes) => {
                    assert_eq!(bytes, good);
                    loaded += 1;
                }
                Err(Error::Damaged(_) | Error::Missing(_)) => refused += 1,
                Err(error) => panic!("{error}"),
            }
        }
    });
    assert!(
        loaded > 0 && refused > 0 && seen_unhashed > 0,
        "{loaded} {refused} {seen_unhashed}"
    );
}
