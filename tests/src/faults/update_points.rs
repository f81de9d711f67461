//! The update drill at named points: in an update on a live stream the gateway is killed at one of the system calls with
//! which the update client writes its files, or the buffer the commit that switches generations; or the call fails, once
//! or until the next start.
//!
//! The calls are listed in an update that nothing disturbs, and then taken one after the other in a fixed order, from a place
//! that the seed decides. Half of the times the next start is hurt as well, where it goes on with the update. What must hold:
//! a start on a sound machine runs the old set or the new one, whole; an update that was taken comes to its end by itself,
//! and one that was not when it is brought again; each message has one row and was counted once. The control writes its
//! state over the one before, and is killed in between.

mod calls;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::preload::{self, EIO, ENOSPC, Fault, KILL};
use super::scene::STORAGE_FAILED;
use super::updates::{PER_SECOND, as_columns, confirmed, whole};
use super::{Report, Run};
use crate::fleet::{self, Stick, Terms, said};
use crate::random::Random;
use crate::tally::Scene;
use crate::wait::wait_until;
use calls::{Point, UPDATES};

/// A short shadow: the steps are what counts. Each start in a trial takes an attempt.
pub(super) const TERMS: Terms = Terms {
    shadow_messages: 100,
    attempts: 5,
    ..Terms::QUICK
};
/// How long an update may take to come to a point, or to its end.
const REACHED: Duration = Duration::from_secs(60);
/// How long the gateway may work on after a fault.
const ENDS: Duration = Duration::from_secs(1);
/// How long a gateway that is ready may take to run all of its set.
const WHOLE: Duration = Duration::from_secs(20);
/// Calls on the files of the update with which a start goes on, at least.
const START_CALLS: u64 = 12;

/// What happens at a point.
#[derive(Debug, Clone, Copy)]
struct Hurt {
    name: &'static str,
    before: bool,
    error: i32,
    times: u32,
}

const HURTS: [Hurt; 5] = [
    hurt("killed before", true, KILL, 1),
    hurt("killed after", false, KILL, 1),
    hurt("a failing", true, EIO, 1),
    hurt("a disk that fails from", true, EIO, 0),
    hurt("a disk that is full from", true, ENOSPC, 0),
];

const fn hurt(name: &'static str, before: bool, error: i32, times: u32) -> Hurt {
    Hurt {
        name,
        before,
        error,
        times,
    }
}

/// What became of a hurt gateway.
#[derive(Debug)]
struct Outcome {
    /// Whether the point was reached.
    fired: bool,
    /// How the process ended, or that it did not.
    what: String,
    /// What is wrong with that.
    problem: Option<String>,
    /// From the next start until it ran a set; or why it does not, or not the one that it should.
    back: Result<Duration>,
}

/// The drill: `count` updates, each hurt at the next point.
///
/// # Errors
/// When the drill itself fails.
pub fn drill(run: &mut Run<'_>) -> Result<Report> {
    let fault = run.control.then_some("overwrite-state");
    let mut scene = Scene::start(run.binaries, run.directory, PER_SECOND, fault)?;
    let (mut random, mut report) = (Random::new(run.seed), Report::default());
    scene.source.resume();
    scene.flow(200)?;
    let points = match run.control {
        true => vec![calls::in_between(&mut random)],
        false => survey(&mut scene)?,
    };
    let from = run.seed.wrapping_mul(u64::from(run.count));
    let from = usize::try_from(from % u64::try_from(points.len())?)?;
    let mut reached = BTreeSet::new();
    for (number, point) in (1..=run.count).zip(points.iter().cycle().skip(from)) {
        let hurt = match run.control {
            true => HURTS[0],
            false => random.pick(&HURTS).copied().unwrap_or(HURTS[0]),
        };
        let outcome = turn(&mut scene, point, hurt, &mut random)?;
        let words = format!("{} {}: {}", hurt.name, point.name, outcome.what);
        (run.say)(&format!("update point {number} of {}: {words}", run.count));
        if outcome.fired {
            report.tried += 1;
            reached.insert((&point.from, point.nth));
        }
        let problem = outcome.problem.map(|problem| format!("{words}: {problem}"));
        report.problems.extend(problem);
        match outcome.back {
            Ok(recovery) => report.recovery = report.recovery.max(recovery),
            Err(error) => {
                report.stranded += 1;
                report.problems.push(format!("{words}: {error:#}"));
                break;
            }
        }
    }
    report.account = as_columns(&scene.account()?);
    if report.stranded == 0 {
        scene.site.gateway.stop()?;
    }
    let (reached, all) = (reached.len(), points.len());
    let note = format!("{reached} of the {all} calls of an update were hurt");
    report.notes.push(note);
    Ok(report)
}

