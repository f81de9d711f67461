//! The bundle: one file with a release document and its artifacts.
//!
//! An uncompressed `ustar` archive: first `release.dsse.json`, then `artifacts/<sha256>` for each artifact in the
//! order of the document, nothing else. It is read from memory, so what was verified is what is used: no second read
//! of a file that may have changed.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::release::{self, ARTIFACTS_MAX, Artifact, ArtifactKind, Release};
use crate::tar::{self, Entry};
use crate::{Digest, Error, Refusal, Sign, VerifiedDeployment, VerifiedRoot};

/// Largest bundle in bytes. It is held in memory whole; nothing in it is compressed, so nothing grows.
pub const BUNDLE_BYTES_MAX: usize = 64 * 1024 * 1024;

const RELEASE_NAME: &str = "release.dsse.json";
const ARTIFACT_FOLDER: &str = "artifacts/";

/// A bundle whose archive is well-formed. Nothing in it is to be believed.
#[derive(Debug)]
pub struct UnverifiedBundle {
    bytes: Vec<u8>,
    release: Entry,
    artifacts: Vec<Entry>,
}

/// A bundle that keys of the release role signed, with artifacts that are those of the release.
#[derive(Debug)]
pub struct VerifiedBundle {
    bytes: Vec<u8>,
    document: Entry,
    artifacts: Vec<Entry>,
    component: usize,
    release: Release,
    digest: Digest,
}

impl UnverifiedBundle {
    /// Reads the archive and checks its form.
    ///
    /// # Errors
    ///
    /// `too-large`, `truncated`, `trailing-data`, `malformed`, `unexpected-entry` or `missing-entry`.
    pub fn open(bytes: Vec<u8>) -> Result<Self, Error> {
        check_length(bytes.len())?;
        let mut entries = tar::read(&bytes, 1 + ARTIFACTS_MAX)?;
        let release = match entries.first() {
            None => {
                return Err(Error::MissingEntry {
                    name: RELEASE_NAME.to_owned(),
                });
            }
            Some(first) if first.name != RELEASE_NAME => {
                let why = "the first entry must be release.dsse.json";
                return Err(Error::UnexpectedEntry {
                    name: first.name.clone(),
                    why,
                });
            }
            Some(_) => entries.remove(0),
        };
        let mut names = BTreeSet::new();
        for entry in &entries {
            let unexpected = |why| Error::UnexpectedEntry {
                name: entry.name.clone(),
                why,
            };
            let digest = entry.name.strip_prefix(ARTIFACT_FOLDER).map(Digest::parse);
            if !matches!(digest, Some(Ok(_))) {
                return Err(unexpected("its name is not artifacts/ and a digest"));
            }
            if !names.insert(&entry.name) {
                return Err(unexpected("it stands there twice"));
            }
        }
        Ok(Self {
            bytes,
            release,
            artifacts: entries,
        })
    }

    /// Verifies the release under the fleet's root, then every artifact under the release.
    ///
    /// # Errors
    ///
    /// Any reason of the release document and its signatures; `missing-entry`, `unexpected-entry`, `length` or
    /// `digest-mismatch` for the artifacts.
    pub fn verify(self, root: &VerifiedRoot) -> Result<VerifiedBundle, Error> {
        let (release, digest) = release::verify(body(&self.bytes, &self.release), root)?;
        self.complete(release, digest)
    }

    /// Verifies the bundle as one of a deployment, which names its release by digest. So a bundle that was accepted
    /// once still opens when the key that signed it is no publisher's any more.
    ///
    /// # Errors
    ///
    /// `unexpected-release` if the deployment does not name it; as [`UnverifiedBundle::verify`] for the artifacts.
    pub fn verify_deployed(self, deployment: &VerifiedDeployment) -> Result<VerifiedBundle, Error> {
        let (release, digest) = release::read_unverified(body(&self.bytes, &self.release))?;
        if deployment.release(digest).is_none() {
            return Err(Refusal::UnexpectedRelease { digest }.into());
        }
        self.complete(release, digest)
    }

    /// Holds every artifact against a release that is trusted.
    fn complete(self, release: Release, digest: Digest) -> Result<VerifiedBundle, Error> {
        let names = release.artifacts.iter().map(artifact_name);
        let mut entries = self.artifacts.iter();
        for (artifact, name) in release.artifacts.iter().zip(names) {
            match entries.next() {
                Some(entry) if entry.name == name => {
                    check_artifact(artifact, body(&self.bytes, entry))?
                }
                Some(entry) if self.artifacts.iter().any(|entry| entry.name == name) => {
                    let why = "it is not where the order of the release has it";
                    return Err(Error::UnexpectedEntry {
                        name: entry.name.clone(),
                        why,
                    });
                }
                _ => return Err(Error::MissingEntry { name }),
            }
        }
        if let Some(extra) = entries.next() {
            return Err(Error::UnexpectedEntry {
                name: extra.name.clone(),
                why: "the release does not name it",
            });
        }
        let is_component = |artifact: &Artifact| artifact.kind == ArtifactKind::Component;
        let component = release
            .artifacts
            .iter()
            .position(is_component)
            .unwrap_or_default();
        Ok(VerifiedBundle {
            bytes: self.bytes,
            document: self.release,
            artifacts: self.artifacts,
            component,
            release,
            digest,
        })
    }

