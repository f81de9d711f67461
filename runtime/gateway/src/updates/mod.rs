//! The gateway under its fleet's deployments: what the update client says is done, and what became of it is said back.
//!
//! ```text
//!   thread (client, disk, compiler) ==deeds==> driver (a task) ==orders==> each module's task
//!                                  <==words==                 <==reports==
//!                                  <==deliveries== courier (a task) <==documents, blobs== centre
//!                                                                   ==reports==>
//! ```
//!
//! # Invariants
//!
//! - Nothing runs that the client has not named, and its generation is the one that the buffer calls active.
//! - Modules that a deployment does not change run on through all of it.
//! - Where a deployment changes which modules there are or what they are fed, the data path is ended in order and begun
//!   again: no message is lost, and it takes longer than a switch.
//! - Without an enrolment nothing of this runs, and the modules are those of `gateway.toml`.
//!
//! # Layout
//! - `begin`: what runs at the start.
//! - `thread`: the client, where it may wait.
//! - `driver`: between the client and the modules.
//! - `courier`: between the client and the centre; `delivery`: what they say; `report`: what the centre is told.
//! - `site`: what the site says to a deployment before it is taken.
//! - `fresh`: what is told of how fresh the documents are. `frozen`: the centre is told that nothing is taken.
//! - `commands`: `tidegate update`.

mod begin;
pub(crate) mod commands;
mod courier;
mod delivery;
mod driver;
pub(crate) mod fresh;
mod frozen;
mod report;
mod site;
mod thread;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use tidegate_buffer::Residency;
use tidegate_record::{Name, TopicFilter};
use tidegate_sandbox::{Module, Sandbox, Terms};
use tidegate_update::{Event, FrozenClient, Policy};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::error::Error;
pub(crate) use begin::{Begun, Fleet, begin, open};
pub(crate) use courier::Road;
use courier::{CENTRE, Courier};
use delivery::{Delivery, Post};
use driver::Driver;
pub(crate) use driver::Seats;
use frozen::Notice;
pub(crate) use report::Reporter;

/// Words and deeds that wait.
const QUEUE_MAX: usize = 16;

/// What the thread is told.
#[derive(Debug)]
enum Word {
    /// Something has happened.
    Event(Event),
    /// An operator brings a stick. Answered in words.
    Import(PathBuf, oneshot::Sender<Result<String, String>>),
    /// An operator asks how it goes.
    Status(oneshot::Sender<Value>),
    /// The courier is here.
    Delivery(Delivery),
}

/// What the data path is to do.
#[derive(Debug)]
enum Deed {
    /// Run a generation in the shadow.
    Try(Name, Box<Module>, Terms),
    /// End all shadows.
    EndTrials,
    /// Make these generations the active ones. One that was not on trial comes with it.
    Activate(Vec<(Name, u64, Option<Box<Module>>)>),
    /// Make those that stand by the active ones again.
    Return(Vec<Name>),
    /// End what stands by.
    Settle,
    /// End the data path in order, and begin again.
    Again,
}

/// What cannot change while the data path runs.
#[derive(Debug, PartialEq, Eq)]
struct Course {
    /// What each module is fed.
    fed: BTreeMap<Name, Vec<(Name, TopicFilter)>>,
    /// Where rows may go.
    residency: Residency,
}

/// The way to a running update client. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Updates {
    words: mpsc::Sender<Word>,
}

impl Updates {
    /// How it goes, for the operator; none when the client has gone.
    pub(crate) async fn status(&self) -> Option<Value> {
        let (sender, answer) = oneshot::channel();
        self.words.send(Word::Status(sender)).await.ok()?;
        answer.await.ok()
    }

