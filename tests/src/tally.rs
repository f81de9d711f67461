//! A gateway under a fleet, with the module `tally` on a live stream: what its rows say of messages that were lost or
//! counted twice when one generation took over from another.

mod online;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::binaries::Binaries;
use crate::bundles::Workshop;
use crate::cloud::Cloud;
use crate::faults::scene::MESSAGE_ID;
use crate::faults::source::{Source, TOPIC};
use crate::fleet::{self, Deployed, Fleet, Stick, Target, Terms, said};
use crate::plant::guest;
use crate::site::{GATEWAY, Plan, Site};
use crate::wait::wait_until;

/// Longest wait for an update to come to its end, or for the centre to have everything.
const SOON: Duration = Duration::from_secs(120);
/// The module, and its stream.
pub const TALLY: &str = "tally";

/// The gateway, its fleet and its load.
#[derive(Debug)]
pub struct Scene {
    /// The plant.
    pub site: Site,
    /// The load: paused at first.
    pub source: Source,
    fleet: Fleet,
    bundle: PathBuf,
    /// Another bundle, once there is one.
    other: Option<PathBuf>,
}

/// What the rows of the module say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Messages that were published.
    pub messages: u64,
    /// Messages without a row.
    pub lost: u64,
    /// Rows beyond one of a message.
    pub doubled: u64,
    /// Counts from 1 to the number of messages that no row has: the state was not that of all messages before.
    pub miscounted: u64,
    /// Each time that one generation took over from another in the same run of the gateway.
    pub switches: Vec<Switch>,
    /// From one commit to the next of the same generation in the same run, in the longest hundredth.
    pub commit: Duration,
}

/// One generation took over from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switch {
    /// The one before.
    pub from: u64,
    /// The one after.
    pub to: u64,
    /// From the last commit of the one to the first of the other.
    pub gap: Duration,
}

impl Account {
    /// Whether each message has one row, and was counted once.
    pub fn holds(&self) -> bool {
        self.messages > 0 && self.lost + self.doubled + self.miscounted == 0
    }
}

impl Scene {
    /// Starts a gateway under a fleet, with the first deployment confirmed and the load paused. With a promise that the
    /// gateway breaks on purpose it is the faulty build, and this its `TIDEGATE_FAULT`.
    ///
    /// # Errors
    /// When something does not start.
    pub fn start(
        binaries: &Binaries,
        directory: &Path,
        per_second: f64,
        fault: Option<&str>,
    ) -> Result<Self> {
        let mut scene = Self::enrolled(binaries, directory, per_second, fault, "")?;
        scene.site.gateway.start()?;
        let first = scene.deploy(Terms::QUICK, "")?;
        scene.settled(&first)?;
        scene.site.broker.wait_for_subscriber(GATEWAY)?;
        Ok(scene)
    }

    /// Its fleet.
    pub const fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// Everything but the gateway runs, and that is under a fleet.
    fn enrolled(
        binaries: &Binaries,
        directory: &Path,
        per_second: f64,
        fault: Option<&str>,
        sections: &str,
    ) -> Result<Self> {
        let workshop = Workshop::open(binaries, directory)?;
        let bundle = workshop.bundle(&guest(TALLY))?;
        let plan = Plan {
            directory,
            binaries,
            program: fault.map(|_| binaries.tidegate_faulty()).transpose()?,
            modules: Vec::new(),
            // After a kill the broker repeats what was committed and not acknowledged yet.
            broker: MESSAGE_ID,
            sections,
            tapped: false,
        };
        let site = Site::start(&plan, &workshop)?;
        let fleet = Fleet::new(workshop, directory, Target::Gateway)?;
        fleet::join(&site.gateway, &fleet)?;
        let source = Source::new(site.broker.port(), per_second)?;
        let mut scene = Self {
            site,
            source,
            fleet,
            bundle,
            other: None,
        };
        if let Some(fault) = fault {
            scene.site.gateway.set_variable("TIDEGATE_FAULT", fault);
        }
        Ok(scene)
    }

