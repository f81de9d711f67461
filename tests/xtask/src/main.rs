//! `cargo xtask`: set-up, demo, tests and benches of the whole product. It drives the product's programs as processes
//! and links none of it, so that it is built in seconds.
//!
//! # Layout
//! - [`setup`]: what a fresh machine lacks.
//! - [`test`]: all tests, with one line of result.
//! - [`demo`]: the whole path on real input, with kills and a cut link, and a table of what came out.
//! - [`faults`]: hurts the product in many ways, many times, and looks for what was lost.
//! - [`attacks`]: forged, old, foreign and changed documents, and how many got through.
//! - [`fuzz`]: changed input for every parser, and what they are held against.
//! - [`offline`]: a week without a link, in minutes. [`rollout`]: a fleet at one centre. [`lines`]: what these promise.
//! - [`sbom`]: what each program is made of.
//! - [`bench`]: ours against a reference, both measured in one run.
//! - [`steps`]: what the user sees meanwhile. [`columns`]: tables.

#![allow(clippy::print_stdout, reason = "a program for the terminal")]
#![allow(
    clippy::disallowed_methods,
    reason = "it times real processes, by the real clock"
)]

mod attacks;
mod bench;
mod columns;
mod demo;
mod faults;
mod fuzz;
mod lines;
mod offline;
mod rollout;
mod sbom;
mod setup;
mod steps;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use steps::Steps;

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    about = "Set-up, demo, tests and benches of Tidegate"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Installs what this machine lacks: broker, browser, tracer, fuzzer, and a compiler for modules
    Setup,
    /// Shows the whole path on real input, with a cut link and two kills, in one command
    Demo(demo::Arguments),
    /// Runs all tests, with real brokers, guests for both targets and a browser
    Test,
    /// Measures ours against a reference and prints a table with targets
    Bench(bench::Arguments),
    /// Hurts the product (kills, links, disks, clocks, brokers) and looks for what was lost or counted twice
    Faults(faults::Arguments),
    /// Gives forged, old, foreign and changed documents to who verifies them, and counts what got through
    Attacks(attacks::Arguments),
    /// Gives changed input to every parser that reads bytes of somebody else, and holds what comes of it against what is promised
    Fuzz(fuzz::Arguments),
    /// Takes a week's records without a link, in minutes, and lets them leave when it is back
    Offline(offline::Arguments),
    /// Rolls a good release and a bad one out to a fleet of gateways over HTTPS, and kills a third of them meanwhile
    Rollout(rollout::Arguments),
    /// Writes a bill of materials for each program, as CycloneDX, into the target folder
    Sbom,
}

fn main() -> ExitCode {
    let steps = Steps::start();
    let result = match Arguments::parse().command {
        Command::Setup => setup::run(&steps).and_then(|()| fuzz::set_up(&steps)),
        Command::Demo(arguments) => demo::run(&steps, &arguments),
        Command::Bench(arguments) => bench::run(&steps, &arguments),
        Command::Test => test::run(&steps),
        Command::Faults(arguments) => faults::run(&steps, &arguments),
        Command::Attacks(arguments) => attacks::run(&steps, &arguments),
        Command::Fuzz(arguments) => fuzz::run(&steps, &arguments),
        Command::Offline(arguments) => offline::run(&steps, &arguments),
        Command::Rollout(arguments) => rollout::run(&steps, &arguments),
        Command::Sbom => sbom::run(&steps),
    };
    if let Err(error) = &result {
        println!("error: {error:#}");
    }
    println!("took {}", steps.elapsed());
    if result.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
