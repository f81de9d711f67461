//! All tests: formats and lints, guests natively and for both Wasm targets, the host workspace with the whole-product
//! tests, fuzz targets for a moment. Everything runs, whatever fails; the last line sums up.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use tidegate_tests::binaries::{Binaries, repository};
use tidegate_tests::tools::SKIPPED;

use crate::steps::Steps;
use crate::{fuzz, setup};

/// Workspaces whose crates are guests.
const GUESTS: [&str; 2] = ["guest-examples", "tests/guests"];

/// The targets for which every guest is built.
const TARGETS: [&str; 2] = ["wasm32-wasip2", "wasm32-unknown-unknown"];

/// The fuzz targets' workspace.
const FUZZ: &str = "tests/fuzz";

/// How long each of them is run, in seconds.
const FUZZ_SECONDS: u64 = 3;

/// What was counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Tally {
    const fn of(passed: bool) -> Self {
        Self {
            passed: passed as u64,
            failed: !passed as u64,
            skipped: 0,
        }
    }

    const fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// Runs everything.
pub(crate) fn run(steps: &Steps) -> Result<()> {
    if let Err(missing) = setup::run(steps) {
        // A build server has everything; elsewhere the tests that need it are skipped, and counted.
        ensure!(std::env::var_os("CI").is_none(), missing);
        steps.say(&format!("{missing:#}"));
    }
    let mut tally = Tally::default();
    tally.add(formats_and_lints(steps)?);
    steps.say("building the gateway, the centre and tide");
    let binaries = Binaries::built()?;
    tally.add(guests(steps, binaries)?);
    steps.say("testing the host workspace and the whole product");
    tally.add(cargo_test(steps, repository())?);
    tally.add(fuzzing(steps)?);
    steps.say("done");
    println!(
        "{} passed, {} failed, {} skipped",
        tally.passed, tally.failed, tally.skipped
    );
    ensure!(tally.failed == 0, "{} failed", tally.failed);
    Ok(())
}

fn formats_and_lints(steps: &Steps) -> Result<Tally> {
    let mut tally = Tally::default();
    for folder in [".", GUESTS[0], GUESTS[1], FUZZ] {
        steps.say(&format!("format and lints of {folder}"));
        let folder = repository().join(folder);
        tally.add(check(&folder, "cargo", &["fmt", "--all", "--check"])?);
        tally.add(check(
            &folder,
            "cargo",
            &[
                "clippy",
                "--quiet",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ],
        )?);
    }
    Ok(tally)
}

fn guests(steps: &Steps, binaries: &Binaries) -> Result<Tally> {
    let mut tally = Tally::default();
    for workspace in GUESTS {
        steps.say(&format!("testing {workspace} natively"));
        let folder = repository().join(workspace);
        tally.add(cargo_test(steps, &folder)?);
    }
    let tide = binaries.tide().display().to_string();
    for guest in guest_folders()? {
        let name = guest
            .strip_prefix(repository())
            .unwrap_or(&guest)
            .display()
            .to_string();
        for target in TARGETS {
            steps.say(&format!("building {name} for {target}"));
            tally.add(check(&guest, &tide, &["build", "--target", target, "."])?);
        }
        if guest.join("recorded").exists() {
            steps.say(&format!("tide test {name}"));
            tally.add(check(&guest, &tide, &["test", "."])?);
        }
    }
    Ok(tally)
}

/// Folders with a module.
fn guest_folders() -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for workspace in GUESTS {
        let entries = repository()
            .join(workspace)
            .read_dir()
            .with_context(|| format!("no {workspace}"))?;
        for entry in entries {
            let folder = entry?.path();
            if folder.join("tide.toml").exists() {
                found.push(folder);
            }
        }
    }
    found.sort();
    ensure!(!found.is_empty(), "no guests found");
    Ok(found)
}

