//! Bytes that go up the link, requests and headers included, against bytes of messages in: a recorded machine log at its
//! rate times a hundred, each channel summed up in windows of 10 s.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;
use tidegate_tests::publisher::{Load, Publisher};
use tidegate_tests::site::GATEWAY;
use tidegate_tests::wait::{pace, wait_until};

use super::rigged::{Rig, float};
use super::table::{Line, Target};
use crate::demo::MachineLog;

const PER_SECOND: f64 = 400.0;
const TIME: Duration = Duration::from_secs(45);

pub(super) fn run(rig: &Rig) -> Result<Vec<Line>> {
    let log = MachineLog::recorded()?;
    let summary = |channel: &String| {
        let settings = format!(
            "name = \"summary-{}\"\ninputs = [{{ from = \"plant\", topic = \"machines/#\" }}]\n\
             config = {{ \"input.field\" = \"{channel}\" }}",
            channel.to_lowercase()
        );
        ("guest-examples/rolling-summary", settings)
    };
    let modules: Vec<_> = log.channels.iter().map(summary).collect();
    let (_folder, mut site) = rig.site(&modules, false)?;
    site.gateway.start()?;
    site.broker.wait_for_subscriber(GATEWAY)?;
    let payloads: Vec<Vec<u8>> = log
        .messages
        .iter()
        .map(|message| Value::Object(message.clone()).to_string().into_bytes())
        .collect();
    let lengths: Vec<u64> = payloads
        .iter()
        .map(|payload| u64::try_from(payload.len()).unwrap_or_default())
        .collect();
    let publisher = Publisher::connect(site.broker.port(), "load", 1000)?;
    let start = site.link.bytes_up();
    let load = Load::start(publisher, PER_SECOND, move |number| {
        let position = usize::try_from(number).unwrap_or_default() % payloads.len().max(1);
        (
            "machines/pump-3/log".to_owned(),
            payloads.get(position).cloned().unwrap_or_default(),
        )
    });
    pace(Instant::now() + TIME);
    let published = load.stop()?.published();
    let windows = u64::try_from(log.channels.len())? * 4;
    wait_until("the windows at the centre", Duration::from_secs(60), || {
        Ok(site.cloud.count(GATEWAY, "summaries")? >= windows)
    })?;
    let up = site.link.bytes_up() - start;
    let raw: u64 = lengths
        .iter()
        .cycle()
        .take(usize::try_from(published)?)
        .sum();
    Ok(vec![Line::new(
        "bytes up the link",
        float(up),
        float(raw),
        "bytes",
        Target::ShareAtMost(0.05),
    )])
}
