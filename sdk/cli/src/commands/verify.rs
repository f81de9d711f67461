//! `tide verify`: what a gateway with this root would say to a bundle, a deployment or a root.

use std::path::{Path, PathBuf};

use serde_json::json;
use tidegate_bundle::{Deployment, UnverifiedBundle, VerifiedBundle, VerifiedRoot};

use crate::commands::deploy::{number, target};
use crate::commands::inspect::release_facts;
use crate::component::Component;
use crate::error::Error;
use crate::files;
use crate::report::Report;

/// Check a bundle, a deployment or a root as a gateway would.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file.
    file: PathBuf,
    /// The root document that is trusted.
    #[arg(long)]
    root: PathBuf,
}

impl Args {
    pub(crate) fn run(&self) -> Result<Report, Error> {
        let root = files::read_root(&self.root)?;
        let bytes = files::read_bundle(&self.file)?;
        if bytes.first() == Some(&b'{') {
            return self.document(&bytes, &root);
        }
        let bundle = read_verified(&self.file, &root)?;
        let release = bundle.release();
        let facts = json!({
            "bundle": self.file, "fleet": root.root().fleet_id, "identity": bundle.digest(), "release": release,
        });
        Ok(Report::new(facts)
            .line(format!(
                "{} is genuine for fleet {}",
                self.file.display(),
                root.root().fleet_id
            ))
            .fact("identity", bundle.digest())
            .facts(release_facts(release)))
    }

    /// Which releases and numbers a gateway has had, only it knows.
    fn document(&self, bytes: &[u8], root: &VerifiedRoot) -> Result<Report, Error> {
        let refused = |source| Error::Refused {
            path: self.file.clone(),
            source,
        };
        let (file, fleet) = (self.file.display(), &root.root().fleet_id);
        match Deployment::verify(bytes, root) {
            Ok((deployment, digest)) => {
                Deployment::verify_downgrades(bytes, root).map_err(refused)?;
                let facts = json!({"file": self.file, "fleet": fleet, "sha256": digest, "document": deployment});
                Ok(Report::new(facts)
                    .line(format!("{file} is genuine for fleet {fleet}"))
                    .fact("sha256", digest)
                    .fact("for", target(&deployment))
                    .fact("number", number(&deployment)))
            }
            Err(tidegate_bundle::Error::WrongType { .. }) => {
                let next = root.next(bytes).map_err(refused)?;
                let (version, before) = (next.root().version, root.root().version);
                let facts = json!({"file": self.file, "fleet": fleet, "sha256": next.digest(), "version": version});
                Ok(Report::new(facts)
                    .line(format!(
                        "{file} is root {version} of fleet {fleet}, and follows root {before}"
                    ))
                    .fact("sha256", next.digest()))
            }
            Err(error) => Err(refused(error)),
        }
    }
}

/// A bundle that a gateway with this root would run.
pub(crate) fn read_verified(path: &Path, root: &VerifiedRoot) -> Result<VerifiedBundle, Error> {
    let bytes = files::read_bundle(path)?;
    let refused = |source| Error::Refused {
        path: path.to_owned(),
        source,
    };
    let bundle = UnverifiedBundle::open(bytes)
        .and_then(|bundle| bundle.verify(root))
        .map_err(refused)?;
    let component = Component::read(bundle.component());
    component
        .and_then(|component| component.check(&bundle.release().capabilities.wasi))
        .map_err(|source| Error::Component {
            path: path.to_owned(),
            source,
        })?;
    Ok(bundle)
}
