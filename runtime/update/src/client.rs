//! The update client: takes documents and blobs from a source, and drives the machine over the store and the state.
//!
//! One thread owns it and may wait in it. The gateway asks it to take what a source has ([`Client::take`]), does what the
//! commands say, and tells it what became of that ([`Client::on`]).
//!
//! # Invariants
//!
//! - Bound, verify, compare, persist, act: nothing is done for a document before it was verified, permitted, and written
//!   to disk as accepted, with the trust memory and the machine in one write.
//! - Nothing is done that is not noted in the audit log first. A crash between the two can note it twice.
//! - A refusal changes nothing but the log.
//!
//! # Failure
//!
//! What runs runs on, whatever fails here. An [`Error`] of the disk leaves the state as it was; the same call may be made
//! again.

mod code;
mod deliver;
mod fresh;
mod frozen;
mod open;
mod report;
mod take;

use std::sync::Arc;

use tidegate_bundle::{Gateway, Now, Trust, VerifiedDeployment, text};
use tidegate_record::{Clock, ClockQuality};

use crate::audit::{Audit, Head};
use crate::error::{Error, chain};
use crate::machine::{Command, Event, Machine, Set, Trial};
use crate::state::{Moment, State, StateFile};
use crate::store::{self, Store};

pub use code::Generation;
pub use deliver::{Piece, Wants};
pub use fresh::{Fresh, Newest};
pub use frozen::FrozenClient;
pub use open::{Found, Site};
pub use take::Taken;

/// The update client of an enrolled gateway.
#[derive(Debug)]
pub struct Client {
    site: Site,
    clock: Arc<dyn Clock>,
    store: Store,
    file: StateFile,
    state: State,
    audit: Audit,
    /// What was refused last, so that asking every minute does not fill the log.
    refused: Option<String>,
    /// Epoch and number of the newest deployment that came whole, and is not taken by what it says itself.
    judged: Option<(u64, u64)>,
    /// What the centre has last said to be the newest.
    newest: Option<Newest>,
    /// When nothing was newer, as it is on disk.
    written: Option<Moment>,
}

impl Client {
    /// Tells the client what has happened; gives what is left for the gateway to do. A [`Command::Fetch`] among it wants
    /// [`Client::take`] to be called with a source.
    ///
    /// # Errors
    /// When the log or state cannot be written: then nothing has changed, and nothing must be done.
    pub fn on(&mut self, event: Event) -> Result<Vec<Command>, Error> {
        if matches!(event, Event::Accepted(_) | Event::Stored) {
            return Ok(Vec::new()); // Of these the client itself is the judge.
        }
        let trust = self.state.trust.clone();
        match self.advance(trust.clone(), event) {
            // What is to be confirmed cannot be read any more.
            Err(Error::Store(store::Error::Missing(_) | store::Error::Damaged(_))) => {
                self.advance(trust, Event::Lost)
            }
            done => done,
        }
    }

