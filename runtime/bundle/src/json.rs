//! JSON, read strictly.
//!
//! Two parsers that understand one text differently are a way around a signature. So: no field twice in any object,
//! no field that the reader does not ask for (but `x-…`, anywhere, for notes), no numbers but u64, nothing after the
//! value. A document is read field by field with [`Fields`]; each refusal names the place.

use std::fmt;
use std::ops::RangeInclusive;

use serde::Serialize;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::{Error, text};

/// Reads one JSON value of a document.
pub(crate) fn read(document: &'static str, bytes: &[u8]) -> Result<Item, Error> {
    let mut input = serde_json::Deserializer::from_slice(bytes);
    let value =
        Value::deserialize(&mut input).map_err(|source| Error::NotJson { document, source })?;
    if let Some(path) = repeated_field(&value, "") {
        return Err(Error::DuplicateField { document, path });
    }
    if input.end().is_err() {
        return Err(Error::TrailingData {
            what: document,
            offset: first_byte_after(bytes),
        });
    }
    Ok(Item {
        document,
        path: String::new(),
        value,
    })
}

/// Writes the body of a document.
pub(crate) fn write(document: &'static str, body: &impl Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(body).map_err(|source| Error::NotJson { document, source })
}

/// A value and the place where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    document: &'static str,
    path: String,
    value: Value,
}

impl Item {
    /// A refusal of this value.
    pub(crate) fn refuse(&self, problem: impl Into<String>) -> Error {
        let separator = if self.path.is_empty() { "" } else { ", " };
        Error::malformed(
            format!("the {}{separator}{}", self.document, self.path),
            problem,
        )
    }

    pub(crate) fn fields(self) -> Result<Fields, Error> {
        match self.value {
            Value::Object(fields) => Ok(Fields {
                document: self.document,
                path: self.path,
                fields,
            }),
            _ => Err(self.refuse("must be an object")),
        }
    }

    /// An object whose field names are data.
    pub(crate) fn entries(self) -> Result<Vec<(String, Item)>, Error> {
        let Fields {
            document,
            path,
            fields,
        } = self.fields()?;
        let place = |(name, value): (String, Value)| {
            let path = join(&path, &name);
            (
                name,
                Item {
                    document,
                    path,
                    value,
                },
            )
        };
        Ok(fields.into_iter().map(place).collect())
    }

    pub(crate) fn list(self) -> Result<Vec<Item>, Error> {
        let Value::List(values) = self.value else {
            return Err(self.refuse("must be a list"));
        };
        let place = |(index, value)| Item {
            document: self.document,
            path: format!("{}[{index}]", self.path),
            value,
        };
        Ok(values.into_iter().enumerate().map(place).collect())
    }

    pub(crate) fn integer(self) -> Result<u64, Error> {
        match self.value {
            Value::Integer(value) => Ok(value),
            _ => Err(self.refuse("must be a whole number from 0 to 2^64 - 1")),
        }
    }

    /// A whole number from 1 on.
    pub(crate) fn positive(self) -> Result<u64, Error> {
        match self.value {
            Value::Integer(0) => Err(self.refuse("must be at least 1")),
            _ => self.integer(),
        }
    }

    /// A whole number of this range.
    pub(crate) fn within(self, range: RangeInclusive<u64>) -> Result<u64, Error> {
        match self.value {
            Value::Integer(value) if range.contains(&value) => Ok(value),
            _ => {
                let (from, to) = range.into_inner();
                Err(self.refuse(format!("must be a whole number from {from} to {to}")))
            }
        }
    }

    pub(crate) fn boolean(self) -> Result<bool, Error> {
        match self.value {
            Value::Boolean(value) => Ok(value),
            _ => Err(self.refuse("must be true or false")),
        }
    }

    pub(crate) fn is_text(&self) -> bool {
        matches!(self.value, Value::Text(_))
    }

    /// What one of these words stands for.
    pub(crate) fn word<T: Copy>(self, words: &[(&str, T)]) -> Result<T, Error> {
        let known = |text: &str| words.iter().find(|(word, _)| *word == text);
        let found = match &self.value {
            Value::Text(text) => known(text),
            _ => None,
        };
        found.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            self.refuse(format!("must be one of {}", words.join(", ")))
        })
    }

    pub(crate) fn text(self) -> Result<String, Error> {
        match self.value {
            Value::Text(text) => Ok(text),
            _ => Err(self.refuse("must be a string")),
        }
    }

    /// A text that passes `check`, which answers with the problem otherwise.
    pub(crate) fn checked_text(
        self,
        check: fn(&str) -> Result<(), &'static str>,
    ) -> Result<String, Error> {
        match &self.value {
            Value::Text(text) => check(text).map_err(|problem| self.refuse(problem))?,
            _ => return Err(self.refuse("must be a string")),
        }
        self.text()
    }

    pub(crate) fn name(self) -> Result<String, Error> {
        self.checked_text(text::check_name)
    }

    /// A list of texts, none of them twice.
    pub(crate) fn checked_texts(
        self,
        check: fn(&str) -> Result<(), &'static str>,
    ) -> Result<Vec<String>, Error> {
        let mut texts = Vec::new();
        for item in self.list()? {
            let repeated = item.refuse("stands there twice");
            let text = item.checked_text(check)?;
            if texts.contains(&text) {
                return Err(repeated);
            }
            texts.push(text);
        }
        Ok(texts)
    }

    /// A text that `parse` can read; its error is replaced by one that names the place.
    pub(crate) fn parsed<T, E: fmt::Display>(
        self,
        parse: fn(&str) -> Result<T, E>,
    ) -> Result<T, Error> {
        match &self.value {
            Value::Text(text) => {
                parse(text).map_err(|error| self.refuse(format!("cannot be read: {error}")))
            }
            _ => Err(self.refuse("must be a string")),
        }
    }
}

