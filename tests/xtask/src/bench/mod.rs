//! Ours against a reference, both measured in one run, because timings on a shared machine mean little alone.
//!
//! # Layout
//! - `table`: a line of the table, its target, and whether that is met.
//! - `rigged`: a plant with release programs, and the bare subscriber.
//! - `sandbox`: a message in the sandbox, against the same work natively.
//! - `receive`: messages in -> fsynced -> PUBACK, against a subscriber that only acknowledges.
//! - `drain`: a backlog in the broker, against the same subscriber.
//! - `react`: message in -> message out, against the broker alone.
//! - `durable`: message in -> PUBACK at a fixed rate, against one fsync.
//! - `rows`: rows a second, against bare SQLite.
//! - `start`: start to first message out, against the bare subscriber's.
//! - `memory`: with three modules, against none.
//! - `size`: our programs, against the bare subscriber.
//! - `uplink`: bytes to the centre, against bytes in.
//! - `wear`: bytes to the block device, against bytes in.

mod drain;
mod durable;
mod memory;
mod react;
mod receive;
mod rigged;
mod rows;
mod sandbox;
mod size;
mod start;
mod table;
mod uplink;
mod wear;

use anyhow::{Result, bail};
use clap::Args;

use crate::setup;
use crate::steps::Steps;
use rigged::Rig;
use table::Line;

/// Options of the benches.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only benches whose name contains this
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Unoptimised programs and few messages: shows that the benches work, and no numbers worth keeping
    #[arg(long)]
    quick: bool,
}

type Bench = fn(&Rig) -> Result<Vec<Line>>;

const BENCHES: [(&str, Bench); 11] = [
    ("sandbox", sandbox::run),
    ("receive", receive::run),
    ("drain", drain::run),
    ("react", react::run),
    ("durable", durable::run),
    ("rows", rows::run),
    ("start", start::run),
    ("memory", memory::run),
    ("size", size::run),
    ("uplink", uplink::run),
    ("wear", wear::run),
];

/// Runs the benches and prints the table. A target that is missed is said, and is not an error; a bench that cannot run is.
pub(crate) fn run(steps: &Steps, arguments: &Arguments) -> Result<()> {
    setup::run(steps)?;
    steps.say("building everything, optimised: this takes minutes");
    let rig = Rig::build(arguments.quick)?;
    let wanted = |name: &str| {
        arguments
            .only
            .as_ref()
            .is_none_or(|only| name.contains(only.as_str()))
    };
    let (mut lines, mut failed) = (Vec::new(), Vec::new());
    for (name, bench) in BENCHES.into_iter().filter(|(name, _)| wanted(name)) {
        steps.say(&format!("bench {name}"));
        match bench(&rig) {
            Ok(more) => lines.extend(more),
            Err(error) => {
                steps.say(&format!("bench {name} failed: {error:#}"));
                failed.push(name);
            }
        }
    }
    println!("\n{}", table::table(&lines));
    if !failed.is_empty() {
        bail!("these benches failed: {}", failed.join(", "));
    }
    Ok(())
}
