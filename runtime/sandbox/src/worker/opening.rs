//! A worker that is being filled: started, given its guests, and sealed.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::frame;
use super::message::{self, Loaded};
use crate::code::Code;
use crate::error::Error;
use crate::guest::GuestSpec;
use crate::seal::Layer;

/// This program, whatever became of its file since it was started.
pub(crate) const PROGRAM: &str = "/proc/self/exe";
/// The worker's answers while it is filled.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// It has this long for each of them; one that is not sealed cannot be killed by its end.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A worker's process. It is killed when the last of its modules is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Mutex<Child>,
    modules: AtomicUsize,
}

impl Process {
    /// Whether more than one module was loaded into it.
    pub(crate) fn is_shared(&self) -> bool {
        self.modules.load(Ordering::Relaxed) > 1
    }

    /// Ends it, and says how it ended.
    pub(crate) fn end(&self) -> io::Result<ExitStatus> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        match child.try_wait()? {
            Some(ended) => Ok(ended),
            None => {
                child.kill()?;
                child.wait()
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::error!("cannot end a worker: {error}");
        }
    }
}

/// A worker that takes guests.
#[derive(Debug)]
pub(crate) struct Opening {
    process: Arc<Process>,
    way: UnixStream,
}

impl Opening {
    /// Starts one.
    ///
    /// # Errors
    /// When this machine has no room for a process.
    pub(crate) fn start() -> Result<Self, Error> {
        let start = || {
            let (way, theirs) = UnixStream::pair()?;
            way.set_read_timeout(Some(ANSWER_WITHIN))?;
            let mut command = Command::new(PROGRAM);
            command.arg("worker").env_clear();
            #[cfg(feature = "faults")]
            command.envs(std::env::vars_os().filter(|(name, _)| name == "TIDEGATE_FAULT"));
            let child = command
                .stdin(Stdio::from(OwnedFd::from(theirs)))
                .stdout(Stdio::null())
                // What it says when it panics.
                .stderr(Stdio::inherit())
                // An interrupt from a terminal is for the gateway, which ends it when it has no more need of it.
                .process_group(0)
                .spawn()?;
            Ok(Self {
                process: Arc::new(Process {
                    child: Mutex::new(child),
                    modules: AtomicUsize::new(0),
                }),
                way,
            })
        };
        start().map_err(|source| Error::Worker { source })
    }

    /// Loads a guest, and gives the stream to it.
    ///
    /// # Errors
    /// When the guest does not fit the contract, or the worker has ended.
    pub(crate) fn load(
        &mut self,
        spec: &GuestSpec,
        code: &Code,
    ) -> Result<(UnixStream, Arc<Process>), Error> {
        let mut ask = || {
            let (ours, theirs) = UnixStream::pair()?;
            let mut buffer = Vec::new();
            frame::frame(&mut buffer, |buffer| message::write_spec(buffer, spec));
            let files = [theirs.as_fd(), code.as_fd()];
            frame::write_now(&mut self.way, &buffer, &files)?;
            let answer = frame::read_now(&mut self.way, ANSWER_BYTES_MAX)?;
            Ok((ours, message::read_loaded(&answer)?))
        };
        let (stream, loaded) = ask().map_err(|source| Error::Worker { source })?;
        match loaded {
            Loaded::Ready => {
                self.process.modules.fetch_add(1, Ordering::Relaxed);
                Ok((stream, self.process.clone()))
            }
            Loaded::Import(import) => Err(Error::Import {
                module: spec.name.clone(),
                import,
            }),
            Loaded::Contract(reason) => Err(Error::Contract {
                module: spec.name.clone(),
                source: anyhow::anyhow!(reason),
            }),
        }
    }

    /// Ends the filling: the worker seals itself, and takes calls from then on. Gives the layers of its wall.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn seal(mut self) -> Result<Vec<Layer>, Error> {
        let mut ask = || {
            let mut buffer = Vec::new();
            frame::frame(&mut buffer, |_| {});
            frame::write_now(&mut self.way, &buffer, &[])?;
            let answer = frame::read_now(&mut self.way, ANSWER_BYTES_MAX)?;
            message::read_layers(&answer)
        };
        ask().map_err(|source| Error::Worker { source })
    }
}
