//! What the update client remembers over a restart, in two generations, and closed when it cannot be read.
//!
//! Each state is written as a whole to the slot of the one before the last, `state-0` or `state-1`, and is on disk before
//! anybody acts on it. `enrolled` holds how many states were written: it is how an older state is known as old, and that
//! there must be one at all. `state-confirmed` is a copy of the state in which the confirmed set became that; it is never
//! written on from, it only says what to run when nothing else can.
//!
//! A file is one line, `tidegate-update-1 ` and the SHA-256 of everything after its line feed, then a JSON object.
//!
//! # Invariants
//!
//! - A state is either the newest that was ever acted on, or it is not gone on from ([`Opened::Frozen`]).
//! - Nothing here begins anew: only [`StateFile::enrol`] makes a first state, where there is nothing at all.
//! - A crash at any point leaves the state before or the state after, however many crashes follow each other: a state that
//!   is found and not counted yet is counted before it is gone on from.
//!
//! # Failure
//!
//! Truncated, zeroed, flipped, deleted, swapped or older: frozen, with the reason and what could still be read, so that
//! what runs goes on. That the whole folder was put back as it once was cannot be noticed here; the number of states
//! ([`StateFile::turn`]) is for whoever can remember it elsewhere.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use tidegate_bundle::{Digest, TRUST_BYTES_MAX, Trust};
use tidegate_record::Clock;

use crate::audit::Head;
use crate::folder::{Folder, length};
use crate::machine::Machine;

/// Largest state in bytes: a trust memory, which doubles as text within text, and the sets of three deployments.
pub const STATE_BYTES_MAX: u64 = 4 * TRUST_BYTES_MAX as u64;

const MAGIC: &str = "tidegate-update-1 ";
const SLOTS: [&str; 2] = ["state-0", "state-1"];
const ENROLLED: &str = "enrolled";
const CONFIRMED: &str = "state-confirmed";
const LOCK: &str = "lock";

/// What is remembered.
#[derive(Debug, Clone)]
pub struct State {
    /// What documents were accepted.
    pub trust: Trust,
    /// How far the deployment has come.
    pub machine: Machine,
    /// The last line of the audit log when this was written.
    pub audit: Head,
    /// When the centre last confirmed that nothing is newer.
    pub heard: Option<Moment>,
}

/// A moment by the clock that no setting of the wall clock moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moment {
    boot: u64,
    since_boot_ns: u64,
}

impl Moment {
    /// Now.
    #[must_use]
    pub fn now(clock: &dyn Clock) -> Self {
        Self {
            boot: clock.boot().0,
            since_boot_ns: clock.boot_time().0,
        }
    }

    /// Time since then, if it was in this boot.
    #[must_use]
    pub fn elapsed(self, clock: &dyn Clock) -> Option<Duration> {
        let now = Self::now(clock);
        let nanoseconds = now.since_boot_ns.saturating_sub(self.since_boot_ns);
        (self.boot == now.boot).then(|| Duration::from_nanos(nanoseconds))
    }
}

/// Why a state is not written or opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process works on it.
    #[error("another process updates this gateway")]
    InUse,
    /// There is something already.
    #[error("this gateway is enrolled, or was: {found} is there")]
    Enrolled {
        /// A file that there should not be.
        found: String,
    },
    /// A state is larger than it can be read back.
    #[error("the state has {bytes} bytes, limit is {STATE_BYTES_MAX}")]
    TooLarge {
        /// Its length in bytes.
        bytes: u64,
    },
    /// What is remembered has no text.
    #[error("the state cannot be put into words: {0}")]
    Unwritable(String),
    /// The disk failed.
    #[error("cannot {what} the state of the update")]
    Disk {
        /// What was tried.
        what: &'static str,
        /// The reason.
        #[source]
        source: io::Error,
    },
}

/// What was found.
#[derive(Debug)]
pub enum Opened {
    /// Nothing: this gateway has no fleet yet.
    NotEnrolled,
    /// The newest state.
    Enrolled(StateFile, Box<State>),
    /// No state to go on from.
    Frozen(Frozen),
}

/// A gateway that runs what it runs, and takes nothing.
#[derive(Debug)]
pub struct Frozen {
    /// What is wrong.
    pub reason: String,
    /// What could be read, the newest first: to know what runs, and for nothing else.
    pub copies: Vec<State>,
    _lock: File,
}

