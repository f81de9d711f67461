//! T7: genuine parts that do not belong together, and sets from which one is missing.

use tidegate_bundle::Deployment;

use super::Outcome;
use super::archives::{Entry, archive};
use super::fleet::{Signed, component, deployment};
use super::scene::{COUNTER, Gift, SEQ, Scene};

/// A change of a deployment.
type Edit = fn(&mut Deployment);

pub(crate) fn run(scene: &mut Scene) -> Outcome {
    subsets(scene)?;
    cross_pairs(scene)?;
    conflicting(scene)?;
    bundles(scene)?;
    deployed(scene)
}

/// Every set of releases beside a deployment, but the right one.
fn subsets(scene: &mut Scene) -> Outcome {
    let own: Vec<Signed> = ["pump", "valve", "fan"]
        .into_iter()
        .map(|module| scene.fleet.release(module, COUNTER + 1))
        .collect::<Outcome<_>>()?;
    let others: Vec<Signed> = vec![
        scene.fleet.release("pump", COUNTER + 2)?,
        scene.fleet.release("heater", 1)?,
    ];
    let bytes = scene
        .fleet
        .deploy(SEQ + 1, &own.iter().collect::<Vec<_>>())?;
    let all: Vec<&Signed> = own.iter().chain(&others).collect();
    for set in 0..1_u32 << all.len() {
        let there = |index: usize| set >> index & 1 == 1;
        let beside: Vec<&[u8]> = (0..all.len())
            .filter(|index| there(*index))
            .filter_map(|index| all.get(index).map(|release| &*release.bytes))
            .collect();
        let reason = match (set & 0b111, set >> 3) {
            (0b111, 0) => continue,
            (_, 0) => "missing-release",
            _ => "unexpected-release",
        };
        let gift = Gift::Deployment(&bytes, &beside);
        scene.refuses(format_args!("the set {set:05b}"), gift, &[reason])?;
    }
    let [one, two, three] = own.as_slice() else {
        return Err("three releases are no longer three".into());
    };
    let twice: [&[u8]; 4] = [&one.bytes, &two.bytes, &three.bytes, &one.bytes];
    let gift = Gift::Deployment(&bytes, &twice);
    scene.refuses(
        format_args!("one of them twice"),
        gift,
        &["unexpected-release"],
    )?;
    let before = scene.trust.clone();
    scene.takes(Gift::Deployment(
        &bytes,
        &[&three.bytes, &one.bytes, &two.bytes],
    ))?;
    scene.trust = before;
    scene.note()
}

/// Two deployments, each with the releases of the other.
fn cross_pairs(scene: &mut Scene) -> Outcome {
    let made = |counter: u64| -> Outcome<_> {
        let pair = [
            scene.fleet.release("pump", counter)?,
            scene.fleet.release("valve", counter)?,
        ];
        let [pump, valve] = &pair;
        Ok((scene.fleet.deploy(SEQ + counter, &[pump, valve])?, pair))
    };
    let all: Vec<_> = (COUNTER..COUNTER + 4).map(made).collect::<Outcome<_>>()?;
    for (index, (bytes, _)) in all.iter().enumerate() {
        for (first, (_, [pump, _])) in all.iter().enumerate() {
            for (second, (_, [_, valve])) in all.iter().enumerate() {
                if (first, second) == (index, index) {
                    continue;
                }
                let what = format_args!("deployment {index} with pump {first} and valve {second}");
                let gift = Gift::Deployment(bytes, &[&pump.bytes, &valve.bytes]);
                scene.refuses(what, gift, &["unexpected-release"])?;
            }
        }
    }
    Ok(())
}

/// One deployment of two releases of a module.
fn conflicting(scene: &mut Scene) -> Outcome {
    for older in [COUNTER, COUNTER + 2] {
        let (one, two) = (scene.fleet.release("pump", older)?, scene.next.1.clone());
        let bytes = scene.fleet.deploy(SEQ + 1, &[&one, &two])?;
        let gift = Gift::Deployment(&bytes, &[&one.bytes, &two.bytes]);
        let what = format_args!("releases {older} and {} of a module", COUNTER + 1);
        scene.refuses(what, gift, &["conflicting-releases"])?;
    }
    grants(scene)
}

