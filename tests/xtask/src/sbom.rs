//! A bill of materials for each program: every crate that is in it, as CycloneDX.
//!
//! It is made by cargo-cyclonedx, and limited to what cargo itself says that the program is built of.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tidegate_tests::binaries::{repository, target_folder};

use crate::steps::Steps;

/// The programs that are shipped, by their packages.
const PROGRAMS: [&str; 3] = ["tidegate", "tide", "tidegate-cloud"];
/// The version whose arguments these are.
const TOOL: &str = "cargo-cyclonedx@0.5.9";

/// What the tool calls its files. It writes one beside each manifest of the workspace.
const NAME: &str = "bill-of-materials";

/// Writes them into the target folder.
pub(crate) fn run(steps: &Steps) -> Result<()> {
    if cargo(&["cyclonedx", "--version"]).is_err() {
        steps.say(&format!("installing {TOOL}"));
        cargo(&["install", "--quiet", "--locked", TOOL])?;
    }
    let arguments = ["--quiet", "--format", "json", "--spec-version", "1.5"];
    let named = ["cyclonedx", "--override-filename", NAME];
    let made = cargo(&[&named[..], &arguments].concat());
    let bills = take_all()?;
    made?;
    let folder = target_folder()?.join("sbom");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for program in PROGRAMS {
        let bill = bills.get(program);
        let mut bill = bill
            .with_context(|| format!("no bill of {program}"))?
            .clone();
        let crates = limit(&mut bill, &built(program)?)
            .with_context(|| format!("the bill of {program} is not one"))?;
        let file = folder.join(format!("{program}.cdx.json"));
        fs::write(&file, serde_json::to_vec_pretty(&bill)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
        steps.say(&format!("{}: {crates} crates", file.display()));
    }
    Ok(())
}

/// The bills of all packages of the workspace, by their names. They do not stay where the tool puts them.
fn take_all() -> Result<BTreeMap<String, Value>> {
    let metadata = cargo(&["metadata", "--no-deps", "--format-version", "1"])?;
    let metadata: Value = serde_json::from_str(&metadata).context("cargo metadata")?;
    let packages = metadata.pointer("/packages").and_then(Value::as_array);
    let mut bills = BTreeMap::new();
    for package in packages.into_iter().flatten() {
        let manifest = PathBuf::from(text(package, "manifest_path").context("no manifest")?);
        let file = manifest.with_file_name(format!("{NAME}.json"));
        let Ok(bill) = fs::read_to_string(&file) else {
            continue;
        };
        fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
        // Where this machine has the repository is nobody's business.
        let bill = bill.replace(&format!("{}/", repository().display()), "/");
        let bill = serde_json::from_str(&bill).context("a bill is not JSON")?;
        bills.insert(text(package, "name").context("no name")?, bill);
    }
    Ok(bills)
}

/// Leaves what is built, which must all be there. The tool has more: whatever any package of the workspace asks for.
fn limit(bill: &mut Value, built: &BTreeSet<String>) -> Result<usize> {
    let mut refs = BTreeSet::new();
    refs.extend(
        bill.pointer("/metadata/component")
            .and_then(|own| text(own, "bom-ref")),
    );
    let parts = bill.get_mut("components").and_then(Value::as_array_mut);
    let parts = parts.context("it has no components")?;
    parts.retain(|part| crate_of(part).is_some_and(|name| built.contains(&name)));
    let listed: BTreeSet<_> = parts.iter().filter_map(crate_of).collect();
    let missing: Vec<_> = built.difference(&listed).collect();
    ensure!(missing.is_empty(), "it lacks {missing:?}");
    refs.extend(parts.iter().filter_map(|part| text(part, "bom-ref")));
    let is_known = |of: &str| refs.contains(of);
    let arrows = bill.get_mut("dependencies").and_then(Value::as_array_mut);
    let arrows = arrows.context("it has no dependencies")?;
    arrows.retain(|arrow| text(arrow, "ref").is_some_and(|from| is_known(&from)));
    for arrow in arrows {
        if let Some(to) = arrow.get_mut("dependsOn").and_then(Value::as_array_mut) {
            to.retain(|to| to.as_str().is_some_and(is_known));
        }
    }
    Ok(listed.len())
}

/// Name and version of a component.
fn crate_of(part: &Value) -> Option<String> {
    Some(format!(
        "{} {}",
        text(part, "name")?,
        text(part, "version")?
    ))
}

fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key).and_then(Value::as_str).map(str::to_owned)
}

/// Crates of which cargo builds a program, itself left out.
fn built(program: &str) -> Result<BTreeSet<String>> {
    let tree = cargo(&[
        "tree",
        "--package",
        program,
        "--edges",
        "normal,build",
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn bill() -> Value {
        json!({
            "metadata": {"component": {"bom-ref": "own"}},
            "components": [
                {"name": "a", "version": "1.0.0", "bom-ref": "a"},
                {"name": "b", "version": "2.0.0", "bom-ref": "b"},
            ],
            "dependencies": [
                {"ref": "own", "dependsOn": ["a", "b"]},
                {"ref": "b", "dependsOn": []},
            ],
        })
    }

    #[test]
    fn a_bill_has_what_is_built_and_nothing_else() {
        let mut bill = bill();
        assert_eq!(
            limit(&mut bill, &BTreeSet::from(["a 1.0.0".to_owned()])).unwrap(),
            1
        );
        assert_eq!(bill["components"][0]["name"], "a");
        assert_eq!(
            bill["dependencies"],
            json!([{"ref": "own", "dependsOn": ["a"]}])
        );
    }

    #[test]
    fn a_bill_that_lacks_something_is_none() {
        let built = BTreeSet::from(["a 1.0.0".to_owned(), "c 3.0.0".to_owned()]);
        let error = limit(&mut bill(), &built).unwrap_err().to_string();
        assert!(error.contains("c 3.0.0"), "{error}");
    }
}
