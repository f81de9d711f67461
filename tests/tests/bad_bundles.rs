//! Bundles, keys and components that must not run: each is refused with one clear sentence, and the other modules run.

#![cfg(test)]

use std::fs;
use std::path::Path;

use anyhow::Result;
use serde_json::Value;
use tidegate_tests::binaries::Binaries;
use tidegate_tests::bundles::Workshop;
use tidegate_tests::plant::{Neighbourhood, guest, signed};
use tidegate_tests::site::{Module, Site};
use tidegate_tests::tools::{Tool, available};

const TOOLS: [Tool; 2] = [Tool::Mosquitto, Tool::MosquittoPub];

/// Why the gateway refused the module with this name.
fn refusal(site: &Site, name: &str) -> String {
    let status = site.gateway.status().unwrap();
    let modules = status["modules"].as_array().unwrap();
    let named = |module: &&Value| {
        module["name"]
            .as_str()
            .is_some_and(|found| found.contains(name))
    };
    let module = modules
        .iter()
        .find(named)
        .unwrap_or_else(|| panic!("no {name}: {status:#}"));
    assert_eq!(module["state"], "refused", "{module:#}");
    module["last_fault"].as_str().unwrap().to_owned()
}

/// The hostile module in an unsigned, an altered, a cut and a strangely signed bundle, with the word that says so.
fn forgeries(workshop: &Workshop, folder: &Path) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let genuine = fs::read(workshop.bundle(&guest("hostile"))?)?;
    let mut altered = genuine.clone();
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    let stranger = folder.join("stranger");
    fs::create_dir(&stranger)?;
    let stranger = Workshop::open(Binaries::built()?, &stranger)?;
    Ok(vec![
        (
            "unsigned",
            fs::read(workshop.component(&guest("hostile"))?)?,
        ),
        ("altered", altered),
        ("cut", genuine[..genuine.len() / 2].to_vec()),
        ("strange", fs::read(stranger.bundle(&guest("hostile"))?)?),
    ])
}

#[test]
fn a_bundle_that_is_not_genuine_is_refused_with_its_reason_and_the_others_run() {
    if !available("a_bundle_that_is_not_genuine_is_refused", &TOOLS).unwrap() {
        return;
    }
    let neighbours = Neighbourhood::start(|workshop, folder| {
        let module = |(name, bytes): (&str, Vec<u8>)| {
            let bundle = folder.join(format!("{name}.tidegate"));
            fs::write(&bundle, bytes)?;
            let settings =
                format!("name = \"{name}\"\ninputs = [{{ from = \"plant\", topic = \"h\" }}]");
            Ok(Module { bundle, settings })
        };
        forgeries(workshop, folder)?
            .into_iter()
            .map(module)
            .collect()
    });
    let neighbours = neighbours.unwrap();
    for (bundle, words) in [
        ("unsigned", "malformed"),
        ("altered", "digest"),
        ("cut", "bundle"),
        ("strange", "key"),
    ] {
        let reason = refusal(neighbours.site(), bundle);
        assert!(
            reason.contains(words) && !reason.contains('\n'),
            "{bundle}: {reason}"
        );
        let log = neighbours.site().gateway.log().unwrap();
        let said = log.lines().filter(|line| line.contains(&reason)).count();
        assert_eq!(said, 1, "one sentence for {bundle}: {log}");
    }
    neighbours.goes_on(1).unwrap();
}

#[test]
fn an_import_that_is_not_granted_is_refused_by_name() {
    if !available("an_import_that_is_not_granted_is_refused_by_name", &TOOLS).unwrap() {
        return;
    }
    let neighbours = Neighbourhood::start(|workshop, _| {
        let settings = "inputs = [{ from = \"plant\", topic = \"s\" }]";
        Ok(vec![signed(workshop, &guest("socket-opener"), settings)?])
    });
    let neighbours = neighbours.unwrap();
    let reason = refusal(neighbours.site(), "socket-opener");
    assert!(reason.contains("wasi:sockets/"), "{reason}");
    neighbours.goes_on(1).unwrap();
}

#[test]
fn a_malformed_key_or_root_is_refused_in_one_sentence() {
    let directory = tempfile::tempdir().unwrap();
    let workshop = Workshop::open(Binaries::built().unwrap(), directory.path()).unwrap();
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
