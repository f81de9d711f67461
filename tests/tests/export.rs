//! Weeks without a link: results leave on a stick, and the link that comes back later finds them at the centre.

#![cfg(test)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tidegate_tests::binaries::Binaries;
use tidegate_tests::plant::{JOURNAL, Options, Plant, guest, signed};
use tidegate_tests::process::{Outcome, run};
use tidegate_tests::publisher::Publisher;
use tidegate_tests::random::Random;
use tidegate_tests::site::{GATEWAY, Site};
use tidegate_tests::tools::{Tool, available};
use tidegate_tests::wait::wait_until;

const BROKER: [Tool; 2] = [Tool::Mosquitto, Tool::MosquittoPub];

/// After failures the uplink waits up to a minute.
const AFTER_FAILURES: Duration = Duration::from_secs(90);

/// A plant with the journal whose link is cut, with a folder that stands for the stick.
fn cut_off() -> (Plant, tempfile::TempDir) {
    let plant = Plant::start(Options::default(), |workshop, _| {
        Ok(vec![signed(workshop, &guest("journal"), JOURNAL)?])
    });
    let plant = plant.unwrap();
    plant.site.link.cut();
    (plant, tempfile::tempdir().unwrap())
}

fn publish(site: &Site, from: u64, to: u64) {
    let mut publisher = Publisher::connect(site.broker.port(), "numbers", 100).unwrap();
    for number in from..to {
        let message = format!("{{\"seq\":{number}}}");
        publisher.publish("m/1", message.as_bytes()).unwrap();
    }
    publisher.finish().unwrap();
}

/// Waits until so many rows wait at the gateway.
fn wait_for_waiting(site: &Site, rows: u64) {
    let waiting = || Ok(site.gateway.status()?["buffer"]["rows_waiting"].as_u64() == Some(rows));
    wait_until(&format!("{rows} rows to wait"), AFTER_FAILURES, waiting).unwrap();
}

fn held(site: &Site) -> u64 {
    site.cloud.count(GATEWAY, "journal").unwrap()
}

