//! A module that falls behind: its messages wait on disk, and neither its neighbour nor the broker waits for it.

#![cfg(test)]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tidegate_tests::binaries::Binaries;
use tidegate_tests::bundles::Workshop;
use tidegate_tests::faults::scene::MESSAGE_ID;
use tidegate_tests::plant::{JOURNAL, guest, signed};
use tidegate_tests::publisher::Publisher;
use tidegate_tests::site::{GATEWAY, Plan, Site};
use tidegate_tests::tools::{Tool, available};
use tidegate_tests::wait::wait_until;

const TOOLS: [Tool; 1] = [Tool::Mosquitto];
const SOON: Duration = Duration::from_secs(60);
/// The slow module needs about 10 s for them, on a quiet machine.
const MESSAGES: u64 = 1500;
/// Messages that the broker has under way at a time.
const WINDOW: u64 = 1000;
const SLOW: &str = r##"inputs = [{ from = "plant", topic = "s/#" }]"##;

/// A plant with a quick module and a slow one behind one connection.
fn plant(directory: &TempDir, program: Option<PathBuf>) -> Site {
    let binaries = Binaries::built().unwrap();
    let workshop = Workshop::open(binaries, directory.path()).unwrap();
    let module = |name, settings| signed(&workshop, &guest(name), settings).unwrap();
    let plan = Plan {
        directory: directory.path(),
        binaries,
        program,
        modules: vec![module("journal", JOURNAL), module("slow", SLOW)],
        broker: MESSAGE_ID,
        sections: "",
        tapped: false,
    };
    Site::start(&plan, &workshop).unwrap()
}

fn publish(site: &Site, topic: &str, numbers: std::ops::Range<u64>) {
    let mut publisher = Publisher::connect(site.broker.port(), "numbers", 1000).unwrap();
    for number in numbers {
        let payload = format!("{{\"seq\":{number}}}");
        publisher.publish(topic, payload.as_bytes()).unwrap();
    }
    publisher.finish().unwrap();
}

fn count(site: &Site, module: &str, key: &str) -> u64 {
    site.gateway.module(module).unwrap()[key].as_u64().unwrap()
}

/// Gives the slow module its messages and then the quick one a single one: how many the slow one has worked off when that
/// is through.
fn worked_off_before_the_neighbour(site: &mut Site) -> u64 {
    site.gateway.start().unwrap();
    site.broker.wait_for_subscriber(GATEWAY).unwrap();
    publish(site, "s/1", 0..MESSAGES);
    publish(site, "m/1", 0..1);
    wait_until("the neighbour's message", SOON, || {
        Ok(site.gateway.module("journal")?["messages"] == 1)
    })
    .unwrap();
    count(site, "slow", "messages")
}

#[test]
fn a_slow_module_holds_up_neither_its_neighbour_nor_the_broker_and_gets_each_message_once_over_a_kill()
 {
    if !available(
        "a_slow_module_holds_up_neither_its_neighbour_nor_the_broker",
        &TOOLS,
    )
    .unwrap()
    {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut site = plant(&directory, None);
    let worked_off = worked_off_before_the_neighbour(&mut site);
    assert!(worked_off < MESSAGES / 4, "{worked_off}");
    // The broker is rid of all of them long before they are worked off.
    wait_until("all acknowledgements", SOON, || {
        let acknowledged = &site.gateway.status()?["field"][0]["acknowledged"];
        Ok(acknowledged.as_u64() == Some(MESSAGES + 1))
    })
    .unwrap();
    let slow = site.gateway.module("slow").unwrap();
    assert!(
        slow["messages"].as_u64().unwrap() < MESSAGES / 4 * 3,
        "{slow}"
    );
    assert!(slow["messages_on_disk"].as_u64().unwrap() > 0, "{slow}");
    assert_eq!(slow["detached"], true);

    site.gateway.kill9().unwrap();
    site.gateway.start().unwrap();
    site.broker.wait_for_subscriber(GATEWAY).unwrap();
    assert!(count(&site, "slow", "messages_on_disk") > 0);
    // What comes now is worked off after what is on disk.
    publish(&site, "s/1", MESSAGES..MESSAGES + 10);
    let all = MESSAGES + 10;
    let caught_up = || Ok(site.cloud.count(GATEWAY, "slow")? >= all);
    wait_until("the slow module's rows", 3 * SOON, caught_up)
        .unwrap_or_else(|error| panic!("{error}: {:#}", site.gateway.module("slow").unwrap()));
    let mut numbers = Vec::new();
    let add = |row: &Value| {
        numbers.push(row["values"]["seq"].as_u64().unwrap());
        Ok(())
    };
    site.cloud.rows(GATEWAY, "slow", add).unwrap();
    let once: BTreeSet<u64> = numbers.iter().copied().collect();
    assert_eq!(
        (numbers.len(), once.len()),
        (once.len(), usize::try_from(all).unwrap())
    );
    wait_until("the slow module to be attached", SOON, || {
        let slow = site.gateway.module("slow")?;
        Ok(slow["detached"] == false && slow["messages_on_disk"] == 0)
    })
    .unwrap();
    assert_eq!(site.cloud.count(GATEWAY, "journal").unwrap(), 1);
}

#[test]
fn the_neighbour_waits_where_no_module_is_ever_detached() {
    if !available(
        "the_neighbour_waits_where_no_module_is_ever_detached",
        &TOOLS,
    )
    .unwrap()
    {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let faulty = Binaries::built().unwrap().tidegate_faulty().unwrap();
    let mut site = plant(&directory, Some(faulty));
    site.gateway.set_variable("TIDEGATE_FAULT", "never-detach");
    let worked_off = worked_off_before_the_neighbour(&mut site);
    // It comes when the broker has room for it under way.
    assert!(worked_off >= MESSAGES - WINDOW, "{worked_off}");
    assert_eq!(count(&site, "slow", "messages_on_disk"), 0);
}
