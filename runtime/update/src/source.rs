//! Where documents and blobs come from.

use std::io::{self, Read};

use tidegate_bundle::Digest;

/// A stick, or the centre. Nothing that it gives is believed: documents are verified, blobs are hashed.
///
/// It blocks: the update client works on a thread of its own, where it may wait for a disk or link and hash for seconds
/// without holding up a message.
pub trait Source {
    /// What it is, for the audit log.
    fn name(&self) -> String;

    /// The root document of this version, of at most [`tidegate_bundle::DOCUMENT_BYTES_MAX`] bytes; none if it has none.
    ///
    /// # Errors
    /// When it cannot be read.
    fn root(&mut self, version: u64) -> io::Result<Option<Vec<u8>>>;

    /// The deployment document.
    ///
    /// # Errors
    /// As [`Source::root`].
    fn deployment(&mut self) -> io::Result<Option<Vec<u8>>>;

    /// The release document whose signed body is said to have this digest.
    ///
    /// # Errors
    /// As [`Source::root`].
    fn release(&mut self, digest: Digest) -> io::Result<Option<Vec<u8>>>;

    /// What is said to have this digest. The reader may end early, or never.
    ///
    /// # Errors
    /// As [`Source::root`].
    fn blob(&mut self, digest: Digest) -> io::Result<Option<Box<dyn Read + '_>>>;
}
