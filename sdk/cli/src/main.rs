//! `tide`, the developer's and the central team's tool.
//!
//! Each subcommand is one file under `commands`: its arguments, and a `run` that gives a [`report::Report`] or an
//! [`error::Error`]. Progress goes to stderr; the report, and nothing else, to stdout.
//!
//! # Layout
//!
//! - `cli`: the command line
//! - `commands`: one file per subcommand
//! - `manifest`: tide.toml
//! - `deployment_file`: a deployment that is kept in git
//! - `project`: a module's folder, as cargo sees it
//! - `component`: what a built component imports and exports, and whether that is allowed
//! - `toolchain`: finds or fetches what builds WebAssembly
//! - `centre`: a connection to a centre
//! - `files`: reading and writing, bounded; key files
//! - `key`: what signs; `signer`: a command that does
//! - `clock`: the time that documents are stamped with
//! - `sdk`: the module SDK and templates inside this program
//! - `report`, `error`: the two ways in which a command ends, and the exit codes

mod centre;
mod cli;
mod clock;
mod commands;
mod component;
mod deployment_file;
mod error;
mod files;
mod key;
mod manifest;
mod project;
mod report;
mod sdk;
mod signer;
mod toolchain;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(shown) => return error::usage(&shown),
    };
    match cli.command.run() {
        Ok(report) => report.print(cli.output),
        Err(error) => error.print(cli.output),
    }
}
