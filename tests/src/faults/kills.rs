//! The kill drill: a gateway under load is killed with SIGKILL again and again, at moments that a seed decides, part of
//! them while it drains a long backlog. Then everything is counted from outside.
//!
//! What must hold: each message that the broker accepted has exactly one row at the centre; the counts of all windows
//! add up to the number of messages; and no PUBACK left before an fsync that began after its message came. The same
//! drill against a gateway that acknowledges before it commits must find fault, or it proves nothing.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::account::Account;
use super::scene::{self, MESSAGE_ID};
use super::source::{Source, TOPIC};
use super::{Report, Run};
use crate::binaries::{Binaries, repository};
use crate::bundles::Workshop;
use crate::random::Random;
use crate::site::{GATEWAY, Module, Plan, Site};
use crate::trace::{self, Fsync, Verdict};
use crate::wait::{pace, wait_until};

/// Kills while saturated in a line of the table: each costs a backlog of many messages.
const SATURATED_MAX: u32 = 20;

/// How long draining may take in the end.
const DRAIN: Duration = Duration::from_secs(600);

/// What to do.
#[derive(Debug, Clone)]
pub struct Drill {
    /// Number of kills.
    pub kills: u32,
    /// How many of them while a backlog is drained.
    pub saturated: u32,
    /// Messages of a backlog.
    pub backlog: u64,
    /// Messages a second otherwise.
    pub per_second: f64,
    /// Decides when each kill falls.
    pub seed: u64,
    /// The negative control: acknowledges before it commits.
    pub ack_before_commit: bool,
}

/// What was found.
#[derive(Debug, Clone)]
pub struct Finding {
    /// Kills, and how many of them while saturated.
    pub kills: (u32, u32),
    /// Messages that the broker accepted, and what became of them.
    pub account: Account,
    /// The longest time from a start to the first acknowledgement, traced.
    pub recovery: Duration,
    /// Sum of the counts of all windows.
    pub counted: u64,
    /// Acks against fsyncs.
    pub acks: Verdict,
}

impl Finding {
    /// Whether nothing was lost, doubled or acknowledged too early.
    pub fn holds(&self) -> bool {
        self.account.holds() && self.counted == self.account.acknowledged && self.acks.holds()
    }

    /// For people, one fact a line.
    pub fn lines(&self) -> Vec<String> {
        vec![
            format!("{} of {} kills while saturated", self.kills.1, self.kills.0),
            format!("{:?}", self.account),
            format!("windows counted {} messages", self.counted),
            format!(
                "{} PUBACKs traced against {} fsyncs, {} too early",
                self.acks.acknowledged, self.acks.fsyncs, self.acks.too_early
            ),
        ]
    }
}

/// The drill as a line of the table: a fifth of the kills while saturated, as long as these are few.
///
/// # Errors
/// When the drill itself fails.
pub fn drill(run: &mut Run<'_>) -> Result<Report> {
    let drill = Drill {
        kills: run.count,
        saturated: run.count.div_ceil(5).min(SATURATED_MAX),
        backlog: if run.count < 50 { 20_000 } else { 100_000 },
        per_second: 2000.0,
        seed: run.seed,
        ack_before_commit: run.control,
    };
    let finding = self::run(&drill, run.binaries, run.directory, run.say)?;
    let mut problems = Vec::new();
    if finding.counted != finding.account.acknowledged {
        problems.push("the windows have not counted each message once".to_owned());
    }
    if !finding.acks.holds() && finding.acks.too_early == 0 {
        problems.push("nothing was traced".to_owned());
    }
    Ok(Report {
        tried: drill.kills,
        account: finding.account,
        early: finding.acks.too_early,
        stranded: 0,
        recovery: finding.recovery,
        problems,
        notes: finding.lines(),
    })
}

/// Runs the drill with all files in `directory`; `say` is told of each kill.
///
/// # Errors
/// When the drill itself fails; what it finds is not an error.
pub fn run(
    drill: &Drill,
    binaries: &Binaries,
    directory: &Path,
    say: &mut dyn FnMut(&str),
) -> Result<Finding> {
    let mut site = site(drill, binaries, directory)?;
    let (mut random, mut recovery) = (Random::new(drill.seed), Duration::ZERO);
    site.gateway.start()?;
    site.broker.wait_for_subscriber(GATEWAY)?;
    let mut source = Source::new(site.broker.port(), drill.per_second)?;
    for (number, saturated) in order(drill, &mut random).into_iter().enumerate() {
        let moment = if saturated {
            kill_saturated(&mut site, &mut source, drill.backlog, &mut random)?
        } else {
            kill_loaded(&mut site, &mut source, &mut random)?
        };
        say(&format!("kill {} of {}: {moment}", number + 1, drill.kills));
        if saturated {
            match scene::recover(&mut site)? {
                Ok(time) => recovery = recovery.max(time),
                Err(status) => bail!("the gateway ended with {status} instead of getting ready"),
            }
            // mosquitto 2.0 sends a backlog at once, whatever the client's receive maximum, and repeats all of it after
            // a kill: more of it than the gateway remembers ids of would rightly count twice.
            drained(&site, source.pause()?)?;
        } else {
            site.gateway.launch()?;
        }
    }
    let messages = source.pause()?;
    site.gateway.await_ready()?;
    say(&format!(
        "draining; the broker accepted {messages} messages"
    ));
    let (account, counted) = settle(&site, messages, drill.ack_before_commit)?;
    site.gateway.stop()?;
    Ok(Finding {
        kills: (drill.kills, drill.saturated),
        account,
        recovery,
        counted,
        acks: judge(&site)?,
    })
}

