//! Memory of the gateway (PSS) with three modules after 50,000 messages, against the same gateway without modules.

use std::time::Duration;

use anyhow::Result;
use tidegate_tests::meter;
use tidegate_tests::publisher::Publisher;
use tidegate_tests::site::GATEWAY;
use tidegate_tests::wait::wait_until;

use super::rigged::{Rig, TOPIC, Wanted, acknowledged, float, payload, reads_load};
use super::table::{Line, Target};

const MESSAGES: u64 = 50_000;

pub(super) fn run(rig: &Rig) -> Result<Vec<Line>> {
    let field = "\"input.field\" = \"celsius\"";
    let publish = |topic: &str| format!("publish = [{{ to = \"plant\", topic = \"{topic}\" }}]");
    let input = reads_load();
    let modules = [
        (
            "guest-examples/threshold-alarm",
            format!(
                "{input}\n{}\nconfig = {{ {field}, limit = \"98\" }}",
                publish("alarms/#")
            ),
        ),
        (
            "guest-examples/rolling-summary",
            format!("{input}\nconfig = {{ {field} }}"),
        ),
        (
            "guest-examples/vibration-anomaly",
            format!(
                "{input}\n{}\nconfig = {{ channels = '[\"celsius\"]' }}",
                publish("anomalies/#")
            ),
        ),
    ];
    let (ours, bare) = (mib(rig, &modules)?, mib(rig, &[])?);
    Ok(vec![Line::new(
        "memory with three modules (PSS)",
        ours,
        bare,
        "MiB",
        Target::AtMost(15.0),
    )])
}

fn mib(rig: &Rig, modules: &[Wanted<'_>]) -> Result<f64> {
    let (_folder, mut site) = rig.site(modules, false)?;
    site.gateway.start()?;
    if !modules.is_empty() {
        // The second start, with the modules compiled before, is the one of every day.
        site.gateway.stop()?;
        site.gateway.start()?;
        site.broker.wait_for_subscriber(GATEWAY)?;
        let messages = rig.messages(MESSAGES);
        let mut publisher = Publisher::connect(site.broker.port(), "load", 1000)?;
        for number in 0..messages {
            publisher.publish(TOPIC, &payload(number))?;
        }
        publisher.finish()?;
        wait_until("all acks", Duration::from_secs(60), || {
            Ok(acknowledged(&site)? >= messages)
        })?;
    }
    Ok(float(meter::pss_kib(site.gateway.id()?)?) / 1024.0)
}
