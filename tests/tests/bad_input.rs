//! Messages, configurations, recordings and requests that are malformed or too large: each gets one clear sentence and a
//! counter, and everything else goes on.

#![cfg(test)]

use std::fs;
use std::time::Duration;

use serde_json::Value;
use tidegate_tests::binaries::Binaries;
use tidegate_tests::http;
use tidegate_tests::plant::{Neighbourhood, Options, Plant, example, signed};
use tidegate_tests::process::run;
use tidegate_tests::publisher::Publisher;
use tidegate_tests::site::GATEWAY;
use tidegate_tests::tools::{Tool, available};
use tidegate_tests::wait::wait_until;

const TOOLS: [Tool; 2] = [Tool::Mosquitto, Tool::MosquittoPub];
const SOON: Duration = Duration::from_secs(30);

#[test]
fn a_message_of_20_kb_is_taken_and_one_beyond_the_limit_harms_nobody() {
    if !available("a_message_of_20_kb_is_taken", &TOOLS).unwrap() {
        return;
    }
    let neighbours = Neighbourhood::start(|_, _| Ok(Vec::new())).unwrap();
    let site = neighbours.site();
    let mut publisher = Publisher::connect(site.broker.port(), "large", 10).unwrap();
    let large = |seq: u64, bytes: usize| {
        format!("{{\"seq\":{seq},\"filler\":\"{}\"}}", "x".repeat(bytes)).into_bytes()
    };
    publisher.publish("m/1", &large(1, 20_000)).unwrap();
    publisher.publish("m/1", &large(2, 2 << 20)).unwrap();
    publisher.publish("m/1", &large(3, 20_000)).unwrap();
    publisher.finish().unwrap();
    wait_until("the two that fit", SOON, || {
        Ok(site.cloud.count(GATEWAY, "journal")? == 2)
    })
    .unwrap();
    neighbours.goes_on(4).unwrap();
    // The one that was too large is counted on disk.
    let mut neighbours = neighbours;
    neighbours.plant.site.gateway.kill9().unwrap();
    let file = neighbours.site().gateway.configuration();
    let arguments = [
        "buffer".as_ref(),
        "ledger".as_ref(),
        "--config".as_ref(),
        file.as_os_str(),
    ];
    let ledger = run(&Binaries::built().unwrap().tidegate(), arguments).unwrap();
    assert!(
        ledger.stdout.contains("plant: 1 messages of") && ledger.stdout.contains("oversized"),
        "{}",
        ledger.stdout
    );
}

#[test]
fn a_malformed_configuration_is_refused_with_all_its_lines_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gateway.toml");
    let text = "[gateway]\nname = \"Bad Name\"\nstate = \"state\"\n[trust]\nroot = \"root.json\"\n\
        [[broker]]\nname = \"plant\"\nurl = \"http://x\"\nclient = \"x\"\n\
        [[sensor]]\nname = \"s\"\ndriver = \"magic\"\n";
    fs::write(&file, text).unwrap();
    for command in ["check", "run"] {
        let arguments = [command.as_ref(), "--config".as_ref(), file.as_os_str()];
        let outcome = run(&Binaries::built().unwrap().tidegate(), arguments).unwrap();
        assert_eq!(outcome.code, Some(64), "{}", outcome.stderr);
        for (line, words) in [
            (2, "name: a name has only"),
            (8, "http://x"),
            (9, "client"),
            (12, "magic"),
        ] {
            let said: Vec<_> = outcome
                .stderr
                .lines()
                .filter(|said| said.contains(words))
                .collect();
            let [said] = said.as_slice() else {
                panic!("{words} is not said once: {}", outcome.stderr)
            };
            assert!(said.contains(&format!("line {line}:")), "{said}");
        }
        assert!(
            !directory.path().join("state").exists(),
            "nothing is opened before the configuration is valid"
        );
    }
}

#[test]
fn malformed_rows_of_a_recording_are_counted_and_the_good_ones_read() {
    if !available("malformed_rows_of_a_recording_are_counted", &TOOLS).unwrap() {
        return;
    }
    let mut text = String::from("time,celsius\n");
    for second in 0..30 {
        text.push_str(&format!(
            "2026-11-21T08:00:{second:02}Z,{}.5\n",
            20 + second
        ));
        if second % 10 == 0 {
            text.push_str("2026-11-21T08:00:00Z\n");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let recording = folder.path().join("recording.csv");
    fs::write(&recording, text).unwrap();
    let sensor = format!(
        "[[sensor]]\nname = \"recorded\"\ndriver = \"replay\"\nfile = \"{}\"\nspeed = 0\n",
        recording.display()
    );
    let options = Options {
        sections: &sensor,
        ..Options::default()
    };
    let plant = Plant::start(options, |workshop, _| {
        let settings =
            "inputs = [{ from = \"recorded\", topic = \"#\" }]\nconfig = { window = \"10s\" }";
        Ok(vec![signed(
            workshop,
            &example("rolling-summary"),
            settings,
        )?])
    });
    let Plant { site, .. } = &plant.unwrap();
    let sensor = || {
        let status = site.gateway.status().unwrap();
        let field = status["field"].as_array().unwrap();
        field
            .iter()
            .find(|source| source["name"] == "recorded")
            .unwrap()
            .clone()
    };
    wait_until("the end of the recording", SOON, || {
        Ok(sensor()["ended"] == true)
    })
    .unwrap();
    let sensor = sensor();
    assert_eq!(
        (&sensor["received"], &sensor["malformed"]),
        (&Value::from(30), &Value::from(3)),
        "{sensor:#}"
    );
}

#[test]
fn a_malformed_sync_request_is_refused_in_one_sentence_and_counted() {
    if !available("a_malformed_sync_request_is_refused", &TOOLS).unwrap() {
        return;
    }
    let neighbours = Neighbourhood::start(|_, _| Ok(Vec::new())).unwrap();
    let address = neighbours.site().cloud.address();
    let refusals = || neighbours.site().cloud.stats().unwrap()["refused"].clone();
    let before = refusals();
    for (content_type, body) in [
        (
            "application/vnd.tidegate.sync+cbor-zstd",
            b"not zstd".to_vec(),
        ),
        ("application/vnd.tidegate.sync+cbor-zstd", vec![0; 2 << 20]),
        ("text/plain", b"hello".to_vec()),
    ] {
        let answer = http::post(address, "/v1/sync", content_type, &body).unwrap();
        assert!(
            (400..500).contains(&answer.status),
            "{} {}",
            answer.status,
            answer.body
        );
        assert!(
            !answer.body.is_empty() && answer.body.lines().count() == 1,
            "{}",
            answer.body
        );
    }
    assert_ne!(refusals(), before, "refusals are counted");
    neighbours.goes_on(1).unwrap();
}
