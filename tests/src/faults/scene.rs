//! A site under load, with a gateway that can be hurt: what every drill stands on.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::account::Account;
use super::preload::{self, Fault, HANG};
use super::source::{FILL, Source, TOPIC};
use super::{Report, Run};
use crate::binaries::repository;
use crate::bundles::Workshop;
use crate::random::Random;
use crate::site::{GATEWAY, Module, Plan, Site};
use crate::tap::Tap;
use crate::wait::{wait_for, wait_until};

/// Message ids make a repeated delivery count once.
pub const MESSAGE_ID: &str = "message-id = { field = \"seq\" }";

/// Messages a second.
pub const PER_SECOND: f64 = 1000.0;

/// How long everything may take to arrive in the end, a store of some GiB as well.
const DRAIN: Duration = Duration::from_secs(1800);

/// After this long without a further acknowledgement, none is to come.
const STALLED: Duration = Duration::from_secs(5);

/// After this long without a further row at the centre, none is to come: after failures the uplink waits up to a minute.
/// A negative control is given up sooner.
const STUCK: Duration = Duration::from_secs(75);
/// See [`STUCK`].
const STUCK_CONTROL: Duration = Duration::from_secs(5);

/// `EX_IOERR`: storage failed, and nothing of the failed commit was acknowledged.
pub const STORAGE_FAILED: i32 = 74;

/// Messages that come at once before a death in a commit, so that there is something to lose.
pub const BURST: u64 = 5000;

/// After this long without a further acknowledgement, a gateway whose commit hangs has said all that it can.
const SAID: Duration = Duration::from_millis(300);

/// How long a start may take, on a busy machine.
const START: Duration = Duration::from_secs(60);

/// What differs from drill to drill.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// A promise that the gateway breaks on purpose: it is the faulty build then, and this its `TIDEGATE_FAULT`.
    pub fault: Option<&'static str>,
    /// Lines of the broker's section of gateway.toml.
    pub broker: &'static str,
    /// Further sections of gateway.toml.
    pub sections: String,
    /// Whether the broker keeps its sessions and messages on disk.
    pub broker_persists: bool,
    /// Whether what goes wrong on the link goes on to the end.
    pub link_stays_bad: bool,
    /// Whether there is a recorder as well, which fills the store: [`super::source::FILL`] is its topic.
    pub recorder: bool,
}

/// A site with the journal, a tap and a load.
#[derive(Debug)]
pub struct Scene {
    /// The site.
    pub site: Site,
    /// The load.
    pub source: Source,
    /// The longest recovery so far.
    pub recovery: Duration,
    link_stays_bad: bool,
    stuck: Duration,
}

impl Scene {
    /// Starts everything, and the gateway for the first time; the load is paused.
    ///
    /// # Errors
    /// When something does not start.
    pub fn start(run: &Run<'_>, options: Options) -> Result<Self> {
        let workshop = Workshop::open(run.binaries, run.directory)?;
        let program = options.fault.map(|_| run.binaries.tidegate_faulty());
        let module = |name: &str, topic: &str| -> Result<Module> {
            Ok(Module {
                bundle: workshop.bundle(&repository().join("tests/guests").join(name))?,
                settings: format!("inputs = [{{ from = \"plant\", topic = \"{topic}\" }}]"),
            })
        };
        let mut modules = vec![module("journal", TOPIC)?];
        if options.recorder {
            modules.push(module("recorder", FILL)?);
        }
        let plan = Plan {
            directory: run.directory,
            binaries: run.binaries,
            program: program.transpose()?,
            modules,
            broker: options.broker,
            sections: &options.sections,
            tapped: true,
        };
        let mut site = Site::start(&plan, &workshop)?;
        if let Some(fault) = options.fault {
            site.gateway.set_variable("TIDEGATE_FAULT", fault);
        }
        if options.broker_persists {
            site.broker.keep_on_disk()?;
        }
        site.gateway.start()?;
        site.broker.wait_for_subscriber(GATEWAY)?;
        let source = Source::new(site.broker.port(), PER_SECOND)?;
        Ok(Self {
            site,
            source,
            recovery: Duration::ZERO,
            link_stays_bad: options.link_stays_bad,
            stuck: if run.control { STUCK_CONTROL } else { STUCK },
        })
    }

    /// The tap.
    ///
    /// # Errors
    /// Never: every scene has one.
    pub fn tap(&self) -> Result<&Tap> {
        self.site.tap.as_ref().context("the scene has a tap")
    }

    /// Waits until so many further messages are acknowledged.
    ///
    /// # Errors
    /// When they are not within a minute.
    pub fn flows(&mut self, messages: usize) -> Result<()> {
        let until = self.tap()?.passed() + messages;
        wait_until("messages to flow", START, || {
            supervise(&mut self.site)?;
            Ok(self.tap()?.passed() >= until)
        })
        .with_context(|| last_words(&self.site))
    }

    /// The death of a negative control: the gateway is started, a commit hangs while it is written, and when nothing more
    /// is acknowledged the gateway is killed. One that acknowledges before it commits loses what that commit held, for
    /// certain.
    ///
    /// # Errors
    /// When it does not come to the commit.
    pub fn die_in_commit(&mut self, random: &mut Random) -> Result<()> {
        let fault = Fault {
            call: "write",
            target: "-wal".to_owned(),
            before: true,
            // After those with which the database is opened.
            nth: 60 + random.below(60),
            error: HANG,
            times: 1,
        };
        let fired = fault.put_under(&mut self.site.gateway)?;
        self.site.gateway.launch()?;
        self.source.burst(BURST)?;
        wait_until("a commit to hang", START, || Ok(fired.exists()))
            .with_context(|| fault.text())?;
        let mut last = (Instant::now(), self.tap()?.passed());
        wait_until("the last acknowledgement", START, || {
            let passed = self.tap()?.passed();
            if passed != last.1 {
                last = (Instant::now(), passed);
            }
            Ok(last.0.elapsed() > SAID)
        })?;
        preload::heal(&mut self.site.gateway);
        self.site.gateway.kill9()
    }

