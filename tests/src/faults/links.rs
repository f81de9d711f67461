//! A bad link: requests and replies lost, cut, repeated, late or refused, and answers that are none.
//!
//! In the control rows have no identity: each time they go out they have another number, and the centre cannot know that it
//! has them. What goes out twice must be found there twice.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::scene::{MESSAGE_ID, Options, Scene};
use super::{Report, Run};
use crate::mischief::Mischief;
use crate::random::Random;
use crate::wait::wait_until;

/// How long one more mischief may take: the gateway waits up to a minute after failures.
const NEXT: Duration = Duration::from_secs(120);

/// In the control, at least: a lost reply must be among them.
const CONTROL_MISCHIEF: u32 = 12;

/// How often each kind happened.
#[derive(Debug, Default)]
struct Done {
    exchanges: u32,
    mischief: u32,
    kinds: BTreeMap<&'static str, u32>,
    /// Since when none has passed.
    hurt_since: Option<Instant>,
    /// The longest time from a mischief to an exchange that passed.
    recovery: Duration,
}

/// The drill: goes on until `count` exchanges have gone wrong.
///
/// # Errors
/// When the drill itself fails.
pub fn drill(run: &mut Run<'_>) -> Result<Report> {
    let mut scene = Scene::start(
        run,
        Options {
            fault: run.control.then_some("no-identity"),
            broker: MESSAGE_ID,
            ..Options::default()
        },
    )?;
    let done = Arc::new(Mutex::new(Done::default()));
    let script = script(Random::new(run.seed), done.clone());
    scene.source.resume();
    scene.site.link.misbehave(Some(Box::new(script)));
    let count = if run.control {
        run.count.max(CONTROL_MISCHIEF)
    } else {
        run.count
    };
    for wanted in 1..=count {
        wait_until("one more exchange to go wrong", NEXT, || {
            Ok(locked(&done).mischief >= wanted)
        })?;
        if wanted % 10 == 0 || wanted == count {
            (run.say)(&format!("{wanted} of {count} exchanges went wrong"));
        }
    }
    let mut report = scene.settle(count)?;
    let done = locked(&done);
    report.recovery = done.recovery;
    let kinds: Vec<_> = done
        .kinds
        .iter()
        .map(|(kind, times)| format!("{kind} {times}"))
        .collect();
    report.notes.push(format!(
        "{} exchanges; {}",
        done.exchanges,
        kinds.join(", ")
    ));
    Ok(report)
}

fn locked(done: &Mutex<Done>) -> std::sync::MutexGuard<'_, Done> {
    done.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Two exchanges of three go wrong, so that failures follow each other as well as successes.
fn script(mut random: Random, done: Arc<Mutex<Done>>) -> impl FnMut() -> Mischief + Send {
    move || {
        let mut done = locked(&done);
        done.exchanges += 1;
        if random.below(3) == 0 {
            if let Some(since) = done.hurt_since.take() {
                done.recovery = done.recovery.max(since.elapsed());
            }
            return Mischief::None;
        }
        done.hurt_since.get_or_insert_with(Instant::now);
        let (kind, mischief) = choose(&mut random, done.mischief);
        done.mischief += 1;
        *done.kinds.entry(kind).or_default() += 1;
        mischief
    }
}

/// A half-open link costs the gateway its whole patience, so it comes once in 50.
fn choose(random: &mut Random, before: u32) -> (&'static str, Mischief) {
    if before % 50 == 25 {
        return ("half-open", Mischief::Silent(Duration::from_secs(60)));
    }
    match random.below(11) {
        0 => ("request lost", Mischief::RequestLost),
        1 => ("request cut", Mischief::RequestCut),
        2 | 3 => ("reply lost", Mischief::ReplyLost),
        4 => ("reply cut", Mischief::ReplyCut),
        5 => ("doubled", Mischief::Doubled),
        6 => ("repeated", Mischief::Repeated),
        7 => ("stale reply", Mischief::StaleReply),
        8 => (
            "late",
            Mischief::Late(Duration::from_millis(50 + random.below(1000))),
        ),
        9 => {
            let code = random.pick(&[429, 500, 502, 503]).copied().unwrap_or(500);
            ("refused", Mischief::Status(code, 1))
        }
        _ => ("garbage", Mischief::Garbage(random.below(u64::MAX))),
    }
}
