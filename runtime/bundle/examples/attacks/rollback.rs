//! T3: genuine documents that are old.

use tidegate_bundle::{Downgrade, SigningKey};

use super::Outcome;
use super::fleet::{Signed, deployment, fleet, key};
use super::scene::{COUNTER, Gift, SEQ, Scene};

/// One of so many random changes is an order of old documents here.
const SEQUENCES_ONE_IN: u64 = 100;
const STEPS: usize = 8;

pub(crate) fn run(scene: &mut Scene) -> Outcome {
    earlier(scene)?;
    other_under_one_number(scene)?;
    older_releases(scene)?;
    grants(scene)?;
    older_roots(scene)?;
    orders(scene)
}

fn earlier(scene: &mut Scene) -> Outcome {
    let releases = scene.releases.clone();
    let [pump, valve] = &releases;
    for seq in 1..SEQ {
        let bytes = scene.fleet.deploy(seq, &[pump, valve])?;
        let gift = Gift::Deployment(&bytes, &[&pump.bytes, &valve.bytes]);
        scene.refuses(format_args!("seq {seq}"), gift, &["sequence-rollback"])?;
    }
    Ok(())
}

/// The number that it runs, for something else.
fn other_under_one_number(scene: &mut Scene) -> Outcome {
    let [pump, valve] = scene.releases.clone();
    for releases in [vec![&pump], vec![&valve, &pump], vec![]] {
        let bytes = scene.fleet.deploy(SEQ, &releases)?;
        let beside: Vec<&[u8]> = releases.iter().map(|release| &*release.bytes).collect();
        let what = format_args!("seq {SEQ} again with {} modules", releases.len());
        scene.refuses(
            what,
            Gift::Deployment(&bytes, &beside),
            &["sequence-reused"],
        )?;
    }
    Ok(())
}

/// Newer deployments of older releases.
fn older_releases(scene: &mut Scene) -> Outcome {
    for counter in 1..COUNTER {
        let older = scene.fleet.release("pump", counter)?;
        let mut renamed = deployment(SEQ + 1, &[&older]);
        renamed
            .modules
            .iter_mut()
            .for_each(|module| module.name = "other".to_owned());
        for body in [deployment(SEQ + 1, &[&older]), renamed] {
            let bytes = scene.fleet.sign_deployment(&body)?;
            let gift = Gift::Deployment(&bytes, &[&older.bytes]);
            scene.refuses(
                format_args!("release {counter}"),
                gift,
                &["release-rollback"],
            )?;
        }
    }
    Ok(())
}

/// Leave to go back that not everybody has given who must.
fn grants(scene: &mut Scene) -> Outcome {
    let fleet = fleet();
    let [deployer, other] = &fleet.deployers;
    let [everything, some] = &fleet.publishers;
    let [root, _] = &fleet.roots;
    let narrow = |module: &str,
                  to_counter,
                  keys: &[&SigningKey],
                  scene: &Scene|
     -> Outcome<(Vec<u8>, Signed)> {
        let older = scene.fleet.release("valve", 6)?;
        let mut body = deployment(SEQ + 1, &[&older]);
        body.downgrades = vec![Downgrade {
            module: module.to_owned(),
            to_counter,
        }];
        Ok((body.sign(keys)?, older))
    };
    let stranger = key(9);
    let variants: Vec<(&str, &str, u64, Vec<&SigningKey>, &str)> = vec![
        (
            "no publisher",
            "valve",
            6,
            vec![deployer],
            "downgrade-not-signed",
        ),
        (
            "two deployers",
            "valve",
            6,
            vec![deployer, other],
            "downgrade-not-signed",
        ),
        (
            "a publisher of other modules",
            "valve",
            6,
            vec![deployer, some],
            "downgrade-not-signed",
        ),
        (
            "a root key",
            "valve",
            6,
            vec![deployer, root],
            "downgrade-not-signed",
        ),
        (
            "a stranger",
            "valve",
            6,
            vec![deployer, &stranger],
            "downgrade-not-signed",
        ),
        (
            "a publisher and no deployer",
            "valve",
            6,
            vec![everything],
            "wrong-key",
        ),
        (
            "all, for another counter",
            "valve",
            5,
            vec![deployer, everything],
            "release-rollback",
        ),
        (
            "all, for another module",
            "pump",
            6,
            vec![deployer, everything],
            "release-rollback",
        ),
    ];
    for (what, module, to_counter, keys, reason) in variants {
        let (bytes, older) = narrow(module, to_counter, &keys, scene)?;
        let gift = Gift::Deployment(&bytes, &[&older.bytes]);
        scene.refuses(format_args!("a way back, by {what}"), gift, &[reason])?;
    }
    Ok(())
}

fn older_roots(scene: &mut Scene) -> Outcome {
    let chain: Vec<_> = (1..=5)
        .map(|version| scene.fleet.signed_root(version))
        .collect::<Result<_, _>>()?;
    let trust = scene.trust.clone();
    for bytes in chain.iter().skip(1) {
        scene.takes(Gift::Root(bytes))?;
    }
    for (index, bytes) in chain.iter().enumerate() {
        // The root that it has is signed by who may sign the next one, and is not the next one.
        let newest = index + 1 == chain.len();
        let reason = if newest { "root-version" } else { "wrong-key" };
        scene.refuses(
            format_args!("root {}", index + 1),
            Gift::Root(bytes),
            &[reason],
        )?;
    }
    scene.trust = trust;
    scene.note()
}

/// A history, replayed in any order: it goes up or not at all.
fn orders(scene: &mut Scene) -> Outcome {
    let made = |seq: u64| -> Outcome<(u64, Vec<u8>, Signed)> {
        let release = scene.fleet.release("pump", 1 + seq / 2)?;
        Ok((seq, scene.fleet.deploy(seq, &[&release])?, release))
    };
    let history: Vec<_> = (1..=8).map(made).collect::<Outcome<_>>()?;
    for sequence in 0..scene.mutations / SEQUENCES_ONE_IN {
        scene.begin_anew()?;
        for step in 0..STEPS {
            let mut random = scene.random.clone();
            let (seq, bytes, release) = random.pick(&history).ok_or("no history")?;
            scene.random = random;
            let gift = Gift::Deployment(bytes, &[&release.bytes]);
            if *seq < scene.trust.seq() {
                let what = format_args!("sequence {sequence}, step {step}: {seq}");
                scene.refuses(what, gift, &["sequence-rollback"])?;
            } else {
                scene.takes(gift)?;
            }
        }
    }
    Ok(())
}
