//! Draining 100,000 messages that were queued in the broker while the client was away: with the job of an alarm and a
//! summary and acks after the commit, against the bare subscriber.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tidegate_tests::broker::Broker;
use tidegate_tests::publisher::Publisher;
use tidegate_tests::site::GATEWAY;
use tidegate_tests::wait::wait_for;

use super::rigged::{Rig, TOPIC, acknowledged, float, median, payload, reads_load};
use super::table::{Line, Target};

const MESSAGES: u64 = 100_000;
const ROUNDS: usize = 3;

pub(super) fn run(rig: &Rig) -> Result<Vec<Line>> {
    let messages = rig.messages(MESSAGES);
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(bare_round(rig, messages)?);
        ours.push(our_round(rig, messages)?);
    }
    let (ours, bare) = (median(ours)?, median(bare)?);
    Ok(vec![Line::new(
        "drain of 100,000 queued messages",
        ours,
        bare,
        "msg/s",
        Target::AtLeast(63_000.0),
    )])
}

fn our_round(rig: &Rig, messages: u64) -> Result<f64> {
    let field = "\"input.field\" = \"celsius\"";
    let alarm = format!(
        "{}\npublish = [{{ to = \"plant\", topic = \"alarms/#\" }}]\nconfig = {{ {field}, limit = \"98\" }}",
        reads_load()
    );
    let summary = format!("{}\nconfig = {{ {field} }}", reads_load());
    let (_folder, mut site) = rig.site(
        &[
            ("guest-examples/threshold-alarm", alarm),
            ("guest-examples/rolling-summary", summary),
        ],
        false,
    )?;
    site.gateway.start()?;
    site.broker.wait_for_subscriber(GATEWAY)?;
    site.gateway.stop()?;
    queue(&site.broker, messages)?;
    site.gateway.start()?;
    let limit = Duration::from_secs(120);
    let mut first = None;
    let last = wait_for("the backlog to drain", limit, || {
        let now = Instant::now();
        let done = acknowledged(&site)?;
        if done > 0 && first.is_none() {
            first = Some((now, done));
        }
        Ok((done >= messages).then_some(now))
    })?;
    let (begin, done) = first.context("nothing was acknowledged")?;
    Ok(float(messages - done) / (last - begin).as_secs_f64())
}

fn bare_round(rig: &Rig, messages: u64) -> Result<f64> {
    let (folder, site) = rig.site(&[], false)?;
    // Its first life makes the session in which messages are queued.
    let bare = rig.bare(folder.path(), &site.broker, 1)?;
    queue(&site.broker, 1)?;
    bare.finish()?;
    queue(&site.broker, messages)?;
    let result = rig.bare(folder.path(), &site.broker, messages)?.finish()?;
    Ok(float(messages) / result.seconds)
}

fn queue(broker: &Broker, messages: u64) -> Result<()> {
    let mut publisher = Publisher::connect(broker.port(), "load", 1000)?;
    for number in 0..messages {
        publisher.publish(TOPIC, &payload(number))?;
    }
    publisher.finish().map(drop)
}
