//! Deployments that are kept as files, and signed.

use std::fs;

use tidegate_bundle::{Deployment, Flag, Target, VerifiedRoot};

use crate::fixture::{Ran, Workshop};

/// One module, which may publish alarms.
pub(crate) const FILE: &str = r#"
group = "pumps"
seq = 12

[rollout]
check = "equal"
shadow-messages = 100
cpu-percent-max = 150
latency-percent-max = 150
probation-minutes = 10
attempts = 3

[[module]]
name = "pump-1"
bundle = "../pump-1.2.0.tidegate"
inputs = [{ from = "plant", topic = "pumps/1/#" }]
publish = [{ to = "plant", topic = "alarms/pump-1" }]
flags = { enabled = true }

[[module.stream]]
name = "alarms"
region = "eu"
"#;

/// A workshop with `deployments/pumps.toml` and the bundle that it names.
pub(crate) fn workshop() -> Workshop {
    let workshop = Workshop::new();
    release(&workshop, 7);
    workshop.write("deployments/pumps.toml", FILE);
    workshop
}

/// Signs the module of this counter; the bundle has one name for all of them.
pub(crate) fn release(workshop: &Workshop, counter: u64) {
    let manifest = format!(
        "[module]\nname = \"pump\"\nversion = \"1.2.0\"\ncounter = {counter}\n\
         [capabilities]\npublish = [\"alarms/#\"]\n[[stream]]\nname = \"alarms\"\nclass = \"alarm\"\n"
    );
    workshop.write("tide.toml", &manifest);
    workshop.sign().check(0, &[]);
}

pub(crate) fn deploy(workshop: &Workshop, further: &[&str]) -> Ran {
    let deploy = [
        "deploy",
        "deployments/pumps.toml",
        "--to",
        "deployment.json",
    ];
    let keys = ["--root", "root.json", "--key", "deploy.key"];
    workshop.tide(&[&deploy[..], &keys[..], further].concat())
}

fn changed(workshop: &Workshop, from: &str, to: &str) -> Ran {
    assert!(FILE.contains(from), "{from}");
    workshop.write("deployments/pumps.toml", &FILE.replacen(from, to, 1));
    deploy(workshop, &[])
}

#[test]
fn what_is_deployed_verifies_under_the_root_and_says_what_the_file_says() {
    let workshop = workshop();
    deploy(&workshop, &[]).check(
        0,
        &[
            "group pumps of fleet plant",
            "epoch 1, seq 12",
            "pump-1: pump 1.2.0, counter 7",
        ],
    );
    let root = VerifiedRoot::open(&fs::read(workshop.path("root.json")).unwrap()).unwrap();
    let bytes = fs::read(workshop.path("deployment.json")).unwrap();
    let (deployment, digest) = Deployment::verify(&bytes, &root).unwrap();
    assert_eq!(deployment.fleet_id, "plant");
    assert_eq!(deployment.target, Target::GroupId("pumps".to_owned()));
    assert_eq!((deployment.epoch, deployment.min_root_version), (1, 1));
    assert_eq!((deployment.seq, deployment.created), (12, 1_800_000_000));
    let module = &deployment.modules[0];
    assert_eq!(module.flags["enabled"], Flag::Switch(true));
    let verify = [
        "-o",
        "json",
        "verify",
        "pump-1.2.0.tidegate",
        "--root",
        "root.json",
    ];
    let identity = &workshop.tide(&verify).json()["identity"];
    assert_eq!(*identity, module.release.to_string());
    let said = deploy(&workshop, &["-o", "json"]).json();
    assert_eq!(said["sha256"], digest.to_string());
    assert_eq!(fs::read(workshop.path("deployment.json")).unwrap(), bytes);
}

#[test]
fn mistakes_in_the_file_are_told_all_at_once_and_nothing_is_written() {
    let workshop = workshop();
    let file = FILE
        .replace("seq = 12", "seq = \"12\"")
        .replace("attempts", "atempts");
    workshop.write("deployments/pumps.toml", &file);
    deploy(&workshop, &[]).check(
        65,
        &[
            "deployments/pumps.toml:3: seq: a whole number",
            "deployments/pumps.toml:5: attempts is missing in [rollout]",
            "deployments/pumps.toml:11: unknown key atempts in [rollout], did you mean attempts?",
        ],
    );
    assert!(!workshop.path("deployment.json").exists());
}

#[test]
fn what_a_gateway_would_refuse_is_refused_with_its_reason_and_not_written() {
    let workshop = workshop();
    changed(&workshop, "alarms/pump-1", "valves/1")
        .check(3, &["reason code not-asked", "valves/1"]);
    changed(&workshop, "\"alarms\"", "\"levels\"").check(3, &["reason code unknown-stream"]);
    let downgrade = "[[downgrade]]\nmodule = \"pump\"\nto-counter = 7\n[rollout]";
    changed(&workshop, "[rollout]", downgrade).check(3, &["reason code downgrade-not-signed"]);
    assert!(!workshop.path("deployment.json").exists());
    // With a publisher's signature beside it, it is a way back.
    deploy(&workshop, &["--key", "publisher.key"]).check(0, &[]);
}

#[test]
fn only_who_may_deploy_signs_a_deployment() {
    let workshop = workshop();
    let deploy = |key: &str, root: &str| {
        let arguments = [
            "deploy",
            "deployments/pumps.toml",
            "--to",
            "deployment.json",
        ];
        workshop.tide(&[&arguments[..], &["--key", key, "--root", root]].concat())
    };
    deploy("publisher.key", "root.json").check(3, &["reason code wrong-key"]);
    let init = [
        "root",
        "init",
        "bare.json",
        "--fleet",
        "plant",
        "--root-key",
        "root.key",
    ];
    let release = ["--release-key", "publisher.key.pub"];
    workshop
        .tide(&[&init[..], &release[..]].concat())
        .check(0, &[]);
    deploy("deploy.key", "bare.json")
        .check(65, &["names nobody who signs deployments", "--deploy-key"]);
    assert!(!workshop.path("deployment.json").exists());
}

#[test]
fn a_bundle_of_another_publisher_is_not_deployed_and_a_digest_is_not_looked_at() {
    let workshop = workshop();
    workshop.tide(&["keygen", "other.key"]).check(0, &[]);
    workshop.tide(&["sign", "--key", "other.key"]).check(0, &[]);
    deploy(&workshop, &[]).check(
        3,
        &["pump-1.2.0.tidegate is refused", "reason code wrong-key"],
    );
    let digest = format!("release = \"{}\"", "ab".repeat(32));
    changed(&workshop, "bundle = \"../pump-1.2.0.tidegate\"", &digest)
        .check(0, &["abab, not looked at: it is named by its digest"]);
    fs::remove_file(workshop.path("pump-1.2.0.tidegate")).unwrap();
    workshop.write("deployments/pumps.toml", FILE);
    deploy(&workshop, &[]).check(66, &["cannot read deployments/../pump-1.2.0.tidegate"]);
}
