//! `tide verify`: what a gateway with this root would say to a bundle.

use std::path::{Path, PathBuf};

use serde_json::json;
use tidegate_bundle::{UnverifiedBundle, VerifiedBundle, VerifiedRoot};

use crate::commands::inspect::release_facts;
use crate::component::Component;
use crate::error::Error;
use crate::files;
use crate::report::Report;

/// Check a bundle as a gateway would.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The bundle.
    file: PathBuf,
    /// The root document that is trusted.
    #[arg(long)]
    root: PathBuf,
}

impl Args {
    pub(crate) fn run(&self) -> Result<Report, Error> {
        let root = files::read_root(&self.root)?;
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
