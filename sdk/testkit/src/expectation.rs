//! Outputs as lines of JSON, and whether they are the expected ones.
//!
//! Outputs of one kind have an order. Between kinds there is none to compare: a gateway sends at-once publications
//! before the commit, rows to the centre and durable publications to the broker, each on a way of its own.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use serde_json::{Value, json};
use tidegate_record::{BootTime, Command, Content, Delivery, Publication, Row, Scalar};

use crate::{LineError, time};

/// What becomes of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    AtOnce,
    Durable,
    Command,
    Row,
    Rejection,
}

/// What a module sent in one run, in the order in which it would be written to a file.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Outputs(Vec<(Kind, Value)>);

impl Outputs {
    /// How many there are, rejections among them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As the text of an expectation, rejections last.
    #[must_use]
    pub fn to_text(&self) -> String {
        let is_rejection = |(kind, _): &&(Kind, Value)| *kind == Kind::Rejection;
        let outputs = self.0.iter().filter(|output| !is_rejection(output));
        outputs
            .chain(self.0.iter().filter(is_rejection))
            .map(|(_, line)| format!("{line}\n"))
            .collect()
    }

    /// These outputs as an expectation of other runs.
    #[must_use]
    pub fn expectation(&self) -> Expectation {
        Expectation(
            self.0
                .iter()
                .map(|(kind, line)| (*kind, None, line.clone()))
                .collect(),
        )
    }

    pub(crate) fn publication(&mut self, publication: &Publication) {
        let mut line = json!({ "topic": publication.topic.as_str() });
        let members = match serde_json::from_slice::<Value>(&publication.payload) {
            Ok(payload) => ("payload", payload),
            Err(_) => ("text", json!(String::from_utf8_lossy(&publication.payload))),
        };
        let retain = publication.retain.then(|| ("retain", json!(true)));
        let (kind, delivery) = match publication.delivery {
            Delivery::AtOnce => (Kind::AtOnce, Some(("delivery", json!("at-once")))),
            Delivery::Durable => (Kind::Durable, None),
        };
        for (name, value) in [Some(members), retain, delivery].into_iter().flatten() {
            if let Some(line) = line.as_object_mut() {
                line.insert(name.to_owned(), value);
            }
        }
        self.0.push((kind, json!({ "publish": line })));
    }

    pub(crate) fn row(&mut self, row: &Row) {
        let (name, content) = match &row.content {
            Content::Values(values) => {
                let value = |value: &tidegate_record::NamedValue| {
                    (value.name.clone(), scalar(&value.value))
                };
                ("values", Value::Object(values.iter().map(value).collect()))
            }
            Content::Document(document) => {
                let text = String::from_utf8_lossy(&document.bytes);
                (
                    "document",
                    json!({ "content-type": document.content_type, "text": text }),
                )
            }
            // Only the gateway writes these; a module cannot.
            Content::Thinned(_) | Content::Lost(_) => return,
        };
        let line = json!({
            "stream": row.stream.as_str(), "class": row.class.as_str(), "key": &*row.key,
            "time": time::format(row.time), "duration": row.duration_ns, name: content,
        });
        self.0.push((Kind::Row, json!({ "keep": line })));
    }

    /// `now` is the boot time of the call that gave the command.
    pub(crate) fn command(&mut self, command: &Command, now: BootTime) {
        let valid_for = command.expires.0.saturating_sub(now.0);
        let line = json!({ "point": &*command.point, "value": scalar(&command.value), "valid-for": valid_for });
        self.0.push((Kind::Command, json!({ "actuate": line })));
    }

    pub(crate) fn rejection(&mut self, reason: &str) {
        self.0
            .push((Kind::Rejection, json!({ "rejected": { "reason": reason } })));
    }
}

fn scalar(scalar: &Scalar) -> Value {
    match scalar {
        Scalar::Boolean(value) => json!(value),
        Scalar::Integer(value) => json!(value),
        Scalar::Number(value) => json!(value),
        Scalar::Text(value) => json!(value),
    }
}

/// What a module must send: for each output its kind, and its line in the file if it has one.
#[derive(Debug)]
pub struct Expectation(Vec<(Kind, Option<usize>, Value)>);

/// The first output that is not the expected one.
#[derive(Debug)]
pub struct Difference {
    /// What was expected, and in which line; none if one output too many came.
    pub expected: Option<(Option<usize>, Value)>,
    /// What came; none if one is missing.
    pub found: Option<Value>,
}

impl Expectation {
    /// Reads an expectation. An empty line says nothing.
    ///
    /// # Errors
    /// What is wrong in which line.
    pub fn read(text: &str) -> Result<Self, LineError> {
        let mut expected = Vec::new();
        for (line, number) in text.lines().zip(1..) {
            if line.trim().is_empty() {
                continue;
            }
            let refuse = |problem| LineError {
                line: number,
                problem,
            };
            let value: Value =
                serde_json::from_str(line).map_err(|error| refuse(error.to_string()))?;
            let kind = kind(&value).ok_or_else(|| {
                refuse(
                    "must be an object with one of publish, keep, actuate and rejected".to_owned(),
                )
            })?;
            expected.push((kind, Some(number), value));
        }
        Ok(Self(expected))
    }

