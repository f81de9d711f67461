//! A bad disk: writes and fsyncs that fail once or from then on, and a disk that is full until somebody makes room.
//!
//! A storage failure ends the gateway with exit code 74, and a supervisor starts it again, as systemd does. The control
//! acknowledges before it commits, and its disk hangs.

use std::fs::{self, File};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::preload::{self, EIO, ENOSPC, Fault};
use super::scene::{MESSAGE_ID, Options, STORAGE_FAILED, Scene};
use super::{Report, Run};
use crate::random::Random;
use crate::wait::{pace, wait_until};

/// How long a fault may take to happen: a checkpoint comes only every few thousand rows.
const HAPPENS: Duration = Duration::from_secs(60);

/// How long the gateway may work on after a fault.
const ENDS: Duration = Duration::from_secs(2);

/// The drill: `count` faults, each on a disk that was sound before.
///
/// # Errors
/// When the drill itself fails, or a fault does not happen.
pub fn drill(run: &mut Run<'_>) -> Result<Report> {
    let options = Options {
        fault: run.control.then_some("ack-before-commit"),
        broker: MESSAGE_ID,
        ..Options::default()
    };
    let mut scene = Scene::start(run, options)?;
    let mut random = Random::new(run.seed);
    let mut problems = Vec::new();
    scene.site.gateway.kill9()?;
    if run.control {
        for _ in 0..run.count {
            scene.die_in_commit(&mut random)?;
        }
        scene.must_recover()?;
        return scene.settle(run.count);
    }
    scene.source.resume();
    for round in 1..=run.count {
        let fault = choose(&mut random);
        let what = hurt(&mut scene, &fault, &mut problems)?;
        (run.say)(&format!(
            "disk fault {round} of {}: {} -> {what}",
            run.count,
            fault.text()
        ));
    }
    scene.must_recover()?;
    let mut report = scene.settle(run.count)?;
    report.problems.extend(problems);
    Ok(report)
}

fn choose(random: &mut Random) -> Fault {
    let calls = [
        ("sync", "-wal", 40),
        ("write", "-wal", 120),
        ("write", "buffer.db", 30),
        ("sync", "buffer.db", 2),
    ];
    let (call, target, nth_max) = random.pick(&calls).copied().unwrap_or(calls[0]);
    let full = call == "write" && random.below(3) == 0;
    let once = random.below(2) == 0 && !full;
    // One in four while the gateway opens its database.
    let nth_max = if random.below(4) == 0 {
        nth_max.min(8)
    } else {
        nth_max
    };
    Fault {
        call,
        target: target.to_owned(),
        before: true,
        nth: 1 + random.below(nth_max),
        error: if full { ENOSPC } else { EIO },
        times: u32::from(once),
    }
}

/// One fault: until it happens, until the gateway has ended or shown that it goes on, and until it is ready again on a
/// sound disk.
fn hurt(scene: &mut Scene, fault: &Fault, problems: &mut Vec<String>) -> Result<String> {
    if fault.error == ENOSPC {
        // A full disk hurts only files that grow: after an orderly stop the log is empty, and does.
        scene.must_recover()?;
        scene.site.gateway.stop()?;
    }
    let full = scene.site.gateway.directory().join("full");
    File::create(&full)?;
    let gateway = &mut scene.site.gateway;
    let fired = fault.put_under(gateway)?;
    gateway.set_variable("RIG_GATE", &full.display().to_string());
    gateway.launch()?;
    let happened = wait_until("the fault to happen", HAPPENS, || {
        Ok(fired.exists() || gateway.process()?.exited()?.is_some())
    });
    happened.with_context(|| fault.text())?;
    let ended = gateway.ended_within(ENDS)?;
    preload::heal(gateway);
    // Somebody has made room, or changed the disk, while it ran on.
    fs::remove_file(&full)?;
    let what = match ended {
        Some(status) if status.code() == Some(STORAGE_FAILED) => "ended with 74".to_owned(),
        Some(status) => {
            problems.push(format!("{}: ended with {status}", fault.text()));
            format!("ended with {status}")
        }
        None => {
            if let Err(error) = scene.flows(20) {
                problems.push(format!("{}: hangs: {error:#}", fault.text()));
            }
            // It may have ended just now, by the fault.
            let _ended = scene.site.gateway.kill9();
            "went on".to_owned()
        }
    };
    scene.must_recover()?;
    pace(Instant::now() + Duration::from_millis(100));
    scene.site.gateway.kill9()?;
    Ok(what)
}
