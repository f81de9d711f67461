//! T2: one key counted as two, in the shapes of CVE-2020-15093 and its kin.

use serde_json::{Value, json};
use tidegate_bundle::{ROOT_TYPE, Root, SigningKey, Trust, signed_bytes};

use super::Outcome;
use super::fleet::{Fleet, fleet, id, root_keys, sign_any};
use super::points::another;
use super::scene::{Gift, Scene};
use super::subject::{Subject, write};

type Signature = (String, Vec<u8>);

pub(crate) fn run(scene: &mut Scene) -> Outcome {
    // The root role of version 2 needs two as it is; deployments and releases from here on as well.
    let roots = Subject::all(scene)?
        .into_iter()
        .filter(|subject| subject.name == "root");
    for subject in roots {
        let [old, new] = [root_keys(1), root_keys(2)];
        for (one, rest) in [(&old, &new), (&new, &old)] {
            shapes(scene, &subject, one, rest)?;
        }
    }
    two_of_two(scene)?;
    let Fleet {
        deployers,
        publishers,
        ..
    } = fleet();
    for subject in &Subject::all(scene)? {
        match subject.name {
            "deployment" => shapes(scene, subject, &deployers, &[])?,
            "release" => shapes(scene, subject, &publishers, &[])?,
            _ => {}
        }
    }
    listed_twice(scene)
}

/// The same gateway, in a fleet in which two must sign deployments and releases.
fn two_of_two(scene: &mut Scene) -> Outcome {
    let mut root: Root = scene.fleet.root(1);
    root.roles
        .deploy
        .as_mut()
        .ok_or("no deploy role")?
        .threshold = 2;
    root.roles.release.role.threshold = 2;
    let modules = root.roles.release.modules.values_mut();
    modules.for_each(|patterns| *patterns = vec!["*".to_owned()]);
    scene.trust = Trust::begin(&scene.fleet.sign_root(&root)?)?;
    // With both signatures, the document that is not under attack is good.
    let Scene { fleet, next, .. } = scene;
    for (bytes, keys) in [
        (&mut next.0, &fleet.deployers),
        (&mut next.1.bytes, &fleet.publishers),
    ] {
        *bytes = both(bytes, keys)?;
    }
    scene.note()
}

fn both(bytes: &[u8], keys: &[SigningKey; 2]) -> Outcome<Vec<u8>> {
    let (kind, body, _) =
        super::subject::open(&serde_json::from_slice(bytes)?).ok_or("no envelope")?;
    let message = signed_bytes(&kind, &body);
    let signatures: Vec<_> = keys.iter().map(|key| by(key, &message)).collect();
    Ok(write(&kind, &body, &signatures))
}

fn by(key: &SigningKey, message: &[u8]) -> Signature {
    (id(key).to_string(), key.sign(message).to_vec())
}