/// The files, held by this process.
#[derive(Debug)]
pub struct StateFile {
    folder: Folder,
    /// How many states were written.
    turn: u64,
    /// The deployment that is confirmed in the copy.
    kept: Option<Digest>,
    _lock: File,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    turn: u64,
    trust: String,
    machine: Machine,
    audit: Head,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    heard: Option<Moment>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Enrolment {
    turn: u64,
}

impl StateFile {
    /// Opens what is in `folder`. Where the process ended, or the disk failed, between a state and its count, it is counted
    /// now: nobody acts on a state that could still be taken for one that never was.
    ///
    /// # Errors
    /// When the folder cannot be opened, the disk fails, or another process has it. What is wrong in it is
    /// [`Opened::Frozen`].
    pub fn open(folder: &Path) -> Result<Opened, Error> {
        let folder = Folder::open(folder).map_err(disk("open"))?;
        let lock = lock(&folder)?;
        let found = folder.names().map_err(disk("look for"))?;
        let ours = |name: &&str| found.iter().any(|found| found == name);
        let all = [SLOTS[0], SLOTS[1], ENROLLED, CONFIRMED];
        if !all.iter().any(ours) {
            return Ok(Opened::NotEnrolled);
        }
        folder.remove_unfinished().map_err(disk("tidy"))?;
        let copy = read_state(&folder, CONFIRMED);
        match newest(&folder) {
            Ok((counted, turn, state)) => {
                if counted < turn {
                    // Not even its name may be on disk yet, and the count must not come before that.
                    folder.sync().map_err(disk("write"))?;
                    count(&folder, turn)?;
                }
                let copied = copy.iter().filter_map(|(_, copy)| copy.machine.confirmed());
                let kept = copied.map(|set| set.deployment).next();
                let file = Self {
                    folder,
                    turn,
                    kept,
                    _lock: lock,
                };
                Ok(Opened::Enrolled(file, Box::new(state)))
            }
            Err(reason) => Ok(Opened::Frozen(Frozen {
                reason,
                copies: copies(&folder, copy.ok()),
                _lock: lock,
            })),
        }
    }

    /// Writes the first state of a gateway that has none.
    ///
    /// # Errors
    /// Where there is anything already; as [`StateFile::write`].
    pub fn enrol(folder: &Path, state: &State) -> Result<Self, Error> {
        let folder = Folder::open(folder).map_err(disk("open"))?;
        let lock = lock(&folder)?;
        for name in [SLOTS[0], SLOTS[1], ENROLLED, CONFIRMED] {
            let found = folder.names().map_err(disk("look for"))?;
            if found.iter().any(|found| found == name) {
                let found = name.to_owned();
                return Err(Error::Enrolled { found });
            }
        }
        let mut file = Self {
            folder,
            turn: 0,
            kept: None,
            _lock: lock,
        };
        file.write(state)?;
        Ok(file)
    }

    /// How many states were written here.
    #[must_use]
    pub fn turn(&self) -> u64 {
        self.turn
    }

    /// Writes a state. It is on disk, and known as the newest, when this returns.
    ///
    /// # Errors
    /// When the disk fails; then the state before counts, or this one, and nothing must have been done for it.
    pub fn write(&mut self, state: &State) -> Result<(), Error> {
        let turn = self.turn.saturating_add(1);
        let page = page(turn, state)?;
        let written = self.folder.replace(slot(turn), &page);
        written.map_err(disk("write"))?;
        count(&self.folder, turn)?;
        self.turn = turn;
        Ok(())
    }

    /// Copies a state for the day on which no other can be read, unless the confirmed set is already in the copy. To be
    /// called before anything of an earlier set is removed.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn keep(&mut self, state: &State) -> Result<(), Error> {
        let Some(confirmed) = state.machine.confirmed().map(|set| set.deployment) else {
            return Ok(());
        };
        if self.kept == Some(confirmed) {
            return Ok(());
        }
        let page = page(self.turn, state)?;
        let written = self.folder.replace(CONFIRMED, &page);
        written.map_err(disk("copy"))?;
        self.kept = Some(confirmed);
        Ok(())
    }
}

/// Notes how many states were written.
fn count(folder: &Folder, turn: u64) -> Result<(), Error> {
    let mark = sealed(&Enrolment { turn })?;
    let written = folder.replace(ENROLLED, &mark);
    written.map_err(disk("count"))
}