fn site(drill: &Drill, binaries: &Binaries, directory: &Path) -> Result<Site> {
    let workshop = Workshop::open(binaries, directory)?;
    let input = format!("inputs = [{{ from = \"plant\", topic = \"{TOPIC}\" }}]");
    let modules = vec![
        Module {
            bundle: workshop.bundle(&repository().join("tests/guests/journal"))?,
            settings: input.clone(),
        },
        Module {
            bundle: workshop.bundle(&repository().join("guest-examples/rolling-summary"))?,
            settings: format!(
                "{input}\nconfig = {{ window = \"1s\", \"input.field\" = \"celsius\" }}"
            ),
        },
    ];
    let program = if drill.ack_before_commit {
        binaries.tidegate_faulty()?
    } else {
        binaries.tidegate()
    };
    let plan = Plan {
        directory,
        binaries,
        program: Some(program),
        modules,
        broker: MESSAGE_ID,
        sections: "",
        tapped: true,
    };
    let mut site = Site::start(&plan, &workshop)?;
    site.gateway.trace_fsyncs();
    if drill.ack_before_commit {
        site.gateway
            .set_variable("TIDEGATE_FAULT", "ack-before-commit");
    }
    Ok(site)
}

/// Which kills fall into a backlog, spread by the seed.
fn order(drill: &Drill, random: &mut Random) -> Vec<bool> {
    let mut order: Vec<bool> = (0..drill.kills)
        .map(|number| number < drill.saturated)
        .collect();
    for last in (1..order.len()).rev() {
        let other = random.below(u64::try_from(last + 1).unwrap_or(1));
        order.swap(last, usize::try_from(other).unwrap_or(0));
    }
    order
}

/// Kills it up to 0.8 s after its start was begun, ready or not, while messages come at their rate.
fn kill_loaded(site: &mut Site, source: &mut Source, random: &mut Random) -> Result<String> {
    source.resume();
    let wait = Duration::from_millis(50 + random.below(750));
    pace(Instant::now() + wait);
    site.gateway.kill9()?;
    Ok(format!("{} ms after its start", wait.as_millis()))
}

/// Stops it, lets a backlog grow in the broker, starts it, and kills it in the middle of draining.
fn kill_saturated(
    site: &mut Site,
    source: &mut Source,
    backlog: u64,
    random: &mut Random,
) -> Result<String> {
    // The kill before this one may have left it in the middle of its start, where it cannot end in an orderly way yet.
    site.gateway.await_ready()?;
    drained(site, source.pause()?)?;
    site.gateway.stop()?;
    source.burst(backlog)?;
    let tap = site.tap.as_ref().context("the drill has a tap")?;
    let (before, sent) = (tap.passed(), tap.messages());
    let until = backlog / 100 * (5 + random.below(70));
    site.gateway.launch()?;
    wait_until("the backlog to flow", Duration::from_secs(120), || {
        Ok(tap.messages() - sent >= until)
    })?;
    site.gateway.kill9()?;
    let acknowledged = u64::try_from(tap.passed() - before)?;
    ensure!(
        acknowledged < backlog,
        "the backlog was drained before the kill: not saturated"
    );
    Ok(format!(
        "saturated, {acknowledged} of {backlog} acknowledged"
    ))
}

/// Waits until the gateway has acknowledged every message.
fn drained(site: &Site, messages: u64) -> Result<()> {
    let tap = site.tap.as_ref().context("the drill has a tap")?;
    let messages = usize::try_from(messages)?;
    wait_until("every message to be acknowledged", DRAIN, || {
        Ok(tap.acknowledged() >= messages)
    })
}

/// Waits until the centre has what is to come, and counts it. A gateway with a fault may have lost messages: then this
/// waits until nothing more comes.
fn settle(site: &Site, messages: u64, faulty: bool) -> Result<(Account, u64)> {
    let mut last = (Instant::now(), 0);
    wait_until("the centre to have every message", DRAIN, || {
        let rows = site.cloud.count(GATEWAY, "journal")?;
        let complete = rows >= messages && window_sum(site)? >= messages;
        if last.1 != rows {
            last = (Instant::now(), rows);
        }
        let patience = if faulty { 8 } else { 60 };
        Ok(complete || last.0.elapsed() > Duration::from_secs(patience))
    })?;
    // The broker keeps what is not acknowledged: in the end that is everything that it accepted.
    let all: BTreeSet<u64> = (0..messages).collect();
    Ok((Account::of(&all, messages, &site.cloud)?, window_sum(site)?))
}

/// Sum of the counts of all windows at the centre.
fn window_sum(site: &Site) -> Result<u64> {
    let mut sum = 0;
    site.cloud.rows(GATEWAY, "summaries", |row| {
        sum += value(row, "count")
            .and_then(Value::as_u64)
            .unwrap_or_default();
        Ok(())
    })?;
    Ok(sum)
}

/// A value of a row.
fn value<'a>(row: &'a Value, name: &str) -> Option<&'a Value> {
    row.pointer(&format!("/values/{name}"))
}

fn judge(site: &Site) -> Result<Verdict> {
    let tap = site.tap.as_ref().context("the drill has a tap")?;
    let mut fsyncs: Vec<Fsync> = Vec::new();
    for file in site.gateway.traces() {
        fsyncs.extend(trace::fsyncs(&file, "-wal")?);
    }
    fsyncs.sort_unstable();
    Ok(trace::judge(&tap.take()?, &fsyncs))
}
