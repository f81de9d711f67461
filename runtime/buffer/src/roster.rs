//! How far each stream and epoch is numbered, beside the database.
//!
//! A log that is cut short is no damage to SQLite: commits that were in it have never been. And of a database that cannot
//! be read nobody could say what was in it. So after each commit the last numbers are written here as well, without an
//! fsync: always behind what is on disk, and there after a kill. Two files take turns, each with a checksum, so that one of
//! them is whole.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use minicbor::{Decode, Encode};
use tidegate_record::StreamEpoch;

use crate::inbox::Waited;
use crate::quarantine::Aside;
use crate::sequence::{Destination, Extent, Second, Sequence};

/// Longest file that is read back: more than 10,000 places.
const BYTES_MAX: u64 = 1 << 20;

/// The two files.
#[derive(Debug)]
pub(crate) struct Roster {
    files: [File; 2],
    /// Odd and even pages go to different files.
    turn: u64,
    /// Whether the last write failed: it is said once.
    failing: bool,
}

/// What a file holds.
#[derive(Debug, Encode, Decode)]
struct Page {
    #[n(0)]
    turn: u64,
    #[n(1)]
    places: Vec<Numbered>,
    /// Messages that wait for their modules.
    #[n(2)]
    inboxes: Option<Vec<Waited>>,
}

#[derive(Debug, Encode, Decode)]
struct Numbered {
    #[n(0)]
    of: StreamEpoch,
    #[n(1)]
    mark: u64,
    #[n(2)]
    last: u64,
    #[n(3)]
    second: Option<u64>,
}

impl Roster {
    /// Opens it. Answers with what there was when it was last written.
    ///
    /// # Errors
    /// When the files cannot be opened.
    pub(crate) fn open(database: &Path) -> io::Result<(Self, Aside)> {
        let open = |extension| {
            OpenOptions::new()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .open(database.with_extension(extension))
        };
        let files = [open("roster-0")?, open("roster-1")?];
        let newest = files
            .iter()
            .filter_map(read)
            .max_by_key(|page| page.turn)
            .unwrap_or(Page {
                turn: 0,
                places: Vec::new(),
                inboxes: None,
            });
        let extents = newest.places.into_iter().map(|numbered| Extent {
            mark: numbered.mark,
            second: numbered.second.unwrap_or(0),
            last: numbered.last,
            ..Extent::new(numbered.of)
        });
        let roster = Self {
            files,
            turn: newest.turn,
            failing: false,
        };
        let aside = Aside {
            numbered: extents.collect(),
            inboxes: newest.inboxes,
        };
        Ok((roster, aside))
    }

    /// Writes what waits now. If that fails, damage later may go without an entry, and nothing else.
    pub(crate) fn write(&mut self, sequence: &Sequence, inboxes: Vec<Waited>) {
        self.turn = self.turn.wrapping_add(1);
        let now = sequence.epoch();
        let mirrored = sequence.second() == Some(Second::Mirror);
        let waits = |extent: &Extent| {
            extent.waiting(Destination::First) > 0
                || (mirrored && extent.waiting(Destination::Second) > 0)
        };
        let places = sequence.extents().values();
        let places = places
            .filter(|extent| extent.of.epoch == now || waits(extent))
            .map(|extent| Numbered {
                of: extent.of.clone(),
                mark: extent.mark,
                last: extent.last,
                second: (extent.second > 0).then_some(extent.second),
            });
        let page = Page {
            turn: self.turn,
            places: places.collect(),
            inboxes: Some(inboxes),
        };
        let [even, odd] = &self.files;
        let file = if self.turn.is_multiple_of(2) {
            even
        } else {
            odd
        };
        let written = minicbor::to_vec(&page)
            .map_err(io::Error::other)
            .and_then(|cbor| {
                let mut bytes = crc32fast::hash(&cbor).to_le_bytes().to_vec();
                bytes.extend(u64::try_from(cbor.len()).unwrap_or(0).to_le_bytes());
                bytes.extend(cbor);
                file.write_all_at(&bytes, 0)
            });
        let failed = written.is_err();
        if let Err(error) = written
            && !self.failing
        {
            tracing::warn!("cannot write how far rows are numbered: {error}");
        }
        self.failing = failed;
    }
}

fn read(file: &File) -> Option<Page> {
    let mut bytes = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut bytes).ok()?;
    let (sum, rest) = bytes.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<8>()?;
    let cbor = rest.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    (crc32fast::hash(cbor).to_le_bytes() == *sum)
        .then(|| minicbor::decode(cbor).ok())
        .flatten()
}

/// A stream and epoch that is numbered further than the database knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gone {
    pub(crate) of: StreamEpoch,
    /// How far the centre holds it.
    pub(crate) mark: u64,
    /// How far the second one does.
    pub(crate) second: u64,
    /// The last number that is there.
    pub(crate) after: u64,
    /// The last number that there was.
    pub(crate) last: u64,
}

/// What was numbered and is not in the database.
pub(crate) fn missing(numbered: &[Extent], found: &[Extent]) -> Vec<Gone> {
    let gone = numbered.iter().filter_map(|extent| {
        let known = found.iter().find(|known| known.of == extent.of);
        let after = known.map_or(extent.mark, |known| known.last);
        let is_gone = known.is_none_or(|known| known.last < extent.last);
        is_gone.then(|| Gone {
            of: extent.of.clone(),
            mark: extent.mark,
            second: extent.second,
            after,
            last: extent.last,
        })
    });
    gone.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::restamp::Boots;
    use std::collections::BTreeMap;
    use tidegate_record::{Epoch, Name};

    fn extent(last: u64) -> Extent {
        let epoch = Epoch {
            ordinal: 1,
            random: 7,
        };
        let of = StreamEpoch {
            stream: Name::new("readings").unwrap(),
            epoch,
        };
        Extent {
            mark: 3,
            last,
            ..Extent::new(of)
        }
    }

    fn sequence(last: u64) -> Sequence {
        let extent = extent(last);
        Sequence::new(
            extent.of.epoch,
            BTreeMap::from([((1, 1), extent)]),
            None,
            Boots::new(),
        )
    }

    #[test]
    fn the_newest_whole_page_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("buffer.db");
        let (mut roster, before) = Roster::open(&database).unwrap();
        assert!(before.numbered.is_empty() && before.inboxes.is_none());
        let waited = |last| Waited {
            module: Name::new("slow").unwrap(),
            messages: 3,
            last,
        };
        for last in 10..=15 {
            roster.write(&sequence(last), vec![waited(last)]);
        }
        let inboxes = Roster::open(&database).unwrap().1.inboxes;
        assert_eq!(inboxes, Some(vec![waited(15)]));
        let last = |aside: Aside| {
            aside
                .numbered
                .iter()
                .map(|extent| extent.last)
                .collect::<Vec<_>>()
        };
        assert_eq!(last(Roster::open(&database).unwrap().1), [15]);
        // The page that was being written when the power went.
        std::fs::write(database.with_extension("roster-0"), b"half a page").unwrap();
        assert_eq!(last(Roster::open(&database).unwrap().1), [14]);
    }

    #[test]
    fn what_is_missing_begins_after_what_is_there_or_held() {
        let gone = |found: &[Extent]| {
            missing(&[extent(10)], found)
                .iter()
                .map(|gone| (gone.after, gone.last))
                .collect::<Vec<_>>()
        };
        assert_eq!(gone(&[]), [(3, 10)]);
        assert_eq!(gone(&[extent(8)]), [(8, 10)]);
        assert!(gone(&[extent(10)]).is_empty());
    }
}
