//! Finds what compiles to WebAssembly, or fetches it.
//!
//! A Rust installation without the standard library of the target is the first thing that a newcomer would stumble
//! over, so it is dealt with here, in this order and saying what is done:
//!
//! 1. The compiler in use has the target.
//! 2. An earlier run left one in the user's cache.
//! 3. `rustup target add`, within [`RUSTUP_TIME_MAX`]: where rustup cannot download, it fails or hangs.
//! 4. On Debian-like x86-64 systems: Debian's packages, unpacked into the cache ([`debian`]). Nothing is installed.
//! 5. An error that says what to install.

mod debian;

use std::env;
use std::ffi::OsString;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use clap::ValueEnum;

use crate::report::say;

/// 30 MB over a slow line, and not longer: whoever waits wants to know what comes next.
const RUSTUP_TIME_MAX: Duration = Duration::from_secs(120);

/// What a module can be compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    /// A component with std's WASI imports.
    #[value(name = "wasm32-wasip2")]
    Wasip2,
    /// A component with no WASI import at all.
    #[value(name = "wasm32-unknown-unknown")]
    Unknown,
}

impl Target {
    pub(crate) fn triple(self) -> &'static str {
        match self {
            Self::Wasip2 => "wasm32-wasip2",
            Self::Unknown => "wasm32-unknown-unknown",
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot run {program}: install Rust from https://rustup.rs")]
    NoRust { program: String, source: io::Error },
    #[error("{program} does not answer to {question}")]
    Mute {
        program: String,
        question: &'static str,
    },
    #[error("there is no HOME to keep a toolchain in: set XDG_CACHE_HOME")]
    NoHome,
    #[error(
        "no Rust standard library for {target}: run rustup target add {target}, or install it with your system's packages"
    )]
    NoTarget {
        target: &'static str,
        source: debian::Error,
    },
    #[error("no wasm-component-ld in {}: install Rust by rustup, or cargo install wasm-component-ld", folder.display())]
    NoLinker { folder: PathBuf },
}

/// A compiler for a target, and the environment that cargo needs to use it.
#[derive(Debug)]
pub(crate) struct Toolchain {
    target: Target,
    /// Another compiler than the one in use.
    rustc: Option<PathBuf>,
    /// Where rustup keeps its linkers.
    tools: PathBuf,
}

impl Toolchain {
    /// Finds a compiler for the target, as seen from a project's folder.
    pub(crate) fn find(target: Target, folder: &Path) -> Result<Self, Error> {
        let installed = Installed::look(folder)?;
        let tools = installed.tools();
        if !tools.join("wasm-component-ld").is_file() {
            return Err(Error::NoLinker { folder: tools });
        }
        let of = |rustc| Self {
            target,
            rustc,
            tools,
        };
        if installed.has(target) {
            return Ok(of(None));
        }
        let unpacked = cache()?.join("wasm-rust");
        if let Some(rustc) = debian::unpacked(&unpacked) {
            return Ok(of(Some(rustc)));
        }
        if add_by_rustup(target, folder) && installed.has(target) {
            return Ok(of(None));
        }
        match debian::unpack(&unpacked) {
            Ok(rustc) => Ok(of(Some(rustc))),
            Err(source) => Err(Error::NoTarget {
                target: target.triple(),
                source,
            }),
        }
    }

    /// Prepares a cargo that builds for the target.
    pub(crate) fn configure(&self, cargo: &mut Command) {
        let mut path = vec![self.tools.join("gcc-ld"), self.tools.clone()];
        path.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
        if let Ok(path) = env::join_paths(path) {
            cargo.env("PATH", path);
        }
        if let Some(rustc) = &self.rustc {
            cargo.env("RUSTC", rustc);
        }
        // Flags meant for the machine's own programs, such as target-cpu, would replace those of the target.
        cargo
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS");
        if self.target == Target::Unknown {
            cargo.env(
                "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER",
                "wasm-component-ld",
            );
            cargo.env(
                "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS",
                "-Clinker-flavor=wasm-ld",
            );
        }
    }
}

/// The compiler in use.
struct Installed {
    sysroot: PathBuf,
    host: String,
}

