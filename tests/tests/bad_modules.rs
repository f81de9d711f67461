//! Modules that go wrong: each costs its message or itself, with one clear sentence and a counter, and the neighbours
//! notice nothing.

#![cfg(test)]

use std::time::Duration;

use serde_json::Value;
use tidegate_tests::plant::{Neighbourhood, guest, signed};
use tidegate_tests::publisher::Publisher;
use tidegate_tests::site::{GATEWAY, Site};
use tidegate_tests::tools::{Tool, available};
use tidegate_tests::wait::wait_until;

const TOOLS: [Tool; 2] = [Tool::Mosquitto, Tool::MosquittoPub];
const SOON: Duration = Duration::from_secs(30);

/// The hostile module reads `h` and may publish below `hostile`.
const HOSTILE: &str = "inputs = [{ from = \"plant\", topic = \"h\" }]\n\
    publish = [{ to = \"plant\", topic = \"hostile/#\" }]";

/// Ways in which a module goes wrong over one message, and the words that say so.
const WRONGS: [(&str, &str); 11] = [
    ("trap", "unreachable"),
    ("loop", "ran longer than 50 ms"),
    ("allocate", "MiB of memory, limit is 8 MiB"),
    ("recurse", "out of bounds"),
    ("transient", "the moon is wrong"),
    ("reject-another", "4711"),
    ("blame-another", "4711"),
    ("undeclared-stream", "secrets"),
    ("foreign-topic", "commands/stop"),
    ("wildcard-topic", "hostile/#"),
    ("huge-row", "limit is 524288"),
];

fn hostile() -> Neighbourhood {
    Neighbourhood::start(|workshop, _| Ok(vec![signed(workshop, &guest("hostile"), HOSTILE)?]))
        .unwrap()
}

/// Gives the hostile module these messages, as one batch where the moment allows.
fn send(site: &Site, words: &[&str]) {
    let mut publisher = Publisher::connect(site.broker.port(), "words", 1000).unwrap();
    for word in words {
        publisher.publish("h", word.as_bytes()).unwrap();
    }
    publisher.finish().unwrap();
}

#[test]
fn a_module_that_goes_wrong_over_a_message_loses_that_message_and_nothing_else() {
    if !available("a_module_that_goes_wrong_over_a_message", &TOOLS).unwrap() {
        return;
    }
    let mut neighbours = hostile();
    let mut kept = 0;
    for (number, (word, words)) in (0..).zip(WRONGS) {
        if number % 4 == 3 {
            // After five faults in a minute the module would be parked, which is another test.
            neighbours.plant.site.gateway.stop().unwrap();
            neighbours.plant.site.gateway.start().unwrap();
        }
        let site = neighbours.site();
        let before = site.gateway.module("hostile").unwrap();
        send(site, &["before", word, "after"]);
        kept += 2;
        let rows = || Ok(site.cloud.count(GATEWAY, "hostile")? >= kept);
        wait_until(&format!("the rows beside {word}"), SOON, rows).unwrap_or_else(|error| {
            panic!("{error}: {:#}", site.gateway.module("hostile").unwrap())
        });
        let after = site.gateway.module("hostile").unwrap();
        let more = |name: &str| after[name].as_u64().unwrap() - before[name].as_u64().unwrap();
        assert_eq!(
            (more("faults"), more("rejected")),
            (1, 1),
            "{word}: {after:#}"
        );
        let fault = after["last_fault"].as_str().unwrap();
        assert!(
            fault.contains(words) && !fault.contains('\n'),
            "{word}: {fault}"
        );
        assert_eq!(after["state"], "running");
        neighbours.goes_on(number).unwrap();
    }
    assert_eq!(
        neighbours.site().cloud.count(GATEWAY, "hostile").unwrap(),
        kept
    );
}

#[test]
fn a_module_may_reject_a_message_and_talk_too_much_without_fault() {
    if !available("a_module_may_reject_a_message_and_talk_too_much", &TOOLS).unwrap() {
        return;
    }
    let neighbours = hostile();
    let site = neighbours.site();
    send(site, &["reject", "chatter", "after"]);
    wait_until("the good row", SOON, || {
        Ok(site.cloud.count(GATEWAY, "hostile")? == 1)
    })
    .unwrap();
    let module = site.gateway.module("hostile").unwrap();
    assert_eq!(
        (&module["faults"], &module["rejected"]),
        (&Value::from(0), &Value::from(1))
    );
    assert_eq!(site.gateway.status().unwrap()["buffer"]["dead_letters"], 1);
    let log = site.gateway.log().unwrap();
    let lines = log.lines().filter(|line| line.contains("line ")).count();
    assert!(
        (1..=50).contains(&lines),
        "{lines} of 10000 lines were logged"
    );
    neighbours.goes_on(1).unwrap();
}

#[test]
fn a_module_that_keeps_failing_is_parked_and_the_broker_does_not_wait_for_it() {
    if !available("a_module_that_keeps_failing_is_parked", &TOOLS).unwrap() {
        return;
    }
    let neighbours = hostile();
    let site = neighbours.site();
    send(site, &["trap"; 2000]);
    let rejected = || Ok(site.gateway.module("hostile")?["rejected"] == 2000);
    wait_until("all poison to be set aside", SOON, rejected).unwrap();
    assert_eq!(site.gateway.module("hostile").unwrap()["state"], "parked");
    neighbours.goes_on(1).unwrap();
}

#[test]
fn a_module_whose_state_is_full_says_so_and_is_parked() {
    if !available("a_module_whose_state_is_full_says_so_and_is_parked", &TOOLS).unwrap() {
        return;
    }
    let neighbours = hostile();
    let site = neighbours.site();
    send(site, &["fill-state"]);
    let parked = || Ok(site.gateway.module("hostile")?["state"] == "parked");
    wait_until("the module to be parked", SOON, parked).unwrap();
    let module = site.gateway.module("hostile").unwrap();
    let fault = module["last_fault"].as_str().unwrap();
    assert!(fault.contains("limit is 262144"), "{fault}");
    neighbours.goes_on(1).unwrap();
}