    /// Gives the gateway the next deployment, with a flaw of the module and the count from which on it shows: `FLAW@FROM`.
    /// Gives what the gateway calls it.
    ///
    /// # Errors
    /// When it is refused.
    pub fn deploy(&mut self, terms: Terms, flaw: &str) -> Result<Value> {
        let stick = self.stick(terms, flaw)?;
        let outcome = fleet::import(&self.site.gateway, &stick.file)?;
        ensure!(outcome.code == Some(0), "refused: {}", outcome.stderr);
        Ok(stick.deployment)
    }

    /// The next deployment, on a stick.
    ///
    /// # Errors
    /// When `tide` fails.
    pub fn stick(&mut self, terms: Terms, flaw: &str) -> Result<Stick> {
        let module = self.module(flaw);
        self.fleet.stick(terms, &[module])
    }

    /// Lets the next deployments come with another component than the last, which answers alike and has to be fetched.
    ///
    /// # Errors
    /// When there is no other yet, and it cannot be made.
    pub fn alternate(&mut self) -> Result<()> {
        let other = match self.other.take() {
            Some(other) => other,
            None => self.fleet.workshop().again(&guest(TALLY))?,
        };
        self.other = Some(std::mem::replace(&mut self.bundle, other));
        Ok(())
    }

    /// The module of the next deployment, with a flaw as in [`Scene::deploy`].
    pub fn module(&self, flaw: &str) -> Deployed {
        deployed(&self.bundle, flaw, self.fleet.next())
    }

    /// Waits until this deployment is confirmed.
    ///
    /// # Errors
    /// When it is given up, or nothing comes of it.
    pub fn settled(&self, deployment: &Value) -> Result<()> {
        self.until(|status| match *said(status, "/confirmed") == *deployment {
            true => Ok(true),
            false if *said(status, "/given_up/deployment") == *deployment => {
                bail!("given up: {}", said(status, "/given_up"))
            }
            false => Ok(false),
        })
    }

    /// Waits until this deployment is given up and nothing is on its way; gives why, and how long it took.
    ///
    /// # Errors
    /// When it is confirmed, or nothing comes of it.
    pub fn given_up(&self, deployment: &Value) -> Result<(String, Duration)> {
        let begun = Instant::now();
        let mut why = String::new();
        self.until(|status| {
            ensure!(
                *said(status, "/confirmed") != *deployment,
                "it was confirmed"
            );
            let text = said(status, "/given_up/why").as_str();
            why = text.unwrap_or_default().to_owned();
            let is_given_up = *said(status, "/given_up/deployment") == *deployment;
            Ok(is_given_up && said(status, "/candidate").is_null())
        })?;
        Ok((why, begun.elapsed()))
    }

    fn until(&self, mut done: impl FnMut(&Value) -> Result<bool>) -> Result<()> {
        wait_until("the update to come to its end", SOON, || {
            // While the data path begins again, or after a kill, it does not answer.
            match fleet::status(&self.site.gateway) {
                Ok(status) if !status.is_null() => done(&status),
                _ => Ok(false),
            }
        })
    }

    /// Waits until so many messages have gone through the module since it was counted last.
    ///
    /// # Errors
    /// When they do not.
    pub fn flow(&self, messages: u64) -> Result<()> {
        let before = self.site.cloud.count(GATEWAY, TALLY)?;
        wait_until("messages to flow", SOON, || {
            Ok(self.site.cloud.count(GATEWAY, TALLY)? >= before + messages)
        })
    }