/// The numbers that the centre holds, each once.
fn numbers(site: &Site) -> BTreeSet<u64> {
    let mut numbers = BTreeSet::new();
    let add = |row: &Value| {
        let number = row["values"]["seq"].as_u64().unwrap();
        assert!(numbers.insert(number), "twice: {row}");
        Ok(())
    };
    site.cloud.rows(GATEWAY, "journal", add).unwrap();
    numbers
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// `tidegate …` at the gateway.
fn tidegate(site: &Site, command: &[&str]) -> Outcome {
    let configuration = site.gateway.configuration();
    let common = ["--config", text(&configuration), "-o", "json"];
    let program = Binaries::built().unwrap().tidegate();
    run(&program, command.iter().chain(&common)).unwrap()
}

fn tide(arguments: &[&str]) -> Outcome {
    let program = Binaries::built().unwrap().tide();
    run(&program, arguments.iter().chain(&["-o", "json"])).unwrap()
}

fn well(outcome: &Outcome) -> Value {
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    serde_json::from_str(&outcome.stdout).unwrap()
}

/// Lets the centre know the gateway's device.
fn introduce(site: &Site) {
    let key = well(&tidegate(site, &["device-key"]));
    let key = key["device_key"].as_str().unwrap();
    site.cloud.know(GATEWAY, key).unwrap();
}

/// Makes the centre's key for exports; gives the secret half and the public one.
fn sealing_key(folder: &Path) -> (PathBuf, PathBuf) {
    let secret = folder.join("centre.key");
    well(&tide(&["keygen", "--sealing", text(&secret)]));
    (secret, folder.join("centre.key.pub"))
}

fn import(site: &Site, file: &Path, further: &[&str]) -> Outcome {
    let access = site.cloud.access();
    let access = access.each_ref().map(String::as_str);
    let arguments = [&["import", text(file)], &access[..]].concat();
    tide(&[&arguments, further].concat())
}

/// Rows that an import has brought, new ones and known ones.
fn brought(outcome: &Outcome) -> (u64, u64) {
    let report = well(outcome);
    let number = |field| report["files"][0][field].as_u64().unwrap();
    (number("rows_new"), number("rows_known"))
}

#[test]
fn a_stick_and_then_the_link_bring_every_row_once() {
    if !available("a_stick_and_then_the_link_bring_every_row_once", &BROKER).unwrap() {
        return;
    }
    let (Plant { site, .. }, stick) = &cut_off();
    let file = stick.path().join("week.tgx");
    let (key, public) = sealing_key(stick.path());
    publish(site, 0, 20_000);
    wait_for_waiting(site, 20_000);
    // Messages come while the stick is written.
    let export = ["buffer", "export", text(&file), "--to", text(&public)];
    let exported = std::thread::scope(|scope| {
        let load = scope.spawn(|| publish(site, 20_000, 30_000));
        let exported = well(&tidegate(site, &export));
        load.join().unwrap();
        exported["rows"].as_u64().unwrap()
    });
    assert!((20_000..=30_000).contains(&exported), "{exported}");
    wait_for_waiting(site, 30_000);
    let written = fs::read(&file).unwrap();
    assert!(!written.windows(7).any(|bytes| bytes == b"journal"));

    // Whose device that is, the centre must have been told; and nobody reads it without the key.
    let with_key = ["--key", text(&key)];
    let stranger = import(site, &file, &with_key);
    assert_eq!(stranger.code, Some(3));
    assert!(
        stranger.stderr.contains("unknown-device"),
        "{}",
        stranger.stderr
    );
    introduce(site);
    let unread = import(site, &file, &[]);
    assert_eq!(unread.code, Some(3), "{}", unread.stderr);
    assert_eq!(held(site), 0);

    assert_eq!(brought(&import(site, &file, &with_key)), (exported, 0));
    assert_eq!(brought(&import(site, &file, &with_key)), (0, exported));
    assert_eq!(held(site), exported);

    // The link is back: it goes on where the stick ended, and sends nothing twice.
    let known = site.cloud.stats().unwrap()["rows_known"].clone();
    site.link.mend();
    wait_until("the rest at the centre", AFTER_FAILURES, || {
        Ok(site.cloud.count(GATEWAY, "journal")? >= 30_000)
    })
    .unwrap();
    wait_for_waiting(site, 0);
    assert_eq!(site.cloud.stats().unwrap()["rows_known"], known);
    assert_eq!(brought(&import(site, &file, &with_key)), (0, exported));
    assert_eq!(held(site), 30_000);
    assert_eq!(numbers(site), (0..30_000).collect());
}

/// Where the frames of an export end, from its preamble on.
fn ends(file: &[u8]) -> Vec<usize> {
    let mut end = 18 + usize::from(file[17]);
    let mut ends = vec![end];
    while let Some(length) = file.get(end..).and_then(|rest| rest.first_chunk()) {
        end += 4 + usize::try_from(u32::from_be_bytes(*length)).unwrap();
        ends.push(end);
    }
    ends
}

#[test]
fn an_export_that_was_cut_off_goes_on_and_one_that_was_tampered_with_is_refused() {
    if !available("an_export_that_was_cut_off_goes_on", &BROKER).unwrap() {
        return;
    }
    let (Plant { site, .. }, stick) = &mut cut_off();
    let file = stick.path().join("week.tgx");
    introduce(site);
    publish(site, 0, 30_000);
    wait_for_waiting(site, 30_000);
    // Without a running gateway as well as beside one.
    site.gateway.stop().unwrap();
    let export = ["buffer", "export", text(&file)];
    assert_eq!(well(&tidegate(site, &export))["rows"], 30_000);
    let whole = fs::read(&file).unwrap();
    let again = tidegate(site, &export);
    assert_eq!(again.code, Some(64), "{}", again.stderr);

    let mut random = Random::new(20_261_121);
    for round in 0..6 {
        if round == 3 {
            site.gateway.start().unwrap();
        }
        let bytes = u64::try_from(whole.len()).unwrap();
        let cut = usize::try_from(random.below(bytes)).unwrap();
        fs::write(&file, &whole[..cut]).unwrap();
        let early = import(site, &file, &[]);
        assert_eq!(early.code, Some(3), "cut after {cut}: {}", early.stderr);
        let report = well(&tidegate(site, &export));
        assert_eq!(report["rows"], 30_000, "cut after {cut}: {report}");
    }
    let whole = fs::read(&file).unwrap();
    let ends = ends(&whole);
    assert!(ends.len() > 5, "{ends:?}");
    let frame = |number: usize| &whole[ends[number - 1]..ends[number]];
    let mut flipped = whole.clone();
    flipped[ends[2] + 200] ^= 1;
    let (dropped, repeated) = (&whole[ends[3]..], &whole[ends[3]..]);
    let tampered = [
        ("a dropped chunk", [&whole[..ends[2]], dropped].concat()),
        (
            "a repeated one",
            [&whole[..ends[3]], frame(3), repeated].concat(),
        ),
        (
            "two swapped",
            [&whole[..ends[2]], frame(4), frame(3), &whole[ends[4]..]].concat(),
        ),
        ("a cut end", whole[..ends[ends.len() - 2]].to_vec()),
        ("a flipped bit", flipped),
        ("something behind", [&whole[..], frame(3)].concat()),
    ];
    let bad = stick.path().join("bad.tgx");
    for (what, bytes) in tampered {
        fs::write(&bad, bytes).unwrap();
        let refused = import(site, &bad, &[]);
        assert_eq!(refused.code, Some(3), "{what}: {}", refused.stderr);
    }
    assert_eq!(held(site), 0);
    assert_eq!(brought(&import(site, &file, &[])), (30_000, 0));
    assert_eq!(numbers(site), (0..30_000).collect());
}
