//! The way to the centre: what it may cost, how fast it goes, and a second centre.

#![cfg(test)]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;
use tempfile::TempDir;
use tidegate_tests::binaries::Binaries;
use tidegate_tests::cloud::Cloud;
use tidegate_tests::link::Link;
use tidegate_tests::plant::{JOURNAL, Options, Plant, example, guest, signed};
use tidegate_tests::process::run_well;
use tidegate_tests::publisher::Publisher;
use tidegate_tests::site::{GATEWAY, Site};
use tidegate_tests::tools::{Tool, available};
use tidegate_tests::wait::wait_until;

const BROKER: [Tool; 2] = [Tool::Mosquitto, Tool::MosquittoPub];
const SOON: Duration = Duration::from_secs(30);
/// After failures the uplink waits up to a minute.
const AFTER_FAILURES: Duration = Duration::from_secs(90);

fn journal(sections: &str) -> Plant {
    let options = Options {
        // What the broker delivers again after a kill has no effect.
        broker: "message-id = { field = \"seq\" }",
        sections,
    };
    let modules = |workshop: &_, _: &_| Ok(vec![signed(workshop, &guest("journal"), JOURNAL)?]);
    Plant::start(options, modules).unwrap()
}

/// Publishes messages `from..to` and waits until the broker has them.
fn publish(site: &Site, from: u64, to: u64) {
    let mut publisher = Publisher::connect(site.broker.port(), "numbers", 100).unwrap();
    for number in from..to {
        publisher
            .publish("m/1", format!("{{\"seq\":{number}}}").as_bytes())
            .unwrap();
    }
    publisher.finish().unwrap();
}

/// The numbers that a centre holds, none of them twice.
fn held(cloud: &Cloud) -> Result<BTreeSet<u64>> {
    let mut numbers = BTreeSet::new();
    if cloud.count(GATEWAY, "journal")? > 0 {
        cloud.rows(GATEWAY, "journal", |row| {
            // An entry of the ledger says that another centre holds them.
            if let Some(number) = row["values"]["seq"].as_u64() {
                assert!(numbers.insert(number), "twice: {row}");
            }
            Ok(())
        })?;
    }
    Ok(numbers)
}

fn await_numbers(site: &Site, what: &str, wanted: u64, of: impl Fn() -> Result<BTreeSet<u64>>) {
    let waited = wait_until(what, AFTER_FAILURES, || Ok(of()? == (0..wanted).collect()));
    waited.unwrap_or_else(|error| {
        let (there, log) = (of().unwrap().len(), site.gateway.log().unwrap());
        panic!(
            "{error}; there are {there}; {:#}\n{log}",
            site.gateway.status().unwrap()["uplink"]
        )
    });
}

fn carried(link: &Link) -> u64 {
    link.bytes_up() + link.bytes_down()
}

fn budget(site: &Site) -> Value {
    site.gateway.status().unwrap()["uplink"]["budget"].clone()
}

const BUDGET: u64 = 64 << 10;

#[test]
fn a_byte_budget_is_kept_and_its_last_part_is_for_alarms() {
    let name = "a_byte_budget_is_kept_and_its_last_part_is_for_alarms";
    if !available(name, &BROKER).unwrap() {
        return;
    }
    let options = Options {
        sections: "[uplink.budget]\nhour = \"64KiB\"\n",
        ..Options::default()
    };
    let alarm = "inputs = [{ from = \"plant\", topic = \"machines/+/temperature\" }]\n\
        publish = [{ to = \"plant\", topic = \"alarms/#\" }]\n\
        config = { \"input.field\" = \"celsius\", machine = \"{1}\" }";
    let mut plant = Plant::start(options, |workshop, _| {
        Ok(vec![
            signed(workshop, &guest("journal"), JOURNAL)?,
            signed(workshop, &example("threshold-alarm"), alarm)?,
        ])
    })
    .unwrap();
    let site = &mut plant.site;
    publish(site, 0, 30_000);
    let alarms_only = |site: &Site| Ok(budget(site)["state"] == "alarms only");
    wait_until("the budget to be spent but for alarms", SOON, || {
        alarms_only(site)
    })
    .unwrap();
    let before = carried(&site.link);
    assert!(before > BUDGET / 2 && before <= BUDGET, "{before} bytes");
    assert!(site.cloud.count(GATEWAY, "journal").unwrap() < 30_000);
    assert!(
        site.gateway.status().unwrap()["buffer"]["rows_waiting"]
            .as_u64()
            .unwrap()
            > 0
    );

    // A kill forgets little of what was spent, and alarms go on.
    site.gateway.kill9().unwrap();
    site.gateway.start().unwrap();
    let remembered = budget(site)["spans"][0]["bytes_used"].as_u64().unwrap();
    assert!(
        remembered + (6 << 10) > before,
        "{remembered} of {before} bytes"
    );
    wait_until("the budget to be spent again", SOON, || alarms_only(site)).unwrap();
    site.broker.wait_for_subscriber(GATEWAY).unwrap();
    site.broker
        .mosquitto_pub("machines/press-7/temperature", "{\"celsius\": 93.75}")
        .unwrap();
    let alarm = || Ok(site.cloud.count(GATEWAY, "alarms")? == 1);
    let waited = wait_until("the alarm at the centre", AFTER_FAILURES, alarm);
    waited.unwrap_or_else(|error| panic!("{error}; {:#}", site.gateway.status().unwrap()));
    let after = carried(&site.link);
    assert!(after <= BUDGET, "{after} bytes");
    let configuration = site.gateway.configuration();
    let arguments = ["status", "--config", configuration.to_str().unwrap()];
    let told = run_well(&Binaries::built().unwrap().tidegate(), arguments).unwrap();
    assert!(told.contains("alarms only for another"), "{told}");
}

