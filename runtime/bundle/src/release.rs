//! The release document: what may ever run, and what it asks for.
//!
//! A release is ordered by its counter and never by its version: an old version may come back as a newer release. The
//! gateway remembers the highest counter of each module and refuses lower ones.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::json::{self, Item};
use crate::{Digest, Envelope, Error, Sign, VerifiedRoot, text};

/// DSSE payload type of the release document.
pub const RELEASE_TYPE: &str = "application/vnd.tidegate.release.v1+json";
/// The contract that this version knows.
pub const WORLD: &str = "tidegate:module/processor@0.1.0";
/// Most artifacts of one release: the component, and precompiled code for the boards of a fleet.
pub const ARTIFACTS_MAX: usize = 16;
const DOCUMENT: &str = "release document";

/// The release document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Release {
    /// Module name.
    pub module: String,
    /// Version, for people.
    pub version: semver::Version,
    /// One line for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Orders the releases of a module, from 1.
    pub counter: u64,
    /// The contract, [`WORLD`].
    pub world: String,
    /// Exactly one component, and precompiled code for particular machines.
    pub artifacts: Vec<Artifact>,
    /// What the module asks to be allowed. The site may grant less.
    pub capabilities: Capabilities,
    /// What the module asks to be given. The site may give less.
    pub limits: Limits,
    /// The streams of the rows that it keeps.
    pub streams: Vec<Stream>,
    /// Configuration; the site's settings go before these.
    pub config: BTreeMap<String, String>,
    /// Digest of its list of ingredients, which is not in the bundle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sbom: Option<Digest>,
    /// Unix seconds of signing.
    pub created: u64,
}

/// A file of the bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Artifact {
    /// What it is.
    #[serde(flatten)]
    pub kind: ArtifactKind,
    /// Its length in bytes.
    pub length: u64,
    /// Its digest.
    pub sha256: Digest,
}

/// What an artifact is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum ArtifactKind {
    /// The WebAssembly component.
    Component,
    /// Machine code made from it.
    Precompiled {
        /// Target triple.
        target: String,
        /// Engine and settings that made it; it loads in no other.
        engine: String,
    },
}

/// What a module asks to be allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    /// Topic filters: where it publishes.
    pub publish: Vec<String>,
    /// Device points that it writes.
    pub actuate: Vec<String>,
    /// Imports beyond the contract and the empty WASI baseline, such as `wasi:sockets/tcp@0.2.0`.
    pub wasi: Vec<String>,
}

/// What a module asks to be given, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Linear memory.
    pub memory_bytes: u64,
    /// State that lasts.
    pub state_bytes: u64,
}

/// A stream of rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stream {
    /// Its name.
    pub name: String,
    /// How much its rows are worth when space is short.
    pub class: Class,
    /// UCUM code of its values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// One line for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// What happens to rows when space is short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Never given up.
    Alarm,
    /// Given up after raw rows.
    Summary,
    /// Thinned out first.
    Raw,
}

impl Release {
    /// Reads a release document without a look at its signatures: the release, and the digest of its signed body.
    ///
    /// # Errors
    ///
    /// Any reason of the document's form.
    pub fn unverified(bytes: &[u8]) -> Result<(Self, Digest), Error> {
        read_unverified(bytes)
    }

    /// The digest under which a deployment names the release document in these bytes. Nobody has checked who signed it.
    ///
    /// # Errors
    ///
    /// Any reason of the document's form.
    pub fn unverified_digest(bytes: &[u8]) -> Result<Digest, Error> {
        let (_, digest) = read_unverified(bytes)?;
        Ok(digest)
    }
}

impl Class {
    /// Its word in documents.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Alarm => "alarm",
            Self::Summary => "summary",
            Self::Raw => "raw",
        }
    }
}

impl Artifact {
    /// Describes bytes.
    #[must_use]
    pub fn of(kind: ArtifactKind, bytes: &[u8]) -> Self {
        Self {
            kind,
            length: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            sha256: Digest::of(bytes),
        }
    }
}

/// Verifies a release and reads it: the release, and the digest of its signed body.
pub(crate) fn verify(bytes: &[u8], root: &VerifiedRoot) -> Result<(Release, Digest), Error> {
    let root = root.root();
    let role = &root.roles.release.role;
    let envelope = Envelope::read(DOCUMENT, bytes)?;
    let (payload, signed_by) = envelope.verify(RELEASE_TYPE, &root.signers(role))?;
    let release = read(payload)?;
    if root.publishers_of(&release.module, &signed_by) < role.threshold {
        return Err(Error::ModuleNotAllowed {
            module: release.module,
        });
    }
    Ok((release, Digest::of(payload)))
}

/// Reads a release without a look at its signatures: to show it, or because its digest is already trusted.
pub(crate) fn read_unverified(bytes: &[u8]) -> Result<(Release, Digest), Error> {
    let envelope = Envelope::read(DOCUMENT, bytes)?;
    envelope.check_type(RELEASE_TYPE)?;
    let payload = envelope.unverified_payload();
    Ok((read(payload)?, Digest::of(payload)))
}

/// Signs a release; refuses to write one that [`verify`] would refuse for its form.
pub(crate) fn sign(release: &Release, keys: &[&impl Sign]) -> Result<Vec<u8>, Error> {
    let payload = json::write(DOCUMENT, release)?;
    read(&payload)?;
    Envelope::sign(DOCUMENT, RELEASE_TYPE, payload, keys)?.write()
}