/// What a release does not ask for, granted by a deployment that goes with another.
fn grants(scene: &mut Scene) -> Outcome {
    let edits: [(&str, Edit, &str); 5] = [
        (
            "a topic",
            |body| {
                each(body, |grants| {
                    grants
                        .publish
                        .iter_mut()
                        .for_each(|to| to.topic = "valves/1".to_owned())
                })
            },
            "not-asked",
        ),
        (
            "all topics",
            |body| {
                each(body, |grants| {
                    grants
                        .publish
                        .iter_mut()
                        .for_each(|to| to.topic = "#".to_owned())
                })
            },
            "not-asked",
        ),
        (
            "a point",
            |body| each(body, |grants| grants.actuate.push("valve-2".to_owned())),
            "not-asked",
        ),
        (
            "an import",
            |body| {
                each(body, |grants| {
                    grants.wasi.push("wasi:sockets/tcp@0.2.0".to_owned())
                })
            },
            "not-asked",
        ),
        (
            "a stream",
            |body| {
                body.modules
                    .iter_mut()
                    .flat_map(|module| &mut module.streams)
                    .for_each(|stream| stream.name = "other".to_owned())
            },
            "unknown-stream",
        ),
    ];
    for (what, edit, reason) in edits {
        let mut body = deployment(SEQ + 1, &[&scene.next.1]);
        edit(&mut body);
        let bytes = scene.fleet.sign_deployment(&body)?;
        scene.refuses(
            format_args!("{what} beyond the release"),
            Gift::Next(&bytes),
            &[reason],
        )?;
    }
    Ok(())
}

fn each(body: &mut Deployment, edit: fn(&mut tidegate_bundle::Grants)) {
    body.modules
        .iter_mut()
        .for_each(|module| edit(&mut module.grants));
}

/// Bundles with the parts of others.
fn bundles(scene: &mut Scene) -> Outcome {
    let [pump, valve] = scene.releases.clone();
    let (own, other) = (component("pump", COUNTER), component("valve", COUNTER));
    let same_length = own.iter().rev().copied().collect::<Vec<_>>();
    let name = |body: &[u8]| format!("artifacts/{}", tidegate_bundle::Digest::of(body));
    let document = |bytes: &[u8]| ("release.dsse.json".to_owned(), bytes.to_vec());
    let entry = |name: String, body: &[u8]| (name, body.to_vec());
    let variants: Vec<(&str, Vec<Entry>, &str)> = vec![
        (
            "another component under the name",
            vec![document(&pump.bytes), entry(name(&own), &other)],
            "length",
        ),
        (
            "other bytes of that length",
            vec![document(&pump.bytes), entry(name(&own), &same_length)],
            "digest-mismatch",
        ),
        (
            "another component under its own name",
            vec![document(&pump.bytes), entry(name(&other), &other)],
            "missing-entry",
        ),
        (
            "another document",
            vec![document(&valve.bytes), entry(name(&own), &own)],
            "missing-entry",
        ),
        ("no component", vec![document(&pump.bytes)], "missing-entry"),
        (
            "no document",
            vec![entry(name(&own), &own)],
            "unexpected-entry",
        ),
        ("nothing", vec![], "missing-entry"),
        (
            "one more component",
            vec![
                document(&pump.bytes),
                entry(name(&own), &own),
                entry(name(&other), &other),
            ],
            "unexpected-entry",
        ),
        (
            "one more component in front",
            vec![
                document(&pump.bytes),
                entry(name(&other), &other),
                entry(name(&own), &own),
            ],
            "unexpected-entry",
        ),
        (
            "the component twice",
            vec![
                document(&pump.bytes),
                entry(name(&own), &own),
                entry(name(&own), &own),
            ],
            "unexpected-entry",
        ),
        (
            "the document twice",
            vec![
                document(&pump.bytes),
                document(&pump.bytes),
                entry(name(&own), &own),
            ],
            "unexpected-entry",
        ),
        (
            "the document last",
            vec![entry(name(&own), &own), document(&pump.bytes)],
            "unexpected-entry",
        ),
    ];
    for (what, entries, reason) in variants {
        let bytes = archive(&entries);
        scene.refuses(
            format_args!("a bundle with {what}"),
            Gift::Bundle(&bytes),
            &[reason],
        )?;
    }
    scene.takes(Gift::Bundle(&archive(&[
        document(&pump.bytes),
        entry(name(&own), &own),
    ])))
}

/// Good bundles that are not of the deployment that runs.
fn deployed(scene: &mut Scene) -> Outcome {
    for (module, counter) in [
        ("pump", COUNTER + 1),
        ("pump", COUNTER - 1),
        ("fan", COUNTER),
    ] {
        let other = scene.fleet.release(module, counter)?;
        scene.takes(Gift::Bundle(&other.bundle))?;
        let what = format_args!("the bundle of {module} {counter}");
        scene.refuses(what, Gift::Deployed(&other.bundle), &["unexpected-release"])?;
    }
    let [pump, _] = scene.releases.clone();
    scene.takes(Gift::Deployed(&pump.bundle))
}
