//! A fleet of gateways, each a process of its own, at one centre over HTTPS. A good release reaches them by waves; one that
//! traps when it is active ends at the canaries. Meanwhile a third of the gateways is killed, and started again a while later.
//!
//! All get the same stream of numbered messages, and keep a row of each with the count in their state: what was lost,
//! counted twice or counted wrong shows in the rows. In the negative control the bad release has no canaries: it
//! reaches everybody, and everybody has to come back.
//!
//! # Layout
//! - `rig`: gateways, broker, load and centre. `outages`: who is killed when.

mod outages;
mod rig;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::binaries::Binaries;
use crate::fleet::{Terms, said};
use crate::lines::{Line, same, told};
use crate::random::Random;
use crate::wait::{wait_for, wait_until};
use outages::Outages;
use rig::{PATIENCE, Rig, SHADOW};

/// The fleet, and what happens to it.
#[derive(Debug)]
pub struct Campaign<'a> {
    /// Gateways: at least four.
    pub gateways: usize,
    /// Decides who is killed, and when.
    pub seed: u64,
    /// The product.
    pub binaries: &'a Binaries,
    /// Folder for everything; it exists.
    pub directory: &'a Path,
}

/// Everybody at once.
const ALL: [&str; 2] = ["--waves", "100%"];
/// The canaries, and then more and more.
const WAVES: [&str; 6] = [
    "--canary",
    "gw-01",
    "--canary",
    "gw-02",
    "--waves",
    "10%,50%,100%",
];
/// Canaries of [`WAVES`].
const CANARIES: usize = 2;
/// Messages after which a flaw shows: in probation, after the shadow.
const LATE: u64 = 3 * SHADOW;

/// From the start of a rollout until the last kill: four waves take longer, each with its shadow, ...
const KILLS_GOOD: Duration = Duration::from_secs(15);
/// ... and so do the messages before the flaw shows.
const KILLS_BAD: Duration = Duration::from_secs(10);

/// What was seen of a rollout.
struct Seen {
    /// How it ended.
    state: String,
    /// Gateways that it was offered to.
    offered: usize,
    /// Looks at which a wave had begun before all of the ones before it had confirmed.
    early: usize,
    /// Gateways that were killed before it ended.
    killed: usize,
    took: Duration,
}

/// Runs it; `say` is told of each step.
///
/// # Errors
/// When the rig fails. A promise that is broken is no error here: it is in its line.
pub fn run(campaign: &Campaign<'_>, say: &mut dyn FnMut(&str)) -> Result<Vec<Line>> {
    let all = campaign.gateways;
    ensure!(all >= 4, "a fleet of fewer than 4 gateways has no waves");
    let mut random = Random::new(campaign.seed);
    say(&format!("starting {all} gateways, and enrolling them"));
    let mut rig = Rig::start(campaign)?;
    say("the first deployment, for all at once");
    let (first, number) = rig.roll_out(Terms::QUICK, "", &ALL)?;
    watch(&mut rig, number, &mut Outages::none(), say)?;
    settle(&mut rig, &first)?;
    rig.await_subscribers()?;
    rig.source.resume();

    say("a good release by waves");
    let terms = Terms {
        shadow_messages: SHADOW,
        ..Terms::QUICK
    };
    let (good, number) = rig.roll_out(terms, "", &WAVES)?;
    let mut outages = Outages::drawn(&mut random, all, KILLS_GOOD);
    let waves = watch(&mut rig, number, &mut outages, say)?;
    let reached = settle(&mut rig, &good)?;

    say("a release that traps when it is active");
    let mut outages = Outages::drawn(&mut random, all, KILLS_BAD);
    let (canary, kept) = spoil(&mut rig, &good, &WAVES, &mut outages, say)?;
    say("negative control: the same without canaries");
    let (control, returned) = spoil(&mut rig, &good, &ALL, &mut Outages::none(), say)?;
    let third = all.div_ceil(3);
    let mut lines = vec![
        told("gateways", all),
        same("good release: it ends", &waves.state, "done"),
        same("good release: gateways that run it", reached, all),
        same("good release: waves that began too early", waves.early, 0),
        same(
            "good release: gateways killed meanwhile",
            waves.killed,
            third,
        ),
        told("good release: took", seconds(waves.took)),
        same("bad release: it ends", &canary.state, "stopped"),
        same(
            "bad release: gateways that were offered it",
            canary.offered,
            CANARIES,
        ),
        same(
            "bad release: gateways killed meanwhile",
            canary.killed,
            third,
        ),
        same(
            "bad release: gateways that run the good one afterwards",
            kept,
            all,
        ),
        told("bad release: stopped after", seconds(canary.took)),
        same(
            "bad release without canaries (control): gateways that were offered it",
            control.offered,
            all,
        ),
        same("... and came back by themselves", returned, all),
    ];
    say("adding up what the centre has");
    lines.extend(accounts(&mut rig)?);
    Ok(lines)
}

