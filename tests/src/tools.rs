//! Programs of other makes: found, or installed where that is possible.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// A program that the rig starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// The MQTT broker.
    Mosquitto,
    /// A publisher of another make.
    MosquittoPub,
    /// A subscriber of another make.
    MosquittoSub,
    /// A browser.
    Chromium,
    /// Shows a process's system calls.
    Strace,
    /// Keys, certificates and signatures of another make.
    OpenSsl,
    /// A Linux kernel that runs as a process, whose power can be cut.
    UserModeLinux,
    /// Makes a file system.
    MakeExt4,
    /// Repairs it.
    CheckExt4,
    /// Reads it without mounting it.
    ReadExt4,
    /// Checks the files of services.
    SystemdAnalyze,
}

impl Tool {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Mosquitto,
        Self::MosquittoPub,
        Self::MosquittoSub,
        Self::Chromium,
        Self::Strace,
        Self::OpenSsl,
        Self::UserModeLinux,
        Self::MakeExt4,
        Self::CheckExt4,
        Self::ReadExt4,
        Self::SystemdAnalyze,
    ];

    /// Whether there may be none for this kind of machine: then what needs it is skipped, and counted.
    pub const fn is_optional(self) -> bool {
        matches!(self, Self::UserModeLinux)
    }

    /// Name of the program.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Mosquitto => "mosquitto",
            Self::MosquittoPub => "mosquitto_pub",
            Self::MosquittoSub => "mosquitto_sub",
            Self::Chromium => "chromium",
            Self::Strace => "strace",
            Self::OpenSsl => "openssl",
            Self::UserModeLinux => "linux.uml",
            Self::MakeExt4 => "mke2fs",
            Self::CheckExt4 => "e2fsck",
            Self::ReadExt4 => "debugfs",
            Self::SystemdAnalyze => "systemd-analyze",
        }
    }

    /// The Debian and Ubuntu package that has it.
    const fn package(self) -> &'static str {
        match self {
            Self::Mosquitto => "mosquitto",
            Self::MosquittoPub | Self::MosquittoSub => "mosquitto-clients",
            Self::Chromium => "chromium",
            Self::Strace => "strace",
            Self::OpenSsl => "openssl",
            Self::UserModeLinux => "user-mode-linux",
            Self::MakeExt4 | Self::CheckExt4 | Self::ReadExt4 => "e2fsprogs",
            Self::SystemdAnalyze => "systemd",
        }
    }

    /// Where it is, if it is.
    pub fn find(self) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        // Debian keeps servers where an ordinary user's PATH does not look.
        let folders = std::env::split_paths(&path).chain([
            "/usr/sbin".into(),
            "/sbin".into(),
            "/usr/local/sbin".into(),
        ]);
        folders
            .map(|folder| folder.join(self.program()))
            .find(|file| file.is_file())
    }

    /// Where it is.
    ///
    /// # Errors
    /// When it is not installed.
    pub fn path(self) -> Result<PathBuf> {
        self.find().with_context(|| {
            format!(
                "{} is not installed: run `cargo xtask setup`",
                self.program()
            )
        })
    }
}

/// Whether a test may run. Where a tool is missing this says so on the terminal, past the test harness's capture, for
/// `cargo xtask test` to count; on a build server (`CI=true`), which has everything, it is an error.
///
/// # Errors
/// When a tool is missing on a build server.
pub fn available(test: &str, tools: &[Tool]) -> Result<bool> {
    let missing: Vec<_> = tools
        .iter()
        .filter(|tool| tool.find().is_none())
        .map(|tool| tool.program())
        .collect();
    if missing.is_empty() {
        return Ok(true);
    }
    let missing = missing.join(", ");
    if std::env::var("CI").is_ok_and(|value| value == "true") {
        bail!("{test} needs {missing}, which a build server must have");
    }
    writeln!(
        std::io::stderr(),
        "{SKIPPED}{test}: {missing} not installed (`cargo xtask setup` installs)"
    )?;
    Ok(false)
}

/// How the line of a skipped test begins.
pub const SKIPPED: &str = "SKIPPED ";

/// Installs what is missing with the system's package manager, and says so through `say`.
///
/// # Errors
/// When something is missing that cannot be installed from here: then with the command to run.
pub fn install_missing(say: &mut dyn FnMut(&str)) -> Result<()> {
    let missing = |optional| {
        let missing = Tool::ALL
            .into_iter()
            .filter(|tool| tool.is_optional() == optional && tool.find().is_none());
        let mut packages: Vec<_> = missing.map(Tool::package).collect();
        packages.dedup();
        packages
    };
    install(&missing(false), say)?;
    if let Err(error) = install(&missing(true), say) {
        say(&format!("{error:#}"));
    }
    Ok(())
}

fn install(packages: &[&str], say: &mut dyn FnMut(&str)) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let by_hand = format!("install these by hand: {}", packages.join(" "));
    let apt = package_manager().context(by_hand.clone())?;
    say(&format!("installing {}", packages.join(" ")));
    let arguments = [
        "-qq",
        "-o",
        "DPkg::Lock::Timeout=300",
        "install",
        "--yes",
        "--no-install-recommends",
    ];
    let install: Vec<&str> = arguments.iter().chain(packages).copied().collect();
    // The package lists may be absent or old: only then does the update pay for itself.
    if run_apt(apt, &install).is_err() {
        run_apt(apt, &["-qq", "-o", "DPkg::Lock::Timeout=300", "update"])?;
        run_apt(apt, &install).context(by_hand)?;
    }
    Ok(())
}

/// How this user may install packages.
fn package_manager() -> Result<&'static [&'static str]> {
    let runs = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).stdout(Stdio::null());
        command
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    if !runs("apt-get", &["--version"]) {
        bail!("this machine has no apt-get");
    }
    if rustix::process::geteuid().is_root() {
        return Ok(&["apt-get"]);
    }
    if runs("sudo", &["-n", "true"]) {
        return Ok(&["sudo", "-n", "apt-get"]);
    }
    bail!("apt-get needs root")
}

fn run_apt(apt: &[&str], arguments: &[&str]) -> Result<()> {
    let (program, prefix) = apt.split_first().context("no package manager")?;
    let mut command = Command::new(program);
    // Nothing may ask a question, and no broker of the system's own may take a port.
    command
        .args(prefix)
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("RUNLEVEL", "1");
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        bail!(
            "{program} {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
