//! Files that were changed while the gateway was down: flipped bytes, zeroed pages, truncated or deleted files.
//!
//! The gateway must start by itself, at once, and go on. What the damage took from it must be in the loss ledger. The
//! control's gateway sets a damaged database aside and enters nothing of it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::account::Account;
use super::scene::{MESSAGE_ID, Options, STORAGE_FAILED, Scene};
use super::{Report, Run};
use crate::cloud::Cloud;
use crate::random::Random;
use crate::site::GATEWAY;

const PAGE_BYTES: u64 = 4096;

/// How often a supervisor starts it before the drill gives up.
const STARTS: u32 = 3;

/// Damages to one site: the count after each asks the centre for everything.
const SITE_DAMAGES: u32 = 50;

/// Damages in the control, at most: not each of them takes something.
const CONTROL_DAMAGES: u32 = 12;

/// The drill: `count` damages, each after a kill or an orderly stop, with rows that wait and with none.
///
/// # Errors
/// When the drill itself fails.
pub fn drill(run: &mut Run<'_>) -> Result<Report> {
    let count = if run.control {
        CONTROL_DAMAGES
    } else {
        run.count
    };
    let mut total = Report::default();
    for first in (0..count).step_by(usize::try_from(SITE_DAMAGES)?) {
        let directory = run.directory.join(format!("from-{first}"));
        fs::create_dir_all(&directory)?;
        let seed = run.seed.wrapping_add(first.into());
        let mut part = run.part(SITE_DAMAGES.min(count - first), seed, &directory);
        total = total.and(damages(&mut part)?);
    }
    total.notes.push(format!(
        "{} rows explained by the ledger",
        total.account.explained
    ));
    Ok(total)
}

/// As many damages as `run` counts, to one site.
fn damages(run: &mut Run<'_>) -> Result<Report> {
    let mut scene = Scene::start(
        run,
        Options {
            fault: run.control.then_some("silent-quarantine"),
            broker: MESSAGE_ID,
            ..Options::default()
        },
    )?;
    let mut random = Random::new(run.seed);
    let mut problems = Vec::new();
    let (mut before, mut tried, mut tally) = (Account::default(), 0, Tally::default());
    for round in 1..=run.count {
        let how = hurt(&mut scene, &mut random, run.control)?;
        start(&mut scene, &how, run.directory, round, &mut problems)?;
        scene.site.link.mend();
        tried = round;
        let (account, stuck) = scene.account()?;
        tally.look(&scene.site.cloud)?;
        let account = tally.explain(account);
        let lost = account.lost + account.explained - before.lost - before.explained;
        let explained = account.explained - before.explained;
        let facts = format!("{how}: {lost} rows gone, {explained} of them in the ledger");
        (run.say)(&format!("damage {round} of {}: {facts}", run.count));
        if run.control && account.lost > 0 {
            break;
        }
        if account.lost > before.lost || account.wrong > before.wrong || stuck.is_some() {
            let wrong = account.wrong - before.wrong;
            let stuck = stuck.unwrap_or_default();
            problems.push(format!("{facts}, {wrong} wrong; {stuck}"));
        }
        before = account;
    }
    let mut report = scene.settle(tried)?;
    report.account = tally.explain(report.account);
    report.problems.extend(problems);
    Ok(report)
}

/// Messages that were acknowledged, waited on disk for their module, and are gone with the database: they have no number
/// in a stream, and the gateway counts them. A new database counts from nothing.
#[derive(Debug, Default)]
struct Tally {
    last: u64,
    all: u64,
}

impl Tally {
    fn look(&mut self, cloud: &Cloud) -> Result<()> {
        let told = cloud.tallied(GATEWAY, "quarantined")?;
        self.all += told.checked_sub(self.last).unwrap_or(told);
        self.last = told;
        Ok(())
    }

    fn explain(&self, account: Account) -> Account {
        Account {
            lost: account.lost.saturating_sub(self.all),
            explained: account.explained + account.lost.min(self.all),
            ..account
        }
    }
}

