//! Bad input of every kind: each gets one clear sentence with the fact that matters and a counter, and everything else
//! goes on.

#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tidegate_tests::binaries::{Binaries, repository};
use tidegate_tests::bundles::Workshop;
use tidegate_tests::http;
use tidegate_tests::process::run;
use tidegate_tests::publisher::Publisher;
use tidegate_tests::site::{GATEWAY, Module, Plan, Site};
use tidegate_tests::tools::{Tool, available};
use tidegate_tests::wait::wait_until;

const SOON: Duration = Duration::from_secs(30);

/// The module that must notice nothing of what happens beside it.
const NEIGHBOUR: &str = r##"inputs = [{ from = "plant", topic = "m/#" }]"##;

fn guest(name: &str) -> PathBuf {
    repository().join("tests/guests").join(name)
}

/// A plant with the journal, and further modules made of bundles in its workshop.
fn plant(further: impl FnOnce(&Workshop, &Path) -> Vec<Module>) -> (TempDir, Site) {
    let directory = tempfile::tempdir().unwrap();
    let binaries = Binaries::built().unwrap();
    let workshop = Workshop::open(binaries, directory.path()).unwrap();
    let journal = workshop.bundle(&guest("journal")).unwrap();
    let mut modules = vec![Module {
        bundle: journal,
        settings: NEIGHBOUR.to_owned(),
    }];
    modules.extend(further(&workshop, directory.path()));
    let plan = Plan {
        directory: directory.path(),
        binaries,
        program: None,
        modules,
        broker: "",
        sections: "",
        tapped: false,
    };
    let mut site = Site::start(&plan, &workshop).unwrap();
    site.gateway.start().unwrap();
    site.broker.wait_for_subscriber(GATEWAY).unwrap();
    (directory, site)
}

/// The journal's module still works: message `number` becomes the only new row.
fn neighbour_goes_on(site: &Site, number: u64) {
    let before = site.cloud.count(GATEWAY, "journal").unwrap();
    site.broker
        .mosquitto_pub("m/1", &format!("{{\"seq\":{number}}}"))
        .unwrap();
    wait_until("the neighbour's row", SOON, || {
        Ok(site.cloud.count(GATEWAY, "journal")? == before + 1)
    })
    .unwrap();
    assert_eq!(site.gateway.module("journal").unwrap()["faults"], 0);
}

/// Why the gateway refused a module.
fn refusal(site: &Site, bundle: &str) -> String {
    let status = site.gateway.status().unwrap();
    let modules = status["modules"].as_array().unwrap();
    let refused = modules.iter().filter(|module| module["state"] == "refused");
    let named = |module: &&Value| {
        module["name"]
            .as_str()
            .is_some_and(|name| name.contains(bundle))
    };
    let module = refused
        .into_iter()
        .find(named)
        .unwrap_or_else(|| panic!("{bundle} is not refused: {status:#}"));
    module["last_fault"].as_str().unwrap().to_owned()
}

#[test]
fn a_bundle_that_is_not_genuine_is_refused_with_its_reason_and_the_others_run() {
    if !available(
        "a_bundle_that_is_not_genuine_is_refused",
        &[Tool::Mosquitto, Tool::MosquittoPub],
    )
    .unwrap()
    {
        return;
    }
    let (_directory, site) = plant(|workshop, directory| {
        let genuine = fs::read(workshop.bundle(&guest("hostile")).unwrap()).unwrap();
        let stranger = directory.join("stranger");
        fs::create_dir(&stranger).unwrap();
        let stranger = Workshop::open(Binaries::built().unwrap(), &stranger).unwrap();
        let mut altered = genuine.clone();
        let middle = altered.len() / 2;
        altered[middle] ^= 1;
        let files = [
            (
                "unsigned",
                fs::read(workshop.component(&guest("hostile")).unwrap()).unwrap(),
            ),
            ("altered", altered),
            ("cut", genuine[..genuine.len() / 2].to_vec()),
            (
                "strange",
                fs::read(stranger.bundle(&guest("hostile")).unwrap()).unwrap(),
            ),
        ];
        let module = |(name, bytes): (&str, Vec<u8>)| {
            let bundle = directory.join(format!("{name}.tidegate"));
            fs::write(&bundle, bytes).unwrap();
            Module {
                bundle,
                settings: format!(
                    "name = \"{name}\"\ninputs = [{{ from = \"plant\", topic = \"h\" }}]"
                ),
            }
        };
        files.map(module).into()
    });
    for (bundle, words) in [
        ("unsigned", "malformed"),
        ("altered", "digest"),
        ("cut", "bundle"),
        ("strange", "key"),
    ] {
        let reason = refusal(&site, bundle);
        assert!(
            reason.contains(words) && !reason.contains('\n'),
            "{bundle}: {reason}"
        );
        let log = site.gateway.log().unwrap();
        assert_eq!(
            log.lines().filter(|line| line.contains(&reason)).count(),
            1,
            "one sentence for {bundle}: {log}"
        );
    }
    neighbour_goes_on(&site, 1);
}

