//! A rollout as its people run it: `tide` against a real centre, from the release to the canary and the stick.

#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tidegate_tests::binaries::Binaries;
use tidegate_tests::bundles::Workshop;
use tidegate_tests::cloud::Cloud;
use tidegate_tests::http;
use tidegate_tests::plant::guest;
use tidegate_tests::process::run;
use tidegate_tests::rollout::{Campaign, run as run_campaign};
use tidegate_tests::tools::{Tool, available};

struct Team {
    tide: PathBuf,
    access: [String; 4],
    folder: tempfile::TempDir,
}

impl Team {
    /// Runs `tide` with these arguments, as JSON; gives its exit code and what it says.
    fn tide(&self, arguments: &[&str]) -> (i32, Value) {
        let all = [&["-o", "json"], arguments].concat();
        let ran = run(&self.tide, all).unwrap();
        let said = serde_json::from_str(&ran.stdout).unwrap_or(Value::Null);
        (ran.code.unwrap_or(-1), said)
    }

    /// The same at the centre, where it must go well.
    fn at_centre(&self, arguments: &[&str]) -> Value {
        let access = self.access.each_ref().map(String::as_str);
        let (code, said) = self.tide(&[arguments, &access[..]].concat());
        assert_eq!(code, 0, "{arguments:?}: {said}");
        said
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}

fn written(bundle: &Path) -> String {
    format!(
        "group = \"pumps\"\nseq = 1\n[rollout]\ncheck = \"equal\"\nshadow-messages = 0\ncpu-percent-max = 200\n\
         latency-percent-max = 200\nprobation-minutes = 1\nattempts = 3\n[[module]]\nname = \"journal\"\n\
         bundle = \"{}\"\ninputs = [{{ from = \"plant\", topic = \"#\" }}]\n",
        bundle.display()
    )
}

#[test]
fn a_deployment_goes_from_a_file_to_the_canary_and_onto_a_stick_with_tide_alone() {
    let binaries = Binaries::built().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let workshop = Workshop::open(binaries, folder.path()).unwrap();
    let bundle = workshop.bundle(&guest("journal")).unwrap();
    let mut cloud = Cloud::start(binaries, folder.path()).unwrap();
    cloud.kill9().unwrap();
    let root = workshop.root().display().to_string();
    cloud.start_again_with(&["--root", &root]).unwrap();
    let team = Team {
        tide: binaries.tide(),
        access: cloud.access(),
        folder: tempfile::tempdir().unwrap(),
    };
    // Desired state as it is kept in a folder.
    fs::copy(&bundle, team.path("journal.tidegate")).unwrap();
    fs::write(team.path("pumps.toml"), written(&bundle)).unwrap();
    let (key, signed) = (
        workshop.key().display().to_string(),
        team.path("pumps.deployment.json"),
    );
    let file = team.path("pumps.toml");
    let deploy = ["deploy", &file, "--root", &root, "--key", &key];
    let (code, said) = team.tide(&[&deploy[..], &["--to", &signed]].concat());
    assert_eq!(code, 0, "{said}");
    let labels = "[groups]\npumps = { kind = \"pump\" }\n[gateways]\ngw-1 = { kind = \"pump\" }\ngw-2 = { kind = \"pump\" }\n";
    fs::write(team.path("fleet.toml"), labels).unwrap();
    let here = team.path("");
    let planned = team.at_centre(&["plan", &here]);
    assert_eq!(planned["changes"].as_array().unwrap().len(), 5, "{planned}");
    // No gateway is there yet: that is a note, and stops nothing.
    let never = [
        "gateway gw-1 was never heard of here",
        "gateway gw-2 was never heard of here",
    ];
    assert_eq!(planned["notes"], json!(never), "{planned}");
    let applied = team.at_centre(&["apply", &here]);
    assert_eq!(applied["changes"], planned["changes"]);
    assert_eq!(
        team.at_centre(&["plan", &here])["changes"]
            .as_array()
            .unwrap()
            .len(),
        0
    );

    let started = team.at_centre(&[
        "rollout", "start", &signed, "--canary", "gw-2", "--waves", "100%",
    ]);
    assert_eq!(started["offers"][0]["gateway"], "gw-2", "{started}");
    assert_eq!(started["notes"], json!(never), "{started}");
    let given = http::get(cloud.address(), "/v1/desired?gateway=gw-2").unwrap();
    assert_eq!(given.body, fs::read_to_string(&signed).unwrap());
    let other = http::get(cloud.address(), "/v1/desired?gateway=gw-1").unwrap();
    assert_eq!(other.status, 204);

    let fleet = team.at_centre(&["fleet", "ls"]);
    assert_eq!(fleet["gateways"][1]["desired"]["seq"], 1, "{fleet}");
    let why = team.at_centre(&["fleet", "why", "gw-1"]);
    assert!(
        why["why"]
            .as_str()
            .unwrap()
            .contains("it is in wave 1 of 2"),
        "{why}"
    );
    let shown = team.at_centre(&["fleet", "show", "gw-2"]);
    assert_eq!(shown["state"], "waiting", "{shown}");
    for (command, state) in [
        ("pause", "paused"),
        ("resume", "running"),
        ("abort", "stopped"),
    ] {
        let said = team.at_centre(&["rollout", command, "1"]);
        assert_eq!(said["state"], state);
    }
    assert_eq!(
        team.at_centre(&["rollout", "status"])["rollouts"][0]["state"],
        "stopped"
    );

    // All that a stick needs beyond the deployment comes from the centre.
    let stick = team.path("north.tidegate-stick");
    team.at_centre(&[
        "bundle-usb",
        "--root",
        &root,
        "--deployment",
        &signed,
        "--to",
        &stick,
    ]);
    let given = fs::metadata(&stick).unwrap().len();
    let files = team.path("files.tidegate-stick");
    let bundle = bundle.display().to_string();
    let from_files = [
        "bundle-usb",
        "--root",
        &root,
        "--deployment",
        &signed,
        "--to",
        &files,
        "--bundle",
        &bundle,
    ];
    assert_eq!(team.tide(&from_files).0, 0);
    assert_eq!(fs::read(&stick).unwrap(), fs::read(&files).unwrap());
    assert!(given > 0);
}

#[test]
fn a_bad_release_ends_at_the_canaries_and_a_good_one_reaches_a_fleet_whose_gateways_are_killed() {
    let test = "a_bad_release_ends_at_the_canaries";
    if !available(test, &[Tool::Mosquitto, Tool::OpenSsl]).unwrap() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let campaign = Campaign {
        gateways: 4,
        seed: 1,
        binaries: Binaries::built().unwrap(),
        directory: directory.path(),
    };
    let lines = run_campaign(&campaign, &mut |_| ()).unwrap();
    let broken: Vec<_> = lines.iter().filter(|line| !line.kept).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}
