//! How far the centre is behind: at the gateway, at the centre, in metrics, and the alarm.

#![cfg(test)]

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tidegate_tests::binaries::{Binaries, target_folder};
use tidegate_tests::openmetrics::{self, Samples};
use tidegate_tests::plant::{JOURNAL, Options, Plant, guest, signed};
use tidegate_tests::process::run;
use tidegate_tests::publisher::Publisher;
use tidegate_tests::site::{GATEWAY, Site};
use tidegate_tests::tools::{Tool, available};
use tidegate_tests::wait::{wait_for, wait_until};
use tidegate_tests::{http, page};

const SOON: Duration = Duration::from_secs(30);
/// After failures the uplink waits up to a minute.
const AFTER_FAILURES: Duration = Duration::from_secs(90);

/// Of two streams one has an objective: the other is the negative control.
const SECTIONS: &str = "[[stream]]\nname = \"journal\"\nlag = \"5s\"\n\
    [[stream]]\nname = \"sums\"\nwhen-full = \"drop-oldest\"\n\
    [metrics]\nlisten = \"127.0.0.1:0\"\n";

fn publish(site: &Site, messages: u64) {
    let mut publisher = Publisher::connect(site.broker.port(), "numbers", 100).unwrap();
    for number in 0..messages {
        let text = format!("{{\"seq\":{number}}}");
        publisher.publish("m/1", text.as_bytes()).unwrap();
    }
    publisher.finish().unwrap();
}

/// What the gateway says of a stream.
fn told(site: &Site, stream: &str) -> Value {
    let status = site.gateway.status().unwrap();
    let streams = status["streams"].as_array().unwrap();
    let found = streams.iter().find(|one| one["name"] == stream);
    found.cloned().unwrap_or_default()
}

/// What the centre says of a stream.
fn seen(site: &Site, stream: &str) -> Value {
    let path = format!("/v1/gateways/{GATEWAY}/lag");
    let answer = site.cloud.get_json(&path).unwrap();
    let streams = answer["streams"].as_array().unwrap();
    let found = streams.iter().find(|one| one["stream"] == stream);
    found.cloned().unwrap_or_default()
}

fn alarms(site: &Site) -> Vec<Value> {
    let mut alarms = Vec::new();
    let each = |row: &Value| {
        alarms.push(row.clone());
        Ok(())
    };
    site.cloud.rows(GATEWAY, "tidegate-alarms", each).unwrap();
    alarms
}

/// `tidegate status` with these arguments.
fn status(site: &Site, further: &[&str]) -> String {
    let configuration = site.gateway.configuration();
    let arguments = ["status", "--config", configuration.to_str().unwrap()];
    let program = Binaries::built().unwrap().tidegate();
    let output = run(&program, arguments.iter().chain(further)).unwrap();
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    output.stdout
}

/// The gateway's metrics over HTTP; its log says where they are.
fn scraped(site: &Site) -> Samples {
    let log = site.gateway.log().unwrap();
    let (_, after) = log.rsplit_once("metrics are at http://").unwrap();
    let address: SocketAddr = after.split('/').next().unwrap().parse().unwrap();
    assert_eq!(http::get(address, "/").unwrap().status, 404);
    let answer = http::get(address, "/metrics").unwrap();
    assert_eq!(answer.status, 200);
    openmetrics::read(&answer.body).unwrap()
}

fn lines(site: &Site, words: &str) -> usize {
    let log = site.gateway.log().unwrap();
    log.lines().filter(|line| line.contains(words)).count()
}