#[test]
fn an_import_that_is_not_granted_is_refused_by_name() {
    if !available(
        "an_import_that_is_not_granted_is_refused_by_name",
        &[Tool::Mosquitto, Tool::MosquittoPub],
    )
    .unwrap()
    {
        return;
    }
    let (_directory, site) = plant(|workshop, _| {
        let bundle = workshop.bundle(&guest("socket-opener")).unwrap();
        vec![Module {
            bundle,
            settings: "inputs = [{ from = \"plant\", topic = \"s\" }]".into(),
        }]
    });
    let reason = refusal(&site, "socket-opener");
    assert!(reason.contains("wasi:sockets/"), "{reason}");
    neighbour_goes_on(&site, 1);
}

/// Ways in which a module goes wrong over one message, and the words that say so.
const WRONGS: [(&str, &str); 10] = [
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
];

#[test]
fn a_module_that_goes_wrong_over_a_message_loses_that_message_and_nothing_else() {
    let tools = [Tool::Mosquitto, Tool::MosquittoPub];
    if !available("a_module_that_goes_wrong_over_a_message", &tools).unwrap() {
        return;
    }
    let (_directory, mut site) = plant(|workshop, _| {
        let bundle = workshop.bundle(&guest("hostile")).unwrap();
        let settings = "inputs = [{ from = \"plant\", topic = \"h\" }]\npublish = [{ to = \"plant\", topic = \"hostile/#\" }]";
        vec![Module {
            bundle,
            settings: settings.into(),
        }]
    });
    let mut kept = 0;
    for (number, (word, words)) in WRONGS.into_iter().enumerate() {
        if number % 4 == 3 {
            // After five faults in a minute the module would be parked, which is another test.
            site.gateway.stop().unwrap();
            site.gateway.start().unwrap();
        }
        let before = site.gateway.module("hostile").unwrap();
        // In one batch: good, bad, good.
        let mut publisher = Publisher::connect(site.broker.port(), "words", 10).unwrap();
        for message in ["before", word, "after"] {
            publisher.publish("h", message.as_bytes()).unwrap();
        }
        publisher.finish().unwrap();
        kept += 2;
        wait_until(&format!("the rows beside {word}"), SOON, || {
            Ok(site.cloud.count(GATEWAY, "hostile")? >= kept)
        })
        .unwrap_or_else(|error| panic!("{error}: {:#}", site.gateway.module("hostile").unwrap()));
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
        neighbour_goes_on(&site, u64::try_from(number).unwrap());
    }
    assert_eq!(site.cloud.count(GATEWAY, "hostile").unwrap(), kept);
}

#[test]
fn a_module_may_reject_a_message_and_talk_too_much_without_fault() {
    let tools = [Tool::Mosquitto, Tool::MosquittoPub];
    if !available("a_module_may_reject_a_message_and_talk_too_much", &tools).unwrap() {
        return;
    }
    let (_directory, site) = plant(|workshop, _| {
        let bundle = workshop.bundle(&guest("hostile")).unwrap();
        vec![Module {
            bundle,
            settings: "inputs = [{ from = \"plant\", topic = \"h\" }]".into(),
        }]
    });
    for message in ["reject", "chatter", "after"] {
        site.broker.mosquitto_pub("h", message).unwrap();
    }
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
    let lines = site
        .gateway
        .log()
        .unwrap()
        .lines()
        .filter(|line| line.contains("line "))
        .count();
    assert!(
        (1..=50).contains(&lines),
        "{lines} of 10000 lines were logged"
    );
    neighbour_goes_on(&site, 1);
}

#[test]
fn a_module_that_keeps_failing_is_parked_and_the_broker_does_not_wait_for_it() {
    let tools = [Tool::Mosquitto, Tool::MosquittoPub];
    if !available("a_module_that_keeps_failing_is_parked", &tools).unwrap() {
        return;
    }
    let (_directory, site) = plant(|workshop, _| {
        let bundle = workshop.bundle(&guest("hostile")).unwrap();
        vec![Module {
            bundle,
            settings: "inputs = [{ from = \"plant\", topic = \"h\" }]".into(),
        }]
    });
    let mut publisher = Publisher::connect(site.broker.port(), "words", 100).unwrap();
    for _ in 0..2000 {
        publisher.publish("h", b"trap").unwrap();
    }
    publisher.finish().unwrap();
    let rejected = || Ok(site.gateway.module("hostile")?["rejected"] == 2000);
    wait_until("all poison to be set aside", SOON, rejected).unwrap();
    let module = site.gateway.module("hostile").unwrap();
    assert_eq!(module["state"], "parked");
    neighbour_goes_on(&site, 1);
}

