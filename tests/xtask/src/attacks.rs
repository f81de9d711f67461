//! The attacks from the command line: a table, and after it the negative controls.

use anyhow::{Result, ensure};
use clap::Args;
use tidegate_tests::attacks::{Line, SUITES};

use crate::columns::aligned;
use crate::steps::Steps;

/// How much chance there is in them.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Random changes of every kind of document
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    mutations: u64,
    /// Decides which
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Random changes in a negative control: it must let something through soon.
const CONTROL: u64 = 1000;

/// Runs the attacks and their controls. Whatever was accepted, refused for another reason or left a trace is an error, and so
/// is a control in which nothing got through.
pub(crate) fn run(steps: &Steps, arguments: &Arguments) -> Result<()> {
    let Arguments { mutations, seed } = *arguments;
    let (mut lines, mut faults) = (Vec::new(), Vec::new());
    for suite in SUITES {
        let package = suite.package;
        steps.say(&format!(
            "{package}: {mutations} random changes, seed {seed}"
        ));
        lines.extend(suite.run(mutations, seed)?);
        for fault in suite.controls {
            let through = suite.control(fault, mutations.min(CONTROL), seed)?;
            steps.say(&format!("negative control {fault}: {}", told(&through)));
            if through.is_empty() {
                faults.push(format!(
                    "{fault}: nothing got through, the attacks prove nothing"
                ));
            }
        }
    }
    for line in lines.iter().filter(|line| !line.holds()) {
        let problems = line.problems.iter();
        problems.for_each(|problem| steps.say(&format!("{}: {problem}", line.attack)));
        faults.push(format!("{}: fault found", line.attack));
    }
    println!("\n{}", table(&lines));
    let harmless: u64 = lines.iter().map(|line| line.harmless).sum();
    println!(
        "besides, {harmless} changes left what is signed as it was and were taken for the genuine document"
    );
    ensure!(faults.is_empty(), "{}", faults.join("; "));
    println!(
        "everything was refused for its reason and changed nothing, and every negative control let something through"
    );
    Ok(())
}

/// What a control let through.
fn told(lines: &[Line]) -> String {
    let told = lines.iter().map(|line| {
        let through = line.variants - line.refused;
        format!("{through} of {} through in {}", line.variants, line.attack)
    });
    let told: Vec<_> = told.collect();
    if told.is_empty() {
        "nothing".to_owned()
    } else {
        told.join(", ")
    }
}

fn table(lines: &[Line]) -> String {
    let head = [
        "attack",
        "variants",
        "refused",
        "reason code right",
        "state unchanged",
        "running set unchanged",
    ];
    let rows = lines.iter().map(Line::columns);
    let rows: Vec<[String; 6]> = std::iter::once(head.map(str::to_owned))
        .chain(rows)
        .collect();
    aligned(&rows)
}
