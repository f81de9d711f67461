//! Who a gateway is, with the programs as they are shipped: enrolled, killed, with another key, revoked, and cloned.

#![cfg(test)]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use tidegate_tests::binaries::Binaries;
use tidegate_tests::cloud::Cloud;
use tidegate_tests::gateway::Gateway;
use tidegate_tests::plant::{JOURNAL, Options, Plant, guest, signed};
use tidegate_tests::process::{Outcome, run};
use tidegate_tests::publisher::Publisher;
use tidegate_tests::site::{GATEWAY, Site};
use tidegate_tests::tools::{Tool, available};
use tidegate_tests::wait::wait_until;

const BROKER: [Tool; 2] = [Tool::Mosquitto, Tool::MosquittoPub];
/// After failures the uplink waits up to a minute.
const AFTER_FAILURES: Duration = Duration::from_secs(90);

/// A plant whose centre believes what was signed and nothing else; its gateway is not enrolled yet.
fn closed() -> Plant {
    let options = Options {
        // What the broker delivers again after a kill has no effect.
        broker: "message-id = { field = \"seq\" }",
        sections: "",
    };
    let modules = |workshop: &_, _: &Path| Ok(vec![signed(workshop, &guest("journal"), JOURNAL)?]);
    let mut plant = Plant::start(options, modules).unwrap();
    plant.site.gateway.stop().unwrap();
    plant.site.cloud.kill9().unwrap();
    plant.site.cloud.close();
    plant.site.cloud.start_again().unwrap();
    plant.site.gateway.start().unwrap();
    plant.site.broker.wait_for_subscriber(GATEWAY).unwrap();
    plant
}

/// Publishes messages `from..to` and waits until the broker has them.
fn publish(site: &Site, from: u64, to: u64) {
    let mut publisher = Publisher::connect(site.broker.port(), "numbers", 100).unwrap();
    for number in from..to {
        let message = format!("{{\"seq\":{number}}}");
        publisher.publish("m/1", message.as_bytes()).unwrap();
    }
    publisher.finish().unwrap();
}

/// The numbers that the centre holds, none of them twice.
fn held(cloud: &Cloud) -> Result<BTreeSet<u64>> {
    let mut numbers = BTreeSet::new();
    if cloud.count(GATEWAY, "journal")? > 0 {
        cloud.rows(GATEWAY, "journal", |row| {
            let number = row["values"]["seq"].as_u64().unwrap();
            assert!(numbers.insert(number), "twice: {row}");
            Ok(())
        })?;
    }
    Ok(numbers)
}

fn await_numbers(site: &Site, wanted: u64) {
    let all = (0..wanted).collect();
    let waited = wait_until("the rows", AFTER_FAILURES, || Ok(held(&site.cloud)? == all));
    waited.unwrap_or_else(|error| panic!("{error}\n{}", site.gateway.log().unwrap()));
}

/// Waits until the gateway says why the centre does not take its rows.
fn await_refusal(site: &Site, code: &str) {
    let told = || {
        let status = site.gateway.status()?;
        let error = status["uplink"]["error"].as_str().unwrap_or_default();
        Ok(error.contains(code))
    };
    wait_until(code, AFTER_FAILURES, told).unwrap();
}

fn command(gateway: &Gateway, arguments: &[&str]) -> Outcome {
    let program = Binaries::built().unwrap().tidegate();
    let config = gateway.configuration().display().to_string();
    let arguments = [arguments, &["--config", &config, "-o", "json"]].concat();
    run(&program, arguments).unwrap()
}

/// Enrols the gateway with a token for its name.
fn enrol(site: &Site, further: &[&str]) -> Value {
    let file = site.gateway.directory().join("token");
    fs::write(&file, site.cloud.enrolment_token(GATEWAY).unwrap()).unwrap();
    let file = file.display().to_string();
    let arguments = [&["enrol", "--token-file", &file], further].concat();
    let enrolled = command(&site.gateway, &arguments);
    assert_eq!(enrolled.code, Some(0), "{}", enrolled.stderr);
    serde_json::from_str(&enrolled.stdout).unwrap()
}

