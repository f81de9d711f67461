//! A bill of materials for each program: every crate that is in it, as CycloneDX.
//!
//! It is made by cargo-cyclonedx, and held against what cargo itself says that the program is built of.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tidegate_tests::binaries::{repository, target_folder};

use crate::steps::Steps;

/// The programs that are shipped, and where their packages are.
const PROGRAMS: [(&str, &str); 3] = [
    ("tidegate", "runtime/gateway"),
    ("tide", "sdk/cli"),
    ("tidegate-cloud", "cloud"),
];
/// The version whose arguments these are.
const TOOL: &str = "cargo-cyclonedx@0.5.9";

/// Writes them into the target folder.
pub(crate) fn run(steps: &Steps) -> Result<()> {
    if cargo(&["cyclonedx", "--version"]).is_err() {
        steps.say(&format!("installing {TOOL}"));
        cargo(&["install", "--quiet", "--locked", TOOL])?;
    }
    let folder = target_folder()?.join("sbom");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (program, package) in PROGRAMS {
        let bill = bill(package)?;
        let (listed, built) = (listed(&bill)?, built(program)?);
        let missing: Vec<_> = built.difference(&listed).collect();
        let further: Vec<_> = listed.difference(&built).collect();
        ensure!(
            missing.is_empty() && further.is_empty(),
            "the bill of {program} lacks {missing:?} and has {further:?} too many"
        );
        let file = folder.join(format!("{program}.cdx.json"));
        fs::write(&file, serde_json::to_vec_pretty(&bill)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
        steps.say(&format!("{}: {} crates", file.display(), listed.len()));
    }
    Ok(())
}

/// The bill of a package. The tool writes it beside the manifest; it does not stay there.
fn bill(package: &str) -> Result<Value> {
    const NAME: &str = "bill-of-materials";
    let package = repository().join(package);
    let manifest = package.join("Cargo.toml").display().to_string();
    cargo(&[
        "cyclonedx",
        "--quiet",
        "--manifest-path",
        &manifest,
        "--format",
        "json",
        "--spec-version",
        "1.5",
        "--describe",
        "crate",
        "--override-filename",
        NAME,
    ])?;
    let written = package.join(format!("{NAME}.json"));
    let text = take(&written).with_context(|| format!("no {}", written.display()))?;
    serde_json::from_str(&text).context("the bill is not JSON")
}

fn take(file: &Path) -> std::io::Result<String> {
    let text = fs::read_to_string(file)?;
    fs::remove_file(file)?;
    Ok(text)
}

/// Crates that a bill lists, each with its version.
fn listed(bill: &Value) -> Result<BTreeSet<String>> {
    let parts = bill.pointer("/components").and_then(Value::as_array);
    let parts = parts.context("the bill has no components")?;
    let text = |part: &Value, key: &str| part.get(key).and_then(Value::as_str).map(str::to_owned);
    let named = parts.iter().map(|part| {
        let (name, version) = (text(part, "name"), text(part, "version"));
        name.zip(version)
            .map(|(name, version)| format!("{name} {version}"))
    });
    let all: Option<_> = named.collect();
    all.context("a component has no name or version")
}

/// Crates of which cargo builds a program, itself left out.
fn built(program: &str) -> Result<BTreeSet<String>> {
    let tree = cargo(&[
        "tree",
        "--package",
        program,
        "--edges",
        "normal,build",
        "--target",
        "all",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ])?;
    let crates = tree.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (name, version) = (words.next()?, words.next()?);
        Some(format!("{name} {}", version.trim_start_matches('v')))
    });
    // The first line is the program.
    Ok(crates.skip(1).collect())
}

/// What a command of cargo prints.
fn cargo(arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("cargo");
    command.current_dir(repository()).args(arguments);
    let output = command.stdin(Stdio::null()).output();
    let output = output.context("cannot start cargo")?;
    ensure!(
        output.status.success(),
        "cargo {} failed: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
