//! Messages through a broker -> module -> one fsynced row each -> PUBACK, as fast as they come, against a client of the
//! same library that only subscribes and acknowledges. The two take turns, and the middle of each is compared.
//!
//! The bare client is checked itself: it must take messages about as fast as the broker takes them from the publisher.

use std::time::{Duration, Instant};

use anyhow::Result;
use tidegate_tests::meter;
use tidegate_tests::publisher::Publisher;
use tidegate_tests::site::{GATEWAY, Site};
use tidegate_tests::wait::wait_until;

use super::rigged::{Rig, TOPIC, acknowledged, float, median, payload, reads_load};
use super::table::{Line, Target};

const MESSAGES: u64 = 200_000;
const ROUNDS: usize = 3;

/// One round: messages a second, processor microseconds a message, and the publisher's messages a second.
struct Round {
    rate: f64,
    cpu: f64,
    published: f64,
}

pub(super) fn run(rig: &Rig) -> Result<Vec<Line>> {
    let messages = rig.messages(MESSAGES);
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(bare_round(rig, messages)?);
        ours.push(our_round(rig, messages)?);
    }
    let middle =
        |rounds: &[Round], value: fn(&Round) -> f64| median(rounds.iter().map(value).collect());
    let rates = (
        middle(&ours, |round| round.rate)?,
        middle(&bare, |round| round.rate)?,
    );
    let cpu = (
        middle(&ours, |round| round.cpu)?,
        middle(&bare, |round| round.cpu)?,
    );
    let broker = middle(&bare, |round| round.published)?;
    Ok(vec![
        Line::new(
            "in -> fsynced row -> PUBACK",
            rates.0,
            rates.1,
            "msg/s",
            Target::ShareAtLeast(0.7),
        ),
        Line::new(
            "the same, processor time",
            cpu.0,
            cpu.1,
            "us/msg",
            Target::ShareAtMost(2.0),
        ),
        Line::new(
            "check: bare client against broker",
            rates.1,
            broker,
            "msg/s",
            Target::ShareAtLeast(0.85),
        ),
    ])
}

fn our_round(rig: &Rig, messages: u64) -> Result<Round> {
    let (_folder, mut site) = rig.site(&[("tests/guests/journal", reads_load())], false)?;
    // The centre takes processor time of its own and is not part of this.
    site.link.cut();
    site.gateway.start()?;
    site.broker.wait_for_subscriber(GATEWAY)?;
    let process = site.gateway.id()?;
    let before = meter::cpu_time(process)?;
    let start = Instant::now();
    let published = publish(&site, messages)?;
    wait_until("all acks", Duration::from_secs(120), || {
        Ok(acknowledged(&site)? >= messages)
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let cpu = (meter::cpu_time(process)? - before).as_secs_f64();
    Ok(round(messages, seconds, cpu, published))
}

fn bare_round(rig: &Rig, messages: u64) -> Result<Round> {
    let (folder, site) = rig.site(&[], false)?;
    let bare = rig.bare(folder.path(), &site.broker, messages)?;
    let start = Instant::now();
    let published = publish(&site, messages)?;
    let result = bare.finish()?;
    Ok(round(
        messages,
        start.elapsed().as_secs_f64(),
        result.cpu_seconds,
        published,
    ))
}

/// Publishes as fast as the broker takes it; gives the seconds until it had acknowledged all.
fn publish(site: &Site, messages: u64) -> Result<f64> {
    let mut publisher = Publisher::connect(site.broker.port(), "load", 1000)?;
    let start = Instant::now();
    for number in 0..messages {
        publisher.publish(TOPIC, &payload(number))?;
    }
    publisher.finish()?;
    Ok(start.elapsed().as_secs_f64())
}

fn round(messages: u64, seconds: f64, cpu_seconds: f64, published_seconds: f64) -> Round {
    let messages = float(messages);
    Round {
        rate: messages / seconds,
        cpu: cpu_seconds * 1e6 / messages,
        published: messages / published_seconds,
    }
}