    /// How far the deployment has come.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.state.machine
    }

    /// What documents were accepted.
    #[must_use]
    pub fn trust(&self) -> &Trust {
        &self.state.trust
    }

    /// The newest line of the audit log, for a status that leaves the gateway.
    #[must_use]
    pub fn audit(&self) -> Head {
        self.audit.head()
    }

    /// How many states were written, for whoever can remember it elsewhere.
    #[must_use]
    pub fn turn(&self) -> u64 {
        self.file.turn()
    }

    /// The gateway, as documents name it.
    #[must_use]
    pub fn gateway(&self) -> &Gateway {
        &self.site.gateway
    }

    /// The modules that run, or are about to, loaded and hashed.
    ///
    /// # Errors
    /// When there are none yet, or one cannot be loaded; if that is the candidate's, [`Event::Lost`] says so.
    pub fn active(&self) -> Result<Vec<Generation>, Error> {
        let active = self.state.machine.active();
        self.load(active.ok_or(Error::Nothing("active"))?)
    }

    /// The modules of the confirmed set: what stands by, and what is fallen back to.
    ///
    /// # Errors
    /// As [`Client::active`].
    pub fn confirmed(&self) -> Result<Vec<Generation>, Error> {
        let confirmed = self.state.machine.confirmed();
        self.load(confirmed.ok_or(Error::Nothing("confirmed"))?)
    }

    /// The modules that a command has named, of the set that is on its way: ready to be tried and activated.
    ///
    /// # Errors
    /// As [`Client::active`].
    pub fn candidate(&self) -> Result<Vec<Generation>, Error> {
        let candidate = self.state.machine.candidate();
        self.load(candidate.ok_or(Error::Nothing("on its way"))?)
    }

    /// The modules of a set, as far as they are to run.
    ///
    /// # Errors
    /// As [`Client::active`].
    pub fn load(&self, set: &Set) -> Result<Vec<Generation>, Error> {
        code::load(&self.store, &self.state.trust, &self.site, set)
    }

    /// Applies an event under this memory, and whatever follows from it here.
    fn advance(&mut self, trust: Trust, event: Event) -> Result<Vec<Command>, Error> {
        let mut left = Vec::new();
        for command in self.step(trust, event)? {
            match command {
                Command::Deny(_) | Command::Confirm(_) => {}
                Command::Collect => self.collect(),
                Command::Fetch => left.extend(self.stored_already()),
                command => left.push(command),
            }
        }
        Ok(left)
    }

    /// Goes on at once where everything is there. If it cannot be written that it is, fetching finds it again.
    fn stored_already(&mut self) -> Vec<Command> {
        if !self.is_complete() {
            return vec![Command::Fetch];
        }
        let trust = self.state.trust.clone();
        self.advance(trust, Event::Stored).unwrap_or_else(|error| {
            tracing::warn!("cannot go on with what is stored: {}", chain(&error));
            vec![Command::Fetch]
        })
    }

    /// One event: noted, written to disk, then in force. What a command changes in the memory is in the same write.
    fn step(&mut self, mut trust: Trust, event: Event) -> Result<Vec<Command>, Error> {
        let mut machine = self.state.machine.clone();
        let words = words(&event);
        let commands = machine.on(event);
        for command in &commands {
            match command {
                Command::Deny(digest) => trust.deny(*digest),
                Command::Confirm(_) => {
                    let set = machine.confirmed().ok_or(Error::Nothing("confirmed"))?;
                    let deployment = self.reopen(&trust, set)?;
                    trust.confirm(&deployment)?;
                }
                _ => {}
            }
        }
        let is_same_trust = trust.to_bytes()? == self.state.trust.to_bytes()?;
        if machine == self.state.machine && is_same_trust {
            return Ok(commands);
        }
        let (what, text) = words;
        if what != "minutes" {
            self.note(what, &text)?;
        }
        for command in &commands {
            match command {
                Command::Deny(digest) => self.note("denied", &digest.to_string())?,
                Command::Confirm(digest) => self.note("confirmed", &digest.to_string())?,
                _ => {}
            }
        }
        self.commit(State {
            trust,
            machine,
            audit: self.audit.head(),
            heard: self.state.heard,
        })?;
        Ok(commands)
    }

    fn commit(&mut self, state: State) -> Result<(), Error> {
        self.file.write(&state)?;
        self.written = state.heard;
        self.state = state;
        Ok(())
    }

    fn reopen(&self, trust: &Trust, set: &Set) -> Result<VerifiedDeployment, Error> {
        code::reopen(&self.store, trust, set)
    }

    /// Whether all that the candidate needs can be loaded.
    fn is_complete(&self) -> bool {
        let Some(set) = self.state.machine.fetching() else {
            return false;
        };
        set.blobs().all(|blob| self.store.load(*blob).is_ok())
    }

    /// Removes what nothing names. If that fails, there is less room, and nothing else.
    fn collect(&mut self) {
        let collected = self.file.keep(&self.state).map_err(Error::from);
        let named = self.state.machine.named();
        let collected = collected.and_then(|()| Ok(self.store.keep_only(&named)?));
        if let Err(error) = collected {
            tracing::warn!("cannot tidy the store: {}", chain(&error));
        }
    }

    fn note(&mut self, what: &str, text: &str) -> Result<(), Error> {
        let noted = self.audit.note(&*self.clock, what, text);
        noted.map_err(Error::Audit)
    }

    /// Notes a refusal, unless it is the one before once more. That it cannot be noted does not make it less of one.
    fn note_refusal(&mut self, from: &str, error: &Error) {
        let text = format!("{from}: {} ({})", chain(error), error.reason());
        if self.refused.as_ref() == Some(&text) {
            return;
        }
        match self.note("refused", &text) {
            Ok(()) => self.refused = Some(text),
            Err(error) => tracing::warn!("cannot note that {text}: {}", chain(&error)),
        }
    }

    fn now(&self) -> Now {
        match self.clock.quality() {
            ClockQuality::Synced => Now::Synchronised(self.clock.wall_time().0 / 1_000_000_000),
            _ => Now::Unsynchronised,
        }
    }
}

/// An event, for the log.
fn words(event: &Event) -> (&'static str, String) {
    let of = |trial: &Trial| format!("module {}, generation {}", trial.module, trial.generation);
    let because = |trial: &Trial, why: &str| format!("{}: {}", of(trial), text::sentence(why));
    match event {
        Event::Accepted(set) => ("accepted", format!("deployment {}", set.deployment)),
        Event::Stored => (
            "stored",
            "all that the deployment needs is in the store".to_owned(),
        ),
        Event::Lost => (
            "lost",
            "something is missing in the store, or damaged".to_owned(),
        ),
        Event::Passed(trial) => ("passed", of(trial)),
        Event::Faulted(trial, why) => ("faulted", because(trial, why)),
        Event::Rejected(trial, why) => ("rejected", because(trial, why)),
        Event::Hindered(trial, why) => ("hindered", because(trial, why)),
        Event::Activated => ("activated", "the new generations are active".to_owned()),
        Event::Returned => (
            "returned",
            "the confirmed generations are active again".to_owned(),
        ),
        Event::Minutes(minutes) => ("minutes", format!("{minutes} minutes without a fault")),
        Event::Started => (
            "started",
            "the process began during a trial or fetch".to_owned(),
        ),
        Event::Stopping => ("stopping", "the process ends during a trial".to_owned()),
    }
}

#[cfg(test)]
mod tests;
