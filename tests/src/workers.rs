//! The workers of a gateway: processes in which its modules run, as the kernel sees them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use rustix::process::{Pid, Signal, kill_process};

/// A worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Worker {
    id: u32,
}

/// The workers of the gateway with this process id, in the order of theirs.
///
/// # Errors
/// When the kernel does not say.
pub fn workers(gateway: u32) -> Result<Vec<Worker>> {
    let (gateway, mut workers) = (gateway.to_string(), Vec::new());
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // One that ends meanwhile is none.
        let (Ok(status), Ok(command)) = (Worker { id }.status(), fs::read(proc(id, "cmdline")))
        else {
            continue;
        };
        let is_child = field(&status, "PPid") == Some(gateway.as_str());
        if is_child && command.split(|byte| *byte == 0).nth(1) == Some(b"worker") {
            workers.push(Worker { id });
        }
    }
    workers.sort_unstable();
    Ok(workers)
}

impl Worker {
    /// Kills it.
    ///
    /// # Errors
    /// When it is gone.
    pub fn kill9(self) -> Result<()> {
        let id = i32::try_from(self.id)?;
        let id = Pid::from_raw(id).context("no process has this id")?;
        kill_process(id, Signal::KILL).context("cannot kill a worker")
    }

    /// A line of its `/proc/ID/status`, such as `Seccomp`.
    ///
    /// # Errors
    /// When there is none.
    pub fn property(self, name: &str) -> Result<String> {
        property(self.id, name)
    }

    /// What its open files are, by the kernel's names.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn files(self) -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(proc(self.id, "fd"))?;
        entries
            .map(|entry| Ok(fs::read_link(entry?.path())?))
            .collect()
    }

    fn status(self) -> Result<String> {
        Ok(fs::read_to_string(proc(self.id, "status"))?)
    }
}

/// A line of a process's `/proc/ID/status`.
///
/// # Errors
/// When there is none.
pub fn property(id: u32, name: &str) -> Result<String> {
    let status = Worker { id }.status()?;
    let value = field(&status, name).map(str::to_owned);
    value.ok_or_else(|| anyhow!("the kernel says no {name} of process {id}"))
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = status.lines().filter_map(|line| line.split_once(':'));
    lines
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.trim())
}

fn proc(id: u32, name: &str) -> PathBuf {
    Path::new("/proc").join(id.to_string()).join(name)
}
