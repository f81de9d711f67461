//! T9: roots that do not follow: skipped, signed by one side alone, signed again, or by keys that were rotated out.

use tidegate_bundle::{Envelope, ROOT_TYPE, Root, SigningKey};

use super::Outcome;
use super::fleet::{fleet, key, root_keys};
use super::scene::{Gift, SEQ, Scene};

/// How long a chain is, and how many roots a gateway was away for.
const CHAIN: u64 = 50;
const AWAY: usize = 40;

pub(crate) fn run(scene: &mut Scene) -> Outcome {
    one_side(scene)?;
    signed_again(scene)?;
    rotated_out(scene)?;
    chain(scene)
}

fn by(root: &Root, keys: &[&SigningKey]) -> Outcome<Vec<u8>> {
    let body = serde_json::to_vec(root)?;
    Ok(Envelope::sign("root", ROOT_TYPE, body, keys)?.write()?)
}

/// Every set of signatures of the two old and the two new keys, but all of them.
fn one_side(scene: &mut Scene) -> Outcome {
    let (old, new) = (root_keys(1), root_keys(2));
    let four: Vec<&SigningKey> = old.iter().chain(&new).collect();
    let root = scene.fleet.root(2);
    for set in 0..0b1111_u32 {
        let keys: Vec<_> = four
            .iter()
            .enumerate()
            .filter(|(index, _)| set >> index & 1 == 1)
            .map(|(_, key)| *key)
            .collect();
        let count = |bits: u32| bits.count_ones();
        let reason = match (count(set & 0b11), count(set >> 2)) {
            (0, 0) => "unsigned",
            (0, _) | (2, 0) => "wrong-key",
            _ => "threshold",
        };
        let bytes = by(&root, &keys)?;
        let what = format_args!("root 2 by the set {set:04b} of old and new keys");
        scene.refuses(what, Gift::Root(&bytes), &[reason])?;
    }
    Ok(())
}

/// The root that the gateway has, or its version, with another content.
fn signed_again(scene: &mut Scene) -> Outcome {
    let keys = root_keys(1);
    let mut longer = scene.fleet.root(1);
    longer.expires = Some(u64::MAX);
    let mut other_keys = scene.fleet.root(1);
    let fresh = key(40).public_key();
    other_keys.keys.insert(fresh.id(), fresh);
    for root in [scene.fleet.root(1), longer, other_keys] {
        let bytes = by(&root, &[&keys[0], &keys[1]])?;
        scene.refuses(
            format_args!("root 1 again"),
            Gift::Root(&bytes),
            &["root-version"],
        )?;
    }
    let mut foreign = scene.fleet.root(2);
    foreign.fleet_id = "plant-8".to_owned();
    let bytes = scene.fleet.sign_root(&foreign)?;
    scene.refuses(
        format_args!("root 2 of another fleet"),
        Gift::Root(&bytes),
        &["wrong-fleet"],
    )?;
    let mut lower = scene.fleet.root(2);
    lower.epoch = 0;
    let [one, two] = root_keys(2);
    let bytes = by(&lower, &[&keys[0], &keys[1], &one, &two])?;
    scene.refuses(
        format_args!("root 2 with epoch 0"),
        Gift::Root(&bytes),
        &["malformed"],
    )
}

/// A root that takes the deploy key away: what it signs is refused from then on.
fn rotated_out(scene: &mut Scene) -> Outcome {
    let trust = scene.trust.clone();
    let [_, other] = &fleet().deployers;
    let mut root = scene.fleet.root(2);
    let deploy = root.roles.deploy.as_mut().ok_or("no deploy role")?;
    deploy.key_ids = vec![other.public_key().id()];
    let bytes = scene.fleet.sign_root(&root)?;
    scene.takes(Gift::Root(&bytes))?;
    for seq in SEQ + 1..SEQ + 9 {
        let bytes = scene.fleet.deploy(seq, &[&scene.next.1])?;
        scene.refuses(
            format_args!("seq {seq} by the old key"),
            Gift::Next(&bytes),
            &["wrong-key"],
        )?;
    }
    let (old, newer) = (root_keys(1), root_keys(3));
    let third = by(
        &scene.fleet.root(3),
        &[&old[0], &old[1], &newer[0], &newer[1]],
    )?;
    scene.refuses(
        format_args!("root 3 by the keys of 1"),
        Gift::Root(&third),
        &["wrong-key"],
    )?;
    scene.trust = trust;
    scene.note()
}

/// At each root of a chain every other one is refused, and a gateway that was away takes forty of them.
fn chain(scene: &mut Scene) -> Outcome {
    let chain: Vec<Vec<u8>> = (2..=CHAIN)
        .map(|version| scene.fleet.signed_root(version))
        .collect::<Result<_, _>>()?;
    for (index, next) in chain.iter().enumerate() {
        for (other, bytes) in chain
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != index)
        {
            // Each is signed by its own keys and those of the one before: the last one taken by keys that may sign now.
            let reason = if other + 1 == index {
                "root-version"
            } else {
                "wrong-key"
            };
            let what = format_args!("root {} in place of {}", other + 2, index + 2);
            scene.refuses(what, Gift::Root(bytes), &[reason])?;
        }
        scene.takes(Gift::Root(next))?;
    }
    scene.begin_anew()?;
    for next in chain.iter().take(AWAY) {
        scene.takes(Gift::Root(next))?;
    }
    Ok(())
}