    /// The first output that is not the expected one: of each kind there must be as many, in the same order, each with
    /// every member of its line, and numbers within 1e-9.
    #[must_use]
    pub fn difference(&self, outputs: &Outputs) -> Option<Difference> {
        let mut found: BTreeMap<Kind, VecDeque<&Value>> = BTreeMap::new();
        for (kind, value) in &outputs.0 {
            found.entry(*kind).or_default().push_back(value);
        }
        for (kind, line, expected) in &self.0 {
            let next = found.get_mut(kind).and_then(VecDeque::pop_front);
            if !next.is_some_and(|value| matches(expected, value)) {
                return Some(Difference {
                    expected: Some((*line, expected.clone())),
                    found: next.cloned(),
                });
            }
        }
        let more = found.values().flatten().next()?;
        Some(Difference {
            expected: None,
            found: Some((*more).clone()),
        })
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.expected {
            Some((Some(line), expected)) => writeln!(f, "expected (line {line}): {expected}")?,
            Some((None, expected)) => writeln!(f, "expected: {expected}")?,
            None => writeln!(f, "expected: nothing more")?,
        }
        match &self.found {
            Some(found) => write!(f, "     got: {found}"),
            None => write!(f, "     got: nothing more of this kind"),
        }
    }
}

fn kind(line: &Value) -> Option<Kind> {
    let (name, value) = match line.as_object()?.iter().collect::<Vec<_>>()[..] {
        [(name, value)] => (name.as_str(), value),
        _ => return None,
    };
    match name {
        "publish" if value.get("delivery").and_then(Value::as_str) == Some("at-once") => {
            Some(Kind::AtOnce)
        }
        "publish" => Some(Kind::Durable),
        "keep" => Some(Kind::Row),
        "actuate" => Some(Kind::Command),
        "rejected" => Some(Kind::Rejection),
        _ => None,
    }
}

/// Whether an output is what a line expects.
fn matches(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => expected
            .iter()
            .all(|(name, value)| found.get(name).is_some_and(|found| matches(value, found))),
        (Value::Array(expected), Value::Array(found)) => {
            expected.len() == found.len()
                && expected
                    .iter()
                    .zip(found)
                    .all(|(expected, found)| matches(expected, found))
        }
        (Value::Number(_), Value::Number(_)) if expected != found => {
            match (expected.as_f64(), found.as_f64()) {
                (Some(expected), Some(found)) => {
                    (expected - found).abs() <= 1e-9 * expected.abs().max(found.abs())
                }
                _ => false,
            }
        }
        _ => expected == found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outputs(lines: &[&str]) -> Outputs {
        let line = |line: &&str| {
            let value: Value = serde_json::from_str(line).unwrap();
            (kind(&value).unwrap(), value)
        };
        Outputs(lines.iter().map(line).collect())
    }

    const ROW: &str = r#"{"keep":{"stream":"s","values":{"mean":1.0,"count":3}}}"#;
    const MESSAGE: &str = r#"{"publish":{"topic":"t","payload":1}}"#;
    const AT_ONCE: &str = r#"{"publish":{"topic":"t","payload":1,"delivery":"at-once"}}"#;
    const REJECTED: &str = r#"{"rejected":{"reason":"no number"}}"#;

    fn check(expected: &[&str], found: &[&str], same: bool) {
        let expectation = Expectation::read(&expected.join("\n")).unwrap();
        let result = expectation.difference(&outputs(found));
        assert_eq!(
            result.is_none(),
            same,
            "{expected:?} against {found:?}: {result:?}"
        );
    }

    #[test]
    fn the_same_outputs_are_the_expected_ones_whatever_the_order_between_kinds() {
        check(&[ROW, MESSAGE, REJECTED], &[REJECTED, MESSAGE, ROW], true);
        check(&[], &[], true);
        check(&[MESSAGE], &[AT_ONCE], false);
    }

    #[test]
    fn one_more_one_less_and_another_order_of_one_kind_are_differences() {
        let other = r#"{"keep":{"stream":"s","values":{"mean":2.0}}}"#;
        check(&[ROW], &[ROW, ROW], false);
        check(&[ROW, ROW], &[ROW], false);
        check(&[other, ROW], &[ROW, other], false);
        check(&[], &[REJECTED], false);
    }

    #[test]
    fn a_line_may_leave_members_out_and_numbers_may_differ_in_the_last_digits() {
        check(
            &[r#"{"keep":{"values":{"mean":1.0000000001}}}"#],
            &[ROW],
            true,
        );
        check(&[r#"{"keep":{"values":{"count":3.0}}}"#], &[ROW], true);
        check(&[r#"{"keep":{"values":{"mean":1.001}}}"#], &[ROW], false);
        check(&[r#"{"keep":{"values":{"max":1.0}}}"#], &[ROW], false);
    }

    #[test]
    fn a_line_that_is_no_output_is_named() {
        for line in [
            "x",
            "[]",
            "{}",
            r#"{"send":{}}"#,
            r#"{"keep":{},"publish":{}}"#,
        ] {
            assert_eq!(
                Expectation::read(&format!("{ROW}\n{line}"))
                    .unwrap_err()
                    .line,
                2,
                "{line}"
            );
        }
    }

    #[test]
    fn outputs_written_as_text_are_expected_by_it() {
        let all = outputs(&[REJECTED, ROW, AT_ONCE, MESSAGE]);
        assert!(all.to_text().ends_with(&format!("{REJECTED}\n")));
        let read = Expectation::read(&all.to_text()).unwrap();
        assert!(read.difference(&all).is_none());
        assert!(all.expectation().difference(&all).is_none());
    }
}
