//! A child process that never outlives its owner.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::wait::wait_for;

/// A running program. Its output goes to two files beside each other; it is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Process {
    /// Starts `command`, with its output in `<directory>/<name>.stdout` and `.stderr`. A later start with the same name
    /// adds to them.
    ///
    /// # Errors
    /// When the program or the files cannot be opened.
    pub fn start(name: &str, directory: &Path, command: &mut Command) -> Result<Self> {
        let open = |extension: &str| -> Result<(PathBuf, File)> {
            let path = directory.join(format!("{name}.{extension}"));
            let file = File::options().create(true).append(true).open(&path);
            Ok((
                path.clone(),
                file.with_context(|| format!("cannot open {}", path.display()))?,
            ))
        };
        let (stdout, stdout_file) = open("stdout")?;
        let (stderr, stderr_file) = open("stderr")?;
        let child = command
            // Its last words are for people: the reason, not the way there.
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .stdout(stdout_file)
            .stderr(stderr_file)
            .spawn();
        let child =
            child.with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            stdout,
            stderr,
        })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything that it has written to stdout.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn stdout(&self) -> Result<String> {
        read(&self.stdout)
    }

    /// Everything that it has written to stderr.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn stderr(&self) -> Result<String> {
        read(&self.stderr)
    }

    /// Waits until `probe` gives a value.
    ///
    /// # Errors
    /// When it gives none within `limit`, or when the process ends first: then with its last words.
    pub fn wait_for<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut probe: impl FnMut(&Self) -> Result<Option<T>>,
    ) -> Result<T> {
        let waited = wait_for(what, limit, || {
            if let Some(value) = probe(self)? {
                return Ok(Some(value));
            }
            match self.exited()? {
                None => Ok(None),
                Some(status) => bail!("{} ended with {status} before {what}", self.name),
            }
        });
        waited.with_context(|| self.last_words())
    }

    /// The first line of stdout, once there is one.
    ///
    /// # Errors
    /// As [`Process::wait_for`].
    pub fn first_line(&mut self, limit: Duration) -> Result<String> {
        self.wait_for("its first line", limit, |process| {
            let text = process.stdout()?;
            Ok(text.split_once('\n').map(|(line, _)| line.to_owned()))
        })
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .with_context(|| format!("cannot ask how {} ended", self.name))
    }

    /// Kills it with SIGKILL and waits for its end.
    ///
    /// # Errors
    /// When it had ended by itself before: what was to be killed must have been running.
    pub fn kill9(&mut self) -> Result<()> {
        self.child
            .kill()
            .with_context(|| format!("cannot kill {}", self.name))?;
        let status = self
            .child
            .wait()
            .with_context(|| format!("cannot wait for {}", self.name))?;
        if status.signal() != Some(Signal::KILL.as_raw()) {
            bail!(
                "{} had ended by itself with {status}\n{}",
                self.name,
                self.last_words()
            );
        }
        Ok(())
    }

    /// Asks it to read its configuration again.
    ///
    /// # Errors
    /// When it has ended.
    pub fn hang_up(&self) -> Result<()> {
        self.signal(Signal::HUP)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.id())
            .ok()
            .and_then(Pid::from_raw)
            .context("not a process id")?;
        kill_process(pid, signal).with_context(|| format!("cannot send {} a signal", self.name))
    }

    /// Asks it to end with SIGTERM and waits until it has.
    ///
    /// # Errors
    /// When it does not end within `limit`, or ends with another code than 0.
    pub fn stop(&mut self, limit: Duration) -> Result<()> {
        self.signal(Signal::TERM)?;
        let status = wait_for(&format!("{} to stop", self.name), limit, || self.exited())
            .with_context(|| self.last_words())?;
        if !status.success() {
            bail!("{} ended with {status}\n{}", self.name, self.last_words());
        }
        Ok(())
    }

    /// The last lines of its stderr, for an error message.
    pub fn last_words(&self) -> String {
        let text = self.stderr().unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(15);
        let last = lines.get(from..).unwrap_or_default().join("\n  ");
        format!("{} said last:\n  {last}", self.name)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _already_ended = self.child.kill();
        let _already_waited = self.child.wait();
    }
}

/// What a short program printed and how it ended.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// Runs a short program to its end, whatever that is.
///
/// # Errors
/// When it cannot be started.
pub fn run<S: AsRef<OsStr>>(
    program: &Path,
    arguments: impl IntoIterator<Item = S>,
) -> Result<Outcome> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    let output = output.with_context(|| format!("cannot start {}", program.display()))?;
    Ok(Outcome {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Runs a short program that must end well, and gives its standard output.
///
/// # Errors
/// When it cannot be started, or does not end with 0: then with what it said.
pub fn run_well<S: AsRef<OsStr>>(
    program: &Path,
    arguments: impl IntoIterator<Item = S>,
) -> Result<String> {
    let arguments: Vec<_> = arguments
        .into_iter()
        .map(|argument| argument.as_ref().to_owned())
        .collect();
    let outcome = run(program, &arguments)?;
    if outcome.code == Some(0) {
        return Ok(outcome.stdout);
    }
    let line = arguments.join(OsStr::new(" "));
    bail!(
        "`{} {}` failed\n{}{}",
        program.display(),
        line.display(),
        outcome.stdout,
        outcome.stderr
    )
}

fn read(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(directory: &Path, script: &str) -> Process {
        Process::start("shell", directory, Command::new("sh").args(["-c", script])).unwrap()
    }

    #[test]
    fn a_process_ends_with_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        let process = shell(directory.path(), "echo here; exec sleep 1000");
        let proc = PathBuf::from(format!("/proc/{}", process.id()));
        assert!(proc.exists());
        drop(process);
        assert!(!proc.exists());
    }

    #[test]
    fn a_process_that_ends_too_early_is_reported_with_its_last_words() {
        let directory = tempfile::tempdir().unwrap();
        let mut process = shell(directory.path(), "echo no luck >&2; exit 3");
        let error = process.first_line(Duration::from_secs(10)).unwrap_err();
        let text = format!("{error:#}");
        assert!(
            text.contains("no luck") && text.contains("exit status: 3"),
            "{text}"
        );
    }

    #[test]
    fn killing_what_had_already_ended_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let mut process = shell(directory.path(), "exit 0");
        wait_for("the end", Duration::from_secs(10), || process.exited()).unwrap();
        assert!(process.kill9().is_err());
    }

    #[test]
    fn stopping_demands_the_exit_code_0() {
        let directory = tempfile::tempdir().unwrap();
        let mut well = shell(
            directory.path(),
            "trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done",
        );
        well.first_line(Duration::from_secs(10)).unwrap();
        well.stop(Duration::from_secs(10)).unwrap();
        let mut badly = shell(
            directory.path(),
            "trap 'exit 1' TERM; echo ready2; while :; do sleep 0.01; done",
        );
        badly
            .wait_for("ready", Duration::from_secs(10), |p| {
                Ok(p.stdout()?.contains("ready2").then_some(()))
            })
            .unwrap();
        assert!(badly.stop(Duration::from_secs(10)).is_err());
    }
}
