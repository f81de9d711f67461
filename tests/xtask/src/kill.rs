//! The kill drill from the command line.

use anyhow::Result;
use clap::Args;

use crate::steps::Steps;

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

pub(crate) fn run(steps: &Steps, arguments: &Arguments) -> Result<()> {
    steps.say(&format!("{arguments:?}"));
    Ok(())
}
