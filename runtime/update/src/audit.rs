//! What the update client did and refused, line by line, each bound to the one before.
//!
//! A line is the SHA-256 of its JSON object, a space, and the object; the object holds the number of the line and the
//! digest of the line before. So a line that was changed, dropped, swapped or put in between is found
//! ([`Audit::verify`]). That lines are missing at the end is found by whoever remembers a later one: the client's own
//! state does ([`Head`]), and a status that has left the gateway.
//!
//! `audit.log` is begun anew, and the one before kept as `audit.log.1`, when it would outgrow [`AUDIT_BYTES_MAX`]; the
//! chain goes on across. A line is on disk when [`Audit::note`] returns. One that a power cut left half written had not
//! been promised to anybody, and is cut off at the next opening.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use tidegate_bundle::Digest;
use tidegate_record::{Clock, ClockQuality};

use crate::folder::{Folder, length};

/// Longest log in bytes; there are two.
pub const AUDIT_BYTES_MAX: u64 = 1 << 20;
/// Longest text of one line in bytes; what a document says of itself must not fill the log.
const TEXT_BYTES_MAX: usize = 4096;

const LOG: &str = "audit.log";
const BEFORE: &str = "audit.log.1";

/// The newest line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Its number; zero for none yet.
    pub number: u64,
    /// Its digest.
    pub digest: Digest,
}

impl Head {
    /// Of a log without lines.
    #[must_use]
    pub fn none() -> Self {
        Self {
            number: 0,
            digest: Digest::of(b""),
        }
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Counts the lines, from 1.
    pub number: u64,
    /// The digest of the line before.
    pub after: Digest,
    /// Nanoseconds since 1970 by the gateway's clock.
    pub at: u64,
    /// How far to trust that clock.
    pub clock: String,
    /// What happened, as a stable word.
    pub what: String,
    /// The same for people, with names and numbers.
    pub text: String,
}

/// What [`Audit::verify`] has found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A line is not what its digest says.
    #[error("{file}, line {line} was changed")]
    Changed {
        /// Which file.
        file: &'static str,
        /// Line of the file, from 1.
        line: usize,
    },
    /// A line does not follow the one before.
    #[error("{file}, line {line} is number {found}, and does not follow number {before}")]
    Gap {
        /// Which file.
        file: &'static str,
        /// Line of the file, from 1.
        line: usize,
        /// Number of the line before.
        before: u64,
        /// Its number.
        found: u64,
    },
    /// A line is remembered that is not there.
    #[error("line number {number} was written, and is not there as it was")]
    Missing {
        /// Its number.
        number: u64,
    },
}

/// The log.
#[derive(Debug)]
pub struct Audit {
    folder: Folder,
    file: File,
    bytes: u64,
    head: Head,
}

