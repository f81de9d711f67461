//! T1: documents that nobody signed, or the wrong one, or with a signature that proves nothing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tidegate_bundle::{Digest, ROOT_TYPE, SigningKey, signed_bytes};

use super::Outcome;
use super::fleet::{id, root_keys, sign_any};
use super::oracle::{Judgement, judge};
use super::points::{forged, weak_keys};
use super::scene::{Gift, Scene};
use super::subject::{Subject, write};

/// One of so many random changes is a flipped bit here.
const FLIPS_ONE_IN: u64 = 10;

pub(crate) fn run(scene: &mut Scene) -> Outcome {
    let subjects = Subject::all(scene)?;
    for subject in &subjects {
        wrong_keys(scene, subject)?;
        wrong_bytes(scene, subject, &subjects)?;
        tricks(scene, subject)?;
        wrong_types(scene, subject, &subjects)?;
    }
    weak_roots(scene)?;
    let flips = scene.mutations / FLIPS_ONE_IN / 5;
    for subject in &subjects {
        for _ in 0..flips {
            flip(scene, subject)?;
        }
    }
    for subject in &subjects {
        scene.harmless(
            format_args!("{}", subject.name),
            (subject.gift)(&subject.bytes),
            &subject.body,
        )?;
    }
    Ok(())
}

fn wrong_keys(scene: &mut Scene, subject: &Subject) -> Outcome {
    let name = subject.name;
    let unsigned = write(subject.kind, &subject.body, &[]);
    scene.refuses(
        format_args!("{name}, unsigned"),
        (subject.gift)(&unsigned),
        &["unsigned"],
    )?;
    let (message, own) = (signed_bytes(subject.kind, &subject.body), first(subject)?);
    let others: Vec<_> = subject
        .outsiders(&scene.fleet)
        .into_iter()
        .map(|key| (id(key).to_string(), key.sign(&message).to_vec()))
        .collect();
    for (index, other) in others.iter().enumerate() {
        let alone = write(subject.kind, &subject.body, std::slice::from_ref(other));
        let what = format_args!("{name}, by outsider {index}");
        scene.refuses(what, (subject.gift)(&alone), &["wrong-key"])?;
        let disguised = subject.with_first(&own, &other.1);
        let what = format_args!("{name}, by outsider {index} under the id of a signer");
        scene.refuses(what, (subject.gift)(&disguised), &["bad-signature"])?;
    }
    let all = write(subject.kind, &subject.body, &others);
    scene.refuses(
        format_args!("{name}, by all outsiders"),
        (subject.gift)(&all),
        &["wrong-key"],
    )
}

/// Signatures by the right key, of something else.
fn wrong_bytes(scene: &mut Scene, subject: &Subject, subjects: &[Subject]) -> Outcome {
    let (signer, own) = (signer(subject)?, first(subject)?);
    let elsewhere = subjects.iter().filter(|other| other.name != subject.name);
    let mut messages: Vec<(&str, Vec<u8>)> = elsewhere
        .map(|other| (other.name, signed_bytes(other.kind, &other.body)))
        .collect();
    messages.push(("its body without the type", subject.body.clone()));
    messages.push(("its body under no type", signed_bytes("", &subject.body)));
    messages.push(("its digest", Digest::of(&subject.body).as_bytes().to_vec()));
    let longer = [&subject.body[..], b" "].concat();
    messages.push(("a body that is longer", signed_bytes(subject.kind, &longer)));
    for (of, message) in messages {
        let bytes = subject.with_first(&own, &signer.sign(&message));
        let what = format_args!("{}, with a signature of {of}", subject.name);
        scene.refuses(what, (subject.gift)(&bytes), &["bad-signature"])?;
    }
    Ok(())
}

fn tricks(scene: &mut Scene, subject: &Subject) -> Outcome {
    let own = first(subject)?;
    let message = signed_bytes(subject.kind, &subject.body);
    for (trick, signature) in forged(signer(subject)?, &message)? {
        let bytes = subject.with_first(&own, &signature);
        let what = format_args!("{}, {trick}", subject.name);
        scene.refuses(what, (subject.gift)(&bytes), &["bad-signature"])?;
    }
    Ok(())
}

fn wrong_types(scene: &mut Scene, subject: &Subject, subjects: &[Subject]) -> Outcome {
    for other in subjects.iter().filter(|other| other.name != subject.name) {
        let what = format_args!("{} as {}", other.name, subject.name);
        scene.refuses(what, (subject.gift)(&other.bytes), &["wrong-type"])?;
        // Signed as the other type by who may sign this one, then relabelled.
        let message = signed_bytes(other.kind, &subject.body);
        let bytes = subject.with_first(&first(subject)?, &signer(subject)?.sign(&message));
        let what = format_args!("{}, signed as {} and relabelled", subject.name, other.name);
        scene.refuses(what, (subject.gift)(&bytes), &["bad-signature"])?;
    }
    Ok(())
}

/// Roots that list a key under which signatures prove nothing, signed by all who must.
fn weak_roots(scene: &mut Scene) -> Outcome {
    let (old, new) = (root_keys(1), root_keys(2));
    let keys: Vec<_> = old.iter().chain(&new).collect();
    for (index, weak) in weak_keys().into_iter().enumerate() {
        let mut root = serde_json::to_value(scene.fleet.root(2))?;
        let key_id = Digest::of(&weak).to_string();
        let text = format!("tidegate-ed25519-public:{}", BASE64.encode(weak));
        if let Some(keys) = root.get_mut("keys").and_then(|keys| keys.as_object_mut()) {
            keys.insert(key_id, text.into());
        }
        let bytes = sign_any(ROOT_TYPE, &root, &keys)?;
        for gift in [Gift::Root(&bytes), Gift::FirstRoot(&bytes)] {
            // Most second encodings are of no point at all.
            let what = format_args!("a root with weak key {index}");
            scene.refuses(what, gift, &["weak-key", "malformed"])?;
        }
    }
    Ok(())
}

fn flip(scene: &mut Scene, subject: &Subject) -> Outcome {
    let at = scene.random.below(subject.bytes.len() * 8);
    let mut bytes = subject.bytes.clone();
    if let Some(byte) = bytes.get_mut(at / 8) {
        *byte ^= 1 << (at % 8);
    }
    let what = format_args!("{}, bit {at}", subject.name);
    match judge(subject, &bytes) {
        Judgement::Refused(reasons) => scene.refuses(what, (subject.gift)(&bytes), &reasons),
        Judgement::Same => scene.harmless(what, (subject.gift)(&bytes), &subject.body),
    }
}

fn signer(subject: &Subject) -> Outcome<&SigningKey> {
    Ok(subject
        .signers
        .first()
        .ok_or("a document without a signer")?)
}

/// The id of its first signer.
fn first(subject: &Subject) -> Outcome<String> {
    Ok(id(signer(subject)?).to_string())
}
