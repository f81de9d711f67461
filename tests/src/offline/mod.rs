//! A week without a link, in minutes: the real gateway takes all records of it as fast as it can, each with the time at which
//! it would have come. Then it is started again twice, and the link comes back.
//!
//! Meanwhile urgent messages come at their true rate, on a connection of their own, with a tap on it that times them. The
//! centre is another machine's work: here it runs only while the gateway leaves a processor idle, and its database is in
//! memory, where there is room for that.
//!
//! What is compressed: time. Commits hold more records than they would at the true rate, and the clock of the machine does
//! not move with the records, only their event times do.
//!
//! # Layout
//! - `rig`: the site, its load and its samples. `sum`: what the centre's rows add up to.

mod rig;
mod sum;

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::binaries::Binaries;
use crate::lines::{Line, same, told};
use rig::Rig;
use sum::{Input, Sum};

/// What the outage is like.
#[derive(Debug)]
pub struct Outage<'a> {
    /// How long it lasts.
    pub days: u64,
    /// Records a second.
    pub per_second: u64,
    /// Records in all: fewer than days and rate make where the machine is too slow.
    pub records: u64,
    /// The buffer's quota.
    pub quota_mib: u64,
    /// How long urgent messages are timed before the link comes back.
    pub live: Duration,
    /// Decides the values.
    pub seed: u64,
    /// The product.
    pub binaries: &'a Binaries,
    /// Folder for everything; it exists.
    pub directory: &'a Path,
}

/// How much memory may move.
const MEMORY_KIB: u64 = 2 << 10;
/// How long a start with a backlog may take.
const START: Duration = Duration::from_secs(1);
/// How much faster than it came a backlog leaves.
const DRAIN_RATIO: f64 = 10.0;
/// How much slower urgent messages may get meanwhile.
const LIVE_RATIO: f64 = 1.2;

/// A 99th percentile of fewer messages than this says nothing: the drain was too short.
const MESSAGES_MIN: usize = 500;

/// Runs it; `say` is told of each step.
///
/// # Errors
/// When the rig fails. A promise that is broken is no error here: it is in its line.
pub fn run(outage: &Outage<'_>, say: &mut dyn FnMut(&str)) -> Result<Vec<Line>> {
    ensure!(outage.records >= 1000, "too few records to show anything");
    let mut rig = Rig::start(outage)?;
    let fed = rig.feed(outage, say)?;
    let mut lines = vec![
        Line {
            what: "most bytes on disk, log and ballast included",
            measured: mib(fed.bytes_max),
            promised: format!("<= {} MiB", outage.quota_mib),
            kept: fed.bytes_max <= outage.quota_mib << 20,
        },
        Line {
            what: "memory (RSS) after the first tenth, least to most",
            measured: format!(
                "{} to {}",
                mib(fed.rss_kib.0 << 10),
                mib(fed.rss_kib.1 << 10)
            ),
            promised: "within 2 MiB of the middle".to_owned(),
            kept: fed.rss_kib.1 - fed.rss_kib.0 <= 2 * MEMORY_KIB,
        },
        told("records taken a second", format!("{:.0}", fed.per_second)),
    ];
    let (stopped, killed, waiting) = rig.restart()?;
    lines.extend([
        told("rows that wait then", waiting.to_string()),
        start("start with the backlog, after a stop", stopped),
        start("start with the backlog, after kill -9", killed),
    ]);
    say("urgent messages beside the backlog, no link");
    let before = rig.live(outage.live)?;
    say("the link is back");
    let drain = rig.drain(outage, say)?;
    lines.extend(drained(outage, &before, &drain));
    say("adding up what the centre has");
    let urgent = rig.urgent;
    let input = fed.input;
    let sum = Sum::of(rig.settle()?, "readings")?;
    lines.extend(added_up(&input, &sum));
    let found = rig.site.cloud.count(crate::site::GATEWAY, "live")?;
    lines.push(Line {
        what: "urgent messages at the centre",
        measured: found.to_string(),
        promised: urgent.to_string(),
        kept: found == urgent,
    });
    Ok(lines)
}

fn drained(outage: &Outage<'_>, before: &rig::Times, drain: &rig::Drain) -> Vec<Line> {
    #[allow(clippy::cast_precision_loss, reason = "small numbers")]
    let times = drain.rows_per_second / outage.per_second as f64;
    let ratio = drain.times.p99 / before.p99;
    let tells = drain.times.messages.min(before.messages) >= MESSAGES_MIN;
    vec![
        Line {
            what: "drain, rows a second",
            measured: format!(
                "{:.0}, {times:.0} times the live rate, {:.1} s",
                drain.rows_per_second, drain.seconds
            ),
            promised: format!(">= {DRAIN_RATIO:.0} times the live rate"),
            kept: times >= DRAIN_RATIO,
        },
        Line {
            what: "urgent message in -> durable, p99, during the drain",
            measured: format!(
                "{:.2} ms, before {:.2} ms (ratio {ratio:.2}; p50 {:.2} ms, before {:.2} ms)",
                drain.times.p99, before.p99, drain.times.p50, before.p50
            ),
            promised: if tells {
                format!("ratio <= {LIVE_RATIO}")
            } else {
                String::new()
            },
            kept: ratio <= LIVE_RATIO || !tells,
        },
        told(
            "urgent messages that the centre lacked, at most",
            drain.behind_max.to_string(),
        ),
        told(
            "memory (RSS) during the drain, most",
            mib(drain.rss_kib << 10),
        ),
    ]
}

fn added_up(input: &Input, sum: &Sum) -> Vec<Line> {
    vec![
        same(
            "records: rows, summaries and ledger together",
            sum.records(),
            input.records,
        ),
        same(
            "numbers: least, greatest, how many",
            format!("{:?}", sum.numbers),
            format!("{:?}", input.numbers),
        ),
        same(
            "values: least, greatest, how many",
            format!("{:?}", sum.values),
            format!("{:?}", input.values),
        ),
        same("unexplained gaps", sum.gaps, 0),
        told(
            "of the records: whole, in summaries, in the ledger",
            format!(
                "{}, {} in {}, {}",
                sum.whole, sum.thinned, sum.summaries, sum.lost
            ),
        ),
    ]
}

fn start(what: &'static str, time: Duration) -> Line {
    Line {
        what,
        measured: format!("{:.3} s", time.as_secs_f64()),
        promised: format!("<= {} s", START.as_secs()),
        kept: time <= START,
    }
}

fn mib(bytes: u64) -> String {
    format!("{}.{} MiB", bytes >> 20, ((bytes % (1 << 20)) * 10) >> 20)
}
