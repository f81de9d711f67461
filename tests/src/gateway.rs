//! The gateway as a process.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::process::Process;
use crate::tools::Tool;
use crate::wait::wait_for;

/// How long it may take to start, on a busy machine: it may have to compile its modules.
const START: Duration = Duration::from_secs(60);

/// How long a stop may take: the gateway drains and has a grace period of 10 s.
const STOP: Duration = Duration::from_secs(30);

/// A gateway with its folder: gateway.toml, the bundles and the state.
#[derive(Debug)]
pub struct Gateway {
    program: PathBuf,
    directory: PathBuf,
    environment: BTreeMap<String, String>,
    traced: bool,
    starts: u32,
    process: Option<Process>,
}

impl Gateway {
    /// A gateway that runs `program`. Its folder exists; its gateway.toml names `state` as the state folder.
    pub fn new(program: PathBuf, directory: &Path) -> Self {
        let directory = directory.to_owned();
        Self {
            program,
            directory,
            environment: BTreeMap::new(),
            traced: false,
            starts: 0,
            process: None,
        }
    }

    /// Writes its gateway.toml.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn configure(&self, text: &str) -> Result<()> {
        fs::write(self.configuration(), text).context("cannot write gateway.toml")
    }

    /// Sets a variable for every further start.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        self.environment.insert(name.to_owned(), value.to_owned());
    }

    /// Takes variables back.
    pub fn unset_variables(&mut self, names: &[&str]) {
        for name in names {
            self.environment.remove(*name);
        }
    }

    /// Lets strace note the fsyncs of every further start, each in a file of its own.
    pub fn trace_fsyncs(&mut self) {
        self.traced = true;
    }

    /// The files of [`Gateway::trace_fsyncs`].
    pub fn traces(&self) -> Vec<PathBuf> {
        (1..=self.starts)
            .map(|start| self.trace(start))
            .filter(|path| path.exists())
            .collect()
    }

    /// Its program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Its folder.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its gateway.toml.
    pub fn configuration(&self) -> PathBuf {
        self.directory.join("gateway.toml")
    }

    /// Its state folder.
    pub fn state(&self) -> PathBuf {
        self.directory.join("state")
    }

    /// Starts it and waits until it says that it is ready; gives how long that took.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn start(&mut self) -> Result<Duration> {
        let begin = Instant::now();
        self.launch()?;
        self.await_ready()?;
        Ok(begin.elapsed())
    }

    /// Starts it, and does not wait.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn launch(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "the gateway runs already");
        self.starts += 1;
        let mut command = if self.traced {
            let mut command = Command::new(Tool::Strace.path()?);
            // -D: the tracer is the grandchild, so that our child is the gateway itself.
            command.args([
                "-D",
                "-f",
                "-y",
                "-ttt",
                "-T",
                "--seccomp-bpf",
                "-e",
                "trace=fdatasync,fsync",
                "-o",
            ]);
            command.arg(self.trace(self.starts)).arg(&self.program);
            command
        } else {
            Command::new(&self.program)
        };
        command.args(["run", "--config"]).arg(self.configuration());
        command.envs(&self.environment);
        self.process = Some(Process::start("gateway", &self.directory, &mut command)?);
        Ok(())
    }

    /// Waits until it says that it is ready.
    ///
    /// # Errors
    /// When it does not within a minute, or has ended.
    pub fn await_ready(&mut self) -> Result<()> {
        let socket = self.socket();
        let process = self.process.as_mut().context("the gateway does not run")?;
        // A socket that a killed gateway left refuses the connection.
        process.wait_for("the gateway to be ready", START, |_| {
            Ok(ask(&socket).ok().map(drop))
        })
    }

    /// What it says of itself, on its control socket.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn status(&self) -> Result<Value> {
        ask(&self.socket()).context("the gateway does not answer")
    }

    /// What it says of one of its modules.
    ///
    /// # Errors
    /// When it does not answer, or has no such module.
    pub fn module(&self, name: &str) -> Result<Value> {
        let status = self.status()?;
        let modules = status.pointer("/modules").and_then(Value::as_array);
        let module =
            modules.and_then(|modules| modules.iter().find(|module| module["name"] == name));
        module
            .cloned()
            .with_context(|| format!("no module {name} in {status}"))
    }

    /// Its process.
    ///
    /// # Errors
    /// When it does not run.
    pub fn process(&mut self) -> Result<&mut Process> {
        self.process.as_mut().context("the gateway does not run")
    }

    /// Its process id.
    ///
    /// # Errors
    /// When it does not run.
    pub fn id(&self) -> Result<u32> {
        Ok(self
            .process
            .as_ref()
            .context("the gateway does not run")?
            .id())
    }

    /// Kills it.
    ///
    /// # Errors
    /// When it had ended by itself.
    pub fn kill9(&mut self) -> Result<()> {
        self.process
            .take()
            .context("the gateway does not run")?
            .kill9()
    }

    /// Stops it with SIGTERM: it must drain and end well.
    ///
    /// # Errors
    /// When it does not.
    pub fn stop(&mut self) -> Result<()> {
        self.process
            .take()
            .context("the gateway does not run")?
            .stop(STOP)
    }

    /// Waits for its end, which comes by itself; none while it runs on for longer than `limit`.
    ///
    /// # Errors
    /// When it does not run.
    pub fn ended_within(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        let process = self.process()?;
        let until = Instant::now() + limit;
        let ended = wait_for("the gateway's end or the time", limit * 2, || {
            let status = process.exited()?;
            Ok((status.is_some() || Instant::now() >= until).then_some(status))
        })?;
        if ended.is_some() {
            self.process = None;
        }
        Ok(ended)
    }

    /// Whether it says that it is ready.
    pub fn is_ready(&self) -> bool {
        ask(&self.socket()).is_ok()
    }

    /// Everything that it has logged, over all starts.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn log(&self) -> Result<String> {
        let bytes = fs::read(self.directory.join("gateway.stderr"))
            .context("the gateway has no log yet")?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn socket(&self) -> PathBuf {
        self.state().join("control.sock")
    }

    fn trace(&self, start: u32) -> PathBuf {
        self.directory.join(format!("fsyncs-{start}.strace"))
    }
}

fn ask(socket: &Path) -> Result<Value> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"{\"command\":\"status\"}\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    serde_json::from_str(&text).with_context(|| format!("the status is not JSON: {text}"))
}
