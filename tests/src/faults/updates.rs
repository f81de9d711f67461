//! The update drill: one deployment after the other on a live stream, good ones and ones that go wrong in every way, with
//! a kill somewhere in the middle of half of them.
//!
//! What must hold: after each the gateway runs the good one, whole, by itself; each message that was published has exactly
//! one row; and the counts that the module keeps in its state are those of all messages before, whichever generation
//! wrote the row. In the negative control what stands by is not given the messages, and so what it goes back to is not
//! where it should be.

mod pauses;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::account::Account;
use super::{Report, Run};
use crate::fleet::{self, Terms, said};
use crate::gateway::Gateway;
use crate::random::Random;
use crate::tally::{self, Scene, TALLY};
use crate::wait::pace;
use pauses::Pauses;

/// Messages a second.
pub(super) const PER_SECOND: f64 = 500.0;
/// Messages in the shadow: enough for the one in a thousand that is wrong.
const SHADOW: u64 = 1_100;
/// Messages after the switch before a late flaw shows, at most.
const LATE: u64 = 500;
/// Until when after the import a kill comes, at most.
const KILL_MS: u64 = 4_000;
/// The generation that runs when the drill begins.
const FIRST: u64 = 1;
/// What the failing call of a module lasts at most that is stopped by its limit of time: that, and the tick of the sandbox at
/// which it is noticed.
const CALL_MAX: Duration = Duration::from_millis(50 + 10);

/// What is wrong with a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Flaw {
    /// Its name in the module; empty for none.
    name: &'static str,
    /// Whether it can also show after the switch: those that it then fails with.
    late: bool,
    /// What the call that fails by it lasts, at most, beyond one that does not.
    lasts: Duration,
}

const FLAWS: [Flaw; 9] = [
    flaw("", false, Duration::ZERO),
    flaw("wrong", false, Duration::ZERO),
    flaw("slow", false, Duration::ZERO),
    flaw("refuse", false, Duration::ZERO),
    TRAP,
    flaw("hang", true, CALL_MAX),
    flaw("leak", true, CALL_MAX),
    flaw("flood", true, CALL_MAX),
    flaw("garble", true, Duration::ZERO),
];
const TRAP: Flaw = flaw("trap", true, Duration::ZERO);

const fn flaw(name: &'static str, late: bool, lasts: Duration) -> Flaw {
    Flaw { name, late, lasts }
}

/// One deployment of the drill.
#[derive(Debug)]
struct Round {
    flaw: Flaw,
    /// Whether the flaw shows only when it is active.
    late: bool,
    kill_after: Option<Duration>,
}

impl Round {
    fn new(random: &mut Random, control: bool) -> Self {
        let at = random.below(u64::try_from(FLAWS.len()).unwrap_or(1));
        let drawn = usize::try_from(at)
            .ok()
            .and_then(|at| FLAWS.get(at).copied());
        let (flaw, late, killed) = (
            drawn.unwrap_or(FLAWS[0]),
            random.below(2) == 0,
            random.below(2) == 0,
        );
        let wait = Duration::from_millis(random.below(KILL_MS));
        match control {
            true => Self {
                flaw: TRAP,
                late: true,
                kill_after: None,
            },
            false => Self {
                flaw,
                late: late && flaw.late,
                kill_after: killed.then_some(wait),
            },
        }
    }

    fn words(&self) -> String {
        let flaw = match (self.flaw.name, self.late) {
            ("", _) => "good".to_owned(),
            (name, true) => format!("{name} when active"),
            (name, false) => name.to_owned(),
        };
        match self.kill_after {
            Some(after) => format!("{flaw}, killed {} ms after the import", after.as_millis()),
            None => flaw,
        }
    }
}

/// The drill as a line of the table.
///
/// # Errors
/// When the drill itself fails.
pub fn drill(run: &mut Run<'_>) -> Result<Report> {
    let fault = run.control.then_some("never-follow");
    let mut scene = Scene::start(run.binaries, run.directory, PER_SECOND, fault)?;
    let (mut random, mut report) = (Random::new(run.seed), Report::default());
    // What the failing call of each generation lasts. Every deployment is the next one, whatever becomes of it.
    let mut lasts = BTreeMap::new();
    scene.source.resume();
    scene.flow(200)?;
    for number in 1..=run.count {
        let round = Round::new(&mut random, run.control);
        lasts.insert(FIRST + u64::from(number), round.flaw.lasts);
        (run.say)(&format!(
            "update {number} of {}: {}",
            run.count,
            round.words()
        ));
        let begun = Instant::now();
        if let Err(error) = turn(&mut scene, &round, &mut random) {
            report
                .problems
                .push(format!("update {number}, {}: {error:#}", round.words()));
            break;
        }
        report.recovery = report.recovery.max(begun.elapsed());
        report.tried += 1;
    }
    let found = scene.account()?;
    scene.site.gateway.stop()?;
    report.account = as_columns(&found);
    let pauses = Pauses::of(&found, &lasts);
    report.notes.push(pauses.words());
    if pauses.are_long() {
        report
            .problems
            .push(format!("switching takes long: {}", pauses.words()));
    }
    Ok(report)
}

/// As the table has it.
pub(super) fn as_columns(found: &tally::Account) -> Account {
    Account {
        acknowledged: found.messages,
        lost: found.lost,
        doubled: found.doubled,
        gaps: found.miscounted,
        ..Account::default()
    }
}

/// One deployment, to its end.
fn turn(scene: &mut Scene, round: &Round, random: &mut Random) -> Result<()> {
    let good = round.flaw.name.is_empty();
    let terms = Terms {
        shadow_messages: SHADOW,
        // One that fails when it is active has to do so before it is confirmed.
        probation_minutes: if good { 0 } else { 10 },
        percent_max: if round.flaw.name == "slow" {
            200
        } else {
            Terms::QUICK.percent_max
        },
        ..Terms::QUICK
    };
    let from = match round.late {
        true => scene.counted()? + SHADOW + 500 + random.below(LATE),
        false => 0,
    };
    let before = confirmed(scene)?;
    let deployment = scene.deploy(terms, &format!("{}@{from}", round.flaw.name))?;
    if let Some(wait) = round.kill_after {
        pace(Instant::now() + wait);
        scene.site.gateway.kill9()?;
        scene.site.gateway.start()?;
    }
    match good {
        true => scene.settled(&deployment)?,
        false => scene.given_up(&deployment).map(drop)?,
    }
    let wanted = if good { &deployment } else { &before };
    whole(&scene.site.gateway, wanted)?;
    scene.flow(50)
}

/// The gateway runs this set, and the module works.
pub(super) fn whole(gateway: &Gateway, wanted: &Value) -> Result<()> {
    let status = fleet::status(gateway)?;
    let found = said(&status, "/confirmed");
    ensure!(found == wanted, "{found} is confirmed instead of {wanted}");
    let module = gateway.module(TALLY).context("the module is gone")?;
    ensure!(
        said(&module, "/state") == "running",
        "the module does not run: {module}"
    );
    Ok(())
}

pub(super) fn confirmed(scene: &Scene) -> Result<Value> {
    let status = fleet::status(&scene.site.gateway)?;
    Ok(said(&status, "/confirmed").clone())
}
