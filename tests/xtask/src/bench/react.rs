//! Local actuation: a message in, the module's message out, at rates where Nagle's algorithm and delayed acks show,
//! against the broker alone: the same listener hears the message itself.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tidegate_tests::listener::{Heard, Listener};
use tidegate_tests::publisher::{Load, Publisher};
use tidegate_tests::site::GATEWAY;
use tidegate_tests::wait::pace;

use super::rigged::{Rig, TOPIC, payload, quantile, reads_load};
use super::table::{Line, Target};

/// Messages a second, and for how long.
const RATES: [(u32, Duration); 4] = [
    (30, Duration::from_secs(12)),
    (200, Duration::from_secs(6)),
    (500, Duration::from_secs(6)),
    (1000, Duration::from_secs(6)),
];

pub(super) fn run(rig: &Rig) -> Result<Vec<Line>> {
    let convert = format!(
        "{}\npublish = [{{ to = \"plant\", topic = \"imperial/#\" }}]\nconfig = {{ \"output.delivery\" = \"at-once\" }}",
        reads_load()
    );
    let (_folder, mut site) = rig.site(&[("guest-examples/unit-convert", convert)], false)?;
    site.gateway.start()?;
    site.broker.wait_for_subscriber(GATEWAY)?;
    let out = Listener::subscribe(site.broker.port(), "out", "imperial/#")?;
    let direct = Listener::subscribe(site.broker.port(), "direct", TOPIC)?;
    let mut lines = Vec::new();
    for (rate, time) in RATES {
        let sent = Arc::new(Mutex::new(Vec::new()));
        let moments = sent.clone();
        let publisher = Publisher::connect(site.broker.port(), "load", 1000)?;
        let load = Load::start(publisher, f64::from(rate), move |number| {
            let message = (TOPIC.to_owned(), payload(number));
            moments
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(Instant::now());
            message
        });
        pace(Instant::now() + time);
        let published = load.stop()?.published();
        let sent = sent.lock().unwrap_or_else(PoisonError::into_inner).clone();
        ensure!(
            u64::try_from(sent.len())? == published,
            "a message was not timed"
        );
        let ours = delays(&out, &sent)?;
        let broker = delays(&direct, &sent)?;
        for (share, name, bound) in [(0.5, "p50", 0.5), (0.99, "p99", 1.0)] {
            let name = format!("in -> local out at {rate} msg/s, {name}");
            let values = (quantile(&ours, share), quantile(&broker, share));
            lines.push(Line::new(
                name,
                values.0,
                values.1,
                "ms",
                Target::AtMost(bound),
            ));
        }
    }
    Ok(lines)
}

/// Milliseconds from sending each message to hearing of it, sorted.
fn delays(listener: &Listener, sent: &[Instant]) -> Result<Vec<f64>> {
    let mut delays = Vec::new();
    for _ in sent {
        let heard = listener.next(Duration::from_secs(10))?;
        let number = number(&heard)?;
        let moment = sent
            .get(number)
            .context("heard of a message that was not sent")?;
        delays.push(heard.at.saturating_duration_since(*moment).as_secs_f64() * 1e3);
    }
    delays.sort_by(f64::total_cmp);
    Ok(delays)
}

fn number(heard: &Heard) -> Result<usize> {
    let message: Value =
        serde_json::from_slice(&heard.payload).context("heard something that is not JSON")?;
    let number = message
        .get("seq")
        .and_then(Value::as_u64)
        .context("heard a message without a number")?;
    Ok(usize::try_from(number)?)
}
