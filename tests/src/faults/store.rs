//! Kills with a large store: the gateway must be ready again as soon as with a small one.
//!
//! The link is cut and the recorder fills the store with rows of 200 bytes. Then the gateway is killed in a burst of
//! messages, again and again. In the end the link is mended, everything goes to the centre, and what was acknowledged is
//! counted. The control acknowledges before it commits; its store stays small.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::scene::{BURST, MESSAGE_ID, Options, Scene};
use super::source::FILL;
use super::{Report, Run};
use crate::publisher::Publisher;
use crate::random::Random;
use crate::wait::{pace, wait_until};

/// How soon it must be ready again.
const READY: Duration = Duration::from_secs(2);

/// Rows of one message, and how many of these are in flight: a call of a module has 16,384 outputs at most.
const MESSAGE_ROWS: u64 = 100;
const MESSAGES_IN_FLIGHT: u16 = 100;

/// Bytes of a row's text, so that the row has about 200 with its number, value, times, trace and key.
const NOTE_BYTES: usize = 55;

/// MiB of the control's store.
const CONTROL_MIB: u64 = 1;

/// The drill: `count` kills with a store of as many MiB as `run` says.
///
/// # Errors
/// When the drill itself fails.
pub fn drill(run: &mut Run<'_>) -> Result<Report> {
    let mib = if run.control {
        CONTROL_MIB
    } else {
        run.store_mib
    };
    let options = Options {
        fault: run.control.then_some("ack-before-commit"),
        broker: MESSAGE_ID,
        // Room enough that nothing gives way.
        sections: format!("[buffer]\nquota = \"{}MiB\"\n", mib * 3 / 2 + 64),
        recorder: true,
        ..Options::default()
    };
    let mut scene = Scene::start(run, options)?;
    scene.site.link.cut();
    let (begin, rows) = (Instant::now(), fill(&scene, mib)?);
    (run.say)(&format!(
        "{rows} rows in a store of {} MiB after {:.0} s",
        bytes(&scene) >> 20,
        begin.elapsed().as_secs_f64()
    ));
    let mut random = Random::new(run.seed);
    for kill in 1..=run.count {
        if run.control {
            scene.site.gateway.kill9()?;
            scene.die_in_commit(&mut random)?;
        } else {
            scene.source.burst(BURST)?;
            pace(Instant::now() + Duration::from_millis(random.below(200)));
            scene.site.gateway.kill9()?;
        }
        let before = std::mem::take(&mut scene.recovery);
        scene.must_recover()?;
        (run.say)(&format!(
            "kill {kill} of {} with {mib} MiB: ready after {:.3} s",
            run.count,
            scene.recovery.as_secs_f64()
        ));
        scene.recovery = scene.recovery.max(before);
    }
    let recovery = scene.recovery;
    let mut report = scene.settle(run.count)?;
    if recovery > READY {
        let (took, bound) = (recovery.as_secs_f64(), READY.as_secs());
        let late = format!("ready after {took:.2} s with {mib} MiB, within {bound} s is promised");
        report.problems.push(late);
    }
    Ok(report)
}

/// Fills the store; gives the number of rows.
fn fill(scene: &Scene, mib: u64) -> Result<u64> {
    let port = scene.site.broker.port();
    let mut publisher = Publisher::connect(port, "filler", MESSAGES_IN_FLIGHT)?;
    let note = "x".repeat(NOTE_BYTES);
    let acknowledged = scene.tap()?.acknowledged();
    let mut messages = 0_u64;
    while bytes(scene) < mib << 20 {
        // Its number does not come first: the tap counts it for nothing of the load.
        for _ in 0..MESSAGES_IN_FLIGHT {
            messages += 1;
            let at = 1_700_000_000_000 + messages;
            let text = format!(
                "{{\"at\":{at},\"seq\":{messages},\"value\":{}.5,\"rows\":{MESSAGE_ROWS},\"note\":\"{note}\"}}",
                messages % 40
            );
            publisher.publish(FILL, text.as_bytes())?;
        }
        publisher.finish()?;
        let taken = acknowledged + usize::try_from(messages)?;
        wait_until("the store to fill", Duration::from_secs(60), || {
            Ok(scene.tap()?.acknowledged() >= taken)
        })?;
    }
    ensure!(messages > 0, "the store was full before");
    Ok(messages * MESSAGE_ROWS)
}

/// Bytes of the database and its log.
fn bytes(scene: &Scene) -> u64 {
    let state = scene.site.gateway.state();
    let length = |name: &str| {
        let file: &Path = &state.join(name);
        file.metadata().map_or(0, |file| file.len())
    };
    length("buffer.db") + length("buffer.db-wal")
}
