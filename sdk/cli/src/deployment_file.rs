//! A deployment as a file that is kept in git, and the document that is made of it.
//!
//! The file says what the document says, except for what the root knows (fleet, epoch, the root's own version) and for
//! when it was signed. A module is named by its bundle, or by the digest of its release. Nothing is opened while it is
//! read, and all problems are told at once.

mod read;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tidegate_bundle::{
    ConfigValue, DeployedModule, Deployment, Digest, Downgrade, Flag, Grants, Input, Residency,
    Rollout, Target, VerifiedRoot,
};

use crate::error;
use crate::files::{self, Problems};

/// More than any signed document can say.
const BYTES_MAX: u64 = 256 * 1024;

/// A deployment, before it is a document.
#[derive(Debug)]
pub(crate) struct DeploymentFile {
    pub(crate) target: Target,
    pub(crate) seq: u64,
    pub(crate) expires_after: Option<Duration>,
    pub(crate) rollout: Rollout,
    pub(crate) modules: Vec<Module>,
    pub(crate) downgrades: Vec<Downgrade>,
}

/// One of its modules.
#[derive(Debug)]
pub(crate) struct Module {
    pub(crate) name: String,
    pub(crate) release: ReleaseRef,
    pub(crate) inputs: Vec<Input>,
    pub(crate) grants: Grants,
    pub(crate) config: BTreeMap<String, ConfigValue>,
    pub(crate) flags: BTreeMap<String, Flag>,
    pub(crate) streams: Vec<Residency>,
}

/// Which release a module is of.
#[derive(Debug)]
pub(crate) enum ReleaseRef {
    /// The one in this bundle.
    Bundle(PathBuf),
    /// The one whose signed body has this digest.
    Digest(Digest),
}

impl DeploymentFile {
    /// Reads a file; paths in it are from the folder that it is in.
    pub(crate) fn read(path: &Path) -> Result<Self, error::Error> {
        let text = files::read_text(path, BYTES_MAX)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let read = read::read(&text, folder);
        Ok(read.map_err(|problems| Problems::of(path, problems))?)
    }

    /// The document under this root; `release_of` opens a bundle and says which release is in it.
    pub(crate) fn document(
        self,
        root: &VerifiedRoot,
        created: u64,
        mut release_of: impl FnMut(&Path) -> Result<Digest, error::Error>,
    ) -> Result<Deployment, error::Error> {
        let root = root.root();
        let expires = |after: Duration| created.saturating_add(after.as_secs());
        let modules = self.modules.into_iter().map(|module| {
            let release = match &module.release {
                ReleaseRef::Bundle(path) => release_of(path)?,
                ReleaseRef::Digest(digest) => *digest,
            };
            Ok(module.of(release))
        });
        Ok(Deployment {
            fleet_id: root.fleet_id.clone(),
            target: self.target,
            epoch: root.epoch,
            seq: self.seq,
            min_root_version: root.version,
            modules: modules.collect::<Result<_, error::Error>>()?,
            rollout: self.rollout,
            downgrades: self.downgrades,
            created,
            expires: self.expires_after.map(expires),
        })
    }
}

impl Module {
    fn of(self, release: Digest) -> DeployedModule {
        DeployedModule {
            name: self.name,
            release,
            inputs: self.inputs,
            grants: self.grants,
            config: self.config,
            flags: self.flags,
            streams: self.streams,
        }
    }
}

#[cfg(test)]
mod tests;
