//! `tide build`: a component that a gateway would run.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::component::Component;
use crate::error::Error;
use crate::files;
use crate::project::Project;
use crate::report::{Report, size};
use crate::toolchain::{Target, Toolchain};

/// Build a module's component, and check that a gateway would run it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The module's folder.
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// What to compile for; wasm32-unknown-unknown gives a component without one WASI import.
    #[arg(long, value_enum, default_value = "wasm32-wasip2")]
    target: Target,
}

impl Args {
    pub(crate) fn run(&self) -> Result<Report, Error> {
        let project = Project::open(&self.folder)?;
        let (path, component) = build(&project, &self.folder, self.target)?;
        let facts = json!({
            "component": path, "target": self.target.triple(),
            "length": component.size, "sha256": component.digest,
        });
        Ok(Report::new(facts)
            .fact("component", path.display())
            .fact("size", size(component.size))
            .fact("sha256", component.digest))
    }
}

/// Runs cargo and checks what it made.
pub(crate) fn build(
    project: &Project,
    folder: &Path,
    target: Target,
) -> Result<(PathBuf, Component), Error> {
    let toolchain = Toolchain::find(target, folder)?;
    let mut cargo = Command::new("cargo");
    cargo
        .args(["build", "--release", "--lib", "--target", target.triple()])
        .current_dir(folder);
    toolchain.configure(&mut cargo);
    // Both of cargo's streams are progress to us; stdout is for the report.
    cargo.stdin(Stdio::null()).stdout(Stdio::from(io::stderr()));
    let status = cargo.status().map_err(|source| Error::Start {
        program: "cargo",
        source,
    })?;
    if !status.success() {
        return Err(Error::Child {
            command: "cargo build",
            status,
        });
    }
    read_component(project, target)
}

/// A module's component as it was built last, if a gateway would run it.
pub(crate) fn read_component(
    project: &Project,
    target: Target,
) -> Result<(PathBuf, Component), Error> {
    let path = project.component(target);
    if !path.is_file() {
        return Err(Error::NotBuilt { path });
    }
    let bytes = files::read_bundle(&path)?;
    let checked = Component::read(&bytes).and_then(|component| {
        component.check(&project.manifest.capabilities.wasi)?;
        Ok(component)
    });
    match checked {
        Ok(component) => Ok((path, component)),
        Err(source) => Err(Error::Component { path, source }),
    }
}
