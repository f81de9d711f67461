//! A fleet at one centre from the command line: a table of what is promised of rollouts and what was seen.

use anyhow::Result;
use clap::Args;
use tidegate_tests::binaries::{Binaries, target_folder};
use tidegate_tests::rollout::{Campaign, run as run_campaign};

use crate::lines;
use crate::setup;
use crate::steps::Steps;

/// How many, and how they fare.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Gateways, each a process of its own
    #[arg(long, default_value_t = 50)]
    gateways: usize,
    /// Decides who is killed, and when
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Runs it and prints the table. A promise that is broken is an error.
pub(crate) fn run(steps: &Steps, arguments: &Arguments) -> Result<()> {
    setup::run(steps)?;
    steps.say("building the gateway, the centre and tide");
    let folder = tempfile::tempdir_in(target_folder()?)?;
    let campaign = Campaign {
        gateways: arguments.gateways,
        seed: arguments.seed,
        binaries: Binaries::built()?,
        directory: folder.path(),
    };
    let lines = run_campaign(&campaign, &mut |text| steps.say(text))?;
    lines::judge(&lines)
}
