//! The file of an export: begun, or gone on with where an earlier run was cut short.
//!
//! What is there already is verified from its first byte. Only a tail that a pulled stick or a power cut left is cut off: a
//! piece of a chunk, or a last chunk that is not what was signed. Anything else that does not belong there is refused, and
//! nothing is ever overwritten.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use thiserror::Error as ThisError;
use tidegate_bundle::{Chain, ContentKey, SealingKey, SigningKey};
use tidegate_record::{Name, StreamEpoch};
use tidegate_wire::export::{EXPORT_VERSION, ExportError, Frames, frame, preamble};
use tidegate_wire::{Chunk, End, Head, Part};

/// Why a file is not written, or not gone on with.
#[derive(Debug, ThisError)]
pub(crate) enum Refusal {
    #[error("cannot read it")]
    Read(#[source] io::Error),
    #[error(
        "cannot write it; make room or name another file, and run the same again: it goes on where it ended"
    )]
    Write(#[source] io::Error),
    #[error("another export is writing it")]
    InUse,
    #[error(transparent)]
    File(ExportError),
    #[error("it was not written by this gateway")]
    Stranger(#[source] tidegate_bundle::Error),
    #[error("it is damaged at byte {offset}: keep it, and name another file")]
    Damaged {
        offset: u64,
        source: tidegate_bundle::Error,
    },
    #[error("it is of gateway {0}")]
    OtherGateway(Name),
    #[error("it is of a database that was set aside since")]
    OtherDatabase,
    #[error("it is a complete export already: name another file")]
    Complete,
    #[error("it is sealed to another key than --to says, or not sealed at all")]
    OtherSeal,
    #[error("a row is too large for it")]
    TooLarge(#[source] tidegate_wire::Error),
    #[error("cannot make a chunk")]
    Chunk(#[source] tidegate_bundle::Error),
}

impl Refusal {
    /// Whether it is the storage that failed: the same may succeed once that is better.
    pub(crate) const fn is_storage(&self) -> bool {
        matches!(self, Self::Read(_) | Self::Write(_))
    }
}

/// An export under way.
#[derive(Debug)]
pub(crate) struct ExportFile {
    file: File,
    path: PathBuf,
    gateway: Name,
    device: SigningKey,
    content: Option<ContentKey>,
    chain: Chain,
    /// Where the last whole chunk ends; 0 before the preamble.
    end: u64,
    head: Option<Head>,
    written: HashMap<StreamEpoch, u64>,
    rows: u64,
}

impl ExportFile {
    /// Opens it, and verifies what is there. Nothing is written yet.
    pub(crate) fn open(
        path: &Path,
        gateway: &Name,
        device: SigningKey,
        to: Option<&SealingKey>,
    ) -> Result<Self, Refusal> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let file = options.open(path).map_err(Refusal::Write)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            // A file system without locks: two exports into one file at a time are the operator's to avoid.
            Ok(()) | Err(rustix::io::Errno::NOTSUP) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(Refusal::InUse),
            Err(errno) => return Err(Refusal::Read(errno.into())),
        }
        let mut export = Self {
            file,
            path: path.to_owned(),
            gateway: gateway.clone(),
            device,
            content: None,
            chain: Chain::start(),
            end: 0,
            head: None,
            written: HashMap::new(),
            rows: 0,
        };
        export.verify(to)?;
        if let (0, Some(to)) = (export.end, to) {
            let content = ContentKey::seal(to, &export.device).map_err(Refusal::Chunk)?;
            export.content = Some(content);
        }
        Ok(export)
    }

    /// What it began with, if an earlier run has begun it.
    pub(crate) const fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// How far each stream and epoch is in it.
    pub(crate) const fn written(&self) -> &HashMap<StreamEpoch, u64> {
        &self.written
    }

    /// Rows in it.
    pub(crate) const fn rows(&self) -> u64 {
        self.rows
    }

    /// Its bytes, up to the last whole chunk.
    pub(crate) const fn bytes(&self) -> u64 {
        self.end
    }

    /// Adds a chunk, and sees it to disk.
    pub(crate) fn write(&mut self, part: Part) -> Result<(), Refusal> {
        let chunk = Chunk {
            version: EXPORT_VERSION,
            gateway: self.gateway.clone(),
            part,
        };
        let body = tidegate_wire::encode(&chunk).map_err(Refusal::TooLarge)?;
        let mut chain = self.chain;
        let signed = chain.sign(&self.device, &body);
        let content = match &self.content {
            Some(content) => content.seal_piece(&signed).map_err(Refusal::Chunk)?,
            None => signed,
        };
        let mut bytes = Vec::new();
        if self.end == 0 {
            let preface = self.content.as_ref().map(ContentKey::preface);
            let preface = preface.map_or(&[][..], |preface| preface);
            bytes = preamble(preface).map_err(Refusal::File)?;
        }
        bytes.extend(frame(&content).map_err(Refusal::File)?);
        self.append(&bytes).map_err(Refusal::Write)?;
        self.chain = chain;
        self.note(chunk);
        Ok(())
    }

    /// Adds the last chunk. When this returns, file and folder are on disk.
    pub(crate) fn finish(&mut self) -> Result<(), Refusal> {
        self.write(Part::End(End { rows: self.rows }))?;
        let folder = match self.path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let synced = self
            .file
            .sync_all()
            .and_then(|()| File::open(folder)?.sync_all());
        synced.map_err(Refusal::Write)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        // What a cut left behind the last whole chunk goes now, when there is something to put in its place.
        self.file.set_len(self.end)?;
        self.file.seek(SeekFrom::Start(self.end))?;
        self.file.write_all(bytes)?;
        self.file.sync_data()?;
        self.end += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    fn note(&mut self, chunk: Chunk) {
        match chunk.part {
            Part::Head(head) => self.head = Some(head),
            Part::Rows(streams) => {
                for stream in streams {
                    self.rows += u64::try_from(stream.rows.len()).unwrap_or(u64::MAX);
                    if let Some(last) = stream.rows.last() {
                        self.written.insert(stream.of, last.seq);
                    }
                }
            }
            Part::End(_) => {}
        }
    }

    /// Reads what is there, and finds the end of the last whole chunk.
    fn verify(&mut self, to: Option<&SealingKey>) -> Result<(), Refusal> {
        let file = self.file.try_clone().map_err(Refusal::Read)?;
        let mut frames = match Frames::open(BufReader::new(file)) {
            // Empty, or cut off within its first bytes.
            Err(ExportError::CutOff { .. }) => return Ok(()),
            opened => opened.map_err(Refusal::File)?,
        };
        let preface = frames.preface();
        let recipient = match preface {
            [] => None,
            preface => Some(tidegate_bundle::recipient(preface).map_err(Refusal::Stranger)?),
        };
        if recipient != to.map(SealingKey::id) {
            return Err(Refusal::OtherSeal);
        }
        let content = recipient.map(|_| ContentKey::of_device(preface, &self.device));
        self.content = content.transpose().map_err(Refusal::Stranger)?;
        let public = self.device.public_key();
        loop {
            let offset = frames.offset();
            let frame = match frames.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) | Err(ExportError::CutOff { .. }) => break,
                Err(ExportError::TooLarge { .. }) if self.zeros_follow(offset)? => break,
                Err(error) => return Err(Refusal::File(error)),
            };
            let mut chain = self.chain;
            let opened = match &self.content {
                Some(content) => content.open_piece(&frame),
                None => Ok(frame),
            };
            let chunk = opened.and_then(|signed| Ok(chain.verify(&public, &signed)?.to_vec()));
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(source) if self.head.is_none() => return Err(Refusal::Stranger(source)),
                Err(_) if !matches!(frames.next_frame(), Ok(Some(_))) => break,
                Err(source) => return Err(Refusal::Damaged { offset, source }),
            };
            let chunk: Chunk = tidegate_wire::decode(&chunk).map_err(Refusal::TooLarge)?;
            if chunk.gateway != self.gateway {
                return Err(Refusal::OtherGateway(chunk.gateway));
            }
            if matches!(chunk.part, Part::End(_)) {
                return Err(Refusal::Complete);
            }
            (self.chain, self.end) = (chain, frames.offset());
            self.note(chunk);
        }
        // Before the head is whole there is nothing to go on with.
        if self.head.is_none() {
            (self.chain, self.end, self.content) = (Chain::start(), 0, None);
        }
        Ok(())
    }

    /// Whether nothing but zeros is in the file from here on: what a file system may leave of bytes that were not yet
    /// written.
    fn zeros_follow(&self, offset: u64) -> Result<bool, Refusal> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(offset)).map_err(Refusal::Read)?;
        for byte in BufReader::new(file).bytes() {
            if byte.map_err(Refusal::Read)? != 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