/// The negative control of the test above: without a budget the same rows take more.
#[test]
fn without_a_budget_everything_goes() {
    if !available("without_a_budget_everything_goes", &BROKER).unwrap() {
        return;
    }
    let Plant { site, .. } = &journal("");
    publish(site, 0, 30_000);
    await_numbers(site, "all rows", 30_000, || held(&site.cloud));
    assert!(
        carried(&site.link) > BUDGET * 5 / 4,
        "{}",
        carried(&site.link)
    );
    assert_eq!(budget(site), Value::Null);
}

#[test]
#[allow(
    clippy::disallowed_methods,
    reason = "the product is timed from outside"
)]
fn a_backlog_keeps_the_pace_that_the_centre_gives() {
    if !available("a_backlog_keeps_the_pace_that_the_centre_gives", &BROKER).unwrap() {
        return;
    }
    let Plant { site, .. } = &mut journal("");
    site.cloud.kill9().unwrap();
    publish(site, 0, 5000);
    let waiting = || Ok(site.gateway.status()?["buffer"]["rows_waiting"] == 5000);
    wait_until("5000 rows to wait", SOON, waiting).unwrap();
    let begin = Instant::now();
    site.cloud.start_again_with(&["--pace", "1000"]).unwrap();
    await_numbers(site, "all rows", 5000, || held(&site.cloud));
    assert!(
        begin.elapsed() >= Duration::from_secs(4),
        "{:?}",
        begin.elapsed()
    );
}

/// A second centre, and the link to it.
struct Other {
    link: Link,
    cloud: Cloud,
    _directory: TempDir,
}

impl Other {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let cloud = Cloud::start(Binaries::built().unwrap(), directory.path()).unwrap();
        let link = Link::to(cloud.address()).unwrap();
        Self {
            link,
            cloud,
            _directory: directory,
        }
    }

    fn section(&self, settings: &str) -> String {
        let address = self.link.address();
        format!("[uplink.second]\nurl = \"http://{address}\"\n{settings}\n")
    }
}

fn both(site: &Site, other: &Other) -> Result<BTreeSet<u64>> {
    Ok(&held(&site.cloud)? | &held(&other.cloud)?)
}

#[test]
fn a_second_centre_stands_in_and_both_together_hold_every_row() {
    if !available("a_second_centre_stands_in", &BROKER).unwrap() {
        return;
    }
    let other = Other::start();
    let Plant { site, .. } = &journal(&other.section("after = \"1s\""));
    publish(site, 0, 500);
    await_numbers(site, "the first to hold rows", 500, || held(&site.cloud));
    assert!(held(&other.cloud).unwrap().is_empty());

    site.link.cut();
    publish(site, 500, 1500);
    await_numbers(site, "the second to stand in", 1500, || both(site, &other));
    assert_eq!(held(&other.cloud).unwrap(), (500..1500).collect());
    let status = site.gateway.status().unwrap();
    assert_eq!(
        status["uplink"]["second"]["standing_in"], true,
        "{status:#}"
    );

    site.link.mend();
    let back = || Ok(site.gateway.status()?["uplink"]["second"]["standing_in"] == false);
    wait_until("the first to be back", AFTER_FAILURES, back).unwrap();
    publish(site, 1500, 2000);
    await_numbers(site, "the first to have the rest", 2000, || {
        both(site, &other)
    });
    assert_eq!(held(&other.cloud).unwrap(), (500..1500).collect());
}

/// The negative control of the test above: without a second centre, rows wait.
#[test]
fn without_a_second_centre_rows_wait_for_the_first() {
    if !available("without_a_second_centre_rows_wait_for_the_first", &BROKER).unwrap() {
        return;
    }
    let other = Other::start();
    let Plant { site, .. } = &journal("");
    publish(site, 0, 500);
    await_numbers(site, "the first to hold rows", 500, || held(&site.cloud));
    site.link.cut();
    publish(site, 500, 1500);
    let waiting = || Ok(site.gateway.status()?["buffer"]["rows_waiting"] == 1000);
    wait_until("1000 rows to wait", SOON, waiting).unwrap();
    assert_eq!(both(site, &other).unwrap(), (0..500).collect());
}

#[test]
fn centres_that_come_and_go_hold_every_row_together_and_none_twice() {
    let name = "centres_that_come_and_go_hold_every_row_together_and_none_twice";
    if !available(name, &BROKER).unwrap() {
        return;
    }
    let other = Other::start();
    let Plant { site, .. } = &mut journal(&other.section("after = \"100ms\""));
    for round in 0..6 {
        let (first, second) = (&site.link, &other.link);
        match round % 3 {
            0 => first.cut(),
            1 => second.cut(),
            _ => first.mend(),
        }
        publish(site, round * 1000, round * 1000 + 1000);
        if round == 3 {
            site.gateway.kill9().unwrap();
            site.gateway.start().unwrap();
        }
        other.link.mend();
    }
    site.link.mend();
    await_numbers(site, "all rows", 6000, || both(site, &other));
}

#[test]
fn a_mirror_gets_every_row_as_well_whichever_is_away() {
    if !available("a_mirror_gets_every_row_as_well_whichever_is_away", &BROKER).unwrap() {
        return;
    }
    let other = Other::start();
    let Plant { site, .. } = &journal(&other.section("when = \"mirror\""));
    publish(site, 0, 100);
    other.link.cut();
    publish(site, 100, 200);
    await_numbers(site, "the first to have all", 200, || held(&site.cloud));
    other.link.mend();
    site.link.cut();
    publish(site, 200, 300);
    await_numbers(site, "the second to have all", 300, || held(&other.cloud));
    site.link.mend();
    await_numbers(site, "the first to have all", 300, || held(&site.cloud));
}