    /// Messages that the centre has rows of.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn counted(&self) -> Result<u64> {
        self.site.cloud.count(GATEWAY, TALLY)
    }

    /// Waits until this deployment is active, and in probation.
    ///
    /// # Errors
    /// When it does not get there.
    pub fn active(&self, deployment: &Value) -> Result<()> {
        self.until(|status| {
            let modules = said(status, "/modules").as_array();
            let in_probation = |module: &Value| said(module, "/phase") == "probation";
            let probation = modules.is_some_and(|modules| modules.iter().any(in_probation));
            Ok(*said(status, "/candidate") == *deployment && probation)
        })
    }

    /// Pauses the load, and counts when the centre has everything, or as much as will ever come.
    ///
    /// # Errors
    /// When the centre does not answer.
    pub fn account(&mut self) -> Result<Account> {
        let messages = self.source.pause()?;
        let mut last = (Instant::now(), 0);
        wait_until("the centre to have everything", SOON, || {
            let rows = self.site.cloud.count(GATEWAY, TALLY)?;
            if last.1 != rows {
                last = (Instant::now(), rows);
            }
            Ok(rows >= messages || last.0.elapsed() > Duration::from_secs(15))
        })?;
        Account::read(&self.site.cloud, GATEWAY, messages)
    }
}

impl Account {
    /// What the rows of a gateway at the centre say of so many messages.
    ///
    /// # Errors
    /// When the centre does not answer, or has other rows.
    pub fn read(cloud: &Cloud, gateway: &str, messages: u64) -> Result<Self> {
        let mut rows = Vec::new();
        cloud.rows(gateway, TALLY, |row| {
            rows.push(Row::read(row).with_context(|| format!("not a row of {TALLY}: {row}"))?);
            Ok(())
        })?;
        Ok(account(messages, &rows))
    }
}

/// The module in the deployment with this number, with a flaw as in [`Scene::deploy`].
pub fn deployed(bundle: &Path, flaw: &str, number: u64) -> Deployed {
    let (flaw, from) = flaw.split_once('@').unwrap_or((flaw, "0"));
    Deployed {
        name: TALLY,
        bundle: bundle.to_owned(),
        topic: TOPIC,
        // The serial makes each of them another configuration, and so another generation.
        config: format!("flaw = \"{flaw}\", from = \"{from}\", serial = \"{number}\""),
    }
}

/// A row of the module.
#[derive(Debug, Clone, Copy)]
struct Row {
    seq: u64,
    count: u64,
    generation: u64,
    epoch: u64,
    committed_ns: u64,
}

impl Row {
    fn read(row: &Value) -> Option<Self> {
        let number = |pointer| row.pointer(pointer).and_then(Value::as_u64);
        Some(Self {
            seq: number("/values/seq")?,
            count: number("/values/count")?,
            generation: number("/generation")?,
            epoch: number("/epoch/ordinal")?,
            committed_ns: number("/stamp/boot_time_ns")?,
        })
    }
}

fn account(messages: u64, rows: &[Row]) -> Account {
    let seqs: BTreeSet<u64> = rows.iter().map(|row| row.seq).collect();
    let counts: BTreeSet<u64> = rows.iter().map(|row| row.count).collect();
    let missing = |found: &BTreeSet<u64>, all: std::ops::RangeInclusive<u64>| {
        let all = all.filter(|number| !found.contains(number));
        u64::try_from(all.count()).unwrap_or(u64::MAX)
    };
    let (mut switches, mut commits) = (Vec::new(), Vec::new());
    let pairs = rows.iter().zip(rows.iter().skip(1));
    for (one, next) in pairs.filter(|(one, next)| one.epoch == next.epoch) {
        let gap = next.committed_ns.saturating_sub(one.committed_ns);
        let gap = Duration::from_nanos(gap);
        if one.generation != next.generation {
            switches.push(Switch {
                from: one.generation,
                to: next.generation,
                gap,
            });
        } else if !gap.is_zero() {
            commits.push(gap);
        }
    }
    let last = messages.saturating_sub(1);
    Account {
        messages,
        lost: missing(&seqs, 0..=last),
        doubled: u64::try_from(rows.len() - seqs.len()).unwrap_or(u64::MAX),
        miscounted: missing(&counts, 1..=messages),
        switches,
        commit: longest_hundredth(commits),
    }
}

/// The shortest of the longest hundredth; of fewer than a hundred, the longest.
pub fn longest_hundredth(mut durations: Vec<Duration>) -> Duration {
    durations.sort();
    let at = durations.len().saturating_mul(99) / 100;
    durations.get(at).copied().unwrap_or_default()
}
