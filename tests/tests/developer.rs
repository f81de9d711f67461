//! A module author's first ten minutes, outside of the repository.

#![cfg(test)]

use std::path::Path;
use std::process::Command;

use tidegate_tests::binaries::Binaries;

/// Runs a command that must succeed; gives all that it said.
fn run(program: &str, arguments: &[&str], folder: &Path) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    let said = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    said
}

#[test]
fn a_new_module_is_tested_built_and_run_outside_of_the_repository() {
    let folder = tempfile::tempdir().unwrap();
    let tide = Binaries::built().unwrap().tide();
    let tide = tide.to_str().unwrap();
    run(tide, &["new", "my-module"], folder.path());
    let module = folder.path().join("my-module");
    let tested = run("cargo", &["test"], &module);
    let passed = tested
        .lines()
        .any(|line| line.starts_with("test result: ok. ") && !line.contains(" 0 passed"));
    assert!(passed, "a new module comes with a test: {tested}");
    run(tide, &["build"], &module);
    run(tide, &["test"], &module);
}
