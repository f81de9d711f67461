//! The commands.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::Settings;
use crate::error::Error;
use crate::updates::commands::Update;
use crate::{control, device, enrol, install, look, run};

/// Runs signed WebAssembly modules over sensor and MQTT streams, and keeps their results while the link is down.
#[derive(Debug, Parser)]
#[command(
    name = "tidegate",
    version,
    after_help = "Exit codes: 0 done, 1 failed, 64 wrong usage or configuration, \
    69 no gateway answers, 74 storage failed."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway until it is stopped.
    Run(Common),
    /// Check the configuration, the root document and every bundle, without running anything.
    Check(Common),
    /// Show what the running gateway is doing.
    Status(StatusArguments),
    /// Become a gateway of a centre, with a token that it gave.
    Enrol(enrol::EnrolArguments),
    /// Show the public half of the key that this machine signs with, or change the key.
    DeviceKey(DeviceKeyArguments),
    /// Look at what the fleet wants of this gateway, and bring it by hand.
    #[command(subcommand)]
    Update(Update),
    /// Look into the buffer, while the gateway runs or not.
    #[command(subcommand)]
    Buffer(look::Buffer),
    /// Look at messages that were set aside.
    #[command(subcommand)]
    DeadLetter(look::DeadLetter),
    /// Run modules for a gateway, which starts this itself.
    #[command(hide = true)]
    Worker,
    /// Compile a module for a gateway, which starts this itself.
    #[command(hide = true)]
    Compile,
}

#[derive(Debug, Args)]
pub(crate) struct Common {
    /// The gateway's configuration.
    #[arg(short, long, default_value = "/etc/tidegate/gateway.toml")]
    pub(crate) config: PathBuf,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
struct DeviceKeyArguments {
    #[command(subcommand)]
    command: Option<DeviceKeyCommand>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum DeviceKeyCommand {
    /// Make a new key, and let it follow the old one at each centre where this machine is enrolled.
    Rotate(Common),
}

#[derive(Debug, Args)]
struct StatusArguments {
    /// The gateway's configuration.
    #[arg(short, long, default_value = "/etc/tidegate/gateway.toml")]
    config: PathBuf,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t = StatusOutput::Text)]
    output: StatusOutput,
}

/// How to print a status.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum StatusOutput {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// Counters for a monitoring system, such as node_exporter's textfile collector.
    Openmetrics,
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl Cli {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<ExitCode, Error> {
        match self.command {
            Command::Worker => {
                log_to_stderr();
                Ok(tidegate_sandbox::worker::main())
            }
            Command::Compile => Ok(tidegate_sandbox::compile::main()),
            command => command.run().map(|()| ExitCode::SUCCESS),
        }
    }
}

impl Command {
    fn run(self) -> Result<(), Error> {
        match self {
            Self::Worker | Self::Compile => Ok(()),
            Self::Run(common) => {
                log_to_stderr();
                block_on(run::run(&common.config))
            }
            Self::Check(common) => check(&common),
            Self::Status(arguments) => show_status(&arguments),
            Self::Enrol(arguments) => block_on(enrol::enrol(&arguments)),
            Self::DeviceKey(DeviceKeyArguments { command, common }) => match command {
                Some(DeviceKeyCommand::Rotate(common)) => block_on(enrol::rotate(&common)),
                None => device::show(&common),
            },
            Self::Update(command) => block_on(command.run()),
            Self::Buffer(command) => block_on(command.run()),
            Self::DeadLetter(command) => block_on(command.run()),
        }
    }
}

fn show_status(arguments: &StatusArguments) -> Result<(), Error> {
    let socket = Settings::read(&arguments.config)?.control_socket();
    let (command, output) = match arguments.output {
        StatusOutput::Text => ("status", Output::Text),
        StatusOutput::Json => ("status", Output::Json),
        StatusOutput::Openmetrics => ("metrics", Output::Text),
    };
    let answer = block_on(control::ask(&socket, command))?;
    print(output, &answer, || match answer.get("openmetrics") {
        Some(metrics) => metrics.as_str().unwrap_or_default().to_owned(),
        None => crate::status::text(&answer),
    });
    Ok(())
}

fn check(common: &Common) -> Result<(), Error> {
    let (settings, root) = run::read(&common.config)?;
    let checked: Vec<_> = settings
        .modules
        .iter()
        .map(|module| install::check(module, &root))
        .collect();
    let refused = checked.iter().filter(|outcome| outcome.is_err()).count();
    let report = settings.modules.iter().zip(&checked).map(|(module, outcome)| {
        let bundle = module.bundle.display().to_string();
        match outcome {
            Ok(accepted) => serde_json::json!({"bundle": bundle, "module": accepted.name.as_str(), "version": accepted.version}),
            Err(refusal) => serde_json::json!({"bundle": bundle, "refused": refusal.to_string()}),
        }
    });
    let report = serde_json::Value::Array(report.collect());
    print(common.output, &report, || {
        let lines = checked
            .iter()
            .zip(&settings.modules)
            .map(|(outcome, module)| match outcome {
                Ok(accepted) => format!(
                    "module {} {} can run here\n",
                    accepted.name, accepted.version
                ),
                Err(refusal) => format!("{}: {refusal}\n", module.bundle.display()),
            });
        lines
            .chain([format!(
                "configuration {} is valid\n",
                common.config.display()
            )])
            .collect()
    });
    match refused {
        0 => Ok(()),
        refused => Err(Error::Modules(refused)),
    }
}

#[allow(clippy::print_stdout, reason = "what the operator asked for")]
pub(crate) fn print(output: Output, json: &serde_json::Value, text: impl FnOnce() -> String) {
    match output {
        Output::Text => print!("{}", text()),
        Output::Json => println!("{json}"),
    }
}

/// One thread for everything but SQLite: on small machines, hand-overs between threads cost more than they win.
fn block_on<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime
        .map_err(|source| Error::System {
            what: "start the runtime",
            source,
        })?
        .block_on(work)
}

/// `TIDEGATE_LOG` is a level, or levels by crate: `info,tidegate_field=debug`.
fn log_to_stderr() {
    let wanted = std::env::var("TIDEGATE_LOG")
        .ok()
        .and_then(|levels| levels.parse().ok());
    let levels: Targets = wanted.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    tracing_subscriber::registry()
        .with(lines)
        .with(levels)
        .init();
}