/// Lets messages flow, stops or kills the gateway, and damages a file; says how.
fn hurt(scene: &mut Scene, random: &mut Random, control: bool) -> Result<String> {
    // In the control there is always something to lose.
    let waiting = random.below(2) == 0 || control;
    if waiting {
        scene.site.link.cut();
    }
    scene.source.resume();
    scene.flows(usize::try_from(50 + random.below(400))?)?;
    let orderly = random.below(3) == 0;
    if orderly {
        scene.site.gateway.stop()?;
    } else {
        scene.site.gateway.kill9()?;
    }
    let what = damage(&scene.site.gateway.state(), random)?;
    let when = if orderly { "a stop" } else { "a kill" };
    let link = if waiting { "rows wait" } else { "link up" };
    Ok(format!("{what}, after {when}, {link}"))
}

/// Starts it. It may note the damage and end once, to be started again. Where it cannot start, that is a problem, and the
/// drill goes on with an empty database.
fn start(
    scene: &mut Scene,
    how: &str,
    directory: &Path,
    round: u32,
    problems: &mut Vec<String>,
) -> Result<()> {
    let mut ended = None;
    for _ in 0..STARTS {
        ended = scene.recover()?;
        if ended.is_none_or(|status| status.code() != Some(STORAGE_FAILED)) {
            break;
        }
    }
    let Some(status) = ended else {
        return Ok(());
    };
    let aside = directory.join(format!("unusable-{round}"));
    let log = scene.site.gateway.log()?;
    let last = log.lines().last().unwrap_or_default();
    problems.push(format!(
        "{how}: ended with {status} instead of starting: {last}"
    ));
    fs::create_dir_all(&aside)?;
    for file in files(&scene.site.gateway.state()) {
        if let Some(name) = file.file_name() {
            fs::rename(&file, aside.join(name))?;
        }
    }
    scene.must_recover()
}

/// The database and its log, as far as they are there.
fn files(state: &Path) -> Vec<PathBuf> {
    ["buffer.db", "buffer.db-wal", "buffer.db-shm"]
        .iter()
        .map(|name| state.join(name))
        .filter(|file| file.exists())
        .collect()
}

/// Damages one of the files; says how.
fn damage(state: &Path, random: &mut Random) -> Result<String> {
    let mut files = files(state);
    files.retain(|file| fs::metadata(file).is_ok_and(|file| file.len() > 0));
    // The index beside them is rebuilt at every start.
    files.retain(|file| !file.ends_with("buffer.db-shm"));
    let path = random.pick(&files).context("there is nothing to damage")?;
    let name = path.file_name().unwrap_or_default().display();
    let length = fs::metadata(path)?.len();
    let open = || File::options().write(true).read(true).open(path);
    Ok(match random.below(6) {
        0 | 1 => {
            let flips = 1 + random.below(16);
            for _ in 0..flips {
                flip(&open()?, random.below(length), random)?;
            }
            format!("{flips} bytes of {name} flipped")
        }
        2 => {
            let page = random.below(length / PAGE_BYTES + 1) * PAGE_BYTES;
            let bytes = vec![0; usize::try_from(PAGE_BYTES.min(length - page))?];
            open()?.write_all_at(&bytes, page)?;
            format!("{} bytes of {name} zeroed at {page}", bytes.len())
        }
        3 => {
            let to = random.below(length);
            open()?.set_len(to)?;
            format!("{name} truncated from {length} to {to} bytes")
        }
        4 => {
            fs::remove_file(path)?;
            format!("{name} deleted")
        }
        _ => {
            let noise: Vec<u8> = (0..PAGE_BYTES)
                .map(|_| u8::try_from(random.below(256)).unwrap_or(0))
                .collect();
            open()?.write_all_at(&noise, 0)?;
            format!("the beginning of {name} overwritten")
        }
    })
}

fn flip(file: &File, at: u64, random: &mut Random) -> Result<()> {
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    byte[0] ^= 1 << random.below(8);
    Ok(file.write_all_at(&byte, at)?)
}
