//! Modules run in workers: processes that have nothing to give away, and that may end at any time.

#![cfg(test)]

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
use tidegate_tests::wait::{wait_for, wait_until};
use tidegate_tests::workers::{Worker, property, workers};

const TOOLS: [Tool; 1] = [Tool::Mosquitto];
const SOON: Duration = Duration::from_secs(60);
/// Messages of each module between two kills.
const MESSAGES: u64 = 500;
const KILLS: u64 = 4;
const TALLY: &str = r##"inputs = [{ from = "plant", topic = "t/#" }]"##;

/// A plant whose tally counts in its state, beside a journal.
fn plant(directory: &TempDir, program: Option<PathBuf>, sections: &str) -> Site {
    let binaries = Binaries::built().unwrap();
    let workshop = Workshop::open(binaries, directory.path()).unwrap();
    let module = |name, settings| signed(&workshop, &guest(name), settings).unwrap();
    let plan = Plan {
        directory: directory.path(),
        binaries,
        program,
        modules: vec![module("journal", JOURNAL), module("tally", TALLY)],
        broker: MESSAGE_ID,
        sections,
        tapped: false,
    };
    let mut site = Site::start(&plan, &workshop).unwrap();
    site.gateway.start().unwrap();
    site.broker.wait_for_subscriber(GATEWAY).unwrap();
    site
}

fn running(site: &Site) -> Vec<Worker> {
    workers(site.gateway.id().unwrap()).unwrap()
}

/// Gives both modules these messages; returns when the broker has them.
fn publish(site: &Site, numbers: std::ops::Range<u64>) {
    let mut publisher = Publisher::connect(site.broker.port(), "numbers", 1000).unwrap();
    for number in numbers {
        let payload = format!("{{\"seq\":{number}}}");
        publisher.publish("m/1", payload.as_bytes()).unwrap();
        publisher.publish("t/1", payload.as_bytes()).unwrap();
    }
    publisher.finish().unwrap();
}

fn handled(site: &Site, module: &str) -> u64 {
    let module = site.gateway.module(module).unwrap();
    module["messages"].as_u64().unwrap()
}

/// The highest count that the tally kept with a row, and its rows.
fn tallied(site: &Site) -> (u64, u64) {
    let (mut highest, mut rows) = (0, 0);
    site.cloud
        .rows(GATEWAY, "tally", |row| {
            rows += 1;
            let count = row.pointer("/values/count").and_then(Value::as_u64);
            highest = highest.max(count.unwrap_or(0));
            Ok(())
        })
        .unwrap();
    (highest, rows)
}

#[test]
fn a_worker_that_is_killed_costs_no_message_and_no_state_and_its_modules_go_on_in_their_own() {
    if !available("a_worker_that_is_killed_costs_no_message", &TOOLS).unwrap() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let site = plant(&directory, None, "");
    assert_eq!(running(&site).len(), 1, "both modules share a worker");
    for kill in 0..KILLS {
        publish(&site, kill * MESSAGES..(kill + 1) * MESSAGES);
        for worker in running(&site) {
            worker.kill9().unwrap();
        }
    }
    let total = KILLS * MESSAGES;
    publish(&site, total..total + 1);
    wait_until("every row at the centre", SOON, || {
        let count = |stream| site.cloud.count(GATEWAY, stream);
        Ok(count("tally")? > total && count("journal")? > total)
    })
    .unwrap();
    assert_eq!(tallied(&site), (total + 1, total + 1));
    assert_eq!(site.cloud.count(GATEWAY, "journal").unwrap(), total + 1);
    assert_eq!(running(&site).len(), 2, "each has one of its own");
    for module in ["journal", "tally"] {
        let module = site.gateway.module(module).unwrap();
        assert_eq!(module["state"], "running", "{module}");
        assert_eq!(module["rejected"], 0, "{module}");
    }
}

