//! T6: numbers that a stolen key runs up, so that no honest one is high enough any more.

use tidegate_bundle::JUMP_MAX;

use super::Outcome;
use super::fleet::{deployment, root_keys, sign_any};
use super::scene::{COUNTER, Gift, SEQ, Scene};

pub(crate) fn run(scene: &mut Scene) -> Outcome {
    let far = [1 << 21, 1 << 32, 1 << 53, 1 << 63, u64::MAX - 1, u64::MAX];
    let jumps = |from: u64| std::iter::once(from + JUMP_MAX + 1).chain(far);
    for seq in jumps(SEQ) {
        let bytes = scene.fleet.deploy(seq, &[&scene.next.1])?;
        scene.refuses(
            format_args!("seq {seq}"),
            Gift::Next(&bytes),
            &["sequence-jump"],
        )?;
    }
    for counter in jumps(COUNTER) {
        let release = scene.fleet.release("pump", counter)?;
        let bytes = scene.fleet.deploy(SEQ + 1, &[&release])?;
        let gift = Gift::Deployment(&bytes, &[&release.bytes]);
        scene.refuses(format_args!("release {counter}"), gift, &["release-jump"])?;
    }
    for epoch in far.into_iter().chain([2, 3]) {
        let mut body = deployment(SEQ + 1, &[&scene.next.1]);
        body.epoch = epoch;
        let bytes = scene.fleet.sign_deployment(&body)?;
        scene.refuses(
            format_args!("epoch {epoch}"),
            Gift::Next(&bytes),
            &["unknown-epoch"],
        )?;
    }
    roots(scene, &far)?;
    way_out(scene)
}

/// Roots that jump, signed by everybody who must.
fn roots(scene: &mut Scene, far: &[u64]) -> Outcome {
    let (old, new) = (root_keys(1), root_keys(2));
    let keys: Vec<_> = old.iter().chain(&new).collect();
    for number in far.iter().copied().chain([3, 4]) {
        for (field, reason) in [("version", "root-version"), ("epoch", "root-epoch")] {
            let mut root = serde_json::to_value(scene.fleet.root(2))?;
            *root.get_mut(field).ok_or("no such field in a root")? = number.into();
            let bytes = sign_any(tidegate_bundle::ROOT_TYPE, &root, &keys)?;
            let what = format_args!("a root with {field} {number}");
            scene.refuses(what, Gift::Root(&bytes), &[reason])?;
        }
    }
    Ok(())
}

/// What was run up step by step is forgotten with the epoch.
fn way_out(scene: &mut Scene) -> Outcome {
    for step in 1..=3 {
        let release = scene.next.1.clone();
        let bytes = scene.fleet.deploy(SEQ + step * JUMP_MAX, &[&release])?;
        scene.takes(Gift::Next(&bytes))?;
    }
    let honest = scene.next.0.clone();
    scene.refuses(
        format_args!("the honest one"),
        Gift::Next(&honest),
        &["sequence-rollback"],
    )?;
    let mut root = scene.fleet.root(2);
    root.epoch = 2;
    let bytes = scene.fleet.sign_root(&root)?;
    scene.takes(Gift::Root(&bytes))?;
    scene.refuses(
        format_args!("of the old epoch"),
        Gift::Next(&honest),
        &["old-epoch"],
    )?;
    let mut body = deployment(1, &[&scene.next.1]);
    body.epoch = 2;
    let bytes = scene.fleet.sign_deployment(&body)?;
    scene.takes(Gift::Next(&bytes))
}
