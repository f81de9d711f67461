//! A week without a link from the command line: a table of what is promised and what was measured.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use tidegate_tests::binaries::{Binaries, Profile, target_folder};
use tidegate_tests::offline::{Outage, run as run_outage};

use crate::lines;
use crate::setup;
use crate::steps::Steps;

/// How long, how much, how little room.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// How long there is no link
    #[arg(long, default_value_t = 7)]
    days: u64,
    /// Records a second
    #[arg(long, default_value_t = 50)]
    rate: u64,
    /// Records in all, instead of as many as days and rate make: these are spread over the same days. 0 for all
    #[arg(long, value_name = "N", default_value_t = 3_000_000)]
    rows: u64,
    /// The buffer's quota
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    quota_mib: u64,
    /// Decides the values
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Runs it with optimised programs and prints the table. A promise that is broken is an error.
pub(crate) fn run(steps: &Steps, arguments: &Arguments) -> Result<()> {
    setup::run(steps)?;
    let binaries = if std::env::var_os("TIDEGATE_BINARIES").is_some() {
        Binaries::built()?.clone()
    } else {
        steps.say("building the gateway, the centre and tide, optimised: this takes minutes");
        Binaries::build(Profile::Release)?
    };
    let all = arguments.days * 86_400 * arguments.rate;
    let records = match arguments.rows {
        0 => all,
        some => some.min(all),
    };
    let (days, rate) = (arguments.days, arguments.rate);
    steps.say(&format!(
        "{days} days at {rate} records a second are {all}; {records} of them are taken, seed {}",
        arguments.seed
    ));
    let folder = tempfile::tempdir_in(target_folder()?)?;
    let outage = Outage {
        days: arguments.days,
        per_second: arguments.rate,
        records,
        quota_mib: arguments.quota_mib,
        live: Duration::from_secs(60),
        seed: arguments.seed,
        binaries: &binaries,
        directory: folder.path(),
    };
    let lines = run_outage(&outage, &mut |text| steps.say(text))?;
    lines::judge(&lines)
}
