//! Fuzzing from the command line: every parser that reads bytes of somebody else, each for a while; a table.
//!
//! The targets, and what they hold a parser against, are the package `tests/fuzz`. It is built once for all of them, without a
//! sanitizer: those look for broken memory, which safe code has none of, and want a nightly compiler.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use tidegate_tests::binaries::{repository, target_folder};

use crate::columns::aligned;
use crate::steps::Steps;

/// What to run, and for how long.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The only target; all of them without it
    target: Option<String>,
    /// How long each is run, in seconds
    #[arg(long, value_name = "N", default_value_t = 10)]
    seconds: u64,
    /// Decides the changes
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    seed: u32,
}

/// The target that must be found out, or the others prove nothing.
const CONTROL: &str = "control";

/// Longest input, in bytes: the documents, archives and messages that it begins with have a tenth.
const INPUT_BYTES_MAX: u32 = 32 << 10;
/// Longest time for one input: what takes that long is a finding.
const INPUT_SECONDS_MAX: u32 = 10;
/// Most memory: what takes more is a finding.
const MEMORY_MIB_MAX: u32 = 1024;

/// What became of a target: a line of the table.
#[derive(Debug, PartialEq)]
pub(crate) struct Line {
    target: String,
    runs: u64,
    seconds: f64,
    /// The input that broke a promise, and what was said of it.
    found: Option<(PathBuf, String)>,
}

impl Line {
    /// Whether nothing was found; for the control, whether something was.
    pub(crate) fn holds(&self) -> bool {
        self.runs > 0 && self.found.is_some() == (self.target == CONTROL)
    }
}

/// Runs the targets. A finding is an error, and so is a control without one.
pub(crate) fn run(steps: &Steps, arguments: &Arguments) -> Result<()> {
    set_up(steps)?;
    let mut targets = targets()?;
    if let Some(target) = &arguments.target {
        let all = targets.join(", ");
        targets.retain(|known| known == target);
        ensure!(!targets.is_empty(), "no target {target:?}: there are {all}");
    }
    let corpus = folder().join("corpus");
    let lines = fuzz(steps, &targets, arguments.seconds, arguments.seed, &corpus)?;
    println!("\n{}", table(&lines));
    let faults: Vec<_> = lines
        .iter()
        .filter(|line| !line.holds())
        .map(fault)
        .collect();
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    println!(
        "no promise was broken; inputs that reached something new are kept in {}",
        corpus.display()
    );
    Ok(())
}

/// All targets for so many seconds each, as many at a time as there are processors. What they reach is kept in `corpus`, for
/// the next run to go on from.
pub(crate) fn fuzz(
    steps: &Steps,
    targets: &[String],
    seconds: u64,
    seed: u32,
    corpus: &Path,
) -> Result<Vec<Line>> {
    steps.say("building the fuzz targets");
    cargo_fuzz("build", &[])?;
    steps.say(&format!(
        "fuzzing {}, {seconds} s each, seed {seed}",
        targets.join(", ")
    ));
    let waiting = Mutex::new(targets.iter().collect::<VecDeque<_>>());
    let next = || {
        waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    };
    let work = || -> Result<Vec<Line>> {
        let mut lines = Vec::new();
        while let Some(target) = next() {
            lines.push(fuzz_one(target, seconds, seed, &corpus.join(target))?);
        }
        Ok(lines)
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut lines = std::thread::scope(|scope| -> Result<Vec<Line>> {
        let workers: Vec<_> = (0..processors).map(|_| scope.spawn(work)).collect();
        let mut lines = Vec::new();
        for worker in workers {
            lines.extend(
                worker
                    .join()
                    .unwrap_or_else(|_| bail!("a worker has panicked"))?,
            );
        }
        Ok(lines)
    })?;
    lines.sort_by(|one, other| one.target.cmp(&other.target));
    Ok(lines)
}

fn fuzz_one(target: &str, seconds: u64, seed: u32, corpus: &Path) -> Result<Line> {
    std::fs::create_dir_all(corpus).with_context(|| format!("cannot make {}", corpus.display()))?;
    let corpus = corpus.display().to_string();
    let options = [
        format!("-max_total_time={seconds}"),
        format!("-seed={seed}"),
        format!("-max_len={INPUT_BYTES_MAX}"),
        format!("-timeout={INPUT_SECONDS_MAX}"),
        format!("-rss_limit_mb={MEMORY_MIB_MAX}"),
        "-len_control=0".to_owned(),
        "-print_final_stats=1".to_owned(),
    ];
    let mut arguments = vec![target, &corpus, "--"];
    arguments.extend(options.iter().map(String::as_str));
    let start = Instant::now();
    let said = cargo_fuzz("run", &arguments)?;
    Line::read(target, start.elapsed().as_secs_f64(), &said)
}

impl Line {
    /// Reads what the fuzzer said.
    fn read(target: &str, seconds: f64, said: &str) -> Result<Self> {
        let after = |words: &str| said.lines().find_map(|line| line.split_once(words));
        let runs =
            after("stat::number_of_executed_units:").map(|(_, number)| number.trim().parse());
        let Some(Ok(runs)) = runs else {
            bail!("target {target} did not run:\n{said}");
        };
        let panic = said
            .lines()
            .skip_while(|line| !line.contains("panicked at"));
        let mut promise: Vec<_> = panic.take(3).collect();
        if promise.is_empty() {
            promise.extend(after("SUMMARY: ").map(|(_, summary)| summary));
        }
        let input = after("Test unit written to ").map(|(_, file)| PathBuf::from(file.trim()));
        Ok(Self {
            target: target.to_owned(),
            runs,
            seconds,
            found: input.map(|input| (input, promise.join(" "))),
        })
    }
}

/// What to tell of a line that does not hold.
pub(crate) fn fault(line: &Line) -> String {
    let target = &line.target;
    match &line.found {
        None => format!(
            "{target}: nothing was found in {} runs, the targets prove nothing",
            line.runs
        ),
        Some((input, promise)) => format!(
            "{target}: {promise}\n  input: {}\n  again: cargo fuzz run --dev --sanitizer none --fuzz-dir {} {target} {}",
            input.display(),
            folder().display(),
            input.display()
        ),
    }
}

/// What a machine lacks for it.
pub(crate) fn set_up(steps: &Steps) -> Result<()> {
    let has = Command::new("cargo")
        .args(["fuzz", "--version"])
        .stdin(Stdio::null())
        .output();
    if has.is_ok_and(|output| output.status.success()) {
        return Ok(());
    }
    steps.say("installing cargo-fuzz");
    let mut command = Command::new("cargo");
    command.args(["install", "--quiet", "--locked", "cargo-fuzz"]);
    let output = command
        .stdin(Stdio::null())
        .output()
        .context("cannot start cargo")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "cannot install cargo-fuzz: {}",
        said.trim()
    );
    Ok(())
}