/// Each fuzz target for a moment, with the same changes each time. Without what they are built with they are skipped, and
/// counted.
fn fuzzing(steps: &Steps) -> Result<Tally> {
    let targets = fuzz::targets()?;
    if let Err(missing) = fuzz::set_up(steps) {
        ensure!(std::env::var_os("CI").is_none(), missing);
        steps.say(&format!(
            "{SKIPPED}{} fuzz targets: {missing:#}",
            targets.len()
        ));
        return Ok(Tally {
            skipped: count(targets.len()),
            ..Tally::default()
        });
    }
    let corpus = tempfile::tempdir().context("no room for inputs")?;
    let mut tally = Tally::default();
    match fuzz::fuzz(steps, &targets, FUZZ_SECONDS, 1, corpus.path()) {
        Ok(lines) => {
            for line in lines {
                tally.add(Tally::of(line.holds()));
                if !line.holds() {
                    println!("FAILED fuzz target {}", fuzz::fault(&line));
                }
            }
        }
        Err(error) => {
            println!("FAILED fuzz targets: {error:#}");
            tally.add(Tally::of(false));
        }
    }
    Ok(tally)
}

/// One command that must succeed; what it says is shown when it does not.
fn check(folder: &Path, program: &str, arguments: &[&str]) -> Result<Tally> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output();
    let output = output.with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        println!(
            "FAILED `{program} {}` in {}",
            arguments.join(" "),
            folder.display()
        );
        println!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(Tally::of(output.status.success()))
}

/// `cargo test`: shows what it does, counts its results, prints skips as they come and failures at its end.
fn cargo_test(steps: &Steps, folder: &Path) -> Result<Tally> {
    let mut command = Command::new("cargo");
    command
        .args(["test", "--workspace", "--no-fail-fast"])
        .current_dir(folder);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().context("cannot start cargo")?;
    let stdout = child.stdout.take().context("no output of cargo")?;
    let stderr = child.stderr.take().context("no messages of cargo")?;
    let mut reader = Reader::default();
    let messages = std::thread::scope(|scope| {
        let messages = scope.spawn(|| follow_messages(steps, stderr));
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if line.starts_with("test ") {
                steps.show(&line);
            }
            reader.read(&line);
        }
        messages.join().unwrap_or_default()
    });
    let succeeded = child.wait()?.success();
    reader.failures.iter().for_each(|line| println!("{line}"));
    let mut tally = reader.tally;
    // What was skipped returned at once, and the harness took it for passed.
    let skipped = count(
        messages
            .iter()
            .filter(|line| line.starts_with(SKIPPED))
            .count(),
    );
    tally.passed = tally.passed.saturating_sub(skipped);
    tally.skipped += skipped;
    if !succeeded && tally.failed == 0 {
        println!(
            "FAILED `cargo test` in {}\n{}",
            folder.display(),
            messages.join("\n")
        );
        tally.failed += 1;
    }
    Ok(tally)
}

/// Shows cargo's messages and what tests say past the harness; gives all of them.
fn follow_messages(steps: &Steps, stderr: impl Read) -> Vec<String> {
    let mut messages = Vec::new();
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        if line.starts_with(SKIPPED) {
            steps.say(&line);
        } else {
            steps.show(line.trim());
        }
        messages.push(line);
    }
    messages
}

/// Reads the output of Rust's test harness.
#[derive(Debug, Default)]
struct Reader {
    tally: Tally,
    in_failures: bool,
    failures: Vec<String>,
}

impl Reader {
    fn read(&mut self, line: &str) {
        if line == "failures:" {
            self.in_failures = true;
        }
        if let Some(result) = line.strip_prefix("test result: ") {
            self.in_failures = false;
            let number = |word: &str| {
                let part = result
                    .split(['.', ';'])
                    .find_map(|part| part.trim().strip_suffix(word));
                part.and_then(|number| number.trim().parse::<u64>().ok())
                    .unwrap_or_default()
            };
            self.tally.add(Tally {
                passed: number("passed"),
                failed: number("failed"),
                skipped: number("ignored"),
            });
        } else if self.in_failures {
            self.failures.push(line.to_owned());
        }
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_summed_and_failures_kept() {
        let mut reader = Reader::default();
        let output = "running 2 tests\ntest a ... ok\ntest b ... FAILED\n\nfailures:\n\n---- b stdout ----\nbroken\n\n\
            test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
            running 3 tests\ntest result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        output.lines().for_each(|line| reader.read(line));
        assert_eq!(
            reader.tally,
            Tally {
                passed: 4,
                failed: 1,
                skipped: 1
            }
        );
        assert!(reader.failures.contains(&"broken".to_owned()));
    }
}
