//! `tide root rotate`: the root document that follows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::json;
use tidegate_bundle::{KeyId, ReleaseRole, Role, Root};

use super::root::{Keys, publisher};
use crate::error::Error;
use crate::files;
use crate::key::Key;
use crate::report::Report;

/// Make the root document that follows: what is not given stays as it was.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The root document as it is now.
    old: PathBuf,
    /// Where to write the next one; never overwritten.
    new: PathBuf,
    /// Key file of a root holder, or signer file (.toml), of the old root or the new one; each needs its threshold.
    #[arg(long, required = true)]
    key: Vec<PathBuf>,
    /// Public key file of a holder of the root role, instead of those before; may be repeated.
    #[arg(long)]
    root_key: Vec<PathBuf>,
    /// How many root keys must sign the next root.
    #[arg(long)]
    root_threshold: Option<usize>,
    /// Public key file of a publisher, instead of those before; `FILE=PATTERN,PATTERN` limits it to modules.
    #[arg(long)]
    release_key: Vec<String>,
    /// How many publishers must sign a release.
    #[arg(long)]
    release_threshold: Option<usize>,
    /// Public key file of who signs deployments, instead of those before; may be repeated.
    #[arg(long)]
    deploy_key: Vec<PathBuf>,
    /// Public key file of who signs the time, instead of those before; may be repeated.
    #[arg(long)]
    time_key: Vec<PathBuf>,
    /// Raise the epoch: gateways forget the numbers of deployments, which then begin at 1 again.
    #[arg(long)]
    raise_epoch: bool,
    /// Oldest runtime that may work with this fleet.
    #[arg(long)]
    min_runtime: Option<semver::Version>,
}

impl Args {
    pub(crate) fn run(&self) -> Result<Report, Error> {
        let old = files::read_root(&self.old)?;
        let root = self.document(old.root())?;
        let keys = Key::read_all(&self.key)?;
        let keys: Vec<&Key> = keys.iter().collect();
        let bytes = root.sign(&keys).map_err(Error::Root)?;
        let next = old.next(&bytes).map_err(Error::Root)?;
        files::write_new(&self.new, &bytes, 0o644)?;
        let (version, epoch) = (root.version, root.epoch);
        let facts = json!({"root": self.new, "sha256": next.digest(), "document": root});
        Ok(Report::new(facts)
            .fact("root", self.new.display())
            .fact("version", version)
            .fact("epoch", epoch)
            .fact("sha256", next.digest())
            .line("It follows the old one. Gateways take it from the centre (tide push) or from a stick."))
    }

    fn document(&self, old: &Root) -> Result<Root, Error> {
        let mut keys = Keys::default();
        let mut roles = old.roles.clone();
        let root_keys = keys.add_files(&self.root_key)?;
        if !root_keys.is_empty() {
            let threshold = root_keys.len();
            roles.root = Role {
                key_ids: root_keys,
                threshold,
            };
        }
        if let Some(threshold) = self.root_threshold {
            roles.root.threshold = threshold;
        }
        if !self.release_key.is_empty() {
            let mut modules = BTreeMap::new();
            for argument in &self.release_key {
                let (file, patterns) = publisher(argument)?;
                modules.insert(keys.add_file(Path::new(file))?, patterns);
            }
            let role = Role {
                key_ids: modules.keys().copied().collect(),
                threshold: roles.release.role.threshold.min(modules.len()),
            };
            roles.release = ReleaseRole { role, modules };
        }
        if let Some(threshold) = self.release_threshold {
            roles.release.role.threshold = threshold;
        }
        let mut replace = |role: &mut Option<Role>, files: &[PathBuf]| {
            let key_ids = keys.add_files(files)?;
            if !key_ids.is_empty() {
                *role = Some(Role {
                    key_ids,
                    threshold: 1,
                });
            }
            Ok::<_, Error>(())
        };
        replace(&mut roles.deploy, &self.deploy_key)?;
        replace(&mut roles.time, &self.time_key)?;
        // Of the old keys those stay that still have a role.
        let used = [Some(&roles.root), Some(&roles.release.role)];
        let used = used
            .into_iter()
            .chain([&roles.deploy, &roles.time].map(Option::as_ref));
        let used: Vec<KeyId> = used
            .flatten()
            .flat_map(|role| role.key_ids.clone())
            .collect();
        let kept = old.keys.iter().filter(|(id, _)| used.contains(id));
        let mut all = keys.0;
        all.extend(kept.map(|(id, key)| (*id, key.clone())));
        Ok(Root {
            fleet_id: old.fleet_id.clone(),
            version: old.version.saturating_add(1),
            epoch: old.epoch.saturating_add(u64::from(self.raise_epoch)),
            keys: all,
            roles,
            min_runtime_version: self
                .min_runtime
                .clone()
                .unwrap_or_else(|| old.min_runtime_version.clone()),
            expires: old.expires,
        })
    }
}