    /// Takes what is on a stick: what came of it, or why it is refused.
    pub(crate) async fn import(&self, stick: PathBuf) -> Result<String, String> {
        let gone = || "the gateway is stopping".to_owned();
        let (sender, answer) = oneshot::channel();
        let sent = self.words.send(Word::Import(stick, sender)).await;
        sent.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

/// The update client of this run, if there is one.
pub(crate) struct Running {
    /// What the operator is told, and through what.
    pub(crate) told: Told,
    parts: Parts,
}

/// What of it runs.
enum Parts {
    /// Nothing: there is no fleet, or nobody to be told that nothing is taken.
    None,
    Frozen(Notice),
    Enrolled(Driver, Option<Courier>, Thread),
}

/// The client's thread.
type Thread = std::thread::JoinHandle<()>;

/// What the operator is told of updates, and through what.
#[derive(Debug, Clone)]
pub(crate) enum Told {
    /// There is no fleet.
    NotEnrolled,
    /// Nothing is taken, for this reason.
    Frozen(String),
    /// Ask.
    Enrolled(Updates),
}

/// Starts the client for modules that run, and its way to the centre if there is one.
pub(crate) fn start(
    fleet: Fleet,
    sandbox: Arc<Sandbox>,
    seats: Seats,
    again: watch::Sender<bool>,
    (reporter, road): (Reporter, Option<Road>),
) -> Result<Running, Error> {
    let enrolled = match fleet {
        Fleet::Enrolled(enrolled) => enrolled,
        Fleet::None => {
            return Ok(Running {
                told: Told::NotEnrolled,
                parts: Parts::None,
            });
        }
        Fleet::Frozen(frozen) => return Ok(Running::frozen(&frozen, reporter, road)),
    };
    let (words, told) = mpsc::channel(QUEUE_MAX);
    let (deeds, doing) = mpsc::channel(QUEUE_MAX);
    let wake = Arc::<Notify>::default();
    let post = Post {
        reporter,
        wake: wake.clone(),
        from: CENTRE,
        asked: None,
    };
    let thread = std::thread::Builder::new()
        .name("updates".to_owned())
        .spawn(move || thread::run(*enrolled, &sandbox, told, &deeds, post))
        .map_err(|source| Error::System {
            what: "start the thread for updates",
            source,
        })?;
    let driver = Driver::new(doing, words.downgrade(), seats, again);
    let courier = road.map(|road| Courier::new(road, words.downgrade(), wake));
    Ok(Running {
        told: Told::Enrolled(Updates { words }),
        parts: Parts::Enrolled(driver, courier, thread),
    })
}

impl Running {
    fn frozen(frozen: &FrozenClient, reporter: Reporter, road: Option<Road>) -> Self {
        let notice = road.and_then(|road| match reporter.frozen(frozen) {
            Ok(status) => Some(Notice {
                road,
                reporter,
                status,
            }),
            Err(error) => {
                tracing::error!("cannot report that nothing is taken: {error}");
                None
            }
        });
        Self {
            told: Told::Frozen(frozen.reason().to_owned()),
            parts: notice.map_or(Parts::None, Parts::Frozen),
        }
    }

    /// Runs the driver and the courier among these tasks. Gives the thread, which ends after them.
    pub(crate) fn spawn(self, tasks: &mut JoinSet<()>) -> Option<Thread> {
        match self.parts {
            Parts::None => None,
            Parts::Frozen(notice) => {
                tasks.spawn(notice.run());
                None
            }
            Parts::Enrolled(driver, courier, thread) => {
                tasks.spawn(driver.run());
                if let Some(courier) = courier {
                    tasks.spawn(courier.run());
                }
                Some(thread)
            }
        }
    }
}

/// What the site permits.
pub(crate) fn read_policy(path: &Path) -> Result<Policy, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::ReadFile {
        what: "policy",
        path: path.to_owned(),
        source,
    })?;
    Policy::parse(&text).map_err(|problems| Error::Policy {
        path: path.to_owned(),
        problems: problems
            .iter()
            .map(|problem| format!("\n  {problem}"))
            .collect(),
    })
}

/// Waits for the client's last write: an orderly end gives a trial its attempt back.
pub(crate) fn join(thread: Option<Thread>) {
    if let Some(thread) = thread
        && thread.join().is_err()
    {
        tracing::error!("the thread for updates has panicked");
    }
}
