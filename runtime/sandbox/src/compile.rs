//! Compiles a component in a process of its own, because a compiler given hostile input may take for ever, or more memory
//! than there is: wasmtime promises nothing about that.
//!
//! The child's standard input is a socket: it reads the component to the end, and answers with a byte that says which,
//! and the code or the reason. It has bounds on processor time and memory, and is sealed before it reads
//! ([`crate::seal`]). The parent waits for each piece of the answer a limited time, and takes a limited number of bytes.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use rustix::process::{Resource, Rlimit, setrlimit};
use tidegate_record::Name;
use wasmtime::Engine;

use crate::engine;
use crate::error::Error;
use crate::seal;
use crate::worker::PROGRAM;

/// Processor time of the compiler, in seconds.
const CPU_SECONDS_MAX: u64 = 60;
/// Memory of the compiler, in bytes.
const MEMORY_BYTES_MAX: u64 = 512 << 20;
/// The parent waits so long for the next bytes: a busy machine gives the compiler its processor time more slowly.
const SILENCE_MAX: Duration = Duration::from_secs(5 * CPU_SECONDS_MAX);
/// Code of one component, in bytes.
const CODE_BYTES_MAX: u64 = 256 << 20;
/// What is told of the compiler's reason.
const REASON_BYTES_MAX: usize = 4 << 10;
/// First byte of an answer: code, or why there is none.
const CODE: u8 = 0;
const REASON: u8 = 1;

/// Compiles in this process.
pub(crate) fn here(engine: &Engine, component: &[u8]) -> anyhow::Result<Vec<u8>> {
    Ok(engine.precompile_component(component)?)
}

/// Compiles in a child, and waits for it.
///
/// # Errors
/// [`Error::Compile`] where the component is to blame, [`Error::Worker`] where the machine is.
pub(crate) fn in_child(module: &Name, component: &[u8]) -> Result<Vec<u8>, Error> {
    let machine = |source| Error::Worker { source };
    let (mut ours, theirs) = UnixStream::pair().map_err(machine)?;
    let mut child = Command::new(PROGRAM)
        .arg("compile")
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(machine)?;
    let answer = ask(&mut ours, component);
    // One that has answered ends by itself; one that has not is to end now.
    child.kill().map_err(machine)?;
    let ended = child.wait().map_err(machine)?;
    let blamed = |source| Error::Compile {
        module: module.clone(),
        source,
    };
    match answer.split_first() {
        Some((&CODE, code)) => Ok(code.to_vec()),
        Some((&REASON, reason)) => {
            let reason = reason.get(..REASON_BYTES_MAX).unwrap_or(reason);
            Err(blamed(anyhow!("{}", String::from_utf8_lossy(reason))))
        }
        _ => Err(blamed(anyhow!(
            "the compiler did not end ({ended}): it may take {CPU_SECONDS_MAX} s of processor time and {} MiB",
            MEMORY_BYTES_MAX >> 20
        ))),
    }
}

/// What the child answers; nothing where it ends or is silent first.
fn ask(child: &mut UnixStream, component: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    let mut talk = || -> io::Result<()> {
        child.set_read_timeout(Some(SILENCE_MAX))?;
        child.set_write_timeout(Some(SILENCE_MAX))?;
        child.write_all(component)?;
        child.shutdown(Shutdown::Write)?;
        child.take(CODE_BYTES_MAX).read_to_end(&mut answer)?;
        Ok(())
    };
    match talk() {
        Ok(()) => answer,
        Err(error) => {
            tracing::debug!("compiler: {error}");
            Vec::new()
        }
    }
}

/// The child.
pub fn main() -> ExitCode {
    seal::inherited_files();
    match talk_to_parent() {
        Ok(()) => ExitCode::SUCCESS,
        // The parent sees that there is no answer.
        Err(_) => ExitCode::FAILURE,
    }
}

fn talk_to_parent() -> anyhow::Result<()> {
    let mut parent = UnixStream::from(rustix::io::dup(rustix::stdio::stdin())?);
    match compile(&mut parent) {
        Ok(code) => {
            parent.write_all(&[CODE])?;
            parent.write_all(&code)?;
        }
        Err(error) => {
            parent.write_all(&[REASON])?;
            parent.write_all(format!("{error:#}").as_bytes())?;
        }
    }
    Ok(())
}

fn compile(parent: &mut UnixStream) -> anyhow::Result<Vec<u8>> {
    for (resource, most) in [
        (Resource::Cpu, CPU_SECONDS_MAX),
        (Resource::As, MEMORY_BYTES_MAX),
        (Resource::Core, 0),
    ] {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        setrlimit(resource, limit).context("cannot bound the compiler")?;
    }
    let engine = engine::engine()?;
    // What a layer lacks here the workers of this machine lack as well, and they tell.
    seal::seal();
    let mut component = Vec::new();
    parent.read_to_end(&mut component)?;
    if component.is_empty() {
        bail!("there is no component");
    }
    here(&engine, &component)
}
