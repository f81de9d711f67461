//! What the central team says: roots that follow, rollouts, labels.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use tidegate_bundle::VerifiedRoot;

use crate::deploy::{deploy, workshop};
use crate::fixture::{Ran, Workshop};

#[test]
fn a_root_that_was_rotated_follows_the_old_one() {
    let workshop = Workshop::new();
    let old = fs::read(workshop.path("root.json")).unwrap();
    let old = VerifiedRoot::open(&old).unwrap();
    for key in ["root-2.key", "deploy-2.key"] {
        workshop.tide(&["keygen", key]).check(0, &[]);
    }
    let rotate = [
        "root",
        "rotate",
        "root.json",
        "next.json",
        "--root-key",
        "root-2.key.pub",
        "--deploy-key",
        "deploy-2.key.pub",
    ];
    let rotate = |keys: &[&str]| workshop.tide(&[&rotate[..], keys].concat());
    for half in ["root.key", "root-2.key"] {
        rotate(&["--key", half]).check(65, &["reason code wrong-key"]);
        assert!(!workshop.path("next.json").exists());
    }
    rotate(&["--key", "root.key", "--key", "root-2.key", "--raise-epoch"])
        .check(0, &["version       2", "epoch         2"]);
    let verify = |file| workshop.tide(&["verify", file, "--root", "root.json"]);
    verify("next.json").check(0, &["is root 2 of fleet plant, and follows root 1"]);
    verify("root.json").check(3, &["reason code root-version"]);
    let next = fs::read(workshop.path("next.json")).unwrap();
    let next = old.next(&next).unwrap();
    let (before, after) = (old.root(), next.root());
    let publishers = |root: &tidegate_bundle::Root| root.roles.release.modules.clone();
    assert_eq!(publishers(after), publishers(before));
    assert_eq!(after.keys.len(), 3, "whoever has no role has no key");
    let deployers = |root: &tidegate_bundle::Root| {
        let role = root.roles.deploy.as_ref().unwrap();
        role.key_ids.clone()
    };
    assert_ne!(deployers(after), deployers(before));
}

pub(crate) fn with_token(workshop: &Workshop, arguments: &[&str]) -> Ran {
    let token = workshop.path("token");
    fs::write(&token, "tgt_x").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    workshop.tide(&[arguments, &["--token-file", "token"]].concat())
}

/// At a centre that is not there.
fn asked(workshop: &Workshop, arguments: &[&str]) -> Ran {
    let access = ["--centre", "http://127.0.0.1:1"];
    with_token(workshop, &[arguments, &access[..]].concat())
}

#[test]
fn what_is_asked_wrongly_is_told_before_anything_is_sent() {
    let workshop = workshop();
    deploy(&workshop, &[]).check(0, &[]);
    let verify = ["verify", "deployment.json", "--root", "root.json"];
    workshop
        .tide(&verify)
        .check(0, &["is genuine for fleet plant", "epoch 1, seq 12"]);
    let start = ["rollout", "start", "deployment.json", "--waves"];
    for (arguments, words) in [
        (
            &[&start[..], &["1,half,100%"]].concat()[..],
            "wave \"half\" is neither a number",
        ),
        (
            &["fleet", "label", "gw-1", "north"],
            "label \"north\" is not LABEL=VALUE",
        ),
        (
            // Who wants to look at a group does not make it all gateways.
            &["fleet", "group", "pumps"],
            "required arguments were not provided",
        ),
        (
            &["fleet", "show", "../x"],
            "name \"../x\" has characters that none has",
        ),
    ] {
        asked(&workshop, arguments).check(64, &[words]);
    }
    let no_deployment = ["rollout", "start", "root.json"];
    asked(&workshop, &no_deployment).check(3, &["reason code wrong-type"]);
    for file in [
        "tide.toml",
        "target/wasm32-wasip2/release/pump.wasm",
        "note.json",
    ] {
        workshop.write("note.json", "{\"note\": 1}");
        asked(&workshop, &["push", file]).check(
            65,
            &[&format!(
                "{file} is none of what a centre takes: a release's bundle"
            )],
        );
    }
    // What is a bundle, and damaged, is told so.
    let bundle = fs::read(workshop.path("pump-1.2.0.tidegate")).unwrap();
    fs::write(workshop.path("half.tidegate"), &bundle[..1024]).unwrap();
    asked(&workshop, &["push", "half.tidegate"]).check(3, &["half.tidegate is refused"]);
    // The control: what is right is sent.
    for members in ["--all", "kind=pump"] {
        let group = ["fleet", "group", "pumps", members];
        asked(&workshop, &group).check(1, &["cannot be reached"]);
    }
    let right = [&start[..], &["1,50%,100%"]].concat();
    asked(&workshop, &right).check(1, &["cannot be reached"]);
    for file in ["deployment.json", "root.json", "pump-1.2.0.tidegate"] {
        asked(&workshop, &["push", file]).check(1, &["cannot be reached"]);
    }
}
