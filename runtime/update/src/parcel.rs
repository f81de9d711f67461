//! Documents that somebody has fetched already, as a source.
//!
//! The client never waits for a link: documents are brought by a courier who may, and blobs come in pieces.

use std::collections::BTreeMap;
use std::io::{self, Read};

use tidegate_bundle::Digest;

use crate::source::Source;

/// Documents from a centre, as they came: nobody has looked at them.
#[derive(Debug, Clone, Default)]
pub struct Parcel {
    /// Who gave them, for the audit log.
    pub from: String,
    /// Roots by their version.
    pub roots: BTreeMap<u64, Vec<u8>>,
    /// The deployment.
    pub deployment: Option<Vec<u8>>,
    /// Releases by the digest that they were asked for by.
    pub releases: BTreeMap<Digest, Vec<u8>>,
}

impl Source for Parcel {
    fn name(&self) -> String {
        self.from.clone()
    }

    fn root(&mut self, version: u64) -> io::Result<Option<Vec<u8>>> {
        Ok(self.roots.get(&version).cloned())
    }

    fn deployment(&mut self) -> io::Result<Option<Vec<u8>>> {
        Ok(self.deployment.clone())
    }

    fn release(&mut self, digest: Digest) -> io::Result<Option<Vec<u8>>> {
        Ok(self.releases.get(&digest).cloned())
    }

    fn blob(&mut self, _digest: Digest) -> io::Result<Option<Box<dyn Read + '_>>> {
        Ok(None)
    }
}
