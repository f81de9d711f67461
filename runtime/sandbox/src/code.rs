//! Compiled code that nobody can change any more: in memory that is sealed, as a file that can be passed to a worker.
//!
//! What the MAC was checked over is what is mapped: between the two there is no file that anyone could write to.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use wasmtime::Engine;
use wasmtime::component::Component;

/// Compiled code of one component, as the engine here made it.
#[derive(Debug)]
pub(crate) struct Code(File);

impl Code {
    /// Takes a copy of `bytes`, which are of this machine's own compiler.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub(crate) fn seal(bytes: &[u8]) -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let mut file = File::from(memfd_create("tidegate-code", flags)?);
        file.write_all(bytes)?;
        let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
        fcntl_add_seals(&file, seals)?;
        Ok(Self(file))
    }

    /// What came from the process that sealed it.
    pub(crate) fn received(file: OwnedFd) -> Self {
        Self(File::from(file))
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// The one place where compiled code is loaded.
    ///
    /// # Errors
    /// When another engine made it.
    #[allow(
        unsafe_code,
        reason = "loading compiled code cannot be made safe; see the safety comment"
    )]
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the one place that the ban points to"
    )]
    pub(crate) fn load(&self, engine: &Engine) -> wasmtime::Result<Component> {
        let path = format!("/proc/self/fd/{}", self.0.as_raw_fd());
        // SAFETY: the bytes are what `serialize` gave on this machine: they come straight from the compiler, or from a
        // file whose MAC fits, under a key that only this service can read. The file is sealed: it never changes.
        unsafe { Component::deserialize_file(engine, path) }
    }
}
