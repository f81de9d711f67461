//! Everything that can end a command, and the one place that turns it into an exit code.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use crate::cli::Output;
use crate::commands::import;
use crate::files::Problems;
use crate::{centre, component, manifest, toolchain};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{} is larger than {limit} bytes", path.display())]
    TooLarge { path: PathBuf, limit: u64 },
    #[error("the secret in {} can be read by others: chmod 600 {}", path.display(), path.display())]
    OpenKey { path: PathBuf },
    /// A key or document that the user works with is not of its form.
    #[error("{} cannot be used", path.display())]
    Document {
        path: PathBuf,
        source: tidegate_bundle::Error,
    },
    /// A signed file that was to be checked is refused.
    #[error("{} is refused", path.display())]
    Refused {
        path: PathBuf,
        source: tidegate_bundle::Error,
    },
    /// An export that was to be imported.
    #[error("{} is refused", path.display())]
    Export {
        path: PathBuf,
        source: import::Problem,
    },
    #[error(transparent)]
    Centre(#[from] centre::Error),
    #[error(
        "the centre lacks rows before some of {}, and has not taken these: bring the older file first{gaps}", path.display()
    )]
    Gaps { path: PathBuf, gaps: String },
    #[error("cannot sign {what}")]
    Sign {
        what: String,
        source: tidegate_bundle::Error,
    },
    #[error("cannot make a key")]
    Keygen(#[source] tidegate_bundle::Error),
    #[error("cannot make the root document")]
    Root(#[source] tidegate_bundle::Error),
    #[error("cannot make the stick")]
    Stick(#[source] tidegate_bundle::Error),
    #[error("{} names nobody who signs deployments: make the root with --deploy-key", path.display())]
    NobodyDeploys { path: PathBuf },
    /// Desired state, as a person has written it.
    #[error("{}: {problem}", path.display())]
    Written { path: PathBuf, problem: String },
    #[error("release {0} is neither given nor at the centre")]
    NoRelease(tidegate_bundle::Digest),
    #[error(transparent)]
    Manifest(#[from] manifest::Error),
    #[error(transparent)]
    Problems(#[from] Problems),
    #[error("{} does not fit", path.display())]
    Component {
        path: PathBuf,
        source: component::Error,
    },
    #[error("{} is neither a bundle nor a WebAssembly component", path.display())]
    UnknownFile { path: PathBuf },
    #[error(
        "{} is none of what a centre takes: a release's bundle (*.tidegate), a signed deployment, or a root document", path.display()
    )]
    NothingToPush { path: PathBuf },
    #[error(transparent)]
    Toolchain(#[from] toolchain::Error),
    #[error("cannot start {program}")]
    Start {
        program: &'static str,
        source: io::Error,
    },
    #[error("{command} failed with {status}")]
    Child {
        command: &'static str,
        status: std::process::ExitStatus,
    },
    #[error("{} is no module: {problem}", path.display())]
    Project { path: PathBuf, problem: String },
    #[error("{} is not built yet: run tide build", path.display())]
    NotBuilt { path: PathBuf },
    #[error("{}: {source}", path.display())]
    Recording {
        path: PathBuf,
        #[source]
        source: tidegate_testkit::LineError,
    },
    #[error("module {module} does not get through its recording")]
    Test {
        module: String,
        source: tidegate_testkit::Error,
    },
    #[error("module {module} does not send what is expected ({cut})\n{difference}")]
    TestDiffers {
        module: String,
        cut: &'static str,
        difference: String,
    },
    #[error(
        "module {module} sends something else with {cut}: what must last between two calls belongs into its state\n\
         {difference}"
    )]
    TestDepends {
        module: String,
        cut: &'static str,
        difference: String,
    },
    #[error("{what} {text:?} {problem}")]
    Argument {
        what: &'static str,
        text: String,
        problem: String,
    },
}

impl Error {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Write { .. }
            | Self::Keygen(_)
            | Self::Toolchain(_)
            | Self::Start { .. }
            | Self::Child { .. }
            | Self::NotBuilt { .. }
            | Self::Sign {
                source: tidegate_bundle::Error::Signer { .. },
                ..
            }
            | Self::Root(tidegate_bundle::Error::Signer { .. }) => 1,
            Self::Test {
                source: tidegate_testkit::Error::Prepare(_),
                ..
            } => 1,
            Self::Test {
                source: tidegate_testkit::Error::Load(_) | tidegate_testkit::Error::Subject(_),
                ..
            } => 65,
            Self::Test { .. } | Self::TestDiffers { .. } | Self::TestDepends { .. } => 2,
            Self::Centre(centre::Error::Prepare(_) | centre::Error::Reach { .. }) => 1,
            Self::Refused { .. }
            | Self::Export { .. }
            | Self::Gaps { .. }
            | Self::Centre(centre::Error::Refused { .. }) => 3,
            Self::Argument { .. }
            | Self::Centre(
                centre::Error::Address(_) | centre::Error::NoToken | centre::Error::Token,
            ) => 64,
            Self::TooLarge { .. }
            | Self::OpenKey { .. }
            | Self::Document { .. }
            | Self::Sign { .. }
            | Self::Root(_)
            | Self::Stick(_)
            | Self::NobodyDeploys { .. }
            | Self::Written { .. }
            | Self::Manifest(_)
            | Self::Problems(_)
            | Self::Component { .. }
            | Self::UnknownFile { .. }
            | Self::NothingToPush { .. }
            | Self::Project { .. }
            | Self::Recording { .. } => 65,
            Self::Read { .. } | Self::NoRelease(_) => 66,
        }
    }

    /// The stable code of a refusal.
    fn reason(&self) -> Option<&str> {
        match self {
            Self::Document { source, .. }
            | Self::Refused { source, .. }
            | Self::Sign { source, .. } => Some(source.reason()),
            Self::Root(source) | Self::Stick(source) => Some(source.reason()),
            Self::Centre(centre::Error::Refused { reason, .. }) => reason.as_deref(),
            _ => None,
        }
    }

    /// What may help, where that is known.
    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Centre(error) => error.hint(),
            _ => None,
        }
    }

    /// The sentence on the first line, each cause on one of its own.
    pub(crate) fn print(&self, output: Output) -> ExitCode {
        let mut causes = Vec::new();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            causes.push(error.to_string().trim_end().to_owned());
            cause = error.source();
        }
        let mut text = format!("tide: {self}\n");
        for cause in &causes {
            text.push_str(&format!("  because {cause}\n"));
        }
        if let Some(reason) = self.reason() {
            text.push_str(&format!("  reason code {reason}\n"));
        }
        if let Some(hint) = self.hint() {
            text.push_str(&format!("  hint: {hint}\n"));
        }
        // With nobody left to read either stream, the exit code is what remains.
        io::stderr().write_all(text.as_bytes()).ok();
        if output == Output::Json {
            let object = json!({
                "ok": false, "error": self.to_string(), "causes": causes,
                "reason": self.reason(), "hint": self.hint(), "exit_code": self.exit_code(),
            });
            io::stdout()
                .write_all(format!("{object}\n").as_bytes())
                .ok();
        }
        ExitCode::from(self.exit_code())
    }
}

/// Shows what clap has to say: help and versions are no errors.
pub(crate) fn usage(shown: &clap::Error) -> ExitCode {
    shown.print().ok();
    if shown.use_stderr() {
        ExitCode::from(64)
    } else {
        ExitCode::SUCCESS
    }
}
