//! From a message's arrival at the gateway to its PUBACK, seen on the wire, at 1,000 messages a second and with profile
//! `latency`; against one append and fdatasync on the same disk, measured meanwhile.

use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tidegate_tests::publisher::{Load, Publisher};
use tidegate_tests::site::GATEWAY;
use tidegate_tests::wait::{pace, wait_until};

use super::rigged::{Rig, TOPIC, payload, quantile, reads_load};
use super::table::{Line, Target};

const TIME: Duration = Duration::from_secs(10);

pub(super) fn run(rig: &Rig) -> Result<Vec<Line>> {
    let (folder, mut site) = rig.site(&[("tests/guests/journal", reads_load())], true)?;
    site.gateway.start()?;
    site.broker.wait_for_subscriber(GATEWAY)?;
    let publisher = Publisher::connect(site.broker.port(), "load", 1000)?;
    let load = Load::start(publisher, 1000.0, |number| {
        (TOPIC.to_owned(), payload(number))
    });
    let fsyncs = fsyncs(&folder.path().join("fsyncs"))?;
    let published = load.stop()?.published();
    let tap = site.tap.as_ref().context("the bench has a tap")?;
    wait_until("all acks", Duration::from_secs(30), || {
        Ok(u64::try_from(tap.passed())? >= published)
    })?;
    let passages = tap.take()?;
    let mut times: Vec<f64> = passages
        .iter()
        .map(|passage| (passage.receipt - passage.message).as_secs_f64() * 1e3)
        .collect();
    times.sort_by(f64::total_cmp);
    let line = |share, name, bound| {
        let values = (quantile(&times, share), quantile(&fsyncs, share));
        Line::new(
            format!("in -> durable at 1,000 msg/s, {name}"),
            values.0,
            values.1,
            "ms",
            Target::AtMostBeyond(bound),
        )
    };
    Ok(vec![line(0.5, "p50", 1.0), line(0.99, "p99", 5.0)])
}

/// Milliseconds of appends with fdatasync, about 100 a second, sorted.
fn fsyncs(path: &std::path::Path) -> Result<Vec<f64>> {
    let mut file = File::create(path)?;
    let mut times = Vec::new();
    let end = Instant::now() + TIME;
    while Instant::now() < end {
        let start = Instant::now();
        file.write_all(&[7; 256])?;
        file.sync_data()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
        pace(start + Duration::from_millis(10));
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}
