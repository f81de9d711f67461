//! The command line.

use clap::{Parser, Subcommand, ValueEnum};

use crate::commands::{
    build, bundle_usb, deploy, desired, fleet, import, inspect, keygen, new, push, rollout, root,
    sign, test, verify,
};
use crate::error::Error;
use crate::report::Report;

const EXIT_CODES: &str = "\
Exit codes:
  0   done
  1   failed: a file could not be written, a compiler is missing, cargo or a signer failed, the centre cannot be reached
  2   a module fails on its recorded input, or does not send what is expected
  3   a signed file is refused, here or by the centre; or the centre refuses the token
  64  wrong usage; a centre without a token
  65  an input is not what it must be: tide.toml, a deployment file, a component, a key, a recording
  66  an input cannot be read";

/// Makes, builds, tests, signs and checks Tidegate modules.
#[derive(Debug, Parser)]
#[command(name = "tide", version, after_help = EXIT_CODES, after_long_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// What stdout gets: text for people, or one JSON object.
    #[arg(short, long, global = true, value_enum, default_value = "text")]
    pub(crate) output: Output,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    New(new::Args),
    Build(build::Args),
    Test(test::Args),
    Keygen(keygen::Args),
    #[command(subcommand)]
    Root(root::Command),
    Sign(sign::Args),
    Verify(verify::Args),
    Inspect(inspect::Args),
    Push(push::Args),
    Deploy(deploy::Args),
    #[command(subcommand)]
    Rollout(rollout::Command),
    #[command(subcommand)]
    Fleet(fleet::Command),
    BundleUsb(bundle_usb::Args),
    Plan(desired::Plan),
    Apply(desired::Apply),
    Import(import::Args),
}

impl Command {
    pub(crate) fn run(&self) -> Result<Report, Error> {
        match self {
            Self::New(args) => args.run(),
            Self::Build(args) => args.run(),
            Self::Test(args) => args.run(),
            Self::Keygen(args) => args.run(),
            Self::Root(command) => command.run(),
            Self::Sign(args) => args.run(),
            Self::Verify(args) => args.run(),
            Self::Inspect(args) => args.run(),
            Self::Push(args) => args.run(),
            Self::Deploy(args) => args.run(),
            Self::Rollout(command) => command.run(),
            Self::Fleet(command) => command.run(),
            Self::BundleUsb(args) => args.run(),
            Self::Plan(args) => args.run(),
            Self::Apply(args) => args.run(),
            Self::Import(args) => args.run(),
        }
    }
}