/// The newest state, if it is sure that it is the newest, and how many are counted: it may not be among them.
fn newest(folder: &Folder) -> Result<(u64, u64, State), String> {
    let marked: Enrolment = read_sealed(folder, ENROLLED)?;
    let slots = SLOTS.map(|name| read_slot(folder, name));
    let problems: Vec<_> = slots
        .iter()
        .filter_map(|slot| slot.as_ref().err())
        .collect();
    let problems = problems
        .iter()
        .map(|text| format!("; {text}"))
        .collect::<String>();
    let newest = slots.into_iter().flatten().max_by_key(|(turn, _)| *turn);
    let Some((turn, state)) = newest else {
        return Err(format!("no state can be read{problems}"));
    };
    let marked = marked.turn;
    if turn < marked {
        return Err(format!(
            "state {turn} is the newest that can be read, {marked} were written{problems}"
        ));
    }
    // The count is one behind when the process ended between the two; never more, as the next start counts first.
    if turn - marked > 1 {
        return Err(format!(
            "{ENROLLED} counts {marked} states, and there is state {turn}"
        ));
    }
    Ok((marked, turn, state))
}

/// What can be read at all.
fn copies(folder: &Folder, copy: Option<(u64, State)>) -> Vec<State> {
    let mut slots: Vec<_> = SLOTS
        .iter()
        .filter_map(|name| read_slot(folder, name).ok())
        .collect();
    slots.sort_by_key(|(turn, _)| std::cmp::Reverse(*turn));
    slots
        .into_iter()
        .chain(copy)
        .map(|(_, state)| state)
        .collect()
}

/// A state in the slot that is its own.
fn read_slot(folder: &Folder, name: &str) -> Result<(u64, State), String> {
    let (turn, state) = read_state(folder, name)?;
    match slot(turn) == name {
        true => Ok((turn, state)),
        false => Err(format!("{name} holds state {turn}, which is not its own")),
    }
}

fn read_state(folder: &Folder, name: &str) -> Result<(u64, State), String> {
    let page: Page = read_sealed(folder, name)?;
    let trust = Trust::from_bytes(page.trust.as_bytes());
    let state = State {
        trust: trust.map_err(|error| format!("{name}: {error}"))?,
        machine: page.machine,
        audit: page.audit,
        heard: page.heard,
    };
    Ok((page.turn, state))
}

/// What follows the first line, if that line is its digest.
fn read_sealed<T: for<'de> Deserialize<'de>>(folder: &Folder, name: &str) -> Result<T, String> {
    let read = folder.read(name, STATE_BYTES_MAX);
    let bytes = read.map_err(|error| format!("{name} cannot be read: {error}"))?;
    let bytes = bytes.ok_or_else(|| format!("{name} is missing"))?;
    let damaged = || format!("{name} does not match its checksum");
    let rest = bytes.strip_prefix(MAGIC.as_bytes()).ok_or_else(damaged)?;
    let (digest, rest) = rest.split_at_checked(64).ok_or_else(damaged)?;
    let body = rest.strip_prefix(b"\n").ok_or_else(damaged)?;
    if digest != Digest::of(body).to_string().as_bytes() {
        return Err(damaged());
    }
    serde_json::from_slice(body).map_err(|error| format!("{name} is of another version: {error}"))
}

fn page(turn: u64, state: &State) -> Result<Vec<u8>, Error> {
    let trust = state.trust.to_bytes().map_err(unwritable)?;
    sealed(&Page {
        turn,
        trust: String::from_utf8(trust).map_err(unwritable)?,
        machine: state.machine.clone(),
        audit: state.audit,
        heard: state.heard,
    })
}

fn sealed(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    let body = serde_json::to_vec(value).map_err(unwritable)?;
    let mut bytes = format!("{MAGIC}{}\n", Digest::of(&body)).into_bytes();
    bytes.extend_from_slice(&body);
    match length(&bytes) {
        bytes if bytes > STATE_BYTES_MAX => Err(Error::TooLarge { bytes }),
        _ => Ok(bytes),
    }
}

fn slot(turn: u64) -> &'static str {
    match turn.is_multiple_of(2) {
        true => SLOTS[0],
        false => SLOTS[1],
    }
}

fn lock(folder: &Folder) -> Result<File, Error> {
    let file = folder.append(LOCK).map_err(disk("lock"))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::InUse),
        Err(errno) => Err(disk("lock")(errno.into())),
    }
}

fn unwritable(error: impl std::fmt::Display) -> Error {
    Error::Unwritable(error.to_string())
}

fn disk(what: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::Disk { what, source }
}

#[cfg(test)]
mod tests;