/// Lists the calls of an update, in the order in which they are gone through.
fn survey(scene: &mut Scene) -> Result<Vec<Point>> {
    let never = Fault {
        call: "disk",
        target: "in:/state/".to_owned(),
        before: true,
        nth: u64::from(u32::MAX),
        error: EIO,
        times: 1,
    };
    let list = scene.site.gateway.directory().join("calls");
    let variable = list.display().to_string();
    scene.site.gateway.set_variable("RIG_CALLS", &variable);
    arm(scene, &never, None)?;
    scene.alternate()?;
    let gate = Gate::open(scene)?;
    let deployment = scene.deploy(TERMS, "")?;
    scene.settled(&deployment)?;
    gate.close()?;
    preload::heal(&mut scene.site.gateway);
    let mut points = calls::points(&fs::read_to_string(&list)?)?;
    // The same order for every seed, in which those that are near to each other are not.
    let mut order = Random::new(0);
    points.sort_by_cached_key(|_| order.below(u64::MAX));
    Ok(points)
}

/// Starts the gateway again, over a machine with this fault.
fn arm(scene: &mut Scene, fault: &Fault, from: Option<&str>) -> Result<PathBuf> {
    let gate = Gate::path(scene);
    let gateway = &mut scene.site.gateway;
    gateway.kill9()?;
    let fired = fault.put_under(gateway)?;
    gateway.set_variable("RIG_GATE", &gate.display().to_string());
    if let Some(from) = from {
        gateway.set_variable("RIG_FROM", from);
    }
    gateway.start()?;
    Ok(fired)
}

/// The time in which calls count.
struct Gate(PathBuf);

impl Gate {
    fn path(scene: &Scene) -> PathBuf {
        scene.site.gateway.directory().join("gate")
    }

    fn open(scene: &Scene) -> Result<Self> {
        let path = Self::path(scene);
        File::create(&path)?;
        Ok(Self(path))
    }

    fn close(self) -> Result<()> {
        fs::remove_file(&self.0).context("the gate was open")
    }
}

/// One update, hurt at `point`, and what the next start makes of it.
fn turn(scene: &mut Scene, point: &Point, hurt: Hurt, random: &mut Random) -> Result<Outcome> {
    let fault = Fault {
        call: point.call,
        target: point.target.clone(),
        before: hurt.before,
        nth: point.nth,
        error: hurt.error,
        times: hurt.times,
    };
    scene.alternate()?;
    let stick = scene.stick(TERMS, "")?;
    let fired = arm(scene, &fault, point.from.as_deref())?;
    let old = confirmed(scene)?;
    let gate = Gate::open(scene)?;
    let answer = fleet::import(&scene.site.gateway, &stick.file)?;
    let is_taken = answer.code == Some(0) && !answer.stdout.contains("refused");
    wait_until("the fault or the end of the update", REACHED, || {
        let ended = scene.site.gateway.process()?.exited()?.is_some();
        let done = || confirmed(scene).is_ok_and(|confirmed| confirmed == stick.deployment);
        Ok(ended || fired.exists() || done())
    })?;
    let fired = fired.exists();
    let ended = scene
        .site
        .gateway
        .ended_within(if fired { ENDS } else { Duration::ZERO })?;
    preload::heal(&mut scene.site.gateway);
    // Somebody has made room, or changed the disk, while it ran on.
    gate.close()?;
    let (what, problem) = match ended {
        Some(status) => how(status, hurt.error == KILL),
        None => {
            let flows = scene.flow(20).err();
            let problem = flows.map(|error| format!("what runs does not run on: {error:#}"));
            // It may have ended just now, by the fault.
            let _ended = scene.site.gateway.kill9();
            let what = if fired { "went on" } else { "not reached" };
            (what.to_owned(), problem)
        }
    };
    let (then, further) = match random.below(2) {
        0 if fired => hurt_start(scene, random)?,
        _ => (String::new(), None),
    };
    Ok(Outcome {
        fired,
        what: what + &then,
        problem: problem.or(further),
        back: come_back(scene, &old, &stick, is_taken),
    })
}

