//! The stick: one file that brings an update to a gateway without a link.
//!
//! The same kind of archive as a bundle, with everything that a gateway would fetch, in the order in which it is needed:
//! `roots/<version>` upwards, `deployment`, `releases/<digest>`, `sha256/<digest>`. The names are a table of contents and
//! nothing more: what an entry is worth, its signatures and digests say. It may be larger than memory, so a reader goes
//! from header to header ([`StickEntry::read`]); what makes one holds it whole ([`Stick::write`]).

use std::collections::BTreeMap;

use crate::{
    BUNDLE_BYTES_MAX, DOCUMENT_BYTES_MAX, Digest, Envelope, Error, Root, release, root, tar,
};

/// Bytes of a header, of which an entry's body takes a whole number, and of which two of zeros end the archive.
pub const STICK_BLOCK_BYTES: usize = tar::BLOCK;
/// Most entries of a stick: bounds the table of contents that a reader holds.
pub const STICK_ENTRIES_MAX: usize = 4096;
/// Largest stick in bytes.
pub const STICK_BYTES_MAX: u64 = 2 << 30;

/// What an entry of a stick holds, in the order in which they stand there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StickEntry {
    /// The root document of this version.
    Root(u64),
    /// The deployment document.
    Deployment,
    /// The release document whose signed body has this digest.
    Release(Digest),
    /// An artifact.
    Blob(Digest),
}

impl StickEntry {
    /// Reads a header: the entry and the bytes of its body. None for the zeros that end the archive.
    ///
    /// # Errors
    ///
    /// `malformed` or `unexpected-entry`; `too-large` for a body that no document or artifact of its kind can have.
    pub fn read(header: &[u8; STICK_BLOCK_BYTES]) -> Result<Option<(Self, u64)>, Error> {
        if header.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let (name, size) = tar::read_header(header)?;
        let entry = Self::parse(&name).ok_or(Error::UnexpectedEntry {
            name,
            why: "it is none of roots/N, deployment, releases/DIGEST and sha256/DIGEST",
        })?;
        check("entry of the stick", size, entry.bytes_max())?;
        Ok(Some((entry, u64::try_from(size).unwrap_or(u64::MAX))))
    }

    fn bytes_max(self) -> usize {
        match self {
            Self::Root(_) | Self::Deployment | Self::Release(_) => DOCUMENT_BYTES_MAX,
            Self::Blob(_) => BUNDLE_BYTES_MAX,
        }
    }

    fn parse(name: &str) -> Option<Self> {
        if name == "deployment" {
            return Some(Self::Deployment);
        }
        let (folder, rest) = name.split_once('/')?;
        let entry = match folder {
            "roots" => Self::Root(rest.parse().ok()?),
            "releases" => Self::Release(Digest::parse(rest).ok()?),
            "sha256" => Self::Blob(Digest::parse(rest).ok()?),
            _ => return None,
        };
        // An entry has one name: no 01, and no +1.
        (entry.to_string() == name).then_some(entry)
    }
}

/// Its name in the archive.
impl std::fmt::Display for StickEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Root(version) => write!(f, "roots/{version}"),
            Self::Deployment => f.write_str("deployment"),
            Self::Release(digest) => write!(f, "releases/{digest}"),
            Self::Blob(digest) => write!(f, "sha256/{digest}"),
        }
    }
}

/// What goes on a stick.
#[derive(Debug, Clone, Copy)]
pub struct Stick<'a> {
    /// Root documents, in whatever order; a gateway takes those that follow its own.
    pub roots: &'a [&'a [u8]],
    /// The deployment document.
    pub deployment: &'a [u8],
    /// The release documents that it names.
    pub releases: &'a [&'a [u8]],
    /// The artifacts of these, or those of them that the gateways lack.
    pub blobs: &'a [&'a [u8]],
}

impl Stick<'_> {
    /// The file. The same contents give the same bytes.
    ///
    /// # Errors
    ///
    /// Any reason of the form of a root or release; `too-large` for what no reader takes.
    pub fn write(&self) -> Result<Vec<u8>, Error> {
        let mut entries = BTreeMap::from([(StickEntry::Deployment, self.deployment)]);
        for bytes in self.roots {
            let envelope = Envelope::read(root::DOCUMENT, bytes)?;
            let version = Root::read(envelope.unverified_payload())?.version;
            entries.insert(StickEntry::Root(version), bytes);
        }
        for bytes in self.releases {
            let (_, digest) = release::read_unverified(bytes)?;
            entries.insert(StickEntry::Release(digest), bytes);
        }
        for bytes in self.blobs {
            entries.insert(StickEntry::Blob(Digest::of(bytes)), bytes);
        }
        check(
            "list of a stick's entries",
            entries.len(),
            STICK_ENTRIES_MAX,
        )?;
        let mut archive = Vec::new();
        for (entry, body) in entries {
            check("entry of the stick", body.len(), entry.bytes_max())?;
            tar::append(&mut archive, &entry.to_string(), body);
        }
        tar::finish(&mut archive);
        let limit = usize::try_from(STICK_BYTES_MAX).unwrap_or(usize::MAX);
        check("stick", archive.len(), limit)?;
        Ok(archive)
    }
}

fn check(what: &'static str, length: usize, limit: usize) -> Result<(), Error> {
    if length <= limit {
        return Ok(());
    }
    let bytes = |count| u64::try_from(count).unwrap_or(u64::MAX);
    Err(Error::TooLarge {
        what,
        length: bytes(length),
        limit: bytes(limit),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_reads_back_from_its_name_and_from_no_other() {
        let digest = Digest::of(b"x");
        for entry in [
            StickEntry::Root(12),
            StickEntry::Deployment,
            StickEntry::Release(digest),
            StickEntry::Blob(digest),
        ] {
            assert_eq!(StickEntry::parse(&entry.to_string()), Some(entry));
        }
        for name in [
            "",
            "/deployment",
            "../deployment",
            "deployment/",
            "roots/",
            "roots/01",
            "roots/+1",
            "roots/../1",
            "sha256/x",
            "sha256/../../etc/passwd",
            "releases",
            "blobs/1",
        ] {
            assert_eq!(StickEntry::parse(name), None, "{name}");
        }
    }
}
