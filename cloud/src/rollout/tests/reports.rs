//! What reports say of a deployment, and facts of a machine.

use tidegate_bundle::{
    Artifact, ArtifactKind, Capabilities, Check, ClockQuality, DeployedModule, Deployment, Facts,
    Flag, Grants, InstalledModule, Limits, Phase, RefusedDocument, Release, Shadow, Status,
    StoreEpoch, Target, WORLD,
};

use super::super::fit::fit;
use super::super::outcome::{Wanted, outcome};
use super::*;

fn deployment() -> Deployment {
    let module = |name: &str| DeployedModule {
        name: name.to_owned(),
        release: digest(name),
        inputs: vec![tidegate_bundle::Input {
            from: "plant".to_owned(),
            topic: "#".to_owned(),
        }],
        grants: Grants::default(),
        config: BTreeMap::new(),
        flags: BTreeMap::new(),
        streams: Vec::new(),
    };
    let mut off = module("off");
    off.flags.insert("enabled".to_owned(), Flag::Switch(false));
    Deployment {
        fleet_id: "plant".to_owned(),
        target: Target::GroupId("pumps".to_owned()),
        epoch: 2,
        seq: 7,
        min_root_version: 1,
        modules: vec![module("pump"), off],
        rollout: tidegate_bundle::Rollout {
            check: Check::Equal,
            shadow: Shadow::Messages(0),
            cpu_percent_max: 200,
            latency_percent_max: 200,
            probation_minutes: 5,
            attempts: 3,
        },
        downgrades: Vec::new(),
        created: 1,
        expires: None,
    }
}

fn wanted() -> Wanted {
    Wanted {
        deployment: deployment(),
        digest: digest("body"),
        file: digest("file"),
    }
}

fn status(epoch: u64, seq: u64) -> Status {
    Status {
        fleet_id: "plant".to_owned(),
        gateway_id: "gw-1".to_owned(),
        store_epoch: StoreEpoch {
            ordinal: 1,
            random: 1,
        },
        counter: 1,
        root_version: 1,
        epoch,
        seq,
        modules: Vec::new(),
        refused: Vec::new(),
        clock: ClockQuality::Unset,
        missing_protection: Vec::new(),
        confirmed: None,
        facts: None,
        frozen: None,
    }
}

fn with(mut status: Status, modules: &[(&str, &str, u64, Phase)]) -> Status {
    let module = |(name, release, generation, phase): &(&str, &str, u64, Phase)| InstalledModule {
        name: (*name).to_owned(),
        release: digest(release),
        version: semver(),
        generation: *generation,
        phase: *phase,
    };
    status.modules = modules.iter().map(module).collect();
    status
}

fn semver() -> semver::Version {
    "1.0.0".parse().unwrap()
}

fn refusing(mut status: Status, reason: &str) -> Status {
    status.refused = vec![RefusedDocument {
        sha256: digest("file"),
        reason: reason.to_owned(),
        why: None,
    }];
    status
}

#[test]
fn a_report_says_how_far_a_deployment_has_come() {
    let confirmed = Status {
        confirmed: Some(digest("body")),
        ..status(2, 7)
    };
    let older = Status {
        confirmed: Some(digest("older")),
        ..with(status(2, 7), &[("pump", "pump", 3, Phase::Confirmed)])
    };
    let trial = [
        ("pump", "old", 3, Phase::Confirmed),
        ("pump", "pump", 4, Phase::Shadow),
    ];
    let back = [
        ("pump", "old", 3, Phase::Confirmed),
        ("pump", "pump", 4, Phase::RolledBack),
    ];
    for (status, expected) in [
        (None, Outcome::Waiting),
        (Some(status(2, 6)), Outcome::Waiting),
        (Some(status(1, 9)), Outcome::Waiting),
        (Some(status(2, 7)), Outcome::Trying),
        (Some(confirmed), Outcome::Confirmed),
        // The same release under another configuration proves nothing.
        (Some(older), Outcome::Trying),
        (Some(with(status(2, 7), &trial)), Outcome::Trying),
        (Some(with(status(2, 7), &back)), Outcome::RolledBack),
        (
            Some(with(status(2, 7), &[("pump", "pump", 4, Phase::Confirmed)])),
            Outcome::Confirmed,
        ),
        (
            Some(refusing(status(2, 6), "not-permitted")),
            refused("not-permitted"),
        ),
        // It never accepted it: it is a release of it that failed there, in another deployment.
        (Some(refusing(status(2, 6), "denied")), refused("denied")),
        (Some(refusing(status(2, 8), "denied")), Outcome::Superseded),
        // What was refused once and taken later.
        (
            Some(refusing(status(2, 7), "root-too-old")),
            Outcome::Trying,
        ),
        (Some(refusing(status(2, 7), "denied")), Outcome::RolledBack),
        (Some(status(2, 8)), Outcome::Superseded),
        (Some(status(3, 1)), Outcome::Superseded),
    ] {
        assert_eq!(outcome(status.as_ref(), &wanted()), expected, "{status:?}");
    }
}

fn release(precompiled: bool) -> Release {
    let mut artifacts = vec![Artifact::of(ArtifactKind::Component, b"component")];
    let kind = ArtifactKind::Precompiled {
        target: "armv7".to_owned(),
        engine: "pulley".to_owned(),
    };
    artifacts.extend(precompiled.then(|| Artifact::of(kind, b"code")));
    Release {
        module: "pump".to_owned(),
        version: semver(),
        description: None,
        counter: 1,
        world: WORLD.to_owned(),
        artifacts,
        capabilities: Capabilities::default(),
        limits: Limits {
            memory_bytes: 16 << 20,
            state_bytes: 0,
        },
        streams: Vec::new(),
        config: BTreeMap::new(),
        sbom: None,
        created: 1,
    }
}

#[test]
fn a_deployment_is_held_against_what_a_machine_is() {
    let facts = |compiler, memory_bytes, field: &str| Facts {
        target: "armv7".to_owned(),
        engine: "pulley".to_owned(),
        compiler,
        memory_bytes,
        field: vec![field.to_owned()],
    };
    let enough = 16 << 20;
    let fit = |precompiled, facts: Option<&Facts>| {
        let releases = [(digest("pump"), release(precompiled))].into();
        match fit(&deployment(), &releases, facts) {
            Fit::Unfit(reasons) => reasons.join("; "),
            fit => format!("{fit:?}"),
        }
    };
    assert_eq!(fit(true, None), "Unknown");
    assert_eq!(fit(true, Some(&facts(false, enough, "plant"))), "Fits");
    assert_eq!(fit(false, Some(&facts(true, enough, "plant"))), "Fits");
    for (precompiled, facts, words) in [
        (
            false,
            facts(false, enough, "plant"),
            "no code for armv7 with engine pulley",
        ),
        (
            true,
            facts(true, enough - 1, "plant"),
            "16 MiB of memory, and the gateway has 15 MiB",
        ),
        (
            true,
            facts(true, enough, "other"),
            "needs plant, and the gateway has no broker",
        ),
    ] {
        let found = fit(precompiled, Some(&facts));
        assert!(found.contains(words), "{found}");
    }
}