    /// What the bundle says of itself, for tools that show a file. Nobody has checked who says it.
    ///
    /// # Errors
    ///
    /// Any reason of the release document's form.
    pub fn unverified_release(&self) -> Result<Release, Error> {
        let (release, _) = release::read_unverified(body(&self.bytes, &self.release))?;
        Ok(release)
    }

    /// The release document as it stands in the bundle.
    #[must_use]
    pub fn unverified_document(&self) -> &[u8] {
        body(&self.bytes, &self.release)
    }

    /// Bytes that stand in the bundle under a digest, whether or not they have it.
    #[must_use]
    pub fn unverified_artifact(&self, digest: Digest) -> Option<&[u8]> {
        let name = format!("{ARTIFACT_FOLDER}{digest}");
        self.artifacts
            .iter()
            .find(|entry| entry.name == name)
            .map(|entry| body(&self.bytes, entry))
    }
}

impl VerifiedBundle {
    /// The release.
    #[must_use]
    pub fn release(&self) -> &Release {
        &self.release
    }

    /// The release document as it was signed, to present beside a deployment.
    #[must_use]
    pub fn document(&self) -> &[u8] {
        body(&self.bytes, &self.document)
    }

    /// The SHA-256 of the signed release document, which names everything else by digest: the identity of the bundle.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The component.
    #[must_use]
    pub fn component(&self) -> &[u8] {
        self.artifact(self.component)
    }

    /// All artifacts, in the order of the release.
    pub fn artifacts(&self) -> impl Iterator<Item = &[u8]> {
        self.artifacts.iter().map(|entry| body(&self.bytes, entry))
    }

    /// Machine code for this target and engine, if the release has it.
    #[must_use]
    pub fn precompiled(&self, target: &str, engine: &str) -> Option<&[u8]> {
        let fits = |artifact: &Artifact| match &artifact.kind {
            ArtifactKind::Precompiled {
                target: for_target,
                engine: for_engine,
            } => for_target == target && for_engine == engine,
            ArtifactKind::Component => false,
        };
        self.release
            .artifacts
            .iter()
            .position(fits)
            .map(|index| self.artifact(index))
    }

    /// Where the bytes of each artifact stand in the file, by their digest.
    pub fn places(&self) -> impl Iterator<Item = (Digest, Range<usize>)> {
        let places = self.artifacts.iter().map(|entry| entry.body.clone());
        let digests = self.release.artifacts.iter();
        digests.map(|artifact| artifact.sha256).zip(places)
    }

    fn artifact(&self, index: usize) -> &[u8] {
        self.artifacts
            .get(index)
            .map(|entry| body(&self.bytes, entry))
            .unwrap_or_default()
    }
}

/// Signs a release and packs it with its artifacts, given in the order of the release. The same input gives the same
/// bytes.
///
/// # Errors
///
/// Whatever a reader would find wrong with the release or its artifacts; the signatures are the caller's to verify,
/// since only a root can say whether they are enough.
pub fn seal(release: &Release, artifacts: &[&[u8]], keys: &[&impl Sign]) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    tar::append(&mut bytes, RELEASE_NAME, &release::sign(release, keys)?);
    let mut bodies = artifacts.iter();
    for artifact in &release.artifacts {
        let name = artifact_name(artifact);
        let body = bodies
            .next()
            .ok_or_else(|| Error::MissingEntry { name: name.clone() })?;
        check_artifact(artifact, body)?;
        tar::append(&mut bytes, &name, body);
    }
    tar::finish(&mut bytes);
    check_length(bytes.len())?;
    Ok(bytes)
}

fn artifact_name(artifact: &Artifact) -> String {
    format!("{ARTIFACT_FOLDER}{}", artifact.sha256)
}

fn body<'a>(bytes: &'a [u8], entry: &Entry) -> &'a [u8] {
    bytes.get(entry.body.clone()).unwrap_or_default()
}

/// Length before digest: it is cheaper, and names the commoner accident.
fn check_artifact(artifact: &Artifact, body: &[u8]) -> Result<(), Error> {
    let found = Artifact::of(artifact.kind.clone(), body);
    if found.length != artifact.length {
        return Err(Error::Length {
            artifact: artifact.sha256,
            expected: artifact.length,
            found: found.length,
        });
    }
    if found.sha256 != artifact.sha256 {
        return Err(Error::DigestMismatch {
            expected: artifact.sha256,
            found: found.sha256,
        });
    }
    Ok(())
}

fn check_length(length: usize) -> Result<(), Error> {
    if length <= BUNDLE_BYTES_MAX {
        return Ok(());
    }
    let bytes = |count| u64::try_from(count).unwrap_or(u64::MAX);
    Err(Error::TooLarge {
        what: "bundle",
        length: bytes(length),
        limit: bytes(BUNDLE_BYTES_MAX),
    })
}
