//! Power cuts in an update: the guest of [`super::power`] has a gateway under a fleet, which is given one deployment after the other
//! on a live stream, and its power is cut at a time from the import to the confirmation.
//!
//! What must hold: the gateway that boots from the repaired disk has the old set or the new one, whole; what was taken comes
//! to its end; each message that was acknowledged has one row and was counted once. Boot by boot the guest itself says what
//! it found; in the end a gateway on this machine goes on from the disk. The control commits with `synchronous=NORMAL`.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::power::{Guest, Inside, Machine};
use super::source::Source;
use super::update_points::{TERMS, come_back};
use super::updates::{PER_SECOND, as_columns, confirmed, whole};
use super::{Report, Run};
use crate::fleet::{self, Stick, said};
use crate::gateway::Gateway;
use crate::process::Process;
use crate::random::Random;
use crate::tally::Scene;

/// Until when after the import the power is cut, at most; sooner, once an update was seen that was confirmed sooner.
const UPDATE: Duration = Duration::from_secs(10);
/// How often the guest asks its gateway how it goes.
const ASKED: Duration = Duration::from_millis(50);

/// The drill: `count` power cuts on one disk, each in the next update, then the count.
///
/// # Errors
/// When the drill itself fails.
pub fn drill(run: &mut Run<'_>) -> Result<Report> {
    let mut scene = Scene::start(run.binaries, run.directory, PER_SECOND, None)?;
    let mut old = confirmed(&scene)?;
    scene.site.gateway.stop()?;
    let machine = Machine::new(run, Some(scene.site.gateway.directory()))?;
    let (root, policy) = (scene.fleet().root(), scene.fleet().policy());
    let (mut random, mut report) = (Random::new(run.seed), Report::default());
    let (mut first, mut within) = (0, UPDATE);
    let mut last: Option<(Stick, bool)> = None;
    for cut in 1..=run.count {
        scene.alternate()?;
        let stick = scene.stick(TERMS, "")?;
        let mut guest = machine.boot(first, &[&root, &policy, &stick.file])?;
        match settled(&mut guest, &old, last.as_ref()) {
            Ok(settled) => old = settled.into(),
            Err(error) => {
                report.stranded += 1;
                report
                    .problems
                    .push(format!("power cut {}: {error:#}", cut - 1));
                break;
            }
        }
        let (begun, micros) = (Instant::now(), u64::try_from(within.as_micros())?);
        let until = begun + Duration::from_micros(random.below(micros));
        guest.wait_for("the moment", |guest| {
            if guest.said("confirmed")?.is_some() {
                within = within.min(begun.elapsed());
            }
            Ok((Instant::now() >= until).then_some(()))
        })?;
        guest.cut()?;
        first = guest.acknowledged()?;
        report.tried += 1;
        report.recovery = report.recovery.max(guest.recovery()?);
        let is_taken = guest.said("imported")?.is_some();
        let how_far = match (is_taken, guest.said("confirmed")?.is_some()) {
            (false, _) => "in the import",
            (true, false) => "on its way",
            (true, true) => "confirmed",
        };
        (run.say)(&format!(
            "update power cut {cut} of {}: {how_far}, {first} acknowledged",
            run.count
        ));
        last = Some((stick, is_taken));
    }
    machine.read_disk(scene.site.gateway.directory())?;
    scene.source = Source::from(scene.site.broker.port(), PER_SECOND, first)?;
    scene.source.resume();
    let (stick, is_taken) = last.context("no power was cut")?;
    match come_back(&mut scene, &old, &stick, is_taken) {
        Ok(_) => {}
        Err(error) => {
            report.stranded += 1;
            report
                .problems
                .push(format!("on the disk after the cuts: {error:#}"));
        }
    }
    report.account = as_columns(&scene.account()?);
    if report.stranded == 0 {
        scene.site.gateway.stop()?;
    }
    Ok(report)
}

/// Waits until the guest has settled and imports the next update; gives what it runs, if that is what it should.
fn settled(
    guest: &mut Guest,
    old: &serde_json::Value,
    last: Option<&(Stick, bool)>,
) -> Result<String> {
    let settled = guest.wait_for("what it runs", |guest| {
        Ok(guest.said("importing")?.and(guest.said("settled")?))
    })?;
    let is_old = *old == *settled;
    match last {
        Some((stick, _)) if stick.deployment == *settled => {}
        Some((stick, true)) => anyhow::bail!("{settled} runs, and {} was taken", stick.deployment),
        _ => ensure!(is_old, "{settled} runs instead of {old}"),
    }
    Ok(settled)
}

/// Whose word the gateway in the guest runs by.
#[derive(Debug)]
pub struct Trust<'a> {
    /// The root document.
    pub root: &'a Path,
    /// The site's policy.
    pub policy: &'a Path,
}

/// What runs in the guest, as its only program. Its lines on `console` are what [`Guest::said`] reads: `settled` with what is
/// confirmed, when nothing is on its way any more; `importing`, `imported` and `confirmed` of the next.
///
/// # Errors
/// When something does not start, or the update is refused.
pub fn in_guest(
    program: &Path,
    first: u64,
    trust: &Trust<'_>,
    stick: &Path,
    console: &mut dyn Write,
) -> Result<()> {
    let sections = format!(
        "[trust]\nroot = \"{}\"\npolicy = \"{}\"\n",
        trust.root.display(),
        trust.policy.display()
    );
    let inside = Inside::start(program, &sections, console)?;
    let (mut stage, mut asked) = (Stage::Settling, Instant::now());
    inside.run(first, console, |gateway, console| {
        if asked.elapsed() < ASKED {
            return Ok(());
        }
        asked = Instant::now();
        stage.step(gateway, stick, console)
    })
}

/// How far the guest has come.
#[derive(Debug)]
enum Stage {
    /// What was on its way comes to its end.
    Settling,
    /// The stick is read.
    Importing {
        old: serde_json::Value,
        import: Process,
    },
    /// The new set is on its way.
    Taken { old: serde_json::Value },
    /// It is confirmed.
    Done,
}

impl Stage {
    fn step(&mut self, gateway: &Gateway, stick: &Path, console: &mut dyn Write) -> Result<()> {
        match self {
            Self::Settling => {
                // While the data path begins again it does not answer.
                let status = fleet::status(gateway).unwrap_or_default();
                let frozen = said(&status, "/frozen");
                ensure!(frozen.is_null(), "frozen: {frozen}");
                let old = said(&status, "/confirmed").clone();
                let waits =
                    said(&status, "/candidate").is_null() || *said(&status, "/fetching") == true;
                if let (true, Some(digest)) = (waits, old.as_str())
                    && whole(gateway, &old).is_ok()
                {
                    writeln!(console, "settled {digest}\nimporting")?;
                    let mut command = Command::new(gateway.program());
                    command.args(["update", "import"]).arg(stick);
                    command.arg("--config").arg(gateway.configuration());
                    let import = Process::start("import", gateway.directory(), &mut command)?;
                    *self = Self::Importing { old, import };
                }
            }
            Self::Importing { old, import } => {
                if let Some(status) = import.exited()? {
                    ensure!(status.success(), "{status}: {}", import.stderr()?);
                    writeln!(console, "imported")?;
                    *self = Self::Taken { old: old.take() };
                }
            }
            Self::Taken { old } => {
                let status = fleet::status(gateway).unwrap_or_default();
                let confirmed = said(&status, "/confirmed");
                if confirmed.is_string() && confirmed != old {
                    writeln!(console, "confirmed")?;
                    *self = Self::Done;
                }
            }
            Self::Done => {}
        }
        Ok(())
    }
}
