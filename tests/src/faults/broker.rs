//! A broker that is killed and comes back, with its sessions and messages or without.
//!
//! What such a broker had not delivered is lost by it, not by the gateway; what it had delivered and gets no
//! acknowledgement for, it delivers again. The control lets messages go without an id, so that these count twice.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::scene::{MESSAGE_ID, Options, Scene};
use super::{Report, Run};
use crate::random::Random;
use crate::site::GATEWAY;
use crate::wait::{pace, wait_until};

/// How long the gateway may take to come back.
const BACK: Duration = Duration::from_secs(90);

/// The drill: half of `count` kills with a broker that forgets, half with one that does not.
///
/// # Errors
/// When the drill itself fails.
pub fn drill(run: &mut Run<'_>) -> Result<Report> {
    let forgets = if run.control { 0 } else { run.count / 2 };
    let keeps = run.count - forgets;
    let mut total = Report::default();
    for (name, kills, persists) in [("forgets", forgets, false), ("keeps", keeps, true)] {
        let directory = run.directory.join(name);
        std::fs::create_dir_all(&directory)?;
        if kills > 0 {
            let mut part = run.part(kills, run.seed, &directory);
            total = total.and(restarts(&mut part, persists)?);
        }
    }
    Ok(total)
}

fn restarts(run: &mut Run<'_>, persists: bool) -> Result<Report> {
    let options = Options {
        broker: if run.control { "" } else { MESSAGE_ID },
        broker_persists: persists,
        ..Options::default()
    };
    let mut scene = Scene::start(run, options)?;
    let mut random = Random::new(run.seed);
    let mut slowest = Duration::ZERO;
    for kill in 1..=run.count {
        scene.source.resume();
        scene.flows(100)?;
        // The last acknowledgements before a kill do not get through: that is when messages come again, if the broker has
        // written down that it waits for them.
        scene.tap()?.keep_from_broker(true);
        scene.flows(100)?;
        if persists {
            scene.site.broker.write_down()?;
        }
        pace(Instant::now() + Duration::from_millis(random.below(300)));
        let before = scene.site.broker.subscriptions(GATEWAY)?;
        let begin = Instant::now();
        scene.site.broker.restart()?;
        scene.tap()?.keep_from_broker(false);
        scene.source.reconnect(scene.site.broker.port())?;
        scene.source.resume();
        // A session that the broker has kept needs no subscription: messages say that the gateway is back.
        let tap = scene.tap()?;
        let passed = tap.passed();
        wait_until("the gateway to come back", BACK, || {
            Ok(tap.passed() > passed || scene.site.broker.subscriptions(GATEWAY)? > before)
        })?;
        slowest = slowest.max(begin.elapsed());
        (run.say)(&format!(
            "broker kill {kill} of {}: back after {:.2} s",
            run.count,
            begin.elapsed().as_secs_f64()
        ));
    }
    scene.recovery = slowest;
    scene.settle(run.count)
}