/// The fields of an object, taken one by one; [`Fields::end`] refuses what nobody took.
#[derive(Debug)]
pub(crate) struct Fields {
    document: &'static str,
    path: String,
    fields: Vec<(String, Value)>,
}

impl Fields {
    pub(crate) fn required(&mut self, name: &str) -> Result<Item, Error> {
        self.optional(name).ok_or_else(|| {
            let place = format!("the {}, {},", self.document, join(&self.path, name));
            Error::malformed(place, "is missing")
        })
    }

    pub(crate) fn optional(&mut self, name: &str) -> Option<Item> {
        let index = self.fields.iter().position(|(field, _)| field == name)?;
        let (_, value) = self.fields.remove(index);
        Some(Item {
            document: self.document,
            path: join(&self.path, name),
            value,
        })
    }

    pub(crate) fn end(self) -> Result<(), Error> {
        match self.fields.iter().find(|(name, _)| !name.starts_with("x-")) {
            Some((name, _)) => Err(Error::UnknownField {
                document: self.document,
                path: join(&self.path, name),
            }),
            None => Ok(()),
        }
    }
}

fn join(path: &str, name: &str) -> String {
    // Field names are the sender's; escaped, they cannot disturb a terminal.
    let name = name.escape_debug();
    if path.is_empty() {
        name.to_string()
    } else {
        format!("{path}.{name}")
    }
}

/// The place of a field that stands twice in one object, at any depth.
fn repeated_field(value: &Value, path: &str) -> Option<String> {
    match value {
        Value::Object(fields) => {
            let mut names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
            names.sort_unstable();
            let repeated = names
                .array_windows()
                .find(|[a, b]| a == b)
                .map(|[name, _]| join(path, name));
            repeated.or_else(|| {
                fields
                    .iter()
                    .find_map(|(name, value)| repeated_field(value, &join(path, name)))
            })
        }
        Value::List(values) => values
            .iter()
            .enumerate()
            .find_map(|(index, value)| repeated_field(value, &format!("{path}[{index}]"))),
        _ => None,
    }
}

/// Where the text after the first value begins.
fn first_byte_after(bytes: &[u8]) -> usize {
    let mut values =
        serde_json::Deserializer::from_slice(bytes).into_iter::<serde::de::IgnoredAny>();
    values.next();
    let end = values.byte_offset();
    let blank = bytes
        .iter()
        .skip(end)
        .take_while(|byte| byte.is_ascii_whitespace())
        .count();
    end + blank
}

#[derive(Debug, Clone)]
enum Value {
    Integer(u64),
    Boolean(bool),
    Text(String),
    List(Vec<Value>),
    Object(Vec<(String, Value)>),
    /// `null`, fractions, negative numbers: no field of ours is one of them.
    Other,
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = entries.next_entry()? {
            fields.push(field);
        }
        Ok(Value::Object(fields))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Boolean(value))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, reason: &str) {
        let result = read("note", text.as_bytes()).and_then(|item| {
            let mut fields = item.fields()?;
            fields.required("n")?.integer()?;
            fields.end()
        });
        assert_eq!(
            result.map_or_else(|error| error.reason(), |()| "accepted"),
            reason,
            "{text}"
        );
    }

    #[test]
    fn only_the_strict_reading_is_accepted() {
        check(r#"{"n":1}"#, "accepted");
        check(
            r#" {"n":18446744073709551615, "x-note":{"any":[null,-1,1.5,true]}} "#,
            "accepted",
        );
        check(r#"{"n":1,"n":1}"#, "duplicate-field");
        check(r#"{"n":1,"\u006e":1}"#, "duplicate-field");
        check(r#"{"n":1,"x-note":[{"a":1,"a":2}]}"#, "duplicate-field");
        check(r#"{"n":1,"m":1}"#, "unknown-field");
        check(r#"{"n":1}{"#, "trailing-data");
        check(r#"{"n":1} 0"#, "trailing-data");
        for wrong in [
            "",
            "{",
            "[]",
            "{}",
            r#"{"n":-1}"#,
            r#"{"n":1.0}"#,
            r#"{"n":18446744073709551616}"#,
            "\u{feff}{}",
        ] {
            check(wrong, "malformed");
        }
    }

    #[test]
    fn deep_nesting_is_refused_and_does_not_overflow_the_stack() {
        check(&"[".repeat(60_000), "malformed");
        check(&r#"{"x-a":"#.repeat(8_000), "malformed");
    }

    #[test]
    fn trailing_data_is_named_by_its_place() {
        match read("note", b"{} \n x").unwrap_err() {
            Error::TrailingData { offset, .. } => assert_eq!(offset, 5),
            other => panic!("{other}"),
        }
    }
}