impl Audit {
    /// Opens the log in `folder` and cuts off a line that was never finished.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let folder = Folder::open(folder)?;
        let (before, mut now) = (read(&folder, BEFORE)?, read(&folder, LOG)?);
        let whole = now.rfind('\n').map_or(0, |end| end.saturating_add(1));
        if whole < now.len() {
            now.truncate(whole);
            folder.replace(LOG, now.as_bytes())?;
        }
        let last = now.lines().next_back().or(before.lines().next_back());
        let head = last.and_then(head_of).unwrap_or_else(Head::none);
        Ok(Self {
            file: folder.append(LOG)?,
            bytes: length(now.as_bytes()),
            folder,
            head,
        })
    }

    /// The newest line.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// Writes a line; it is on disk when this returns.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn note(&mut self, clock: &dyn Clock, what: &str, text: &str) -> io::Result<()> {
        let line = Line {
            number: self.head.number.saturating_add(1),
            after: self.head.digest,
            at: clock.wall_time().0,
            clock: quality(clock.quality()).to_owned(),
            what: what.to_owned(),
            text: cut(text).to_owned(),
        };
        let json = serde_json::to_string(&line)?;
        let digest = Digest::of(json.as_bytes());
        let written = format!("{digest} {json}\n");
        if self.bytes.saturating_add(length(written.as_bytes())) > AUDIT_BYTES_MAX {
            self.folder.rename(LOG, BEFORE)?;
            self.file = self.folder.append(LOG)?;
            self.bytes = 0;
        }
        let appended = self.file.write_all(written.as_bytes());
        if let Err(error) = appended.and_then(|()| self.file.sync_all()) {
            // The next line must not begin in the middle of this one.
            self.file.set_len(self.bytes)?;
            return Err(error);
        }
        self.bytes = self.bytes.saturating_add(length(written.as_bytes()));
        self.head = Head {
            number: line.number,
            digest,
        };
        Ok(())
    }

    /// Reads the whole log in `folder`, and holds each line against the one before, and one of them against what is
    /// remembered. Changes nothing.
    ///
    /// # Errors
    /// When the log cannot be read. What is wrong with it is in the answer.
    pub fn verify(folder: &Path, remembered: Head) -> io::Result<Result<Vec<Line>, Broken>> {
        let folder = Folder::open(folder)?;
        let files = [(BEFORE, read(&folder, BEFORE)?), (LOG, read(&folder, LOG)?)];
        Ok(verify(&files, remembered))
    }
}

fn verify(files: &[(&'static str, String)], remembered: Head) -> Result<Vec<Line>, Broken> {
    let mut lines = Vec::new();
    let mut before: Option<Head> = None;
    let mut found = remembered.number == 0;
    for (file, text) in files {
        for (index, text) in text.lines().enumerate() {
            let place = index.saturating_add(1);
            let changed = Broken::Changed { file, line: place };
            let (line, digest) = parse(text).ok_or(changed)?;
            let follows = |before: Head| {
                (before.number.checked_add(1), before.digest) == (Some(line.number), line.after)
            };
            if let Some(before) = before.filter(|before| !follows(*before)) {
                return Err(Broken::Gap {
                    file,
                    line: place,
                    before: before.number,
                    found: line.number,
                });
            }
            let head = Head {
                number: line.number,
                digest,
            };
            found |= head == remembered;
            before = Some(head);
            lines.push(line);
        }
    }
    let number = remembered.number;
    match found || is_rotated_away(&lines, number) {
        true => Ok(lines),
        false => Err(Broken::Missing { number }),
    }
}

/// Whether a line is older than all that is kept.
fn is_rotated_away(lines: &[Line], number: u64) -> bool {
    lines.first().is_some_and(|first| number < first.number)
}

/// A line, if it is what its digest says.
fn parse(text: &str) -> Option<(Line, Digest)> {
    let (digest, json) = text.split_once(' ')?;
    let digest = Digest::parse(digest).ok()?;
    if digest != Digest::of(json.as_bytes()) {
        return None;
    }
    Some((serde_json::from_str(json).ok()?, digest))
}

/// Where the chain goes on. A last line that was changed is gone on from with its number, so that the break shows there.
fn head_of(text: &str) -> Option<Head> {
    let (_, json) = text.split_once(' ')?;
    let line: Line = serde_json::from_str(json).ok()?;
    Some(Head {
        number: line.number,
        digest: Digest::of(json.as_bytes()),
    })
}

/// The text of a log; what is no text in it stands out as a changed line.
fn read(folder: &Folder, name: &str) -> io::Result<String> {
    let bytes = folder.read(name, AUDIT_BYTES_MAX)?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn cut(text: &str) -> &str {
    let end = text.floor_char_boundary(TEXT_BYTES_MAX);
    text.get(..end).unwrap_or_default()
}

fn quality(quality: ClockQuality) -> &'static str {
    match quality {
        ClockQuality::Unset => "unset",
        ClockQuality::HeldOver => "held-over",
        ClockQuality::Synced => "synced",
        ClockQuality::Device => "device",
        ClockQuality::Restamped => "restamped",
    }
}

#[cfg(test)]
mod tests;
