//! Bundles to modules that may run here: verified against the root, narrowed to what this site grants.
//!
//! A module that may not run is refused with its reason; the others run.

use std::path::Path;

use bytes::Bytes;
use thiserror::Error as ThisError;
use tidegate_buffer::{Buffer, Restored};
use tidegate_bundle::{Release, UnverifiedBundle, VerifiedRoot};
use tidegate_record::{Class, Limits, Name, TopicFilter};
use tidegate_sandbox::{Grants, ModuleSpec, StreamSpec};

use crate::config::ModuleSettings;
use crate::error::Error;

/// Largest bundle that is read into memory.
const BUNDLE_BYTES_MAX: u64 = tidegate_bundle::BUNDLE_BYTES_MAX as u64;

/// Why a module may not run here.
#[derive(Debug, ThisError)]
pub(crate) enum Refusal {
    #[error("cannot read the bundle: {0}")]
    Read(std::io::Error),
    #[error("bundle has {bytes} bytes, limit is {BUNDLE_BYTES_MAX}")]
    TooLarge { bytes: u64 },
    #[error("bundle is refused ({reason}): {source}", reason = source.reason())]
    Bundle { source: tidegate_bundle::Error },
    #[error("release names {what} {text:?}, which cannot be: {reason}")]
    Malformed {
        what: &'static str,
        text: String,
        reason: String,
    },
    #[error("publish on {0} is granted, but its release does not ask for it")]
    PublishNotAsked(TopicFilter),
    #[error("writing to {0} is granted, but its release does not ask for it")]
    ActuateNotAsked(String),
    #[error("release asks for {asked} bytes of {what}, this gateway gives {given}")]
    Limit {
        what: &'static str,
        asked: u64,
        given: usize,
    },
    #[error("release asks for {0}, which this gateway does not grant")]
    Capability(String),
    #[error("{what} {name} is the gateway's own")]
    Reserved { what: &'static str, name: Name },
    #[error("another module here is named {0}: give one of them a name")]
    SameName(Name),
    #[error("{0}")]
    Sandbox(String),
}

/// A module that may run here.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) name: Name,
    pub(crate) version: String,
    component: Bytes,
    grants: Grants,
    streams: Vec<StreamSpec>,
    memory_bytes_max: usize,
    state_bytes_max: usize,
    config: std::collections::BTreeMap<String, String>,
}

/// Reads and verifies the root document.
pub(crate) fn read_root(path: &Path) -> Result<VerifiedRoot, Error> {
    let bytes = std::fs::read(path).map_err(|source| Error::ReadFile {
        what: "root document",
        path: path.to_owned(),
        source,
    })?;
    VerifiedRoot::open(&bytes).map_err(|source| Error::Root {
        path: path.to_owned(),
        source,
    })
}

/// Verifies a module's bundle and holds what it asks for against what it is granted.
pub(crate) fn check(settings: &ModuleSettings, root: &VerifiedRoot) -> Result<Accepted, Refusal> {
    let bundle =
        UnverifiedBundle::open(read(&settings.bundle)?).and_then(|bundle| bundle.verify(root));
    let bundle = bundle.map_err(|source| Refusal::Bundle { source })?;
    let release = bundle.release();
    let name = match &settings.name {
        Some(name) => name.clone(),
        None => named("module", &release.module)?,
    };
    if name == Name::host() {
        return Err(Refusal::Reserved {
            what: "module",
            name,
        });
    }
    if let Some(capability) = release.capabilities.wasi.first() {
        return Err(Refusal::Capability(capability.clone()));
    }
    for key in settings
        .config
        .keys()
        .filter(|key| !release.config.contains_key(*key))
    {
        tracing::warn!(module = %name, "configuration has {key}, which the release does not mention");
    }
    let mut config = release.config.clone();
    config.extend(settings.config.clone());
    Ok(Accepted {
        version: release.version.to_string(),
        grants: grants(settings, release)?,
        streams: streams(release)?,
        memory_bytes_max: within(
            "memory",
            release.limits.memory_bytes,
            Limits::DEFAULT.memory_bytes_max,
        )?,
        state_bytes_max: within(
            "state",
            release.limits.state_bytes,
            Limits::DEFAULT.state_bytes_max,
        )?,
        component: Bytes::copy_from_slice(bundle.component()),
        config,
        name,
    })
}

impl Accepted {
    /// What the sandbox runs: the module with its committed state.
    pub(crate) async fn restore(self, buffer: &mut Buffer) -> Result<ModuleSpec, Error> {
        let Restored {
            state,
            state_written_by,
            seen,
        } = buffer.restore(&self.name).await?;
        Ok(ModuleSpec {
            name: self.name,
            version: self.version,
            generation: 1,
            component: self.component,
            config: self.config,
            grants: self.grants,
            streams: self.streams,
            memory_bytes_max: self.memory_bytes_max,
            state_bytes_max: self.state_bytes_max,
            state,
            state_written_by,
            seen,
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Refusal> {
    let bytes = std::fs::metadata(path).map_err(Refusal::Read)?.len();
    if bytes > BUNDLE_BYTES_MAX {
        return Err(Refusal::TooLarge { bytes });
    }
    std::fs::read(path).map_err(Refusal::Read)
}

fn grants(settings: &ModuleSettings, release: &Release) -> Result<Grants, Refusal> {
    let mut asked = Vec::new();
    for text in &release.capabilities.publish {
        let malformed = |error: tidegate_record::TopicError| Refusal::Malformed {
            what: "topic filter",
            text: text.clone(),
            reason: error.to_string(),
        };
        asked.push(TopicFilter::new(text).map_err(malformed)?);
    }
    for (_, granted) in &settings.publish {
        if !asked.iter().any(|asked| asked.covers(granted)) {
            return Err(Refusal::PublishNotAsked(granted.clone()));
        }
    }
    for point in &settings.actuate {
        if !release.capabilities.actuate.contains(point) {
            return Err(Refusal::ActuateNotAsked(point.clone()));
        }
    }
    Ok(Grants {
        publish: settings.publish.clone(),
        inputs: settings.inputs.clone(),
        actuate: settings.actuate.clone(),
    })
}

fn streams(release: &Release) -> Result<Vec<StreamSpec>, Refusal> {
    let stream = |stream: &tidegate_bundle::Stream| {
        let class = match stream.class {
            tidegate_bundle::Class::Alarm => Class::Alarm,
            tidegate_bundle::Class::Summary => Class::Summary,
            tidegate_bundle::Class::Raw => Class::Raw,
        };
        match named("stream", &stream.name)? {
            name if name == Name::host_alarms() => Err(Refusal::Reserved {
                what: "stream",
                name,
            }),
            name => Ok(StreamSpec { name, class }),
        }
    };
    release.streams.iter().map(stream).collect()
}

fn named(what: &'static str, text: &str) -> Result<Name, Refusal> {
    Name::new(text).map_err(|error| Refusal::Malformed {
        what,
        text: text.to_owned(),
        reason: error.to_string(),
    })
}

fn within(what: &'static str, asked: u64, given: usize) -> Result<usize, Refusal> {
    match usize::try_from(asked) {
        Ok(asked) if asked <= given => Ok(asked),
        _ => Err(Refusal::Limit { what, asked, given }),
    }
}
