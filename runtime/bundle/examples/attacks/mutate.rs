//! Random changes: of bytes, and of JSON that is still JSON afterwards.

use serde_json::{Value, json};

use super::random::Random;

/// Most bytes that one change touches, but for those that cut or join.
const RUN_MAX: usize = 64;

/// Bytes that parsers stumble over.
const TOKENS: [&[u8]; 16] = [
    b"\"", b"\\", b"{", b"}", b"[", b"]", b",", b":", b"null", b"-1", b"1e999", b"\\u0000",
    b"\\ud800", b"\xff", b"\0", b" ",
];

/// Changes bytes in one place; `others` are what they may be joined with.
pub(crate) fn bytes(random: &mut Random, genuine: &[u8], others: &[&[u8]]) -> Vec<u8> {
    let mut bytes = genuine.to_vec();
    let at = random.below(bytes.len());
    let end = (at + 1 + random.below(RUN_MAX)).min(bytes.len());
    match random.below(10) {
        0 => bytes
            .iter_mut()
            .skip(at)
            .take(1)
            .for_each(|byte| *byte ^= 1 << random.below(8)),
        1 => bytes
            .iter_mut()
            .skip(at)
            .take(1)
            .for_each(|byte| *byte = random.byte()),
        2 => bytes
            .iter_mut()
            .take(end)
            .skip(at)
            .for_each(|byte| *byte = random.byte()),
        3 => drop(bytes.drain(at..end)),
        4 => bytes.truncate(at),
        5 => {
            let other = random.below(bytes.len());
            bytes.swap(at, other);
        }
        6 => insert(&mut bytes, at, genuine.get(at..end).unwrap_or_default()),
        7 => {
            let more: Vec<u8> = (at..end).map(|_| random.byte()).collect();
            insert(&mut bytes, at, &more);
        }
        8 => {
            let token = random.pick(&TOKENS).copied().unwrap_or_default();
            insert(&mut bytes, at, token);
        }
        _ => {
            let other = random.pick(others).copied().unwrap_or_default();
            bytes.truncate(at);
            bytes.extend_from_slice(other.get(random.below(other.len())..).unwrap_or_default());
        }
    }
    bytes
}

fn insert(bytes: &mut Vec<u8>, at: usize, more: &[u8]) {
    bytes.splice(at..at, more.iter().copied());
}

/// A document of JSON, and all places in it.
pub(crate) struct Json {
    value: Value,
    places: Vec<String>,
}

impl Json {
    pub(crate) fn new(value: Value) -> Self {
        let mut places = Vec::new();
        list_places(&value, String::new(), &mut places);
        Self { value, places }
    }

    /// Changes a value in one place and writes it, in one of the ways in which that can be done.
    pub(crate) fn changed(&self, random: &mut Random) -> String {
        let mut value = self.value.clone();
        let place = self.place(random);
        let other = self
            .value
            .pointer(self.place(random))
            .cloned()
            .unwrap_or_default();
        match random.below(8) {
            0 => remove(&mut value, place),
            1 => replace(&mut value, place, |_| other),
            kind => replace(&mut value, place, |old| edit(random, old, kind)),
        }
        let text = if random.one_in(4) {
            serde_json::to_string_pretty(&value).unwrap_or_default()
        } else {
            value.to_string()
        };
        if random.one_in(8) {
            self.with_a_name_more(random, &text)
        } else {
            text
        }
    }

    fn place(&self, random: &mut Random) -> &str {
        random.pick(&self.places).map_or("", String::as_str)
    }

    /// A name of the document once more, in whatever object: often one that has it.
    fn with_a_name_more(&self, random: &mut Random, text: &str) -> String {
        let place = self.place(random);
        let name = place.rsplit('/').next().unwrap_or_default();
        let spelled = name
            .replace("~1", "/")
            .replacen('e', "\\u0065", random.below(2));
        let objects = text.match_indices('{').count();
        let at = text.match_indices('{').nth(random.below(objects));
        let Some((head, tail)) = at.and_then(|(at, _)| text.split_at_checked(at + 1)) else {
            return text.to_owned();
        };
        let comma = if tail.trim_start().starts_with('}') {
            ""
        } else {
            ","
        };
        format!("{head}\"{spelled}\":{}{comma}{tail}", random.below(9))
    }
}

fn list_places(value: &Value, place: String, places: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                list_places(
                    value,
                    format!("{place}/{}", name.replace('/', "~1")),
                    places,
                );
            }
        }
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                list_places(value, format!("{place}/{index}"), places);
            }
        }
        _ => {}
    }
    places.push(place);
}

fn replace(value: &mut Value, place: &str, change: impl FnOnce(Value) -> Value) {
    if let Some(old) = value.pointer_mut(place) {
        *old = change(old.take());
    }
}

fn remove(value: &mut Value, place: &str) {
    let Some((parent, name)) = place.rsplit_once('/') else {
        return;
    };
    match value.pointer_mut(parent) {
        Some(Value::Object(fields)) => drop(fields.remove(&name.replace("~1", "/"))),
        Some(Value::Array(values)) => {
            let index = name.parse().unwrap_or(usize::MAX);
            if index < values.len() {
                values.remove(index);
            }
        }
        _ => {}
    }
}

fn edit(random: &mut Random, old: Value, kind: usize) -> Value {
    match (old, kind) {
        (Value::Object(fields), 2) => fields.into_iter().rev().collect(),
        (Value::Object(mut fields), 3) => {
            let name = if random.one_in(2) { "x-note" } else { "note" };
            fields.insert(name.to_owned(), scalar(random));
            Value::Object(fields)
        }
        (Value::Array(mut values), 2 | 3) => {
            let again = random.pick(&values).cloned();
            values.extend(again);
            Value::Array(values)
        }
        (Value::Number(number), 2..=4) => {
            let number = number.as_u64().unwrap_or_default();
            let step = 1_u64 << random.below(64);
            let moved = [number.saturating_add(step), number.saturating_sub(step)];
            random.pick(&moved).copied().into()
        }
        (Value::String(text), 2..=4) => changed_text(random, &text).into(),
        (old, 5) => json!([old]),
        _ => scalar(random),
    }
}

fn changed_text(random: &mut Random, text: &str) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    let at = random.below(characters.len());
    let new = random
        .pick(&['a', '0', 'F', '/', '.', '=', '+', '\0', '\u{e9}'])
        .copied();
    match random.below(4) {
        0 => drop(characters.drain(at..)),
        1 => characters.extend(new),
        2 => characters
            .iter_mut()
            .skip(at)
            .take(1)
            .for_each(|old| *old = new.unwrap_or(*old)),
        _ => characters.reverse(),
    }
    characters.into_iter().collect()
}

fn scalar(random: &mut Random) -> Value {
    let choices = [
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(1),
        json!(-1),
        json!(1.5),
        json!(u64::MAX),
        json!(1e300),
        json!(""),
        json!("a"),
        json!("../a"),
        json!("0".repeat(64)),
        json!("a".repeat(2000)),
        json!([]),
        json!({}),
        json!([[[[]]]]),
        json!({"a": {"a": {}}}),
    ];
    random.pick(&choices).cloned().unwrap_or_default()
}
