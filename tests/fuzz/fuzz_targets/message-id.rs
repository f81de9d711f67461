//! A payload in which the sender's id is looked for. What looks is the field's own, so its source is compiled in here.

#![no_main]

use std::collections::BTreeMap;

use serde_json::Value;
use tidegate_fuzz::Subject;

#[path = "../../../runtime/field/src/json_field.rs"]
mod json_field;

/// A payload.
struct MessageId;

impl Subject for MessageId {
    fn seeds() -> Vec<Vec<u8>> {
        let texts = [
            r#"{"id":"a-1"}"#,
            r#" { "x" : [1,{"id":2},"]"] , "id" : 17 }"#,
            r#"{"t":"}\"","n":null,"b":true,"id":-1.5e+3}"#,
            r#"{"id":"a\"b"}"#,
        ];
        texts.map(|text| text.as_bytes().to_vec()).into()
    }

    fn check(input: &[u8]) {
        let found = json_field::top_level_field(input, "id");
        assert!(found.is_none_or(|found| !found.is_empty() && found.len() < input.len()));
        // Of text that is JSON, a parser finds the same; where the name stands there twice or is spelled with escapes, the
        // two may differ.
        let Ok(fields) = serde_json::from_slice::<BTreeMap<String, Value>>(input) else {
            return;
        };
        let text = String::from_utf8_lossy(input);
        if text.matches("id").count() != 1 || text.contains('\\') {
            return;
        }
        let expected = fields
            .get("id")
            .filter(|value| value.is_string() || value.is_number());
        let found = found.map(|found| String::from_utf8_lossy(found).into_owned());
        match (expected, found) {
            (Some(Value::String(text)), found) => assert_eq!(found.unwrap_or_default(), *text),
            (Some(number), found) => {
                let found = found.and_then(|found| found.parse::<Value>().ok());
                assert_eq!(found.as_ref(), Some(number));
            }
            (None, found) => assert_eq!(found, None),
        }
    }
}

tidegate_fuzz::target!(MessageId);
