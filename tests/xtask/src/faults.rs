//! The fault drills from the command line: a table, and a negative control for each line of it.

use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Args;
use tidegate_tests::binaries::{Binaries, target_folder};
use tidegate_tests::faults::{DRILLS, Drill, Report, Run};

use crate::columns::aligned;
use crate::setup;
use crate::steps::Steps;

/// What to do to it, and how often. Without any of these, a little of everything.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Every drill, with its own number where that is given
    #[arg(long)]
    all: bool,
    /// kill -9, at random times under load and in a backlog, and at every named point of a commit
    #[arg(long, value_name = "N")]
    kills: Option<u32>,
    /// Of the kills, a fiftieth with a store of so many MiB on disk
    #[arg(long, value_name = "N", default_value_t = 64)]
    store_mib: u64,
    /// Exchanges with the centre that are lost, cut, repeated, late, refused or answered with garbage
    #[arg(long, value_name = "N")]
    links: Option<u32>,
    /// Writes and fsyncs that fail, and a full disk
    #[arg(long, value_name = "N")]
    disk: Option<u32>,
    /// kill -9 of the broker, with its messages on disk and without
    #[arg(long, value_name = "N")]
    broker: Option<u32>,
    /// A wall clock that is decades off
    #[arg(long)]
    clock: bool,
    /// Flipped bytes, truncated and deleted files
    #[arg(long, value_name = "N")]
    corrupt: Option<u32>,
    /// The power cut under a gateway in a User-Mode Linux guest
    #[arg(long, value_name = "N")]
    power_cuts: Option<u32>,
    /// Deployments on a live stream: good ones and ones that go wrong, with a kill in the middle of half of them; as many that
    /// are killed, or have a bad disk, at a named step; and a fifth with the power cut in the middle
    #[arg(long, value_name = "N")]
    updates: Option<u32>,
    /// Decides what happens when
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// How often without a number.
const DEFAULT: u32 = 10;

/// How often at most in a negative control: it must find fault soon.
const CONTROL: u32 = 4;

impl Arguments {
    /// How often each drill is wanted.
    fn wanted(&self, name: &str) -> Option<u32> {
        let numbers = [
            self.kills,
            self.links,
            self.disk,
            self.broker,
            self.corrupt,
            self.power_cuts,
            self.updates,
        ];
        let everything = self.all || (numbers.iter().all(Option::is_none) && !self.clock);
        let number = match name {
            "kills" => self.kills,
            // Every point a few times: at least once, and a fifth of the kills beside.
            "kill points" => self.kills.map(|kills| kills / 5),
            "kills, large store" => self.kills.map(|kills| kills.div_ceil(50).max(3)),
            "links" => self.links,
            "disk" => self.disk,
            "broker" => self.broker,
            "corrupt" => self.corrupt,
            "power cuts" => self.power_cuts,
            "updates" | "update points" => self.updates,
            "update power cuts" => self.updates.map(|updates| updates.div_ceil(5)),
            "clock" => self.clock.then_some(1),
            _ => None,
        };
        let default = match name {
            "clock" => 1,
            "kills, large store" => 3,
            _ => DEFAULT,
        };
        number.or_else(|| everything.then_some(default))
    }
}

/// A line of the table, with its negative control.
struct Line {
    name: &'static str,
    found: Result<Report>,
    control: Result<Report>,
}

/// Runs the drills and prints the table.
pub(crate) fn run(steps: &Steps, arguments: &Arguments) -> Result<()> {
    setup::run(steps)?;
    steps.say("building the gateway, the centre and tide");
    let binaries = Binaries::built()?;
    steps.say(&format!("seed {}", arguments.seed));
    let mut lines = Vec::new();
    for (name, drill) in DRILLS {
        let Some(count) = arguments.wanted(name) else {
            continue;
        };
        steps.say(&format!("{name}: {count}"));
        let wanted = Wanted {
            drill,
            count,
            store_mib: arguments.store_mib,
            seed: arguments.seed,
        };
        let found = wanted.run(steps, binaries, false);
        say(steps, &found);
        steps.say(&format!("{name}: negative control, which must find fault"));
        let control = wanted.run(steps, binaries, true);
        say(steps, &control);
        lines.push(Line {
            name,
            found,
            control,
        });
    }
    println!("\n{}", table(&lines));
    verdict(&lines)
}

/// A drill with its numbers.
struct Wanted {
    drill: Drill,
    count: u32,
    store_mib: u64,
    seed: u64,
}

impl Wanted {
    fn run(&self, steps: &Steps, binaries: &Binaries, control: bool) -> Result<Report> {
        let begin = Instant::now();
        // On the disk of the checkout: /tmp may be memory, where an fsync costs nothing.
        let folder = tempfile::tempdir_in(target_folder()?)?;
        let report = (self.drill)(&mut Run {
            count: if control {
                self.count.min(CONTROL)
            } else {
                self.count
            },
            store_mib: self.store_mib,
            seed: self.seed,
            control,
            binaries,
            directory: folder.path(),
            say: &mut |text| steps.say(text),
        });
        let good = report
            .as_ref()
            .is_ok_and(|report| control || report.holds());
        if !good {
            steps.say(&format!("kept for a look: {}", folder.keep().display()));
        }
        let mut report = report?;
        let each = begin.elapsed().as_secs_f64() / f64::from(report.tried.max(1));
        report.notes.push(format!("{each:.2} s for each"));
        Ok(report)
    }
}

fn say(steps: &Steps, report: &Result<Report>) {
    match report {
        Ok(report) => {
            let facts = report.problems.iter().chain(&report.notes);
            facts.for_each(|fact| steps.say(&format!("  {fact}")));
        }
        Err(error) => steps.say(&format!("  {error:#}")),
    }
}

/// One line a drill and one a control.
fn table(lines: &[Line]) -> String {
    let head = [
        "what",
        "tried",
        "acknowledged",
        "lost",
        "doubled",
        "unexplained gaps",
        "slowest recovery",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    for line in lines {
        rows.push(columns(line.name.to_owned(), &line.found));
        rows.push(columns(format!("{} (control)", line.name), &line.control));
    }
    aligned(&rows)
}

fn columns(name: String, report: &Result<Report>) -> [String; 7] {
    let [tried, acknowledged, lost, doubled, gaps, recovery] = match report {
        Ok(report) => report.columns(),
        Err(_) => ["failed", "-", "-", "-", "-", "-"].map(str::to_owned),
    };
    [name, tried, acknowledged, lost, doubled, gaps, recovery]
}

/// A drill that found fault, and one whose control found none, both fail the command.
fn verdict(lines: &[Line]) -> Result<()> {
    let mut faults = Vec::new();
    for Line {
        name,
        found,
        control,
    } in lines
    {
        match found {
            Ok(report) if report.holds() => {}
            Ok(_) => faults.push(format!("{name}: fault found")),
            Err(error) => faults.push(format!("{name}: {error:#}")),
        }
        match control {
            Ok(report) if report.caught() => {}
            Ok(_) => faults.push(format!(
                "{name}: the negative control was not caught, the drill proves nothing"
            )),
            Err(error) => faults.push(format!("{name}, negative control: {error:#}")),
        }
    }
    ensure!(faults.is_empty(), "{}", faults.join("; "));
    println!(
        "nothing was lost, doubled or left unexplained, and every negative control was caught"
    );
    Ok(())
}