/// Rolls out a release that traps when it is active. Gives what was seen, and how many gateways run the good one in the end.
fn spoil(
    rig: &mut Rig,
    good: &Value,
    waves: &[&str],
    outages: &mut Outages,
    say: &mut dyn FnMut(&str),
) -> Result<(Seen, usize)> {
    let terms = Terms {
        shadow_messages: SHADOW,
        // It has to fail before it is confirmed.
        probation_minutes: 10,
        ..Terms::QUICK
    };
    let from = rig.source.published() + LATE;
    let (_, number) = rig.roll_out(terms, &format!("trap@{from}"), waves)?;
    let seen = watch(rig, number, outages, say)?;
    Ok((seen, settle(rig, good)?))
}

/// Follows a rollout to its end, and kills gateways meanwhile.
fn watch(
    rig: &mut Rig,
    number: u64,
    outages: &mut Outages,
    say: &mut dyn FnMut(&str),
) -> Result<Seen> {
    let begun = Instant::now();
    let (mut early, mut wave, mut over, mut killed) = (0, 0, None, 0);
    let (state, offered) = wait_for("the rollout to end", PATIENCE, || {
        outages.go_on(&mut rig.gateways)?;
        let status = rig.rollout(number)?;
        let now = said(&status, "/wave").as_u64().unwrap_or_default();
        if now != wave {
            wave = now;
            say(&format!("wave {wave}, {}", seconds(begun.elapsed())));
        }
        early += usize::from(is_early(&status)?);
        let state = said(&status, "/state").as_str().unwrap_or_default();
        if over.is_none() && ["done", "stopped"].contains(&state) {
            (over, killed) = (Some(begun.elapsed()), outages.killed());
            say(&format!("{state}, {}", seconds(begun.elapsed())));
        }
        let ended = over.is_some() && outages.are_over();
        Ok(ended.then(|| (state.to_owned(), offers(&status).map_or(0, <[Value]>::len))))
    })?;
    Ok(Seen {
        state,
        offered,
        early,
        killed,
        took: over.unwrap_or_default(),
    })
}

/// Whether somebody was offered a deployment while one of an earlier wave had not confirmed it.
fn is_early(status: &Value) -> Result<bool> {
    let offers = offers(status)?;
    let wave = |offer: &Value| said(offer, "/wave").as_u64();
    let last = offers.iter().filter_map(wave).max();
    let open = |offer: &Value| said(offer, "/state") != "confirmed";
    Ok(offers.iter().any(|offer| wave(offer) < last && open(offer)))
}

fn offers(status: &Value) -> Result<&[Value]> {
    let offers = said(status, "/offers").as_array();
    Ok(offers.with_context(|| format!("no offers in {status}"))?)
}

/// Waits until every gateway runs this deployment, or none follows any more; gives how many do.
fn settle(rig: &mut Rig, deployment: &Value) -> Result<usize> {
    rig.await_ready()?;
    let all = rig.gateways.len();
    let waited = wait_until("every gateway to settle", PATIENCE, || {
        Ok(rig.settled(deployment) == all)
    });
    match waited {
        Ok(()) => Ok(all),
        Err(_) => Ok(rig.settled(deployment)),
    }
}

fn accounts(rig: &mut Rig) -> Result<Vec<Line>> {
    let accounts = rig.account()?;
    let Some(first) = accounts.first() else {
        bail!("there is no gateway");
    };
    let sum = |of: fn(&crate::tally::Account) -> u64| accounts.iter().map(of).sum::<u64>();
    Ok(vec![
        told("messages, which each gateway got", first.messages),
        same("rows that are missing", sum(|account| account.lost), 0),
        same("rows that are doubled", sum(|account| account.doubled), 0),
        same(
            "counts that are wrong",
            sum(|account| account.miscounted),
            0,
        ),
    ])
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