fn identity(cloud: &Cloud) -> Value {
    let gateways = cloud.get_json("/v1/gateways").unwrap();
    gateways["gateways"][0]["identity"].clone()
}

#[test]
fn an_enrolled_gateway_keeps_its_identity_over_kills_and_keys_and_loses_nothing() {
    let name = "an_enrolled_gateway_keeps_its_identity";
    if !available(name, &BROKER).unwrap() {
        return;
    }
    let Plant { site, .. } = &mut closed();
    publish(site, 0, 100);
    await_refusal(site, "no-signature");
    assert_eq!(site.cloud.count(GATEWAY, "journal").unwrap(), 0);

    // Without a restart; and the key stays on the machine, for its owner alone.
    let enrolled = enrol(site, &[]);
    await_numbers(site, 100);
    let key = site.gateway.state().join("device.key");
    let mode = fs::metadata(&key).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for round in 1..=2 {
        site.gateway.kill9().unwrap();
        site.cloud.kill9().unwrap();
        site.cloud.start_again().unwrap();
        site.gateway.start().unwrap();
        site.broker.wait_for_subscriber(GATEWAY).unwrap();
        publish(site, round * 100, round * 100 + 100);
        await_numbers(site, round * 100 + 100);
    }

    // Another key, while it runs.
    let before = fs::read(&key).unwrap();
    let rotated = command(&site.gateway, &["device-key", "rotate"]);
    assert_eq!(rotated.code, Some(0), "{}", rotated.stderr);
    let rotated: Value = serde_json::from_str(&rotated.stdout).unwrap();
    assert_ne!(rotated["key_id"], enrolled["key_id"]);
    assert_ne!(fs::read(&key).unwrap(), before);
    publish(site, 300, 400);
    await_numbers(site, 400);
    assert_eq!(identity(&site.cloud)["alarm"], Value::Null);

    // Revoked: its rows wait, until it is enrolled again by a key that nobody else has.
    let revoked = site
        .cloud
        .post(&format!("/v1/gateways/{GATEWAY}/revoke"), &json!(null));
    assert_eq!(revoked.unwrap().status, 204);
    publish(site, 400, 500);
    await_refusal(site, "revoked");
    assert_eq!(held(&site.cloud).unwrap(), (0..400).collect());
    enrol(site, &["--new-key"]);
    await_numbers(site, 500);
}

#[test]
fn a_copy_of_a_gateway_raises_an_alarm() {
    if !available("a_copy_of_a_gateway_raises_an_alarm", &BROKER).unwrap() {
        return;
    }
    let Plant { site, .. } = &mut closed();
    enrol(site, &[]);
    publish(site, 0, 100);
    await_numbers(site, 100);
    site.gateway.stop().unwrap();
    let folder = tempfile::tempdir().unwrap();
    copy(site.gateway.directory(), folder.path());
    // The control: the machine itself, which starts again.
    site.gateway.start().unwrap();
    publish(site, 100, 200);
    await_numbers(site, 200);
    assert_eq!(identity(&site.cloud)["alarm"], Value::Null);

    let program = Binaries::built().unwrap().tidegate();
    let mut clone = Gateway::new(program, folder.path());
    clone.start().unwrap();
    let alarmed = || Ok(identity(&site.cloud)["alarm"]["reason"] == "epoch-went-back");
    wait_until("the alarm", AFTER_FAILURES, alarmed).unwrap();
    let page = site
        .cloud
        .get(&format!("/gateways/{GATEWAY}"))
        .unwrap()
        .body;
    assert!(page.contains("a copy of its disk"), "{page}");
}

/// Files and folders, without sockets.
fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (kind, target) = (entry.file_type().unwrap(), to.join(entry.file_name()));
        if kind.is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else if kind.is_file() {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}