    /// Starts the gateway and waits for its first acknowledgement, or until it is ready; notes how long that took. Gives
    /// how it ended, where it did not get there.
    ///
    /// # Errors
    /// When it does neither.
    pub fn recover(&mut self) -> Result<Option<ExitStatus>> {
        match recover(&mut self.site)? {
            Ok(time) => {
                self.recovery = self.recovery.max(time);
                Ok(None)
            }
            Err(status) => Ok(Some(status)),
        }
    }

    /// As [`Scene::recover`], where an end is an error.
    ///
    /// # Errors
    /// When the gateway does not get ready.
    pub fn must_recover(&mut self) -> Result<()> {
        match self.recover()? {
            None => Ok(()),
            Some(status) => bail!(
                "the gateway ended with {status} instead of getting ready\n{}",
                last_words(&self.site)
            ),
        }
    }

    /// Stops the load, lets everything arrive at the centre, and counts. Says what is wrong where rows do not leave.
    ///
    /// # Errors
    /// When the gateway or the centre cannot be asked.
    pub fn account(&mut self) -> Result<(Account, Option<String>)> {
        let published = self.source.pause()?;
        self.acknowledged(published)?;
        let problem = rows_leave(&mut self.site, self.stuck)?;
        let acknowledged = self.tap()?.numbers();
        let account = Account::of(&acknowledged, published, &self.site.cloud)?;
        Ok((account, problem))
    }

    /// On a sound link, unless it is to stay as it is: counts, and stops the gateway.
    ///
    /// # Errors
    /// As [`Scene::account`].
    pub fn settle(mut self, tried: u32) -> Result<Report> {
        if !self.link_stays_bad {
            self.site.link.misbehave(None);
        }
        self.site.link.mend();
        let (account, problem) = self.account()?;
        let stopped = self.site.gateway.stop().err();
        let stopped = stopped.map(|error| format!("{error:#}"));
        Ok(Report {
            tried,
            account,
            early: 0,
            stranded: 0,
            recovery: self.recovery,
            problems: problem.into_iter().chain(stopped).collect(),
            notes: Vec::new(),
        })
    }

    /// Waits until all messages are acknowledged, or no more of them: a broker that was killed has lost some.
    fn acknowledged(&mut self, published: u64) -> Result<()> {
        let published = usize::try_from(published)?;
        let mut last = (Instant::now(), self.tap()?.numbered());
        wait_until("every message to be acknowledged", DRAIN, || {
            supervise(&mut self.site)?;
            let acknowledged = self.tap()?.numbered();
            if acknowledged != last.1 {
                last = (Instant::now(), acknowledged);
            }
            Ok(acknowledged >= published || last.0.elapsed() > STALLED)
        })
    }
}

/// Starts the gateway again where it has ended because storage failed, as systemd would.
///
/// # Errors
/// When it has ended for another reason.
fn supervise(site: &mut Site) -> Result<()> {
    match site.gateway.ended_within(Duration::ZERO)? {
        None => Ok(()),
        Some(status) if status.code() == Some(STORAGE_FAILED) => site.gateway.launch(),
        Some(status) => bail!("the gateway ended with {status}, {}", last_words(site)),
    }
}

/// Starts the gateway and waits for its first acknowledgement, or until it is ready. Gives how long that took, or how it
/// ended instead.
///
/// # Errors
/// When it does neither.
pub fn recover(site: &mut Site) -> Result<Result<Duration, ExitStatus>> {
    let Site { gateway, tap, .. } = site;
    let tap = tap.as_ref().context("the site has a tap")?;
    let (before, begin) = (tap.passed(), Instant::now());
    gateway.launch()?;
    let recovered = wait_for("the gateway to be ready", START, || {
        if tap.passed() > before || gateway.is_ready() {
            return Ok(Some(Ok(begin.elapsed())));
        }
        Ok(gateway.ended_within(Duration::ZERO)?.map(Err))
    });
    recovered.with_context(|| last_words(site))
}

/// Waits until no row waits for the centre; says what is wrong where rows wait and none has moved for `stuck`.
///
/// # Errors
/// When the gateway has ended for another reason than its storage.
pub fn rows_leave(site: &mut Site, stuck: Duration) -> Result<Option<String>> {
    let mut last = (Instant::now(), None);
    wait_for("the rows to reach the centre", DRAIN, || {
        supervise(site)?;
        // While it starts, it does not answer.
        let status = site.gateway.status().unwrap_or_default();
        let waiting = status.pointer("/buffer/rows_waiting");
        let waiting = waiting.and_then(Value::as_u64);
        if waiting == Some(0) {
            return Ok(Some(None));
        }
        if waiting != last.1 {
            last = (Instant::now(), waiting);
        }
        let error = status.pointer("/uplink/error").and_then(Value::as_str);
        let error = error.unwrap_or("the uplink says nothing");
        let problem = || {
            Some(format!(
                "{waiting:?} rows do not leave the gateway: {error}"
            ))
        };
        Ok((last.0.elapsed() > stuck).then(problem))
    })
}

fn last_words(site: &Site) -> String {
    let log = site.gateway.log().unwrap_or_default();
    let lines: Vec<_> = log.lines().rev().take(8).collect();
    let lines: Vec<_> = lines.into_iter().rev().collect();
    format!("it said last:\n  {}", lines.join("\n  "))
}