#[test]
fn a_lag_above_its_objective_is_an_alarm_until_the_centre_has_caught_up() {
    let tools = [Tool::Mosquitto, Tool::MosquittoPub, Tool::Chromium];
    if !available("a_lag_above_its_objective_is_an_alarm", &tools).unwrap() {
        return;
    }
    let options = Options {
        sections: SECTIONS,
        ..Options::default()
    };
    let plant = Plant::start(options, |workshop, _| {
        let modules = [guest("journal"), guest("sum")];
        let modules = modules.iter().map(|guest| signed(workshop, guest, JOURNAL));
        modules.collect()
    });
    let Plant { site, .. } = &plant.unwrap();
    publish(site, 10);
    let up_to_date = |stream: &str| told(site, stream)["rows_waiting"] == 0;
    let held = || Ok(site.cloud.count(GATEWAY, "journal")? == 10 && up_to_date("sums"));
    wait_until("the rows at the centre", SOON, held).unwrap();
    assert_eq!(told(site, "journal")["objective_s"], 5.0);
    assert_eq!(told(site, "journal")["missed"], false);

    site.link.cut();
    publish(site, 100);
    let missed = || {
        let stream = told(site, "journal");
        Ok((stream["missed"] == true).then_some(stream))
    };
    let journal = wait_for("the objective to be missed", SOON, missed).unwrap();
    assert!(journal["lag_s"].as_f64().unwrap() > 5.0, "{journal}");
    assert_eq!(
        (&journal["rows_waiting"], &journal["misses"]),
        (&100.into(), &1.into())
    );
    let sums = told(site, "sums");
    assert!(sums["lag_s"].as_f64().unwrap() > 4.0, "{sums}");
    assert_eq!(
        (&sums["missed"], &sums["objective_s"]),
        (&false.into(), &Value::Null)
    );
    let text = status(site, &[]);
    assert!(
        text.contains("stream journal: 100 rows wait, the oldest for "),
        "{text}"
    );
    assert!(text.contains("; objective 5 s MISSED; at most "), "{text}");

    // Every reader of metrics sees it.
    let printed = openmetrics::read(&status(site, &["-o", "openmetrics"])).unwrap();
    let scraped = scraped(site);
    assert_eq!(
        printed.keys().collect::<Vec<_>>(),
        scraped.keys().collect::<Vec<_>>()
    );
    let journal = "{stream=\"journal\"}";
    assert_eq!(
        scraped[&format!("tidegate_stream_lag_objective_missed{journal}")],
        1.0
    );
    assert_eq!(
        scraped[&format!("tidegate_stream_lag_objective_misses_total{journal}")],
        1.0
    );
    assert_eq!(
        scraped[&format!("tidegate_stream_rows_waiting{journal}")],
        100.0
    );
    assert!(scraped[&format!("tidegate_stream_lag_seconds{journal}")] > 5.0);
    assert!(!scraped.contains_key("tidegate_stream_lag_objective_missed{stream=\"sums\"}"));
    assert_eq!(scraped["tidegate_uplink_connected"], 0.0);

    // The centre has heard nothing of it, and counts by its own clock.
    let noticed = || Ok(seen(site, "journal")["missed_since"].is_string());
    wait_until("the centre to miss the objective", SOON, noticed).unwrap();
    assert_eq!(seen(site, "sums")["missed_since"], Value::Null);
    let entrance = site.cloud.entrance(&format!("/gateways/{GATEWAY}"));
    let url = entrance.as_ref().unwrap().url();
    let document = page::document(&url).unwrap();
    assert!(
        document.contains("data-stream=\"journal\" data-missed=\"yes\""),
        "{document}"
    );
    let picture = target_folder().unwrap().join("page-lag.png");
    assert!(page::picture(&url, &picture).unwrap().drawn > 0.01);
    let fleet = site.cloud.get("/").unwrap();
    assert!(fleet.body.contains("data-behind=\"1\""), "{}", fleet.body);

    site.link.mend();
    wait_until("both alarm rows at the centre", AFTER_FAILURES, || {
        Ok(site.cloud.count(GATEWAY, "tidegate-alarms")? == 2)
    })
    .unwrap();
    let rows = alarms(site);
    for (row, active) in rows.iter().zip([true, false]) {
        assert_eq!(
            (&row["class"], &row["module"]),
            (&"alarm".into(), &"tidegate".into())
        );
        assert_eq!(
            (&row["key"], &row["values"]["active"]),
            (&"journal".into(), &active.into())
        );
        assert_eq!(row["values"]["objective_s"], 5.0);
    }
    assert!(rows[0]["values"]["lag_s"].as_f64().unwrap() > 5.0);
    wait_until("nothing to wait", SOON, || {
        Ok(["journal", "sums", "tidegate-alarms"]
            .into_iter()
            .all(|stream| {
                let (here, there) = (told(site, stream), seen(site, stream));
                here["rows_waiting"] == 0 && here["lag_s"] == 0.0 && there["lag_s"] == 0.0
            }))
    })
    .unwrap();
    assert_eq!(told(site, "journal")["missed"], false);
    assert_eq!(site.cloud.count(GATEWAY, "journal").unwrap(), 110);
    assert_eq!(
        lines(site, "behind with stream journal, the objective is 5 s"),
        1
    );
    assert_eq!(lines(site, "the objective of 5 s is met again"), 1);
    assert_eq!(lines(site, "with stream sums"), 0);

    // What it was is remembered on both sides.
    assert!(told(site, "journal")["worst_s"]["day"].as_u64().unwrap() >= 5);
    let worst = seen(site, "journal")["worst_s"].clone();
    let worst = worst.as_array().unwrap().iter().filter_map(Value::as_u64);
    assert!(worst.max().unwrap() >= 10);
    let metrics = site.cloud.get("/metrics").unwrap();
    let metrics = openmetrics::read(&metrics.body).unwrap();
    let labels = format!("{{gateway=\"{GATEWAY}\",stream=\"journal\"}}");
    assert_eq!(
        metrics[&format!("tidegate_stream_lag_objective_missed{labels}")],
        0.0
    );
    assert_eq!(
        metrics[&format!("tidegate_stream_lag_objective_seconds{labels}")],
        5.0
    );
}
