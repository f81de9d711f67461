//! A module's folder: its tide.toml, and where cargo puts what it builds.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::error::Error;
use crate::manifest::Manifest;
use crate::toolchain::Target;

#[derive(Debug)]
pub(crate) struct Project {
    pub(crate) manifest: Manifest,
    target_folder: PathBuf,
    library: String,
}

impl Project {
    /// Reads tide.toml and asks cargo about the package in the same folder.
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        let manifest = Manifest::read(folder)?;
        let no_module = |problem: String| Error::Project {
            path: folder.to_owned(),
            problem,
        };
        let cargo_toml = folder.join("Cargo.toml");
        let cargo_toml = cargo_toml.canonicalize().map_err(|source| Error::Read {
            path: cargo_toml,
            source,
        })?;
        let metadata = Metadata::of(folder)?;
        let package = metadata
            .packages
            .into_iter()
            .find(|package| package.manifest_path == cargo_toml);
        let package = package
            .ok_or_else(|| no_module("cargo finds no package in its Cargo.toml".to_owned()))?;
        let library = package
            .targets
            .into_iter()
            .find(|target| target.kind.iter().any(|kind| kind == "cdylib"));
        let library = library.ok_or_else(|| {
            no_module("its Cargo.toml must have [lib] crate-type = [\"cdylib\"]".to_owned())
        })?;
        Ok(Self {
            manifest,
            target_folder: metadata.target_directory,
            library: library.name,
        })
    }

    /// Where `cargo build --release` puts the component.
    pub(crate) fn component(&self, target: Target) -> PathBuf {
        let file = format!("{}.wasm", self.library.replace('-', "_"));
        self.target_folder
            .join(target.triple())
            .join("release")
            .join(file)
    }
}

/// What is used of `cargo metadata`.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    manifest_path: PathBuf,
    targets: Vec<CargoTarget>,
}

#[derive(Deserialize)]
struct CargoTarget {
    name: String,
    kind: Vec<String>,
}

impl Metadata {
    fn of(folder: &Path) -> Result<Self, Error> {
        let mut cargo = Command::new("cargo");
        cargo
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .current_dir(folder);
        let output = cargo.stderr(Stdio::inherit()).output();
        let output = output.map_err(|source| Error::Start {
            program: "cargo",
            source,
        })?;
        if !output.status.success() {
            return Err(Error::Child {
                command: "cargo metadata",
                status: output.status,
            });
        }
        serde_json::from_slice(&output.stdout).map_err(|error| Error::Project {
            path: folder.to_owned(),
            problem: format!("cargo metadata cannot be understood: {error}"),
        })
    }
}
