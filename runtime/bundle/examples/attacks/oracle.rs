//! What must become of a changed document, worked out from the change alone: another reader, and no arithmetic of any curve.
//!
//! A signature holds here if it is one of those that were made, over the body that they were made for. So a change either
//! leaves body and enough signatures as they were, and the document is the genuine one; or it is refused, and mostly for
//! one reason only.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize as _;
use serde::de::IgnoredAny;
use serde_json::{Deserializer, Value};
use tidegate_bundle::{DOCUMENT_BYTES_MAX, KeyId, SIGNATURES_MAX};

use super::subject::Subject;

/// What must become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// It is refused for one of these reasons.
    Refused(Vec<&'static str>),
    /// It is the genuine document, spelled in another way.
    Same,
}

use Judgement::{Refused, Same};

/// Judges changed bytes of a document.
pub(crate) fn judge(subject: &Subject, bytes: &[u8]) -> Judgement {
    if bytes.len() > DOCUMENT_BYTES_MAX {
        return Refused(vec!["too-large"]);
    }
    let envelope = match read(bytes) {
        Ok(envelope) => envelope,
        Err(reason) => return Refused(vec![reason]),
    };
    let faults = faults(&envelope);
    if !faults.is_empty() {
        return Refused(faults);
    }
    let Some((kind, body, signatures)) = super::subject::open(&envelope) else {
        return Refused(vec!["malformed"]);
    };
    if kind != subject.kind {
        return Refused(vec!["wrong-type"]);
    }
    let genuine = |signature: &(String, Vec<u8>)| {
        body == subject.body && subject.signatures.contains(signature)
    };
    let roles = subject.roles.iter();
    let verdicts = roles.map(|role| judge_signatures(&signatures, role, genuine));
    match verdicts.flatten().next() {
        Some(reason) => Refused(vec![reason]),
        None => Same,
    }
}

/// The value that these bytes are, or why they are none.
fn read(bytes: &[u8]) -> Result<Value, &'static str> {
    let mut input = Deserializer::from_slice(bytes);
    let value = Value::deserialize(&mut input).map_err(|_| "malformed")?;
    // Where a value ends that may have names in it; a bare number or word has none.
    let mut values = Deserializer::from_slice(bytes).into_iter::<IgnoredAny>();
    let end = values.next().map_or(0, |_| values.byte_offset());
    let (first, _) = bytes.split_at_checked(end).unwrap_or_default();
    if names_in_text(first) != names_in_value(&value) {
        return Err("duplicate-field");
    }
    input.end().map(|()| value).map_err(|_| "trailing-data")
}

/// How often a name stands in well-formed JSON: a string with a colon after it.
fn names_in_text(json: &[u8]) -> usize {
    let (mut inside, mut escaped, mut after_string, mut names) = (false, false, false, 0);
    for byte in json {
        match (inside, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (true, b'"') => (inside, after_string) = (false, true),
            (true, _) | (false, b' ' | b'\t' | b'\n' | b'\r') => {}
            (false, b'"') => (inside, after_string) = (true, false),
            (false, b':') if after_string => {
                names += 1;
                after_string = false;
            }
            (false, _) => after_string = false,
        }
    }
    names
}

/// How many names a value has; of those that stand twice in one object it keeps one.
fn names_in_value(value: &Value) -> usize {
    match value {
        Value::Object(fields) => fields.len() + fields.values().map(names_in_value).sum::<usize>(),
        Value::Array(values) => values.iter().map(names_in_value).sum(),
        _ => 0,
    }
}

/// What is wrong with the form of an envelope. Which of two faults is told is the reader's choice.
fn faults(envelope: &Value) -> Vec<&'static str> {
    let base64 = |value: &Value| {
        value
            .as_str()
            .is_some_and(|text| BASE64.decode(text).is_ok())
    };
    let is_signature = |value: &Value| {
        let key_id = value.get("keyid").and_then(Value::as_str);
        let sig = value.get("sig").and_then(Value::as_str);
        key_id.is_some_and(|text| KeyId::parse(text).is_ok())
            && sig.is_some_and(|text| BASE64.decode(text).is_ok_and(|bytes| bytes.len() == 64))
    };
    let signatures = envelope.get("signatures").and_then(Value::as_array);
    let good = envelope.get("payload").is_some_and(base64)
        && envelope.get("payloadType").is_some_and(Value::is_string)
        && signatures.is_some_and(|signatures| {
            signatures.len() <= SIGNATURES_MAX && signatures.iter().all(is_signature)
        });
    let unknown = has_unknown(envelope, &["payload", "payloadType", "signatures"])
        || signatures.is_some_and(|signatures| {
            signatures
                .iter()
                .any(|signature| has_unknown(signature, &["keyid", "sig"]))
        });
    let faults = [(!good, "malformed"), (unknown, "unknown-field")];
    let found = faults.into_iter().filter(|(there, _)| *there);
    found.map(|(_, reason)| reason).collect()
}

fn has_unknown(value: &Value, known: &[&str]) -> bool {
    let unknown = |name: &String| !known.contains(&name.as_str()) && !name.starts_with("x-");
    let fields = value.as_object();
    fields.is_some_and(|fields| fields.keys().any(unknown))
}

/// Why these signatures are not enough for a role.
fn judge_signatures(
    signatures: &[(String, Vec<u8>)],
    (keys, threshold): &(Vec<String>, usize),
    genuine: impl Fn(&(String, Vec<u8>)) -> bool,
) -> Option<&'static str> {
    if signatures.is_empty() {
        return Some("unsigned");
    }
    let mut count = 0;
    for (index, signature) in signatures.iter().enumerate() {
        let mut before = signatures.iter().take(index);
        if before.any(|other| other.0 == signature.0) {
            return Some("duplicate-signature-key");
        }
        if !keys.contains(&signature.0) {
            continue;
        }
        if !genuine(signature) {
            return Some("bad-signature");
        }
        count += 1;
    }
    match count {
        0 => Some("wrong-key"),
        count if count < *threshold => Some("threshold"),
        _ => None,
    }
}
