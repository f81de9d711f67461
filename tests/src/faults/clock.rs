//! A wall clock that is wrong: 1970 at boot, decades off while the gateway runs, one reading of 2099.
//!
//! Nothing may be lost, stalled or refused; and rows must carry the wrong times, or the clock was right all along and
//! nothing was tried. The control sends requests astray, as that of the links does.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::account::STREAM;
use super::preload::{Clock, to_1970};
use super::scene::{MESSAGE_ID, Options, Scene};
use super::{Report, Run};
use crate::cloud::Cloud;
use crate::mischief::Mischief;
use crate::site::GATEWAY;
use crate::wait::{pace, wait_until};

const YEAR_S: i64 = 31_556_952;

/// What the clock does: how many seconds off it is, and for how many readings (below 0: all), in each step. The first step
/// is what it says at boot.
const STEPS: [(&str, Off, i64); 7] = [
    ("1970 at boot", Off::To1970, -1),
    ("set right", Off::By(0), -1),
    ("50 years ahead", Off::By(50 * YEAR_S), -1),
    ("50 years behind", Off::By(-50 * YEAR_S), -1),
    ("set right again", Off::By(0), -1),
    ("one reading of 2099", Off::By(73 * YEAR_S), 1),
    ("an hour back", Off::By(-3600), -1),
];

#[derive(Debug, Clone, Copy)]
enum Off {
    By(i64),
    To1970,
}

impl Off {
    fn seconds(self) -> Result<i64> {
        match self {
            Self::By(seconds) => Ok(seconds),
            Self::To1970 => to_1970(),
        }
    }
}

/// The drill: all steps, `count` times, each time with a start.
///
/// # Errors
/// When the drill itself fails.
pub fn drill(run: &mut Run<'_>) -> Result<Report> {
    let options = Options {
        broker: MESSAGE_ID,
        link_stays_bad: run.control,
        ..Options::default()
    };
    let mut scene = Scene::start(run, options)?;
    scene.site.gateway.kill9()?;
    scene.source.resume();
    let elsewhere = run.directory.join("elsewhere");
    std::fs::create_dir_all(&elsewhere)?;
    let other = Cloud::start(run.binaries, &elsewhere)?;
    if run.control {
        let address = other.address();
        let script = move || Mischief::Astray(address);
        scene.site.link.misbehave(Some(Box::new(script)));
    }
    for round in 1..=run.count {
        let clock = Clock::put_under(&mut scene.site.gateway)?;
        for (number, (name, off, readings)) in STEPS.into_iter().enumerate() {
            clock.turn(off.seconds()?, readings)?;
            if number == 0 {
                scene.must_recover()?;
            }
            step(&mut scene, run.control)?;
            (run.say)(&format!("clock, round {round} of {}: {name}", run.count));
        }
        scene.site.gateway.kill9()?;
    }
    scene.must_recover()?;
    let years = |cloud: &Cloud| -> Result<BTreeSet<String>> {
        let mut years = BTreeSet::new();
        cloud.rows(GATEWAY, STREAM, |row| {
            let time = row.pointer("/stamp/wall_time").and_then(Value::as_str);
            years.extend(time.and_then(|time| time.get(..4)).map(str::to_owned));
            Ok(())
        })?;
        Ok(years)
    };
    let seen = years(if run.control {
        &other
    } else {
        &scene.site.cloud
    })?;
    ensure!(
        seen.len() >= 4,
        "the rows are of the years {seen:?} only: the clock was not turned"
    );
    let tried = run.count * u32::try_from(STEPS.len())?;
    let mut report = scene.settle(tried)?;
    report.notes.push(format!("rows of the years {seen:?}"));
    Ok(report)
}

/// Waits until messages flow, and until rows of them have reached the centre: a clock that jumps must stall neither.
fn step(scene: &mut Scene, control: bool) -> Result<()> {
    scene.flows(100)?;
    if control {
        pace(std::time::Instant::now() + Duration::from_millis(1500));
        return Ok(());
    }
    let before = scene.site.cloud.count(GATEWAY, STREAM)?;
    wait_until("rows to reach the centre", Duration::from_secs(30), || {
        Ok(scene.site.cloud.count(GATEWAY, STREAM)? > before)
    })
}