fn read(payload: &[u8]) -> Result<Release, Error> {
    let mut fields = json::read(DOCUMENT, payload)?.fields()?;
    let world = fields.required("world")?.text()?;
    if world != WORLD {
        return Err(Error::UnsupportedWorld {
            found: world,
            supported: WORLD,
        });
    }
    let release = Release {
        module: fields.required("module")?.checked_text(text::check_name)?,
        version: fields.required("version")?.parsed(semver::Version::parse)?,
        description: fields
            .optional("description")
            .map(|item| item.checked_text(text::check_line))
            .transpose()?,
        counter: fields.required("counter")?.positive()?,
        world,
        artifacts: read_artifacts(fields.required("artifacts")?)?,
        capabilities: read_capabilities(fields.required("capabilities")?)?,
        limits: read_limits(fields.required("limits")?)?,
        streams: read_streams(fields.required("streams")?)?,
        config: read_config(fields.required("config")?)?,
        sbom: fields
            .optional("sbom")
            .map(|item| item.parsed(Digest::parse))
            .transpose()?,
        created: fields.required("created")?.integer()?,
    };
    fields.end()?;
    Ok(release)
}

fn read_artifacts(item: Item) -> Result<Vec<Artifact>, Error> {
    let refuse = {
        let list = item.clone();
        move |problem: &str| list.refuse(problem)
    };
    let items = item.list()?;
    if items.len() > ARTIFACTS_MAX {
        return Err(refuse("has more than 16 entries"));
    }
    let artifacts = items
        .into_iter()
        .map(read_artifact)
        .collect::<Result<Vec<_>, _>>()?;
    let components = artifacts
        .iter()
        .filter(|artifact| artifact.kind == ArtifactKind::Component)
        .count();
    let digests: BTreeSet<Digest> = artifacts.iter().map(|artifact| artifact.sha256).collect();
    let repeated_kind = artifacts.iter().enumerate().any(|(index, artifact)| {
        artifacts
            .iter()
            .skip(index + 1)
            .any(|other| other.kind == artifact.kind)
    });
    if components != 1 {
        return Err(refuse("must have exactly one component"));
    }
    if digests.len() != artifacts.len() || repeated_kind {
        return Err(refuse(
            "must not have two entries with one digest, or with one target and engine",
        ));
    }
    Ok(artifacts)
}

fn read_artifact(item: Item) -> Result<Artifact, Error> {
    let mut fields = item.fields()?;
    let kind = fields.required("kind")?;
    let unknown = kind.refuse("must be component or precompiled");
    let kind = match kind.text()?.as_str() {
        "component" => ArtifactKind::Component,
        "precompiled" => ArtifactKind::Precompiled {
            target: fields.required("target")?.checked_text(text::check_line)?,
            engine: fields.required("engine")?.checked_text(text::check_line)?,
        },
        _ => return Err(unknown),
    };
    let length = fields.required("length")?.integer()?;
    let sha256 = fields.required("sha256")?.parsed(Digest::parse)?;
    fields.end()?;
    Ok(Artifact {
        kind,
        length,
        sha256,
    })
}

fn read_capabilities(item: Item) -> Result<Capabilities, Error> {
    let mut fields = item.fields()?;
    let capabilities = Capabilities {
        publish: fields
            .required("publish")?
            .checked_texts(text::check_filter)?,
        actuate: fields
            .required("actuate")?
            .checked_texts(text::check_line)?,
        wasi: fields.required("wasi")?.checked_texts(text::check_line)?,
    };
    fields.end()?;
    Ok(capabilities)
}

fn read_limits(item: Item) -> Result<Limits, Error> {
    let mut fields = item.fields()?;
    let memory_bytes = fields.required("memory_bytes")?.positive()?;
    let state_bytes = fields.required("state_bytes")?.integer()?;
    fields.end()?;
    Ok(Limits {
        memory_bytes,
        state_bytes,
    })
}

fn read_streams(item: Item) -> Result<Vec<Stream>, Error> {
    let mut streams: Vec<Stream> = Vec::new();
    for item in item.list()? {
        let repeated = item.refuse("has the name of another stream");
        let stream = read_stream(item)?;
        if streams.iter().any(|other| other.name == stream.name) {
            return Err(repeated);
        }
        streams.push(stream);
    }
    Ok(streams)
}

fn read_stream(item: Item) -> Result<Stream, Error> {
    let mut fields = item.fields()?;
    let name = fields.required("name")?.checked_text(text::check_name)?;
    let class = fields.required("class")?;
    let unknown = class.refuse("must be alarm, summary or raw");
    let class = match class.text()?.as_str() {
        "alarm" => Class::Alarm,
        "summary" => Class::Summary,
        "raw" => Class::Raw,
        _ => return Err(unknown),
    };
    let mut line = |name| {
        fields
            .optional(name)
            .map(|item| item.checked_text(text::check_line))
            .transpose()
    };
    let (unit, description) = (line("unit")?, line("description")?);
    fields.end()?;
    Ok(Stream {
        name,
        class,
        unit,
        description,
    })
}

/// Keys are single lines; values are the module's business (nested ones are JSON text).
fn read_config(item: Item) -> Result<BTreeMap<String, String>, Error> {
    let mut config = BTreeMap::new();
    for (key, item) in item.entries()? {
        text::check_line(&key)
            .map_err(|problem| item.refuse(format!("has a key that {problem}")))?;
        config.insert(key, item.text()?);
    }
    Ok(config)
}
