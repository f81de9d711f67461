//! The second wall: what a process gives up for good before anything that it was not built with runs in it.
//!
//! Each layer is tried, and one that this kernel does not have is reported, not hidden: the others hold by themselves.
//! The layers, in the order in which they are laid: inherited files closed, namespaces of its own, no capabilities, no new privileges, limits,
//! Landlock, and a list of system calls. Files that are open stay open; all else is refused with `EPERM` or `EACCES`.

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetStatus,
    Scope,
};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs,
};

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod calls;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod calls {
    pub(super) fn allow() -> Result<(), String> {
        Err("nothing compiles the list for this processor".to_owned())
    }
}

#[cfg(feature = "faults")]
pub(crate) mod escape;

/// More files than any worker has open.
const OPEN_FILES_MAX: u64 = 256;

/// A layer of the wall.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Which.
    pub name: String,
    /// Why it is not there, if it is not.
    pub missing: Option<String>,
}

/// Closes what this process has open by the carelessness of those who started it, all but its three standard files. To be
/// called first of all.
#[allow(
    unsafe_code,
    reason = "this is where a process seals itself; see the safety comment"
)]
pub(crate) fn inherited_files() -> Layer {
    const FIRST: libc::c_uint = 3;
    // SAFETY: nothing in this process has opened a file yet, so that nothing owns one that is closed here.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, 0) };
    let closed = match closed {
        0 => Ok(()),
        _ => Err(words(std::io::Error::last_os_error())),
    };
    layer("inherited files closed", closed)
}

/// Seals this process but for the list of system calls. There must be no other thread yet.
///
/// The process keeps the files that it has open, and memory.
pub(crate) fn seal() -> Vec<Layer> {
    let mut layers = before_threads();
    layers.push(calls());
    layers
}

/// All layers but the list of system calls, of which threads that start later have need.
pub(crate) fn before_threads() -> Vec<Layer> {
    vec![
        layer("namespaces", namespaces()),
        layer("no capabilities", no_capabilities()),
        layer("no new privileges", set_no_new_privs(true).map_err(words)),
        layer("limits", limits()),
        layer("landlock", landlock()),
    ]
}

/// The list of system calls, for all threads.
pub(crate) fn calls() -> Layer {
    layer("seccomp", calls::allow())
}

fn layer(name: &str, laid: Result<(), String>) -> Layer {
    Layer {
        name: name.to_owned(),
        missing: laid.err(),
    }
}

fn words(error: impl ToString) -> String {
    error.to_string()
}

/// An empty network, and no sight of other processes' messages and mounts.
#[allow(
    unsafe_code,
    reason = "this is where a process seals itself; see the safety comment"
)]
fn namespaces() -> Result<(), String> {
    use rustix::thread::{UnshareFlags, unshare_unsafe};
    let flags = UnshareFlags::NEWUSER
        | UnshareFlags::NEWNET
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWUTS
        | UnshareFlags::NEWNS;
    // SAFETY: the flag that makes this call unsafe, `FILES`, is not among them: file descriptors stay what they are.
    unsafe { unshare_unsafe(flags) }.map_err(words)
}

fn no_capabilities() -> Result<(), String> {
    let none = CapabilitySet::empty();
    let has = capabilities(None).map_err(words)?;
    if [has.effective, has.permitted, has.inheritable] == [none; 3] {
        return Ok(()); // A service without any may not be allowed the call that gives them up.
    }
    let sets = CapabilitySets {
        effective: none,
        permitted: none,
        inheritable: none,
    };
    set_capabilities(None, sets).map_err(words)
}

/// No files that grow, no core that holds what was in memory.
fn limits() -> Result<(), String> {
    for resource in [
        Resource::Fsize,
        Resource::Nofile,
        Resource::Core,
        Resource::Memlock,
    ] {
        let most = match resource {
            Resource::Nofile => OPEN_FILES_MAX,
            _ => 0,
        };
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        setrlimit(resource, limit).map_err(words)?;
    }
    Ok(())
}

/// No file, no port, no signal and no abstract socket beyond this process.
fn landlock() -> Result<(), String> {
    const NEWEST: ABI = ABI::V6;
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(NEWEST)))
        .and_then(|rules| rules.scope(Scope::from_all(NEWEST)))
        .and_then(Ruleset::create)
        .and_then(landlock::RulesetCreated::restrict_self)
        .map_err(words)?;
    match status.ruleset {
        RulesetStatus::FullyEnforced => Ok(()),
        RulesetStatus::PartiallyEnforced => Err("this kernel has a part of it".to_owned()),
        RulesetStatus::NotEnforced => Err("this kernel has none".to_owned()),
    }
}
