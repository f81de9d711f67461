//! T18: documents that make little sense, signed by who may sign them: the readers of bodies under fire. Each is refused for a
//! reason of its form or of a rule, or was read for exactly what stands in it.

use serde_json::{Deserializer, Value};

use super::Outcome;
use super::archives::archive;
use super::fleet::component;
use super::mutate::Json;
use super::scene::{COUNTER, Gift, Scene};
use super::subject::{Subject, write};

/// One of so many random changes is signed nonsense.
const SIGNED_ONE_IN: u64 = 10;

/// Reasons of the form, of any document.
const FORM: &[&str] = &["malformed", "unknown-field", "duplicate-field"];

pub(crate) fn run(scene: &mut Scene) -> Outcome {
    let subjects = Subject::all(scene)?;
    let bodies: Vec<Json> = subjects
        .iter()
        .map(|subject| Ok(Json::new(serde_json::from_slice(&subject.body)?)))
        .collect::<Outcome<_>>()?;
    let all: Vec<_> = subjects.iter().zip(&bodies).collect();
    let mut random = scene.random.clone();
    for number in 0..scene.mutations / SIGNED_ONE_IN {
        let (subject, body) = random.pick(&all).ok_or("no documents")?;
        let body = body.changed(&mut random);
        signed(scene, number, subject, &body)?;
    }
    Ok(())
}

fn signed(scene: &mut Scene, number: u64, subject: &Subject, body: &str) -> Outcome {
    let message = tidegate_bundle::signed_bytes(subject.kind, body.as_bytes());
    let sign = |key: &tidegate_bundle::SigningKey| {
        (
            super::fleet::id(key).to_string(),
            key.sign(&message).to_vec(),
        )
    };
    let signatures: Vec<_> = subject.signers.iter().map(sign).collect();
    let mut bytes = write(subject.kind, body.as_bytes(), &signatures);
    let is_release = subject.name == "release";
    if is_release {
        // In a bundle, so that it may be taken: a deployment names its releases by digest.
        let component = component("pump", COUNTER + 1);
        let name = format!("artifacts/{}", tidegate_bundle::Digest::of(&component));
        bytes = archive(&[("release.dsse.json".to_owned(), bytes), (name, component)]);
    }
    let gift = if is_release {
        Gift::Bundle(&bytes)
    } else {
        (subject.gift)(&bytes)
    };
    let reasons = [FORM, rules(subject.name)].concat();
    let what = format_args!("nonsense {number}, {}: {body}", subject.name);
    scene.read_or_refused(what, gift, &reasons, |taken| means_the_same(taken, body))
}

/// Reasons that a well-formed document of this kind may be refused for.
fn rules(document: &str) -> &'static [&'static str] {
    match document {
        "root" => &[
            "wrong-fleet",
            "root-version",
            "root-epoch",
            "key-id-mismatch",
            "weak-key",
            "wrong-key",
            "threshold",
        ],
        "deployment" => &[
            "wrong-fleet",
            "wrong-gateway",
            "wrong-group",
            "root-too-old",
            "old-epoch",
            "unknown-epoch",
            "sequence-rollback",
            "sequence-reused",
            "sequence-jump",
            "missing-release",
            "unexpected-release",
            "not-asked",
            "unknown-stream",
        ],
        "release" => &[
            "unsupported-world",
            "length",
            "digest-mismatch",
            "missing-entry",
            "unexpected-entry",
            "module-not-allowed",
        ],
        "time" => &["wrong-fleet", "wrong-gateway", "wrong-nonce"],
        _ => &[],
    }
}

/// Whether what was read, written again, is what was signed; but for notes.
fn means_the_same(taken: &[u8], body: &str) -> bool {
    let first = |bytes: &[u8]| Deserializer::from_slice(bytes).into_iter::<Value>().next();
    match (first(taken), first(body.as_bytes())) {
        (Some(Ok(taken)), Some(Ok(body))) => without_notes(taken) == without_notes(body),
        _ => false,
    }
}

fn without_notes(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(name, _)| !name.starts_with("x-"))
            .map(|(name, value)| (name, without_notes(value)))
            .collect(),
        Value::Array(values) => values.into_iter().map(without_notes).collect(),
        other => other,
    }
}
