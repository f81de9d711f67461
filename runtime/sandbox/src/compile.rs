//! Compiles a component in a process of its own, because a compiler given hostile input may take for ever, or more memory
//! than there is: wasmtime promises nothing about that.
//!
//! The child reads the component from its standard input and writes the code to its standard output. It has bounds on
//! processor time and memory, and is sealed before it reads ([`crate::seal`]).

use std::io::{self, Read, Write};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, anyhow, bail};
use rustix::process::{Resource, Rlimit, setrlimit};
use wasmtime::Engine;

use crate::engine;
use crate::seal;
use crate::worker::PROGRAM;

/// Processor time of the compiler, in seconds. The largest of our examples takes 2 of a slow ARM core.
const CPU_SECONDS_MAX: u64 = 60;
/// Memory of the compiler, in bytes.
const MEMORY_BYTES_MAX: u64 = 512 << 20;
/// Code of one component, in bytes.
const CODE_BYTES_MAX: u64 = 256 << 20;
/// What is read of the compiler's reason.
const REASON_BYTES_MAX: u64 = 4 << 10;

/// Compiles in this process.
pub(crate) fn here(engine: &Engine, component: &[u8]) -> anyhow::Result<Vec<u8>> {
    Ok(engine.precompile_component(component)?)
}

/// Compiles in a child, and waits for it.
pub(crate) fn in_child(component: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut child = Command::new(PROGRAM)
        .arg("compile")
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start the compiler")?;
    let (mut code, mut reason) = (Vec::new(), String::new());
    let mut talk = || -> io::Result<()> {
        if let Some(mut input) = child.stdin.take() {
            // One that fails early does not read to the end, and its reason says more than a broken pipe.
            let written = input.write_all(component);
            if let Err(error) = written
                && error.kind() != io::ErrorKind::BrokenPipe
            {
                return Err(error);
            }
        }
        if let Some(output) = child.stdout.take() {
            output.take(CODE_BYTES_MAX).read_to_end(&mut code)?;
        }
        if let Some(output) = child.stderr.take() {
            output.take(REASON_BYTES_MAX).read_to_string(&mut reason)?;
        }
        Ok(())
    };
    let talked = talk();
    if talked.is_err() {
        child.kill().context("cannot end the compiler")?;
    }
    let ended = child.wait().context("cannot wait for the compiler")?;
    talked.context("cannot talk to the compiler")?;
    match (ended.success(), reason.trim()) {
        (true, _) => Ok(code),
        (false, "") => Err(anyhow!(
            "the compiler ended by itself ({ended}): it may take {CPU_SECONDS_MAX} s of processor time and {} MiB",
            MEMORY_BYTES_MAX >> 20
        )),
        (false, reason) => Err(anyhow!("{reason}")),
    }
}

/// The child.
pub fn main() -> ExitCode {
    match compile() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where nobody reads it there is nobody to tell.
            drop(write!(io::stderr(), "{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn compile() -> anyhow::Result<()> {
    seal::inherited_files();
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
    seal::seal();
    let mut component = Vec::new();
    io::stdin().read_to_end(&mut component)?;
    if component.is_empty() {
        bail!("there is no component");
    }
    let code = here(&engine, &component)?;
    io::stdout().write_all(&code)?;
    Ok(())
}
