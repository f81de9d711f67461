//! The kill drill from the command line.

use anyhow::{Result, ensure};
use clap::Args;
use tidegate_tests::binaries::Binaries;
use tidegate_tests::kill::{self, Drill, Finding};

use crate::setup;
use crate::steps::Steps;

/// Messages a second while there is no backlog.
const PER_SECOND: f64 = 2000.0;

/// How much to kill.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Number of kills
    #[arg(long, default_value_t = 50)]
    count: u32,
    /// How many of them while the gateway drains a backlog
    #[arg(long, default_value_t = 10)]
    saturated: u32,
    /// Messages of a backlog
    #[arg(long, default_value_t = 100_000)]
    backlog: u64,
    /// Decides when each kill falls
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Runs the drill, and a short one against a gateway that acknowledges before it commits: that one must be caught.
pub(crate) fn run(steps: &Steps, arguments: &Arguments) -> Result<()> {
    setup::run(steps)?;
    steps.say("building the gateway, the centre and tide");
    let binaries = Binaries::built()?;
    let drill = Drill {
        kills: arguments.count,
        saturated: arguments.saturated,
        backlog: arguments.backlog,
        per_second: PER_SECOND,
        seed: arguments.seed,
        ack_before_commit: false,
    };
    steps.say(&format!(
        "{} kills, {} of them saturated, seed {}",
        drill.kills, drill.saturated, drill.seed
    ));
    let finding = in_folder(steps, &drill, binaries)?;
    let control = Drill {
        kills: 3,
        saturated: 1,
        ack_before_commit: true,
        ..drill
    };
    steps.say("negative control: the same with a gateway that acknowledges before it commits");
    let caught = in_folder(steps, &control, binaries)?;
    let verdict = |holds: bool| {
        if holds {
            "nothing lost, doubled or acknowledged too early"
        } else {
            "FAULT FOUND"
        }
    };
    for (title, finding) in [("drill", &finding), ("negative control", &caught)] {
        println!("\n{title}: {}", verdict(finding.holds()));
        finding.lines().iter().for_each(|line| println!("  {line}"));
    }
    println!();
    ensure!(finding.holds(), "the drill found fault");
    ensure!(
        !caught.acks.holds(),
        "the negative control was not caught: the drill proves nothing"
    );
    Ok(())
}

fn in_folder(steps: &Steps, drill: &Drill, binaries: &Binaries) -> Result<Finding> {
    let folder = tempfile::tempdir()?;
    kill::run(drill, binaries, folder.path(), &mut |text| steps.say(text))
}
