//! `tidegate-cloud`: reads the command line, sets up the log, runs until a signal, and maps errors to exit codes.

use std::error::Error as _;
use std::io::{IsTerminal, Write as _};
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use tidegate_cloud::{Command, Error, audit, gateways, tokens};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The command line or a file it names is wrong: nothing was started.
const EXIT_USAGE: u8 = 64;

/// It was started and failed.
const EXIT_FAILURE: u8 = 1;

/// The centre of a Tidegate fleet.
#[derive(Debug, Parser)]
#[command(name = "tidegate-cloud", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let asked = matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
            );
            return match error.print() {
                Ok(()) if asked => ExitCode::SUCCESS,
                _ => EXIT_USAGE.into(),
            };
        }
    };
    start_log();
    match act(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = if matches!(
                error,
                Error::Settings(_)
                    | Error::Tls(_)
                    | Error::ReadRoot { .. }
                    | Error::Root { .. }
                    | Error::ReadTimeKey { .. }
                    | Error::OpenTimeKey { .. }
                    | Error::TimeKey { .. }
            ) {
                EXIT_USAGE
            } else {
                EXIT_FAILURE
            };
            log_chain(&error);
            code.into()
        }
    }
}

fn act(command: Command) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    let told = match command {
        Command::Run(arguments) => {
            let settings = arguments.try_into()?;
            return runtime.block_on(tidegate_cloud::run(settings));
        }
        Command::Token(command) => runtime.block_on(tokens::run(&command))?,
        Command::GatewayToken(command) => runtime.block_on(gateways::run(&command))?,
        Command::Audit(command) => runtime.block_on(audit::run(&command))?,
    };
    let mut stdout = std::io::stdout();
    stdout.write_all(told.as_bytes()).map_err(Error::Stdout)
}

/// Lines on stderr, so that stdout carries only the address; `TIDEGATE_LOG` selects them.
fn start_log() {
    let wanted = std::env::var("TIDEGATE_LOG")
        .ok()
        .and_then(|levels| levels.parse().ok());
    let levels: Targets = wanted.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    tracing_subscriber::registry()
        .with(lines)
        .with(levels)
        .init();
}

/// One line per cause.
fn log_chain(error: &Error) {
    tracing::error!("{error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        tracing::error!("  because {error}");
        cause = error.source();
    }
}