/// How a process ended, and what is wrong with that.
fn how(status: ExitStatus, is_killed: bool) -> (String, Option<String>) {
    match (status.signal(), status.code()) {
        (Some(9), _) if is_killed => ("killed".to_owned(), None),
        (_, Some(STORAGE_FAILED)) => ("ended with 74".to_owned(), None),
        _ => {
            let problem = "it should have ended with 74, if at all".to_owned();
            (format!("ended with {status}"), Some(problem))
        }
    }
}

/// Lets the next start meet a fault as well, where it goes on with the update.
fn hurt_start(scene: &mut Scene, random: &mut Random) -> Result<(String, Option<String>)> {
    let error = random.pick(&[KILL, EIO]).copied().unwrap_or(KILL);
    let fault = Fault {
        call: "disk",
        target: format!("in:{UPDATES}"),
        before: error != KILL || random.below(2) == 0,
        nth: 1 + random.below(START_CALLS),
        error,
        times: 1,
    };
    let gateway = &mut scene.site.gateway;
    let fired = fault.put_under(gateway)?;
    gateway.launch()?;
    wait_until("a start that is hurt, or done", REACHED, || {
        let ended = gateway.process()?.exited()?.is_some();
        Ok(ended || fired.exists() || gateway.is_ready())
    })?;
    let ended = gateway.ended_within(if fired.exists() { ENDS } else { Duration::ZERO })?;
    preload::heal(gateway);
    let (what, problem) = match ended {
        Some(status) => how(status, error == KILL),
        None => {
            // It may have ended just now, by the fault.
            let _ended = gateway.kill9();
            ("went on".to_owned(), None)
        }
    };
    Ok((format!(", the next start {what}"), problem))
}

/// Starts the gateway on a sound machine: it runs the old set or the new one, and in the end the new one.
pub(super) fn come_back(
    scene: &mut Scene,
    old: &serde_json::Value,
    stick: &Stick,
    is_taken: bool,
) -> Result<Duration> {
    let new = &stick.deployment;
    let begun = Instant::now();
    scene.site.gateway.start()?;
    let whole_again = wait_until("a set that is whole", WHOLE, || {
        let status = fleet::status(&scene.site.gateway).unwrap_or_default();
        let frozen = said(&status, "/frozen");
        ensure!(frozen.is_null(), "frozen: {frozen}");
        let gateway = &scene.site.gateway;
        Ok(whole(gateway, old).is_ok() || whole(gateway, new).is_ok())
    });
    whole_again.with_context(|| format!("{:?}", fleet::status(&scene.site.gateway)))?;
    let recovery = begun.elapsed();
    let status = fleet::status(&scene.site.gateway)?;
    let goes_on = *said(&status, "/candidate") == *new && *said(&status, "/fetching") == false;
    if !is_taken && !goes_on && *said(&status, "/confirmed") != *new {
        let answer = fleet::import(&scene.site.gateway, &stick.file)?;
        let taken = answer.code == Some(0) && !answer.stdout.contains("refused");
        ensure!(taken, "refused: {}{}", answer.stdout, answer.stderr);
    }
    scene.settled(new)?;
    whole(&scene.site.gateway, new)?;
    Ok(recovery)
}