#[test]
fn a_module_whose_state_is_full_says_so_and_is_parked() {
    let tools = [Tool::Mosquitto, Tool::MosquittoPub];
    if !available("a_module_whose_state_is_full_says_so_and_is_parked", &tools).unwrap() {
        return;
    }
    let (_directory, site) = plant(|workshop, _| {
        let bundle = workshop.bundle(&guest("hostile")).unwrap();
        vec![Module {
            bundle,
            settings: "inputs = [{ from = \"plant\", topic = \"h\" }]".into(),
        }]
    });
    site.broker.mosquitto_pub("h", "fill-state").unwrap();
    let parked = || Ok(site.gateway.module("hostile")?["state"] == "parked");
    wait_until("the module to be parked", SOON, parked).unwrap();
    let module = site.gateway.module("hostile").unwrap();
    let fault = module["last_fault"].as_str().unwrap();
    assert!(fault.contains("limit is 262144"), "{fault}");
    neighbour_goes_on(&site, 1);
}

#[test]
fn a_message_of_20_kb_is_taken_and_one_beyond_the_limit_harms_nobody() {
    let tools = [Tool::Mosquitto, Tool::MosquittoPub];
    if !available("a_message_of_20_kb_is_taken", &tools).unwrap() {
        return;
    }
    let (_directory, site) = plant(|_, _| Vec::new());
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
    neighbour_goes_on(&site, 4);
    assert_eq!(site.cloud.count(GATEWAY, "journal").unwrap(), 3);
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
            (8, "http"),
            (9, "client"),
            (12, "magic"),
        ] {
            let found = outcome
                .stderr
                .lines()
                .filter(|text| text.contains(words))
                .count();
            assert_eq!(found, 1, "{words}: {}", outcome.stderr);
            let said = outcome
                .stderr
                .lines()
                .any(|text| text.contains(words) && text.contains(&line.to_string()));
            assert!(said, "line {line}: {}", outcome.stderr);
        }
        assert!(
            !directory.path().join("state").exists(),
            "nothing is opened before the configuration is valid"
        );
    }
}

#[test]
fn a_malformed_key_or_root_is_refused_in_one_sentence() {
    let directory = tempfile::tempdir().unwrap();
    let binaries = Binaries::built().unwrap();
    let workshop = Workshop::open(binaries, directory.path()).unwrap();
    let bundle = workshop.bundle(&guest("journal")).unwrap();
    let verified = workshop.verify(&bundle).unwrap();
    assert_eq!(verified.code, Some(0), "{}", verified.stderr);
    fs::write(workshop.root(), "{}").unwrap();
    let refused = workshop.verify(&bundle).unwrap();
    assert_ne!(refused.code, Some(0));
    assert!(refused.stderr.contains("root.json"), "{}", refused.stderr);
    fs::write(workshop.key(), "not a key\n").unwrap();
    let error = format!("{:#}", workshop.bundle(&guest("journal")).unwrap_err());
    assert!(error.contains("publisher.key"), "{error}");
}

#[test]
fn malformed_rows_of_a_recording_are_counted_and_the_good_ones_read() {
    let tools = [Tool::Mosquitto];
    if !available("malformed_rows_of_a_recording_are_counted", &tools).unwrap() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let recording = directory.path().join("recording.csv");
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
    fs::write(&recording, text).unwrap();
    let binaries = Binaries::built().unwrap();
    let workshop = Workshop::open(binaries, directory.path()).unwrap();
    let bundle = workshop
        .bundle(&repository().join("guest-examples/rolling-summary"))
        .unwrap();
    let settings =
        "inputs = [{ from = \"recorded\", topic = \"#\" }]\nconfig = { window = \"10s\" }";
    let modules = vec![Module {
        bundle,
        settings: settings.into(),
    }];
    let sections = format!(
        "[[sensor]]\nname = \"recorded\"\ndriver = \"replay\"\nfile = \"{}\"\nspeed = 0\n",
        recording.display()
    );
    let plan = Plan {
        directory: directory.path(),
        binaries,
        program: None,
        modules,
        broker: "",
        sections: &sections,
        tapped: false,
    };
    let mut site = Site::start(&plan, &workshop).unwrap();
    site.gateway.start().unwrap();
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
    let tools = [Tool::Mosquitto, Tool::MosquittoPub];
    if !available("a_malformed_sync_request_is_refused", &tools).unwrap() {
        return;
    }
    let (_directory, site) = plant(|_, _| Vec::new());
    let address = site.cloud.address();
    let before = http::get_json(address, "/v1/stats").unwrap();
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
    assert_ne!(
        http::get_json(address, "/v1/stats").unwrap(),
        before,
        "refusals are counted"
    );
    neighbour_goes_on(&site, 1);
}
