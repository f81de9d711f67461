//! `tidegate`: the gateway. The only crate that sees all stages; each of them is explained in its own.
//!
//! # Layout
//! - [`cli`]: the commands. [`config`]: `gateway.toml`. [`error`]: what can go wrong, and the exit codes.
//! - [`look`]: into the buffer. [`stat`]: how much is in it. [`export`]: out of it into a file. [`replay`]: what was
//!   set aside, to its modules again.
//! - [`device`]: the key that this machine signs with. [`identity`]: who it is at a centre. [`enrol`]: how it becomes that.
//! - [`install`]: bundles to modules that may run here. [`deployed`]: the same of a fleet's deployment. [`secrets`]: what it names.
//! - [`updates`]: the gateway under its fleet's deployments.
//! - [`run`]: puts the stages together, and takes them apart in the order in which the data flows. [`stages`]: those in the
//!   middle. [`service`]: what the service manager is told.
//! - [`dispatch`]: records to the modules. [`skips`]: those that lead to nothing. [`effects`]: what leaves at once.
//! - [`status`]: what the gateway says of itself. [`control`]: the socket on which it says it.
//! - [`lag`]: how far the centre is behind, and the alarm when that is too much.
//! - [`metrics`]: counters as OpenMetrics text. [`scrape`]: the port on which they are read.

mod cli;
mod config;
mod control;
mod deployed;
mod device;
mod dispatch;
mod effects;
mod enrol;
mod error;
mod export;
mod identity;
mod install;
mod lag;
mod look;
mod metrics;
mod replay;
mod run;
mod scrape;
mod secrets;
mod service;
mod skips;
mod stages;
mod stat;
mod status;
mod updates;
mod uplink;

use std::process::ExitCode;

use clap::Parser;

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => return error::usage(&usage),
    };
    match cli.run() {
        Ok(code) => code,
        Err(failure) => error::report(&failure),
    }
}
