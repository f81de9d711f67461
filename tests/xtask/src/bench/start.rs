//! From starting the gateway, with its modules compiled before, to the first message out, while one message waits in the
//! broker; against the bare subscriber, from its start to that message.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use tidegate_tests::broker::Broker;
use tidegate_tests::listener::Listener;
use tidegate_tests::publisher::Publisher;
use tidegate_tests::site::GATEWAY;

use super::rigged::{Rig, TOPIC, median, payload, reads_load};
use super::table::{Line, Target};

const ROUNDS: usize = 7;

pub(super) fn run(rig: &Rig) -> Result<Vec<Line>> {
    let convert = format!(
        "{}\npublish = [{{ to = \"plant\", topic = \"imperial/#\" }}]\nconfig = {{ \"output.delivery\" = \"at-once\" }}",
        reads_load()
    );
    let (folder, mut site) = rig.site(&[("guest-examples/unit-convert", convert)], false)?;
    site.gateway.start()?;
    site.broker.wait_for_subscriber(GATEWAY)?;
    let out = Listener::subscribe(site.broker.port(), "out", "imperial/#")?;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        site.gateway.stop()?;
        queue(&site.broker)?;
        let start = Instant::now();
        site.gateway.launch()?;
        let heard = out.next(Duration::from_secs(30))?;
        ours.push((heard.at - start).as_secs_f64() * 1e3);
        site.gateway.await_ready()?;
    }
    let first = rig.bare(folder.path(), &site.broker, 1)?;
    queue(&site.broker)?;
    first.finish()?;
    for _ in 0..ROUNDS {
        queue(&site.broker)?;
        let start = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
        let result = rig.bare(folder.path(), &site.broker, 1)?.finish()?;
        bare.push((result.first_at - start) * 1e3);
    }
    Ok(vec![Line::new(
        "start to first message out",
        median(ours)?,
        median(bare)?,
        "ms",
        Target::AtMost(200.0),
    )])
}

fn queue(broker: &Broker) -> Result<()> {
    let mut publisher = Publisher::connect(broker.port(), "load", 10)?;
    publisher.publish(TOPIC, &payload(1))?;
    publisher.finish().map(drop)
}
