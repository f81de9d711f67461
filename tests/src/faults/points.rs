//! Killed at named points: at the system call itself that writes, syncs or sends, not at a time that may or may not
//! hit it.
//!
//! The control acknowledges before it commits, and is killed before all of a commit is written.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::preload::{self, Fault, KILL};
use super::scene::{MESSAGE_ID, Options, Scene};
use super::{Report, Run};
use crate::random::Random;

/// How long the gateway may take to come to a point.
const REACHED: Duration = Duration::from_secs(60);

/// A place in the gateway's work, as the kernel sees it.
#[derive(Debug, Clone, Copy)]
struct Point {
    name: &'static str,
    call: &'static str,
    target: Target,
    before: bool,
    /// The call is a random one of the first so many.
    nth_max: u64,
}

#[derive(Debug, Clone, Copy)]
enum Target {
    Log,
    Database,
    Broker,
    Centre,
}

const fn point(
    name: &'static str,
    call: &'static str,
    target: Target,
    before: bool,
    nth_max: u64,
) -> Point {
    Point {
        name,
        call,
        target,
        before,
        nth_max,
    }
}

/// The points.
const POINTS: [Point; 11] = [
    point("before a commit is written", "write", Target::Log, true, 60),
    point("in the middle of a commit", "write", Target::Log, false, 60),
    point("before a commit's fsync", "sync", Target::Log, true, 20),
    point(
        "between a commit's fsync and its acknowledgements",
        "sync",
        Target::Log,
        false,
        20,
    ),
    point(
        "after an acknowledgement",
        "send",
        Target::Broker,
        false,
        40,
    ),
    point(
        "while the log goes into the database",
        "write",
        Target::Database,
        false,
        40,
    ),
    point(
        "before the database's fsync",
        "sync",
        Target::Database,
        true,
        1,
    ),
    point(
        "after the database's fsync",
        "sync",
        Target::Database,
        false,
        1,
    ),
    point("before a request", "send", Target::Centre, true, 3),
    point("after a request", "send", Target::Centre, false, 3),
    point("after a reply", "recv", Target::Centre, false, 6),
];

/// The drill: every point as often as `count` says, and at least once.
///
/// # Errors
/// When the drill itself fails, or a point is not reached.
pub fn drill(run: &mut Run<'_>) -> Result<Report> {
    let options = Options {
        fault: run.control.then_some("ack-before-commit"),
        broker: MESSAGE_ID,
        ..Options::default()
    };
    let mut scene = Scene::start(run, options)?;
    let mut random = Random::new(run.seed);
    scene.site.gateway.kill9()?;
    let rounds = if run.control {
        run.count.max(1)
    } else {
        run.count.max(u32::try_from(POINTS.len())?)
    };
    scene.source.resume();
    for (round, point) in (1..=rounds).zip(POINTS.iter().cycle()) {
        let name = if run.control {
            scene.die_in_commit(&mut random)?;
            "in the middle of a commit"
        } else {
            kill_at(&mut scene, point, &mut random)
                .with_context(|| format!("at the point `{}`", point.name))?;
            point.name
        };
        (run.say)(&format!("kill point {round} of {rounds}: {name}"));
    }
    scene.must_recover()?;
    scene.settle(rounds)
}

/// Starts the gateway, which dies at `point`; every second time it first runs well for a while.
fn kill_at(scene: &mut Scene, point: &Point, random: &mut Random) -> Result<()> {
    let target = match point.target {
        Target::Log => "-wal".to_owned(),
        Target::Database => "buffer.db".to_owned(),
        Target::Broker => format!("port:{}", scene.tap()?.port()),
        Target::Centre => format!("port:{}", scene.site.link.address().port()),
    };
    let fault = Fault {
        call: point.call,
        target,
        before: point.before,
        nth: 1 + random.below(point.nth_max),
        error: KILL,
        times: 1,
    };
    let gateway = &mut scene.site.gateway;
    fault.put_under(gateway)?;
    gateway.launch()?;
    let ended = gateway.ended_within(REACHED)?;
    preload::heal(gateway);
    match ended {
        Some(status) if status.signal() == Some(9) => {}
        Some(status) => bail!("the gateway ended with {status}"),
        None => {
            scene.site.gateway.kill9()?;
            bail!(
                "not reached within {} s: {}",
                REACHED.as_secs(),
                fault.text()
            )
        }
    }
    scene.must_recover()?;
    scene.site.gateway.kill9()
}
