//! `tide deploy`: a deployment that is kept as a file, signed.
//!
//! What is written is what a gateway with this root takes: the signatures, and each module against its release, are held
//! with the code that the gateway has. Of a release that is named by its digest alone only the gateway can say it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::json;
use tidegate_bundle::{Deployment, Digest, Error as Refusal, Release, Target};

use crate::clock;
use crate::commands::verify::read_verified;
use crate::deployment_file::DeploymentFile;
use crate::error::Error;
use crate::files;
use crate::key::Key;
use crate::report::Report;

/// Sign a deployment that is kept as a TOML file: what a gateway, or a group of them, runs.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The deployment; paths in it are from its folder.
    file: PathBuf,
    /// Key file of who signs deployments, or signer file (.toml); may be repeated. For a way back also those of publishers.
    #[arg(long, required = true)]
    key: Vec<PathBuf>,
    /// The newest root document of the fleet.
    #[arg(long)]
    root: PathBuf,
    /// Where to write the signed document; replaced, if it is there.
    #[arg(long)]
    to: PathBuf,
}

impl Args {
    pub(crate) fn run(&self) -> Result<Report, Error> {
        let root = files::read_root(&self.root)?;
        if root.root().roles.deploy.is_none() {
            let path = self.root.clone();
            return Err(Error::NobodyDeploys { path });
        }
        let file = DeploymentFile::read(&self.file)?;
        let mut releases = BTreeMap::new();
        let deployment = file.document(&root, clock::now(), |path| {
            let bundle = read_verified(path, &root)?;
            releases.insert(bundle.digest(), bundle.release().clone());
            Ok(bundle.digest())
        })?;
        let bytes = self.sign(&deployment)?;
        let refused = |source| Error::Refused {
            path: self.file.clone(),
            source,
        };
        let held = || -> Result<Digest, Refusal> {
            let (_, digest) = Deployment::verify(&bytes, &root)?;
            Deployment::verify_downgrades(&bytes, &root)?;
            deployment.check_releases(&releases)?;
            Ok(digest)
        };
        let digest = held().map_err(refused)?;
        files::write(&self.to, &bytes)?;
        Ok(self.report(&deployment, digest, &releases))
    }

    fn sign(&self, deployment: &Deployment) -> Result<Vec<u8>, Error> {
        let keys = Key::read_all(&self.key)?;
        let keys: Vec<&Key> = keys.iter().collect();
        deployment.sign(&keys).map_err(|source| Error::Sign {
            what: self.file.display().to_string(),
            source,
        })
    }

    fn report(
        &self,
        deployment: &Deployment,
        digest: Digest,
        releases: &BTreeMap<Digest, Release>,
    ) -> Report {
        let facts = json!({"deployment": self.to, "sha256": digest, "document": deployment});
        let mut report = Report::new(facts)
            .fact("deployment", self.to.display())
            .fact("for", target(deployment))
            .fact("number", number(deployment))
            .fact("sha256", digest);
        for module in &deployment.modules {
            let words = match releases.get(&module.release) {
                Some(release) => release_words(release),
                None => format!(
                    "{}, not looked at: it is named by its digest",
                    module.release
                ),
            };
            report = report.fact("module", format!("{}: {words}", module.name));
        }
        report
    }
}

/// For whom a deployment is.
pub(crate) fn target(deployment: &Deployment) -> String {
    let fleet = &deployment.fleet_id;
    match &deployment.target {
        Target::GatewayId(id) => format!("gateway {id} of fleet {fleet}"),
        Target::GroupId(id) => format!("group {id} of fleet {fleet}"),
    }
}

/// What orders it.
pub(crate) fn number(deployment: &Deployment) -> String {
    format!("epoch {}, seq {}", deployment.epoch, deployment.seq)
}

/// A release in a few words.
pub(crate) fn release_words(release: &Release) -> String {
    let Release {
        module,
        version,
        counter,
        ..
    } = release;
    format!("{module} {version}, counter {counter}")
}
