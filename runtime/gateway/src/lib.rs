//! `tidegate`: the gateway. The only crate that sees all stages; each of them is explained in its own.
//!
//! # Layout
//! - [`cli`]: the commands. [`config`]: `gateway.toml`. [`error`]: what can go wrong, and the exit codes.
//! - [`install`]: bundles to modules that may run here.
//! - [`run`]: puts the stages together, and takes them apart in the order in which the data flows.
//! - [`dispatch`]: records to the modules' inboxes. [`effects`]: what leaves at once.
//! - [`status`]: what the gateway says of itself. [`control`]: the socket on which it says it.

mod cli;
mod config;
mod control;
mod dispatch;
mod effects;
mod error;
mod install;
mod look;
mod run;
mod status;

use std::process::ExitCode;

use clap::Parser;

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => return error::usage(&usage),
    };
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => error::report(&failure),
    }
}
