//! Bundles to modules that may run here: verified against the root, narrowed to what this site grants.
//!
//! A module that may not run is refused with its reason; the others run.

use std::path::Path;

use bytes::Bytes;
use thiserror::Error as ThisError;
use tidegate_buffer::{Buffer, ModuleState};
use tidegate_bundle::{Release, UnverifiedBundle, VerifiedRoot};
use tidegate_record::{Class, Limits, Name, Seen, TopicFilter};
use tidegate_sandbox::{Grants, Module, ModuleSpec, Sandbox, StreamSpec};

use crate::config::{ModuleSettings, Wanted};
use crate::error::Error;

/// Largest bundle that is read into memory.
const BUNDLE_BYTES_MAX: u64 = tidegate_bundle::BUNDLE_BYTES_MAX as u64;

/// The generation of a module that no fleet has activated.
const OWN_GENERATION: u64 = 1;

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
    #[error("secret {name} cannot be read: {reason}")]
    Secret { name: String, reason: String },
    #[error("there is no broker or sensor named {0}")]
    UnknownSource(String),
    #[error("another module here is named {0}: give one of them a name")]
    SameName(Name),
    #[error("{0}")]
    Sandbox(String),
    #[error("{0}")]
    Machine(String),
}

impl From<tidegate_sandbox::Error> for Refusal {
    fn from(error: tidegate_sandbox::Error) -> Self {
        let words = crate::error::chain(&error);
        match error.is_of_the_machine() {
            true => Self::Machine(words),
            false => Self::Sandbox(words),
        }
    }
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

/// A module that is to run: ready, or why it is not.
#[derive(Debug)]
pub(crate) struct Installed {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) loaded: Result<Loaded, Refusal>,
}

/// A module that is ready.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) active: Module,
    /// The generation before, where it stands by.
    pub(crate) standby: Option<Box<Module>>,
}

/// Makes the modules of `gateway.toml` ready.
pub(crate) async fn install_all(
    settings: &[ModuleSettings],
    root: &VerifiedRoot,
    sandbox: &Sandbox,
    buffer: &mut Buffer,
) -> Result<Vec<Installed>, Error> {
    let mut installed: Vec<Installed> = Vec::new();
    let mut crew = sandbox.crew();
    for module in settings {
        let checked = check(module, root);
        let (name, version) = match &checked {
            Ok(Accepted { name, version, .. }) => (name.to_string(), version.clone()),
            Err(_) => (file_name(module), "-".to_owned()),
        };
        let taken = installed
            .iter()
            .any(|other| other.loaded.is_ok() && other.name == name);
        let loaded = match checked {
            Ok(accepted) if taken => Err(Refusal::SameName(accepted.name)),
            Ok(accepted) => {
                let restored = buffer.restore(&accepted.name).await?;
                let spec = accepted.spec(OWN_GENERATION, restored.active, restored.seen);
                let loaded = crew.load(spec);
                loaded.map_err(Refusal::from)
            }
            Err(refusal) => Err(refusal),
        };
        match &loaded {
            Ok(_) => tracing::info!("module {name} {version} is loaded"),
            Err(refusal) => tracing::error!("{}: {refusal}", module.bundle.display()),
        }
        installed.push(Installed {
            name,
            version,
            loaded: loaded.map(|active| Loaded {
                active,
                standby: None,
            }),
        });
    }
    crew.seal()?;
    Ok(installed)
}

fn file_name(module: &ModuleSettings) -> String {
    let name = module
        .bundle
        .file_stem()
        .unwrap_or(module.bundle.as_os_str());
    name.to_string_lossy().into_owned()
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
    let component = Bytes::copy_from_slice(bundle.component());
    accept(&settings.wanted, bundle.release(), component)
}

/// Holds what a verified release asks for against what it is granted.
pub(crate) fn accept(
    wanted: &Wanted,
    release: &Release,
    component: Bytes,
) -> Result<Accepted, Refusal> {
    let name = match &wanted.name {
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
    for key in wanted
        .config
        .keys()
        .filter(|key| !release.config.contains_key(*key))
    {
        tracing::warn!(module = %name, "configuration has {key}, which the release does not mention");
    }
    let mut config = release.config.clone();
    config.extend(wanted.config.clone());
    Ok(Accepted {
        version: release.version.to_string(),
        grants: grants(wanted, release)?,
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
        component,
        config,
        name,
    })
}

impl Accepted {
    /// What the sandbox runs: the module as this generation, with this state.
    pub(crate) fn spec(self, generation: u64, state: ModuleState, seen: Seen) -> ModuleSpec {
        ModuleSpec {
            name: self.name,
            version: self.version,
            generation,
            component: self.component,
            config: self.config,
            grants: self.grants,
            streams: self.streams,
            memory_bytes_max: self.memory_bytes_max,
            state_bytes_max: self.state_bytes_max,
            state: state.entries,
            state_written_by: state.written_by,
            seen,
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Refusal> {
    let bytes = std::fs::metadata(path).map_err(Refusal::Read)?.len();
    if bytes > BUNDLE_BYTES_MAX {
        return Err(Refusal::TooLarge { bytes });
    }
    std::fs::read(path).map_err(Refusal::Read)
}

fn grants(wanted: &Wanted, release: &Release) -> Result<Grants, Refusal> {
    let mut asked = Vec::new();
    for text in &release.capabilities.publish {
        let malformed = |error: tidegate_record::TopicError| Refusal::Malformed {
            what: "topic filter",
            text: text.clone(),
            reason: error.to_string(),
        };
        asked.push(TopicFilter::new(text).map_err(malformed)?);
    }
    for (_, granted) in &wanted.publish {
        if !asked.iter().any(|asked| asked.covers(granted)) {
            return Err(Refusal::PublishNotAsked(granted.clone()));
        }
    }
    for point in &wanted.actuate {
        if !release.capabilities.actuate.contains(point) {
            return Err(Refusal::ActuateNotAsked(point.clone()));
        }
    }
    Ok(Grants {
        publish: wanted.publish.clone(),
        inputs: wanted.inputs.clone(),
        actuate: wanted.actuate.clone(),
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

pub(crate) fn named(what: &'static str, text: &str) -> Result<Name, Refusal> {
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