/// The document that two must sign, signed by one of them as if it were two; `rest` sign as they should.
fn shapes(
    scene: &mut Scene,
    subject: &Subject,
    [first, second]: &[SigningKey; 2],
    rest: &[SigningKey],
) -> Outcome {
    let message = signed_bytes(subject.kind, &subject.body);
    let (one, two) = (by(first, &message), by(second, &message));
    let stranger = by(&scene.fleet.stranger, &message);
    let again = another(first, 77, &message)?;
    let upper = one.0.to_uppercase();
    let longer = format!("{}0", one.0);
    let variants: Vec<(&str, Vec<Signature>, &str)> = vec![
        ("one key", vec![one.clone()], "threshold"),
        (
            "one key twice",
            vec![one.clone(), one.clone()],
            "duplicate-signature-key",
        ),
        (
            "one key sixteen times",
            vec![one.clone(); 16],
            "duplicate-signature-key",
        ),
        (
            "one key with two signatures",
            vec![one.clone(), (one.0.clone(), again.clone())],
            "duplicate-signature-key",
        ),
        (
            "one key, then in capitals",
            vec![one.clone(), (upper, one.1.clone())],
            "malformed",
        ),
        (
            "one key, then with a digit more",
            vec![one.clone(), (longer, one.1.clone())],
            "malformed",
        ),
        (
            "one key under the id of the other",
            vec![one.clone(), (two.0.clone(), one.1.clone())],
            "bad-signature",
        ),
        (
            "its second signature under the id of the other",
            vec![one.clone(), (two.0.clone(), again)],
            "bad-signature",
        ),
        (
            "one key and a stranger",
            vec![one.clone(), stranger.clone()],
            "threshold",
        ),
        (
            "one key, then under the id of a stranger",
            vec![one.clone(), (stranger.0, one.1.clone())],
            "threshold",
        ),
    ];
    let rest: Vec<_> = rest.iter().map(|key| by(key, &message)).collect();
    for (shape, signatures, reason) in variants {
        for turned in [false, true] {
            let mut all = [signatures.clone(), rest.clone()].concat();
            if all.len() > 16 {
                continue;
            }
            if turned {
                all.reverse();
            }
            let bytes = write(subject.kind, &subject.body, &all);
            let what = format_args!("{}, {shape}, turned round: {turned}", subject.name);
            scene.refuses(what, (subject.gift)(&bytes), &[reason])?;
        }
    }
    let genuine = write(
        subject.kind,
        &subject.body,
        &[vec![one, two], rest].concat(),
    );
    let what = format_args!("{}, by both", subject.name);
    scene.harmless(what, (subject.gift)(&genuine), &subject.body)
}

/// Roots that list one key as two, or ask for fewer than one: signed by everybody who must.
fn listed_twice(scene: &mut Scene) -> Outcome {
    let (old, new) = (root_keys(1), root_keys(2));
    let keys: Vec<_> = old.iter().chain(&new).collect();
    let [first, second] = new.each_ref().map(|key| id(key).to_string());
    let [one, two] = new.each_ref().map(|key| key.public_key().to_text());
    let root = serde_json::to_value(scene.fleet.root(2))?;
    let edits: Vec<(&str, &str, Value, &str)> = vec![
        (
            "one key under both ids",
            "/keys",
            json!({first.clone(): one, second.clone(): one}),
            "key-id-mismatch",
        ),
        (
            "the keys under each other's ids",
            "/keys",
            json!({first.clone(): two, second.clone(): one}),
            "key-id-mismatch",
        ),
        (
            "an id in capitals",
            "/keys",
            json!({first.to_uppercase(): one, second.clone(): two}),
            "malformed",
        ),
        (
            "an id twice in the role",
            "/roles/root/key_ids",
            json!([first, first]),
            "malformed",
        ),
        (
            "an id in the role without a key",
            "/roles/root/key_ids",
            json!([first, "0".repeat(64)]),
            "malformed",
        ),
        (
            "a threshold of none",
            "/roles/root/threshold",
            json!(0),
            "malformed",
        ),
        (
            "a threshold beyond the keys",
            "/roles/root/threshold",
            json!(3),
            "malformed",
        ),
        (
            "a threshold of one and a half",
            "/roles/root/threshold",
            json!(1.5),
            "malformed",
        ),
        (
            "a threshold as text",
            "/roles/root/threshold",
            json!("2"),
            "malformed",
        ),
        (
            "a deploy role of nobody",
            "/roles/deploy/key_ids",
            json!([]),
            "malformed",
        ),
        (
            "publishers without their modules",
            "/roles/release/modules",
            json!({}),
            "malformed",
        ),
    ];
    for (what, place, value, reason) in edits {
        let mut edited = root.clone();
        *edited.pointer_mut(place).ok_or("no such place in a root")? = value;
        let bytes = sign_any(ROOT_TYPE, &edited, &keys)?;
        for gift in [Gift::Root(&bytes), Gift::FirstRoot(&bytes)] {
            scene.refuses(format_args!("a root with {what}"), gift, &[reason])?;
        }
    }
    Ok(())
}
