//! The whole path on real processes: what goes in at a broker or a sensor comes out at the centre, once.

#![cfg(test)]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tidegate_tests::binaries::{Binaries, target_folder};
use tidegate_tests::bundles::Workshop;
use tidegate_tests::cloud::Cloud;
use tidegate_tests::listener::Listener;
use tidegate_tests::page;
use tidegate_tests::plant::{JOURNAL, Options, Plant, example, guest, signed};
use tidegate_tests::process::run;
use tidegate_tests::publisher::Publisher;
use tidegate_tests::site::{GATEWAY, Site};
use tidegate_tests::tools::{Tool, available};
use tidegate_tests::wait::{wait_for, wait_until};

const BROKER: [Tool; 2] = [Tool::Mosquitto, Tool::MosquittoPub];
const SOON: Duration = Duration::from_secs(30);

/// After failures the uplink waits up to a minute.
const AFTER_FAILURES: Duration = Duration::from_secs(90);

/// A plant with one module.
fn plant(source: &Path, settings: &str, options: Options<'_>) -> Plant {
    Plant::start(options, |workshop, _| {
        Ok(vec![signed(workshop, source, settings)?])
    })
    .unwrap()
}

fn journal() -> Plant {
    plant(&guest("journal"), JOURNAL, Options::default())
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

/// Waits until the centre has `rows` rows of the journal; gives their numbers, of which there must be as many.
fn journal_of(site: &Site, rows: u64) -> BTreeSet<u64> {
    let held = || site.cloud.count(GATEWAY, "journal");
    let waited = wait_until(
        &format!("{rows} rows at the centre"),
        AFTER_FAILURES,
        || Ok(held()? >= rows),
    );
    waited.unwrap_or_else(|error| {
        panic!(
            "{error}; there are {}; {:#}",
            held().unwrap(),
            site.gateway.status().unwrap()
        )
    });
    let mut numbers = BTreeSet::new();
    let add = |row: &Value| {
        assert!(
            numbers.insert(row["values"]["seq"].as_u64().unwrap()),
            "twice: {row}"
        );
        Ok(())
    };
    site.cloud.rows(GATEWAY, "journal", add).unwrap();
    assert_eq!(held().unwrap(), rows);
    numbers
}

#[test]
fn a_message_becomes_a_row_at_the_centre() {
    if !available("a_message_becomes_a_row_at_the_centre", &BROKER).unwrap() {
        return;
    }
    let Plant { site, .. } = &journal();
    site.broker
        .mosquitto_pub("m/press-7", "{\"seq\": 4711}")
        .unwrap();
    assert_eq!(journal_of(site, 1), [4711].into());
}

#[test]
fn a_sensor_reading_becomes_a_summary_at_the_centre() {
    if !available("a_sensor_reading_becomes_a_summary_at_the_centre", &BROKER).unwrap() {
        return;
    }
    let settings = "inputs = [{ from = \"machine\", topic = \"#\" }]\nconfig = { window = \"1s\" }";
    let sensor = "[[sensor]]\nname = \"machine\"\ndriver = \"host\"\ninterval = \"200ms\"";
    let options = Options {
        sections: sensor,
        ..Options::default()
    };
    let Plant { site, .. } = &plant(&example("rolling-summary"), settings, options);
    let row = wait_for("a summary", SOON, || {
        let mut found = None;
        if site.cloud.count(GATEWAY, "summaries")? > 0 {
            site.cloud.rows(GATEWAY, "summaries", |row| {
                found = Some(row.clone());
                Ok(())
            })?;
        }
        Ok(found)
    });
    let row = row.unwrap();
    assert_eq!(row["class"], "summary");
    assert!(row["values"]["count"].as_u64().unwrap() > 0, "{row}");
}

#[test]
fn an_alarm_reaches_the_local_topic_and_the_page() {
    let tools = [BROKER[0], BROKER[1], Tool::Chromium];
    if !available("an_alarm_reaches_the_local_topic_and_the_page", &tools).unwrap() {
        return;
    }
    let settings = "inputs = [{ from = \"plant\", topic = \"machines/+/temperature\" }]\n\
        publish = [{ to = \"plant\", topic = \"alarms/#\" }]\n\
        config = { \"input.field\" = \"celsius\", machine = \"{1}\" }";
    let Plant { site, .. } = &plant(&example("threshold-alarm"), settings, Options::default());
    let listener = Listener::subscribe(site.broker.port(), "operator", "alarms/#").unwrap();
    site.broker
        .mosquitto_pub("machines/press-7/temperature", "{\"celsius\": 93.75}")
        .unwrap();
    let heard = listener.next(SOON).unwrap();
    assert!(heard.topic.contains("press-7"), "{}", heard.topic);
    wait_until("the alarm at the centre", SOON, || {
        Ok(site.cloud.count(GATEWAY, "alarms")? == 1)
    })
    .unwrap();
    let entrance = site.cloud.entrance(&format!("/gateways/{GATEWAY}"));
    let url = entrance.as_ref().unwrap().url();
    let document = page::document(&url).unwrap();
    assert!(
        document.contains("93.75") && document.contains("press-7"),
        "{document}"
    );
    let picture = page::picture(&url, &target_folder().unwrap().join("page.png")).unwrap();
    assert!(picture.drawn > 0.01 && picture.colours > 8, "{picture:?}");
}

#[test]
fn a_stopped_gateway_has_drained_and_the_next_start_loses_and_doubles_nothing() {
    if !available("a_stopped_gateway_has_drained", &BROKER).unwrap() {
        return;
    }
    let Plant { site, .. } = &mut journal();
    publish(site, 0, 500);
    site.gateway.stop().unwrap();
    publish(site, 500, 1000);
    site.gateway.start().unwrap();
    publish(site, 1000, 1500);
    assert_eq!(journal_of(site, 1500), (0..1500).collect());
}

#[test]
fn rows_wait_while_the_link_is_cut_and_none_is_lost_or_doubled() {
    if !available("rows_wait_while_the_link_is_cut", &BROKER).unwrap() {
        return;
    }
    let Plant { site, .. } = &journal();
    publish(site, 0, 100);
    journal_of(site, 100);
    site.link.cut();
    publish(site, 100, 3100);
    let waiting = || Ok(site.gateway.status()?["buffer"]["rows_waiting"].as_u64() == Some(3000));
    wait_until("3000 rows to wait", SOON, waiting).unwrap();
    assert_eq!(site.cloud.count(GATEWAY, "journal").unwrap(), 100);
    site.link.mend();
    assert_eq!(journal_of(site, 3100), (0..3100).collect());
    let drained = || Ok(site.gateway.status()?["buffer"]["rows_waiting"].as_u64() == Some(0));
    wait_until("the buffer to drain", SOON, drained).unwrap();
}

#[test]
fn a_centre_that_is_killed_while_rows_flow_gets_each_once() {
    if !available(
        "a_centre_that_is_killed_while_rows_flow_gets_each_once",
        &BROKER,
    )
    .unwrap()
    {
        return;
    }
    let Plant { site, .. } = &mut journal();
    for round in 0..5 {
        publish(site, round * 2000, round * 2000 + 2000);
        site.cloud.kill9().unwrap();
        site.cloud.start_again().unwrap();
    }
    assert_eq!(journal_of(site, 10_000), (0..10_000).collect());
}

#[test]
fn a_broker_that_forgot_everything_is_subscribed_to_again() {
    if !available(
        "a_broker_that_forgot_everything_is_subscribed_to_again",
        &BROKER,
    )
    .unwrap()
    {
        return;
    }
    let Plant { site, .. } = &mut journal();
    publish(site, 0, 10);
    journal_of(site, 10);
    let subscriptions = site.broker.subscriptions(GATEWAY).unwrap();
    site.broker.restart().unwrap();
    wait_until("a new subscription", SOON, || {
        Ok(site.broker.subscriptions(GATEWAY)? > subscriptions)
    })
    .unwrap();
    publish(site, 10, 20);
    assert_eq!(journal_of(site, 20), (0..20).collect());
}

#[test]
fn a_repeated_message_counts_once_and_machines_that_number_alike_are_told_apart() {
    if !available("a_repeated_message_counts_once", &BROKER).unwrap() {
        return;
    }
    let options = Options {
        broker: "message-id = { field = \"seq\" }",
        ..Options::default()
    };
    let Plant { site, .. } = &plant(&guest("journal"), JOURNAL, options);
    for machine in ["m/press-7", "m/press-8"] {
        for _ in 0..3 {
            site.broker.mosquitto_pub(machine, "{\"seq\": 1}").unwrap();
        }
        site.broker.mosquitto_pub(machine, "{\"seq\": 2}").unwrap();
    }
    let all = || Ok(site.gateway.module("journal")?["messages"] == 8);
    wait_until("all messages", SOON, all).unwrap();
    let module = site.gateway.module("journal").unwrap();
    assert_eq!(
        (&module["rows"], &module["duplicates"]),
        (&Value::from(4), &Value::from(4)),
        "{module:#}"
    );
}

#[test]
fn an_operator_asks_the_gateway_for_its_state() {
    if !available("an_operator_asks_the_gateway_for_its_state", &BROKER).unwrap() {
        return;
    }
    let Plant { site, .. } = &mut journal();
    publish(site, 0, 10);
    journal_of(site, 10);
    let configuration = site.gateway.configuration();
    let ask = |further: &[&str]| {
        let arguments = ["status", "--config", configuration.to_str().unwrap()];
        run(
            &Binaries::built().unwrap().tidegate(),
            arguments.iter().chain(further),
        )
        .unwrap()
    };
    let text = ask(&[]);
    assert_eq!(text.code, Some(0), "{}", text.stderr);
    assert!(
        text.stdout
            .contains("module journal 0.1.0: running, 10 messages"),
        "{}",
        text.stdout
    );
    let json: Value = serde_json::from_str(&ask(&["-o", "json"]).stdout).unwrap();
    assert_eq!(json["modules"][0]["rows"], 10);
    site.gateway.stop().unwrap();
    let nobody = ask(&[]);
    assert_eq!(nobody.code, Some(69), "{}", nobody.stderr);
}

/// Sockets that a process listens on, from the kernel's tables.
fn listening(process: u32) -> usize {
    let inodes: BTreeSet<String> = Path::new(&format!("/proc/{process}/fd"))
        .read_dir()
        .unwrap()
        .filter_map(|entry| Some(entry.ok()?.path().read_link().ok()?.to_str()?.to_owned()))
        .filter_map(|link| Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let listens = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        fields.get(3) == Some(&"0A") && fields.get(9).is_some_and(|inode| inodes.contains(*inode))
    };
    ["tcp", "tcp6"]
        .iter()
        .filter_map(|table| std::fs::read_to_string(format!("/proc/{process}/net/{table}")).ok())
        .map(|table| table.lines().filter(|line| listens(line)).count())
        .sum()
}

#[test]
fn a_gateway_opens_no_port() {
    if !available("a_gateway_opens_no_port", &BROKER).unwrap() {
        return;
    }
    let Plant { site, .. } = &journal();
    assert_eq!(listening(site.gateway.id().unwrap()), 0);
    assert_eq!(
        listening(site.cloud.id()),
        1,
        "this test must see a port that is open"
    );
}

#[test]
fn a_release_is_pushed_once_and_what_is_not_genuine_is_refused() {
    let binaries = Binaries::built().unwrap();
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let workshops = folders
        .each_ref()
        .map(|folder| Workshop::open(binaries, folder.path()).unwrap());
    let bundles = workshops
        .each_ref()
        .map(|workshop| workshop.bundle(&guest("journal")).unwrap());
    let [ours, strangers] = bundles.each_ref().map(|bundle| bundle.to_str().unwrap());
    let mut cloud = Cloud::start(binaries, folders[0].path()).unwrap();
    let access = cloud.access();
    let push = |bundle, access: &[&str]| {
        let arguments = [&["push", bundle, "-o", "json"], access].concat();
        run(&binaries.tide(), arguments).unwrap()
    };
    let known = access.each_ref().map(String::as_str);
    let without_root = push(ours, &known);
    assert_eq!(without_root.code, Some(3), "{}", without_root.stderr);
    assert!(
        without_root.stderr.contains("no-root"),
        "{}",
        without_root.stderr
    );

    cloud.kill9().unwrap();
    let root = workshops[0].root().display().to_string();
    cloud.start_again_with(&["--root", &root]).unwrap();
    for new in [true, false] {
        let pushed = push(ours, &known);
        assert_eq!(pushed.code, Some(0), "{}", pushed.stderr);
        let report: Value = serde_json::from_str(&pushed.stdout).unwrap();
        assert_eq!(report["new"], new);
    }
    let refused = push(strangers, &known);
    assert_eq!(refused.code, Some(3), "{}", refused.stderr);
    let report: Value = serde_json::from_str(&refused.stdout).unwrap();
    assert_eq!(report["reason"], "wrong-key");
    assert_eq!(push(ours, &known[..2]).code, Some(64), "without a token");
    let releases = cloud.get_json("/v1/releases").unwrap();
    assert_eq!(releases["releases"].as_array().unwrap().len(), 1);
}