impl Installed {
    fn look(folder: &Path) -> Result<Self, Error> {
        let program = env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
        let name = program.to_string_lossy().into_owned();
        let ask = |arguments: &[&str]| {
            let output = Command::new(&program)
                .args(arguments)
                .current_dir(folder)
                .output();
            let output = output.map_err(|source| Error::NoRust {
                program: name.clone(),
                source,
            })?;
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let sysroot = ask(&["--print", "sysroot"])?;
        let version = ask(&["-vV"])?;
        let host = version.lines().find_map(|line| line.strip_prefix("host: "));
        let host = host.ok_or(Error::Mute {
            program: name.clone(),
            question: "-vV",
        })?;
        Ok(Self {
            sysroot: PathBuf::from(sysroot.trim()),
            host: host.to_owned(),
        })
    }

    fn has(&self, target: Target) -> bool {
        has_std(&self.sysroot, target)
    }

    fn tools(&self) -> PathBuf {
        self.sysroot
            .join("lib/rustlib")
            .join(&self.host)
            .join("bin")
    }
}

/// Whether a sysroot holds the standard library of a target.
fn has_std(sysroot: &Path, target: Target) -> bool {
    let libraries = sysroot
        .join("lib/rustlib")
        .join(target.triple())
        .join("lib");
    let is_std =
        |entry: std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with("libstd-");
    libraries
        .read_dir()
        .is_ok_and(|entries| entries.flatten().any(is_std))
}

/// Tidegate's folder in the user's cache.
fn cache() -> Result<PathBuf, Error> {
    let set = |name| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let folder = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
    folder
        .map(|folder| folder.join("tidegate"))
        .ok_or(Error::NoHome)
}

/// Whether rustup said that it added the target; why not is said, and not an error: there are other ways.
fn add_by_rustup(target: Target, folder: &Path) -> bool {
    let triple = target.triple();
    say(format!(
        "the Rust compiler lacks {triple}: rustup target add {triple}"
    ));
    let mut rustup = Command::new("rustup");
    rustup.args(["target", "add", triple]).current_dir(folder);
    match run_within(&mut rustup, RUSTUP_TIME_MAX) {
        Ok(()) => true,
        Err(why) => {
            say(format!("rustup cannot add it: {why}"));
            false
        }
    }
}

/// Runs a program to its end, or ends it when the time is up. An error is its last line.
fn run_within(command: &mut Command, time_max: Duration) -> Result<(), String> {
    let command = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let (done, wait) = mpsc::sync_channel(1);
    let stderr = child.stderr.take();
    let reader = thread::spawn(move || {
        let mut text = String::new();
        if let Some(mut stderr) = stderr {
            // Only its last line is of use, and only if it can be read.
            stderr.read_to_string(&mut text).ok();
        }
        done.send(()).ok();
        text
    });
    if wait.recv_timeout(time_max).is_err() {
        // Both fail only if it has just ended by itself.
        child.kill().ok();
        child.wait().ok();
        return Err(format!("it did not finish within {} s", time_max.as_secs()));
    }
    let text = reader.join().unwrap_or_default();
    match child.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            let last = text.lines().map(str::trim).rfind(|line| !line.is_empty());
            Err(last.map_or_else(|| status.to_string(), str::to_owned))
        }
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_program_is_waited_for_but_not_for_ever() {
        let long = Duration::from_secs(60);
        assert_eq!(run_within(&mut shell("exit 0"), long), Ok(()));
        assert_eq!(
            run_within(&mut shell("echo first >&2; echo last >&2; exit 3"), long),
            Err("last".to_owned())
        );
        let late = run_within(&mut shell("exec sleep 600"), Duration::from_millis(50)).unwrap_err();
        assert!(late.contains("did not finish"), "{late}");
    }

    #[test]
    fn a_sysroot_has_a_target_only_with_its_standard_library() {
        let folder = tempfile::tempdir().unwrap();
        let libraries = folder.path().join("lib/rustlib/wasm32-wasip2/lib");
        assert!(!has_std(folder.path(), Target::Wasip2));
        std::fs::create_dir_all(&libraries).unwrap();
        assert!(!has_std(folder.path(), Target::Wasip2));
        std::fs::write(libraries.join("libstd-0123.rlib"), b"").unwrap();
        assert!(has_std(folder.path(), Target::Wasip2));
        assert!(!has_std(folder.path(), Target::Unknown));
    }
}
