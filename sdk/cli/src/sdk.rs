//! The module SDK, the contract and the templates, as they were when this program was built.
//!
//! The SDK is in no registry, so a new project carries a copy under `vendor/tidegate`.

use std::fs;
use std::path::Path;

use crate::error::Error;

include!(concat!(env!("OUT_DIR"), "/sdk.rs"));

/// Stands in templates for the module's name.
const NAME_TOKEN: &str = "{{name}}";

/// The templates that there are.
pub(crate) fn templates() -> Vec<&'static str> {
    let folder = |(path, _): &(&'static str, &[u8])| path.split_once('/').map(|(folder, _)| folder);
    let mut names: Vec<&str> = TEMPLATES.iter().filter_map(folder).collect();
    names.dedup();
    names
}

/// Writes a template as a new project, with the SDK that it stands on.
pub(crate) fn write_project(folder: &Path, template: &str, name: &str) -> Result<(), Error> {
    for (path, contents) in TEMPLATES {
        let Some(path) = path
            .strip_prefix(template)
            .and_then(|path| path.strip_prefix('/'))
        else {
            continue;
        };
        match std::str::from_utf8(contents) {
            Ok(text) => write(
                &folder.join(path),
                text.replace(NAME_TOKEN, name).as_bytes(),
            )?,
            Err(_) => write(&folder.join(path), contents)?,
        }
    }
    let vendor = folder.join("vendor/tidegate");
    for (path, contents) in WIT {
        write(&vendor.join("wit").join(path), contents)?;
    }
    for (path, contents) in GUEST {
        let path = vendor.join("sdk/guest").join(path);
        if path.ends_with("Cargo.toml") {
            write(
                &path,
                without_workspace(&String::from_utf8_lossy(contents)).as_bytes(),
            )?;
        } else {
            write(&path, contents)?;
        }
    }
    Ok(())
}

/// In this repository the SDK belongs to the workspace of the examples; in a project it belongs to the project.
fn without_workspace(cargo_toml: &str) -> String {
    cargo_toml
        .lines()
        .filter(|line| !line.starts_with("workspace ="))
        .map(|line| format!("{line}\n"))
        .collect()
}

fn write(path: &Path, contents: &[u8]) -> Result<(), Error> {
    let failed = |source| Error::Write {
        path: path.to_owned(),
        source,
    };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    fs::write(path, contents).map_err(failed)
}