/// Names of all targets, in order.
pub(crate) fn targets() -> Result<Vec<String>> {
    let sources = folder().join("fuzz_targets");
    let entries = sources
        .read_dir()
        .with_context(|| format!("no {}", sources.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_stem().context("a target without a name")?;
        names.push(name.to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// One of cargo-fuzz's commands; what it says. A finding ends a run with an error, which is for the caller to tell.
fn cargo_fuzz(command: &str, arguments: &[&str]) -> Result<String> {
    let folder = folder();
    let target = target_folder()?.join("fuzz");
    let output = Command::new("cargo")
        .args([
            "fuzz",
            command,
            "--dev",
            "--sanitizer",
            "none",
            "--fuzz-dir",
        ])
        .arg(&folder)
        .arg("--target-dir")
        .arg(&target)
        .args(arguments)
        .current_dir(&folder)
        .stdin(Stdio::null())
        .output()
        .context("cannot start cargo")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.success() || command == "run",
        "the fuzz targets cannot be built:\n{said}"
    );
    Ok(said)
}

fn folder() -> PathBuf {
    repository().join("tests").join("fuzz")
}

fn table(lines: &[Line]) -> String {
    let found = |line: &Line| match (&line.found, line.target == CONTROL) {
        (None, _) => "nothing".to_owned(),
        (Some(_), true) => "as it must".to_owned(),
        (Some((input, _)), false) => input.display().to_string(),
    };
    let head = ["target", "runs", "seconds", "found"].map(str::to_owned);
    let rows = lines.iter().map(|line| {
        let seconds = format!("{:.1}", line.seconds);
        [
            line.target.clone(),
            line.runs.to_string(),
            seconds,
            found(line),
        ]
    });
    let rows: Vec<[String; 4]> = std::iter::once(head).chain(rows).collect();
    aligned(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BROKEN: &str = "INFO: Seed: 1\n#2 INITED cov: 5\n\nthread '<unnamed>' panicked at src/documents.rs:70:9:\n\
        a refusal changes nothing\nnote: run with RUST_BACKTRACE=1\nstat::number_of_executed_units: 312\n\
        artifact_prefix='a/'; Test unit written to a/crash-1\n";

    #[test]
    fn a_finding_is_told_with_its_input_and_does_not_hold_but_for_the_control() {
        let line = Line::read("time", 1.5, BROKEN).unwrap();
        assert_eq!(line.runs, 312);
        assert!(!line.holds());
        let told = fault(&line);
        for part in ["a refusal changes nothing", "a/crash-1", "--sanitizer none"] {
            assert!(told.contains(part), "{told}");
        }
        assert!(Line::read(CONTROL, 1.5, BROKEN).unwrap().holds());
    }

    #[test]
    fn a_target_holds_only_if_it_ran_and_nothing_was_found() {
        let line = Line::read("time", 1.5, "stat::number_of_executed_units: 9\n").unwrap();
        assert!(line.holds());
        let control = Line::read(CONTROL, 1.5, "stat::number_of_executed_units: 9\n").unwrap();
        assert!(!control.holds());
        assert!(Line::read("time", 1.5, "error: no such target\n").is_err());
    }
}
