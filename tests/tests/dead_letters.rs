//! Messages that were set aside are given to their modules again.

#![cfg(test)]

use std::time::Duration;

use serde_json::Value;
use tidegate_tests::binaries::Binaries;
use tidegate_tests::plant::{Neighbourhood, guest, signed};
use tidegate_tests::process::{Outcome, run};
use tidegate_tests::publisher::Publisher;
use tidegate_tests::site::{GATEWAY, Site};
use tidegate_tests::tools::{Tool, available};
use tidegate_tests::wait::wait_until;

const TOOLS: [Tool; 2] = [Tool::Mosquitto, Tool::MosquittoPub];
const SOON: Duration = Duration::from_secs(30);
const HOSTILE: &str = r##"inputs = [{ from = "plant", topic = "h" }]"##;

fn send(site: &Site, words: &[&str]) {
    let mut publisher = Publisher::connect(site.broker.port(), "words", 1000).unwrap();
    for word in words {
        publisher.publish("h", word.as_bytes()).unwrap();
    }
    publisher.finish().unwrap();
}

fn dead_letter(site: &Site, arguments: &[&str]) -> Outcome {
    let file = site.gateway.configuration();
    let config = ["--config", file.to_str().unwrap(), "-o", "json"];
    let arguments = ["dead-letter"].iter().chain(arguments).chain(&config);
    run(&Binaries::built().unwrap().tidegate(), arguments.copied()).unwrap()
}

/// Numbers of the letters whose reason has these words.
fn letters(site: &Site, words: &str) -> Vec<String> {
    let listed = dead_letter(site, &["list"]);
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    let letters = listed.as_array().unwrap().iter();
    letters
        .filter(|letter| letter["reason"].as_str().unwrap().contains(words))
        .map(|letter| letter["id"].to_string())
        .collect()
}

#[test]
fn messages_that_were_set_aside_are_played_again_once_their_module_runs() {
    if !available("messages_that_were_set_aside_are_played_again", &TOOLS).unwrap() {
        return;
    }
    let mut neighbours =
        Neighbourhood::start(|workshop, _| Ok(vec![signed(workshop, &guest("hostile"), HOSTILE)?]))
            .unwrap();
    let site = neighbours.site();
    // A module that is parked sets good messages aside as well.
    send(site, &["trap"; 5]);
    wait_until("the module to be parked", SOON, || {
        Ok(site.gateway.module("hostile")?["state"] == "parked")
    })
    .unwrap();
    send(site, &["good", "better"]);
    wait_until("the letters", SOON, || {
        Ok(letters(site, "parked").len() == 2)
    })
    .unwrap();
    let good = letters(site, "parked");
    let [one, two] = &good[..] else {
        panic!("{good:?}")
    };
    let parked = dead_letter(site, &["replay", one]);
    assert_eq!(parked.code, Some(1), "{}", parked.stderr);
    assert!(parked.stdout.contains("not_running"), "{}", parked.stdout);
    assert_eq!(letters(site, "parked"), good);

    neighbours.plant.site.gateway.stop().unwrap();
    let stopped = dead_letter(neighbours.site(), &["replay", one]);
    assert_eq!(stopped.code, Some(69), "{}", stopped.stderr);
    neighbours.plant.site.gateway.start().unwrap();
    let site = neighbours.site();
    let played = dead_letter(site, &["replay", one, two]);
    assert_eq!(played.code, Some(0), "{}", played.stderr);
    wait_until("their rows", SOON, || {
        Ok(site.cloud.count(GATEWAY, "hostile")? == 2)
    })
    .unwrap();
    assert!(letters(site, "parked").is_empty());
    let again = dead_letter(site, &["replay", one]);
    assert_eq!(again.code, Some(1), "{}", again.stderr);

    // One that fails again becomes a new letter.
    let poison = letters(site, "unreachable");
    assert!(!poison.is_empty());
    let played = dead_letter(site, &["replay", poison.first().unwrap()]);
    assert_eq!(played.code, Some(0), "{}", played.stderr);
    wait_until("a new letter", SOON, || {
        let now = letters(site, "unreachable");
        Ok(now.len() == poison.len() && now.first() != poison.first())
    })
    .unwrap();
    neighbours.goes_on(1).unwrap();
    let all = dead_letter(
        neighbours.site(),
        &["replay", "--all", "--module", "journal"],
    );
    assert_eq!(all.code, Some(0), "{}", all.stderr);
    assert_eq!(
        letters(neighbours.site(), "unreachable").len(),
        poison.len()
    );
}
