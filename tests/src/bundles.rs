//! Keys, the root document and signed modules, made with `tide` as a module author makes them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::binaries::Binaries;
use crate::process::{Outcome, run, run_well};

/// Where bundles are signed: a key, and the root document that trusts it.
#[derive(Debug)]
pub struct Workshop {
    tide: PathBuf,
    folder: PathBuf,
}

impl Workshop {
    /// Makes a key and a root document in `folder`.
    ///
    /// # Errors
    /// When `tide` fails.
    pub fn open(binaries: &Binaries, folder: &Path) -> Result<Self> {
        let workshop = Self {
            tide: binaries.tide(),
            folder: folder.to_owned(),
        };
        let (key, root) = (workshop.key(), workshop.root());
        run_well(
            &workshop.tide,
            ["keygen".as_ref(), "--out".as_ref(), key.as_os_str()],
        )?;
        let init = ["root", "init", "--key"].map(AsRef::as_ref).into_iter();
        run_well(
            &workshop.tide,
            init.chain([key.as_os_str(), "--out".as_ref(), root.as_os_str()]),
        )?;
        Ok(workshop)
    }

    /// The secret key.
    pub fn key(&self) -> PathBuf {
        self.folder.join("release.key")
    }

    /// The root document.
    pub fn root(&self) -> PathBuf {
        self.folder.join("root.json")
    }

    /// Builds the module in `source` and signs it; gives the bundle.
    ///
    /// # Errors
    /// When `tide` fails.
    pub fn bundle(&self, source: &Path) -> Result<PathBuf> {
        let component = self.component(source)?;
        self.sign(source, &component)
    }

    /// Builds the module in `source`.
    ///
    /// # Errors
    /// When `tide` fails.
    pub fn component(&self, source: &Path) -> Result<PathBuf> {
        let printed = run_well(&self.tide, ["build".as_ref(), source.as_os_str()])?;
        last_path(&printed, "component")
    }

    /// Signs a component with the manifest in `source`.
    ///
    /// # Errors
    /// When `tide` fails.
    pub fn sign(&self, source: &Path, component: &Path) -> Result<PathBuf> {
        let name = source.file_name().context("a module's folder has a name")?;
        let bundle = self.folder.join(name).with_extension("tidegate");
        let (key, root) = (self.key(), self.root());
        let arguments = [
            "sign".as_ref(),
            source.as_os_str(),
            "--component".as_ref(),
            component.as_os_str(),
            "--key".as_ref(),
            key.as_os_str(),
            "--root".as_ref(),
            root.as_os_str(),
            "--out".as_ref(),
            bundle.as_os_str(),
        ];
        run_well(&self.tide, arguments)?;
        ensure!(bundle.is_file(), "tide sign made no {}", bundle.display());
        Ok(bundle)
    }

    /// Asks `tide` whether a bundle is trusted.
    ///
    /// # Errors
    /// When `tide` cannot be started.
    pub fn verify(&self, bundle: &Path) -> Result<Outcome> {
        let root = self.root();
        run(
            &self.tide,
            [
                "verify".as_ref(),
                "--root".as_ref(),
                root.as_os_str(),
                bundle.as_os_str(),
            ],
        )
    }
}

fn last_path(printed: &str, what: &str) -> Result<PathBuf> {
    let path = printed
        .lines()
        .last()
        .and_then(|line| line.split_whitespace().last())
        .map(PathBuf::from);
    path.filter(|path| path.is_file())
        .with_context(|| format!("tide named no {what}: {printed}"))
}
