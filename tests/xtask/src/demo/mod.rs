//! The whole path on real input: this machine's sensors, a recorded machine log over MQTT, and messages from a client of
//! another make, through signed modules to the centre; with a cut link, two kills, and a table of what came out.
//!
//! # Layout
//! - `plant`: keys, signed modules, broker, centre, gateway.
//! - `log`: the recorded machine log, or a file of the user's.
//! - `feed`: what is published, and what alarms it must raise.
//! - `result`: what the centre holds, held against what went in.

mod feed;
mod log;
mod plant;
mod result;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::Value;
use tidegate_tests::binaries::{Binaries, target_folder};
use tidegate_tests::counter::Counter;
use tidegate_tests::site::GATEWAY;
use tidegate_tests::wait::{pace, wait_until};

use crate::setup;
use crate::steps::Steps;
use feed::Feed;
pub(crate) use log::MachineLog;
use plant::Plant;

/// How long each phase is watched.
const PHASE: Duration = Duration::from_secs(6);

/// How long the cut link stays cut.
const CUT: Duration = Duration::from_secs(10);

/// How long draining may take.
const DRAIN: Duration = Duration::from_secs(60);

/// Options of the demo.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Leave everything running at the end
    #[arg(long)]
    keep: bool,
    /// Replay this CSV or JSONL file instead of the recorded machine log
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
}

/// Runs the demo.
pub(crate) fn run(steps: &Steps, arguments: &Arguments) -> Result<()> {
    setup::run(steps)?;
    steps.say("building the gateway, the centre and tide");
    let binaries = Binaries::built()?;
    let log = match &arguments.input {
        Some(file) => MachineLog::read(file)?,
        None => MachineLog::recorded()?,
    };
    steps.say(&format!("machine log: {}", log.description()));
    let folder = fresh_folder()?;
    let begin = Instant::now();
    let mut plant = plant::start(steps, binaries, &folder, &log)?;
    let mut counter = Counter::start(&folder, &plant.site.broker, "counter", "machines/#")?;
    let started = plant.site.gateway.start()?;
    plant.site.broker.wait_for_subscriber(GATEWAY)?;
    steps.say(&format!(
        "gateway is ready after {} ms; page: {}, sign in with the token in {}",
        started.as_millis(),
        plant.site.cloud.page("/"),
        plant.site.cloud.token_file().display()
    ));

    let mut feed = Feed::start(&plant.site.broker, &folder, &log)?;
    let most_waiting = faults(steps, &mut plant, &mut counter)?;
    steps.say("measuring from a message in to its alarm out, under load");
    let reaction = feed.probe(&plant.site.broker)?;
    let in_feed = feed.stop()?;
    counter.wait_for(in_feed.messages, DRAIN)?;
    steps.say(&format!(
        "the load has ended after {} messages; the last windows close",
        in_feed.messages
    ));
    settle(steps, &plant, &in_feed)?;
    let outcome = result::collect(&plant, &mut counter, &in_feed, most_waiting, &reaction)?;
    println!("\n{}", outcome.table());
    steps.say(&format!(
        "the demo ran for {} s after the build",
        begin.elapsed().as_secs()
    ));
    let page = plant.site.cloud.page("/");
    if arguments.keep {
        steps.say(&format!(
            "still running: {page}, sign in with the token in {} (all files in {}); Ctrl-C ends it",
            plant.site.cloud.token_file().display(),
            folder.display()
        ));
        loop {
            std::thread::park();
        }
    }
    plant.site.gateway.stop()?;
    ensure!(outcome.holds(), "not everything holds: see the table");
    Ok(())
}

/// An empty folder for everything that the demo writes.
fn fresh_folder() -> Result<PathBuf> {
    let folder = target_folder()?.join("demo");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// The middle part: a cut link and two kills, under load. Gives the most rows that waited.
fn faults(steps: &Steps, plant: &mut Plant, counter: &mut Counter) -> Result<u64> {
    steps.say("everything flows");
    watch(steps, plant, counter, PHASE)?;
    plant.site.link.cut();
    steps.say("the link to the centre is cut: rows wait");
    let mut most = watch(steps, plant, counter, CUT / 2)?;
    kill(steps, plant, 1)?;
    most = most.max(watch(steps, plant, counter, CUT / 2)?);
    ensure!(most > 0, "no row waited while the link was cut");
    plant.site.link.mend();
    steps.say(&format!(
        "the link is back, {most} rows wait: the buffer drains"
    ));
    let mended = Instant::now();
    wait_until("the buffer to drain", DRAIN, || {
        show(steps, plant, counter)?;
        Ok(waiting(plant)? < 50)
    })?;
    steps.say(&format!(
        "drained {most} rows in {:.1} s",
        mended.elapsed().as_secs_f64()
    ));
    kill(steps, plant, 2)?;
    watch(steps, plant, counter, PHASE)?;
    Ok(most)
}

fn kill(steps: &Steps, plant: &mut Plant, number: u32) -> Result<()> {
    plant.site.gateway.kill9()?;
    steps.say(&format!(
        "kill -9 of the gateway, number {number}, under load"
    ));
    let ready = plant.site.gateway.start()?;
    steps.say(&format!("it is back after {} ms", ready.as_millis()));
    Ok(())
}

/// Shows what happens for a while; gives the most rows that waited.
fn watch(steps: &Steps, plant: &Plant, counter: &mut Counter, time: Duration) -> Result<u64> {
    let end = Instant::now() + time;
    let mut most = 0;
    let mut line = String::new();
    while Instant::now() < end {
        pace(Instant::now() + Duration::from_millis(200));
        most = most.max(waiting(plant)?);
        line = show(steps, plant, counter)?;
    }
    steps.say(&line);
    Ok(most)
}

fn show(steps: &Steps, plant: &Plant, counter: &mut Counter) -> Result<String> {
    let messages = counter.count()?;
    let status = plant.site.gateway.status()?;
    let number = |pointer: &str| {
        status
            .pointer(pointer)
            .and_then(Value::as_u64)
            .unwrap_or_default()
    };
    let uplink = match status.pointer("/uplink/connected") {
        Some(Value::Bool(true)) => "up",
        _ => "down",
    };
    let line = format!(
        "  {messages} messages in, {} rows committed since the start, {} waiting, uplink {uplink}",
        number("/buffer/rows_committed"),
        number("/buffer/rows_waiting"),
    );
    steps.show(&line);
    Ok(line)
}

fn waiting(plant: &Plant) -> Result<u64> {
    let status = plant.site.gateway.status()?;
    status
        .pointer("/buffer/rows_waiting")
        .and_then(Value::as_u64)
        .context("a status without rows_waiting")
}

/// Waits until the windows of the last messages are at the centre. That they never come is for the table to say.
fn settle(steps: &Steps, plant: &Plant, fed: &feed::Fed) -> Result<()> {
    let complete = wait_until("the last windows", DRAIN, || {
        let counted = result::counted(&plant.site.cloud)?;
        steps.show(&format!(
            "  {counted} of {} messages are in closed windows at the centre",
            fed.messages
        ));
        Ok(counted >= fed.messages && waiting(plant)? < 50)
    });
    if let Err(error) = complete {
        steps.say(&format!("{error:#}"));
    }
    Ok(())
}
