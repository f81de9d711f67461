//! A stick as a source. The file is described in docs/formats/stick.md.
//!
//! It may be old, cut short, or made by an enemy, and the medium may answer otherwise the second time. So the headers are
//! read first, strictly and in bounded memory, and make a table of contents; bodies are read when they are asked for, and
//! verified like those of any source.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};

use tidegate_bundle::{
    Digest, Error as Refusal, STICK_BLOCK_BYTES, STICK_BYTES_MAX, STICK_ENTRIES_MAX, StickEntry,
};

use crate::source::Source;

/// Zeros that may follow the end, in bytes: archivers fill up their last record.
const FILL_BYTES_MAX: u64 = 64 << 10;
const BLOCK: u64 = STICK_BLOCK_BYTES as u64;
const WHAT: &str = "stick";

/// Why a file is no stick.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("the stick cannot be read")]
    Read(#[from] io::Error),
    /// It is not what the format says.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl Error {
    /// The stable code of this reason, for reports and programs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Read(_) => "source-failed",
            Self::Refused(refusal) => refusal.reason(),
        }
    }
}

/// A stick whose table of contents was read.
#[derive(Debug)]
pub struct StickFile<F> {
    file: F,
    contents: BTreeMap<StickEntry, Body>,
}

/// Where the body of an entry stands.
#[derive(Debug, Clone, Copy)]
struct Body {
    start: u64,
    length: u64,
}

impl<F: Read + Seek> StickFile<F> {
    /// Reads the table of contents.
    ///
    /// # Errors
    /// `too-large`, `truncated`, `trailing-data`, `malformed`, `unexpected-entry` or `missing-entry`.
    pub fn open(mut file: F) -> Result<Self, Error> {
        let length = file.seek(SeekFrom::End(0))?;
        if length > STICK_BYTES_MAX {
            return Err(too_large(length).into());
        }
        let mut headers = Headers {
            file: &mut file,
            length,
            at: 0,
        };
        let mut contents = BTreeMap::new();
        while let Some((entry, body)) = headers.next()? {
            if contents
                .last_key_value()
                .is_some_and(|(last, _)| *last >= entry)
            {
                return Err(
                    unexpected(entry, "it is not in its place, or stands there twice").into(),
                );
            }
            contents.insert(entry, body);
            if contents.len() > STICK_ENTRIES_MAX {
                return Err(unexpected(entry, "there are more than 4096").into());
            }
        }
        headers.check_end()?;
        if !contents.contains_key(&StickEntry::Deployment) {
            let name = "deployment".to_owned();
            return Err(Refusal::MissingEntry { name }.into());
        }
        Ok(Self { file, contents })
    }

    fn document(&mut self, entry: StickEntry) -> io::Result<Option<Vec<u8>>> {
        let Some(mut reader) = self.reader(entry)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    fn reader(&mut self, entry: StickEntry) -> io::Result<Option<io::Take<&mut F>>> {
        let Some(body) = self.contents.get(&entry).copied() else {
            return Ok(None);
        };
        self.file.seek(SeekFrom::Start(body.start))?;
        Ok(Some((&mut self.file).take(body.length)))
    }
}

impl<F: Read + Seek> Source for StickFile<F> {
    fn name(&self) -> String {
        WHAT.to_owned()
    }

    fn root(&mut self, version: u64) -> io::Result<Option<Vec<u8>>> {
        self.document(StickEntry::Root(version))
    }

    fn deployment(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.document(StickEntry::Deployment)
    }

    fn release(&mut self, digest: Digest) -> io::Result<Option<Vec<u8>>> {
        self.document(StickEntry::Release(digest))
    }

    fn blob(&mut self, digest: Digest) -> io::Result<Option<Box<dyn Read + '_>>> {
        let reader = self.reader(StickEntry::Blob(digest))?;
        Ok(reader.map(|reader| Box::new(reader) as Box<dyn Read>))
    }
}

/// Goes from header to header.
struct Headers<'a, F> {
    file: &'a mut F,
    length: u64,
    at: u64,
}

impl<F: Read + Seek> Headers<'_, F> {
    /// The next entry; none at the first of the blocks that end the archive.
    fn next(&mut self) -> Result<Option<(StickEntry, Body)>, Error> {
        let header = self.block("a header")?;
        let Some((entry, length)) = StickEntry::read(&header)? else {
            return Ok(None);
        };
        let start = self.at;
        let end = start.saturating_add(length);
        if end > self.length {
            return Err(self.truncated("the body of an entry").into());
        }
        self.at = end;
        let fill = end.next_multiple_of(BLOCK).saturating_sub(end);
        self.check_zeros(fill, "entry")?;
        Ok(Some((entry, Body { start, length })))
    }

    /// After one block of zeros: another, and some more at most.
    fn check_end(&mut self) -> Result<(), Error> {
        let second = self.at;
        if self.block("its end")?.iter().any(|byte| *byte != 0) {
            return Err(trailing(WHAT, second).into());
        }
        let rest = self.length.saturating_sub(self.at);
        if rest > FILL_BYTES_MAX {
            return Err(trailing(WHAT, self.at).into());
        }
        self.check_zeros(rest, WHAT)
    }

    fn block(&mut self, inside: &str) -> Result<[u8; STICK_BLOCK_BYTES], Error> {
        let end = self.at.saturating_add(BLOCK);
        if end > self.length {
            return Err(self.truncated(inside).into());
        }
        let mut block = [0; STICK_BLOCK_BYTES];
        self.file.seek(SeekFrom::Start(self.at))?;
        self.file.read_exact(&mut block)?;
        self.at = end;
        Ok(block)
    }

    fn check_zeros(&mut self, count: u64, what: &'static str) -> Result<(), Error> {
        let end = self.at.saturating_add(count);
        if end > self.length {
            return Err(self.truncated("the padding of an entry").into());
        }
        let mut zeros = Vec::new();
        self.file.seek(SeekFrom::Start(self.at))?;
        (&mut *self.file).take(count).read_to_end(&mut zeros)?;
        if zeros.iter().any(|byte| *byte != 0) {
            return Err(trailing(what, self.at).into());
        }
        self.at = end;
        Ok(())
    }

    fn truncated(&self, inside: &str) -> Refusal {
        Refusal::Truncated {
            what: WHAT,
            length: usize::try_from(self.length).unwrap_or(usize::MAX),
            inside: inside.to_owned(),
        }
    }
}

fn too_large(length: u64) -> Refusal {
    Refusal::TooLarge {
        what: WHAT,
        length,
        limit: STICK_BYTES_MAX,
    }
}

fn trailing(what: &'static str, offset: u64) -> Refusal {
    Refusal::TrailingData {
        what,
        offset: usize::try_from(offset).unwrap_or(usize::MAX),
    }
}

fn unexpected(entry: StickEntry, why: &'static str) -> Refusal {
    Refusal::UnexpectedEntry {
        name: entry.to_string(),
        why,
    }
}

#[cfg(test)]
mod tests;
