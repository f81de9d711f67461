//! `tide sign`: the component and what tide.toml says of it, as one signed file.

use std::path::{Path, PathBuf};

use serde_json::json;
use tidegate_bundle::{Artifact, ArtifactKind, Release, Sign as _, WORLD, seal};

use crate::clock;
use crate::commands::build::read_component;
use crate::error::Error;
use crate::files;
use crate::key::Key;
use crate::manifest::Manifest;
use crate::project::Project;
use crate::report::{Report, size};
use crate::toolchain::Target;

/// Sign a built module: writes NAME-VERSION.tidegate.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The module's folder.
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Key file of a publisher, or signer file (.toml); repeat it if the fleet wants several signatures.
    #[arg(long, required = true)]
    key: Vec<PathBuf>,
    /// Which build to sign.
    #[arg(long, value_enum, default_value = "wasm32-wasip2")]
    target: Target,
    /// Folder for the bundle; the module's folder, if not given.
    #[arg(long)]
    to: Option<PathBuf>,
}

impl Args {
    pub(crate) fn run(&self) -> Result<Report, Error> {
        let project = Project::open(&self.folder)?;
        let (path, _) = read_component(&project, self.target)?;
        let component = files::read_bundle(&path)?;
        let keys = Key::read_all(&self.key)?;
        let keys: Vec<&Key> = keys.iter().collect();

        let release = release(project.manifest, &component);
        let bundle = seal(&release, &[&component], &keys).map_err(|source| Error::Sign {
            what: format!("module {}", release.module),
            source,
        })?;
        let folder = self.to.as_deref().unwrap_or(&self.folder);
        let file = file_name(folder, &release);
        files::write(&file, &bundle)?;
        let facts = json!({"bundle": file, "length": bundle.len(), "release": release});
        Ok(Report::new(facts)
            .fact("bundle", file.display())
            .fact(
                "module",
                format!(
                    "{} {}, counter {}",
                    release.module, release.version, release.counter
                ),
            )
            .fact("size", size(bundle.len()))
            .fact(
                "signed by",
                keys.iter()
                    .map(|key| key.public_key().id().to_string())
                    .collect::<Vec<_>>()
                    .join(", "),
            ))
    }
}

fn file_name(folder: &Path, release: &Release) -> PathBuf {
    folder.join(format!("{}-{}.tidegate", release.module, release.version))
}

fn release(manifest: Manifest, component: &[u8]) -> Release {
    Release {
        module: manifest.module.name,
        version: manifest.module.version,
        description: manifest.module.description,
        counter: manifest.module.counter,
        world: WORLD.to_owned(),
        artifacts: vec![Artifact::of(ArtifactKind::Component, component)],
        capabilities: manifest.capabilities,
        limits: manifest.limits,
        streams: manifest.streams,
        config: manifest.config,
        sbom: None,
        created: clock::now(),
    }
}