#[test]
fn a_module_in_its_own_worker_does_not_notice_the_end_of_another() {
    if !available("a_module_in_its_own_worker", &TOOLS).unwrap() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let site = plant(&directory, None, "[sandbox]\nworkers = \"own\"");
    let before = running(&site);
    assert_eq!(before.len(), 2);
    // In the order of gateway.toml: the journal's was started first.
    before.last().unwrap().kill9().unwrap();
    publish(&site, 0..MESSAGES);
    wait_until("all messages", SOON, || {
        Ok(handled(&site, "tally") == MESSAGES && handled(&site, "journal") == MESSAGES)
    })
    .unwrap();
    assert!(running(&site).contains(&before[0]));
    for module in ["journal", "tally"] {
        let module = site.gateway.module(module).unwrap();
        assert_eq!(module["faults"], 0, "{module}");
        assert_eq!(module["rejected"], 0, "{module}");
    }
}

#[test]
fn a_worker_ends_with_its_gateway_however_that_ends() {
    if !available("a_worker_ends_with_its_gateway", &TOOLS).unwrap() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut site = plant(&directory, None, "");
    let gateway = site.gateway.id().unwrap();
    let worker = running(&site)[0];
    site.gateway.kill9().unwrap();
    wait_for("the worker's end", SOON, || {
        Ok(worker.property("State").is_err().then_some(()))
    })
    .unwrap();
    assert!(workers(gateway).unwrap().is_empty());
}

#[test]
fn a_worker_has_nothing_open_but_its_streams_and_no_way_to_more() {
    if !available("a_worker_has_nothing_open_but_its_streams", &TOOLS).unwrap() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let site = plant(&directory, None, "");
    let worker = running(&site)[0];
    for (property, wanted) in [("Seccomp", "2"), ("NoNewPrivs", "1")] {
        assert_eq!(worker.property(property).unwrap(), wanted, "{property}");
    }
    let capabilities = worker.property("CapEff").unwrap();
    assert_eq!(capabilities.trim_matches('0'), "", "{capabilities}");
    for file in worker.files().unwrap() {
        let name = file.to_string_lossy().into_owned();
        let is_known = [
            "socket:",
            "anon_inode:",
            "/dev/null",
            "/memfd:tidegate-code",
        ]
        .iter()
        .any(|known| name.starts_with(known));
        assert!(is_known || name.ends_with("gateway.stderr"), "{name}");
    }
    // The check can fail: the gateway itself has only what the machine laid around all of its processes.
    let gateway = site.gateway.id().unwrap();
    let filters = |value: String| value.parse::<u32>().unwrap();
    assert!(
        filters(worker.property("Seccomp_filters").unwrap())
            > filters(property(gateway, "Seccomp_filters").unwrap())
    );
}

/// What a worker tried when it was told to escape, and whether that got through.
fn escape(fault: &str) -> Vec<(String, bool)> {
    let directory = tempfile::tempdir().unwrap();
    let binaries = Binaries::built().unwrap();
    let workshop = Workshop::open(binaries, directory.path()).unwrap();
    let plan = Plan {
        directory: directory.path(),
        binaries,
        program: Some(binaries.tidegate_faulty().unwrap()),
        modules: vec![signed(&workshop, &guest("journal"), JOURNAL).unwrap()],
        broker: "",
        sections: "",
        tapped: false,
    };
    let mut site = Site::start(&plan, &workshop).unwrap();
    site.gateway.set_variable("TIDEGATE_FAULT", fault);
    site.gateway.start().unwrap();
    let status = site.gateway.status().unwrap();
    let layers = status["wall"].as_array().unwrap().iter();
    let tried = layers.filter_map(|layer| {
        let name = layer["layer"].as_str()?;
        let what = name.strip_prefix("refused: ")?;
        Some((what.to_owned(), !layer["missing"].is_null()))
    });
    tried.collect()
}

#[test]
fn native_code_in_a_sealed_worker_gets_nowhere() {
    if !available("native_code_in_a_sealed_worker_gets_nowhere", &TOOLS).unwrap() {
        return;
    }
    let tried = escape("escape");
    assert!(tried.len() >= 12, "{tried:?}");
    for (what, got_through) in tried {
        assert!(!got_through, "{what}");
    }
}

#[test]
fn the_escape_drill_gets_through_where_nothing_is_sealed() {
    if !available("the_escape_drill_gets_through", &TOOLS).unwrap() {
        return;
    }
    for (what, got_through) in escape("escape-open") {
        assert!(got_through, "{what}");
    }
}
