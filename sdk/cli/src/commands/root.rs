//! `tide root`: the document that says who may sign what.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::json;
use tidegate_bundle::{
    KeyId, PublicKey, ReleaseRole, Role, Roles, Root, Sign as _, VerifiedRoot, text,
};

use crate::commands::rotate;
use crate::error::Error;
use crate::files;
use crate::key::Key;
use crate::report::Report;

/// Make the root document of a fleet, and the ones that follow.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Init(Args),
    Rotate(rotate::Args),
}

impl Command {
    pub(crate) fn run(&self) -> Result<Report, Error> {
        match self {
            Self::Init(args) => args.run(),
            Self::Rotate(args) => args.run(),
        }
    }
}

/// Make the first root document of a fleet, signed by all its root keys.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to write it; never overwritten.
    file: PathBuf,
    /// Name of the fleet: a-z, 0-9 and -.
    #[arg(long)]
    fleet: String,
    /// Key file of a holder of the root role, or signer file (.toml); may be repeated.
    #[arg(long, required = true)]
    root_key: Vec<PathBuf>,
    /// How many root keys must sign the next root; all, if not given.
    #[arg(long)]
    root_threshold: Option<usize>,
    /// Public key file of a publisher; `FILE=PATTERN,PATTERN` limits it to modules (`pump`, `vibration-*`).
    #[arg(long, required = true)]
    release_key: Vec<String>,
    /// How many publishers must sign a release.
    #[arg(long, default_value_t = 1)]
    release_threshold: usize,
    /// Public key file of who signs deployments; may be repeated.
    #[arg(long)]
    deploy_key: Vec<PathBuf>,
    /// Public key file of who signs the time; may be repeated.
    #[arg(long)]
    time_key: Vec<PathBuf>,
    /// Oldest runtime that may work with this fleet.
    #[arg(long, default_value = env!("CARGO_PKG_VERSION"))]
    min_runtime: semver::Version,
}

impl Args {
    pub(crate) fn run(&self) -> Result<Report, Error> {
        let root_keys = Key::read_all(&self.root_key)?;
        let root = self.document(&root_keys)?;
        let root_keys: Vec<&Key> = root_keys.iter().collect();
        let bytes = root.sign(&root_keys).map_err(Error::Root)?;
        let digest = VerifiedRoot::open(&bytes).map_err(Error::Root)?.digest();
        files::write_new(&self.file, &bytes, 0o644)?;
        let facts = json!({"root": self.file, "sha256": digest, "document": root});
        Ok(Report::new(facts)
            .fact("root", self.file.display())
            .fact("fleet", &root.fleet_id)
            .fact("sha256", digest)
            .line("Put it on each gateway by hand: everything a gateway believes starts from it."))
    }

    fn document(&self, root_keys: &[Key]) -> Result<Root, Error> {
        let mut keys = Keys::default();
        let root = root_keys
            .iter()
            .map(|key| keys.add(key.public_key()))
            .collect::<Vec<_>>();
        let mut modules = BTreeMap::new();
        for argument in &self.release_key {
            let (file, patterns) = publisher(argument)?;
            modules.insert(keys.add_file(Path::new(file))?, patterns);
        }
        let release = modules.keys().copied().collect();
        let deploy = keys.add_files(&self.deploy_key)?;
        let time = keys.add_files(&self.time_key)?;
        let optional = |key_ids: Vec<KeyId>| {
            (!key_ids.is_empty()).then_some(Role {
                key_ids,
                threshold: 1,
            })
        };
        Ok(Root {
            fleet_id: self.fleet.clone(),
            version: 1,
            epoch: 1,
            roles: Roles {
                root: Role {
                    threshold: self.root_threshold.unwrap_or(root.len()),
                    key_ids: root,
                },
                release: ReleaseRole {
                    role: Role {
                        key_ids: release,
                        threshold: self.release_threshold,
                    },
                    modules,
                },
                deploy: optional(deploy),
                time: optional(time),
            },
            keys: keys.0,
            min_runtime_version: self.min_runtime.clone(),
            expires: None,
        })
    }
}

/// The keys of all roles.
#[derive(Default)]
pub(super) struct Keys(pub(super) BTreeMap<KeyId, PublicKey>);

impl Keys {
    pub(super) fn add(&mut self, key: PublicKey) -> KeyId {
        let id = key.id();
        self.0.insert(id, key);
        id
    }

    pub(super) fn add_file(&mut self, path: &Path) -> Result<KeyId, Error> {
        Ok(self.add(files::read_public_key(path)?))
    }

    pub(super) fn add_files(&mut self, paths: &[PathBuf]) -> Result<Vec<KeyId>, Error> {
        paths.iter().map(|path| self.add_file(path)).collect()
    }
}

/// `FILE`, or `FILE=PATTERN,PATTERN`.
pub(super) fn publisher(argument: &str) -> Result<(&str, Vec<String>), Error> {
    let Some((file, patterns)) = argument.rsplit_once('=') else {
        return Ok((argument, vec!["*".to_owned()]));
    };
    let check = |pattern: &str| match text::check_pattern(pattern) {
        Ok(()) => Ok(pattern.to_owned()),
        Err(problem) => Err(Error::Argument {
            what: "pattern",
            text: pattern.to_owned(),
            problem: problem.to_owned(),
        }),
    };
    Ok((
        file,
        patterns.split(',').map(check).collect::<Result<_, _>>()?,
    ))
}
