//! What can go wrong, and the exit codes. They are documented in docs/guides/operating.md and do not change.

use std::error::Error as _;
use std::path::PathBuf;
use std::process::ExitCode;

use thiserror::Error;

/// Wrong usage or configuration: starting again does not help.
const USAGE: u8 = 64;
/// The gateway does not answer.
const UNAVAILABLE: u8 = 69;
/// Storage failed: nothing is acknowledged, starting again helps.
const STORAGE: u8 = 74;
/// Anything else.
const FAILURE: u8 = 1;

/// Why a command failed.
#[derive(Debug, Error)]
pub(crate) enum Error {
    /// A file cannot be read.
    #[error("cannot read the {what} {path}")]
    ReadFile {
        /// What it should be.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
    /// The configuration is wrong.
    #[error("the configuration {path} has problems:{problems}")]
    Config {
        /// The file.
        path: PathBuf,
        /// One line each.
        problems: String,
    },
    /// The policy is wrong.
    #[error("the policy {path} has problems:{problems}")]
    Policy {
        /// The file.
        path: PathBuf,
        /// One line each.
        problems: String,
    },
    /// The root document does not verify.
    #[error("cannot trust the root document {path}")]
    Root {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: tidegate_bundle::Error,
    },
    /// Modules that may not run here.
    #[error("{0} of the modules cannot run here")]
    Modules(usize),
    /// The buffer failed.
    #[error("the buffer failed")]
    Buffer(#[from] tidegate_buffer::Error),
    /// Rows are missing, doubled or damaged.
    #[error("{0} streams do not account for every row")]
    Accounts(usize),
    /// An export cannot be written.
    #[error("cannot export to {path}")]
    Export {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: crate::export::Refusal,
    },
    /// There is no device key.
    #[error("cannot use the device key {path}")]
    DeviceKey {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: crate::device::Problem,
    },
    /// This machine is not enrolled, or its key not changed.
    #[error("cannot do that")]
    Enrol(#[from] crate::enrol::Problem),
    /// A file is no key to seal to.
    #[error("cannot seal to the key {path}")]
    SealingKey {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: tidegate_bundle::Error,
    },
    /// No message with this number was set aside, or it made room for newer ones.
    #[error("no message {0} is set aside")]
    NoLetter(u64),
    /// Messages that were asked for are not set aside, or their module does not run.
    #[error("{0} messages are not given to their modules again")]
    NotReplayed(usize),
    /// The running gateway does not do it.
    #[error("the gateway refuses: {0}")]
    Refused(String),
    /// The sandbox cannot start.
    #[error("the sandbox cannot start")]
    Sandbox(#[from] tidegate_sandbox::Error),
    /// A broker or sensor cannot be set up.
    #[error("the field cannot start")]
    Field(#[from] tidegate_field::FieldError),
    /// The state of updates cannot be used.
    #[error("the update client cannot go on")]
    Update(#[from] tidegate_update::Error),
    /// The uplink cannot be set up.
    #[error("the uplink cannot start")]
    Uplink(#[from] tidegate_uplink::Error),
    /// A task ended that should not.
    #[error("the task {0} ended by itself")]
    Task(&'static str),
    /// The control socket cannot be opened.
    #[error("cannot listen on the control socket {path}")]
    Listen {
        /// The socket.
        path: PathBuf,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
    /// The port for metrics cannot be opened.
    #[error("cannot listen on {address} for metrics")]
    Port {
        /// The address.
        address: std::net::SocketAddr,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
    /// No gateway answers.
    #[error("no gateway answers on {path}: is it running?")]
    NoAnswer {
        /// The socket.
        path: PathBuf,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
    /// Something of the operating system failed.
    #[error("cannot {what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Config { .. }
            | Self::Policy { .. }
            | Self::ReadFile { .. }
            | Self::Root { .. }
            | Self::Modules(_) => USAGE,
            Self::NoAnswer { .. } => UNAVAILABLE,
            Self::Export { source, .. } if !source.is_storage() => USAGE,
            Self::SealingKey { .. } => USAGE,
            Self::Buffer(_) | Self::Export { .. } => STORAGE,
            Self::Update(error) if error.is_storage() => STORAGE,
            _ => FAILURE,
        }
    }
}

/// Prints the failure and its causes, one a line.
#[allow(clippy::print_stderr, reason = "the last words of the process")]
pub(crate) fn report(failure: &Error) -> ExitCode {
    eprintln!("tidegate: {failure}");
    let mut cause = failure.source();
    while let Some(source) = cause {
        eprintln!("  because: {source}");
        cause = source.source();
    }
    ExitCode::from(failure.exit_code())
}

/// A failure and its causes, in one line.
pub(crate) fn chain(failure: &dyn std::error::Error) -> String {
    let mut text = failure.to_string();
    let mut cause = failure.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}

/// Prints a usage error, or the help or version that was asked for.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    // Nothing can be said when even this fails.
    let _printed = error.print();
    match error.use_stderr() {
        true => ExitCode::from(USAGE),
        false => ExitCode::SUCCESS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_fails_under_the_update_client_is_a_storage_failure() {
        let failed = || std::io::Error::from_raw_os_error(5);
        let code = |error: tidegate_update::Error| Error::from(error).exit_code();
        let state = tidegate_update::state::Error::Disk {
            what: "write",
            source: failed(),
        };
        let store = tidegate_update::store::Error::Disk {
            what: "open its folder",
            source: failed(),
        };
        assert_eq!(code(state.into()), STORAGE);
        assert_eq!(code(store.into()), STORAGE);
        assert_eq!(code(tidegate_update::Error::Audit(failed())), STORAGE);
        // That another process has the files is no failure of the disk.
        let in_use = tidegate_update::state::Error::InUse;
        assert_eq!(code(in_use.into()), FAILURE);
    }
}
