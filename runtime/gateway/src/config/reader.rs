//! Reads a TOML document section by section, and collects every problem with its line instead of stopping at the first:
//! an operator mends a file in one go.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::str::FromStr;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Something wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Problem {
    /// Line, from 1.
    pub(crate) line: usize,
    /// What is wrong, and where that helps, what would be right.
    pub(crate) text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.text)
    }
}

/// Problems found so far in one text.
#[derive(Debug, Clone)]
pub(crate) struct Problems<'a> {
    text: &'a str,
    found: Rc<RefCell<Vec<Problem>>>,
}

impl<'a> Problems<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self {
            text,
            found: Rc::default(),
        }
    }

    /// Adds a problem at byte `offset`.
    pub(crate) fn add(&self, offset: usize, text: impl Into<String>) {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        self.found.borrow_mut().push(Problem {
            line,
            text: text.into(),
        });
    }

    /// All problems, in order of line.
    pub(crate) fn take(&self) -> Vec<Problem> {
        let mut found = self.found.take();
        found.sort();
        found.dedup();
        found
    }
}

/// A table of the document. What is not asked for is unknown, and reported by [`Section::end`].
pub(crate) struct Section<'a> {
    table: &'a DeTable<'a>,
    /// Where the section begins, for what is missing in it.
    offset: usize,
    name: &'static str,
    asked: Vec<&'static str>,
    problems: Problems<'a>,
}

impl<'a> Section<'a> {
    pub(crate) const fn new(
        table: &'a DeTable<'a>,
        offset: usize,
        name: &'static str,
        problems: Problems<'a>,
    ) -> Self {
        Self {
            table,
            offset,
            name,
            asked: Vec::new(),
            problems,
        }
    }

    /// The value of `key`, if it is there.
    fn ask(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asked.push(key);
        self.table.get(key)
    }

    /// Where `key`'s value is, or where the section begins.
    pub(crate) fn offset(&self, key: &str) -> usize {
        self.table
            .get(key)
            .map_or(self.offset, |value| value.span().start)
    }

    pub(crate) fn problem(&self, offset: usize, text: impl Into<String>) {
        self.problems.add(offset, text);
    }

    /// Notes that `key` cannot be used, if it is there, and why.
    pub(crate) fn refuse(&self, key: &str, reason: &str) {
        if self.table.contains_key(key) {
            self.problem(self.offset(key), format!("{key}: {reason}"));
        }
    }

    /// A text that is parsed as `T`.
    pub(crate) fn optional<T>(&mut self, key: &'static str) -> Option<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        self.optional_as(key, |text| {
            text.parse().map_err(|error: T::Err| error.to_string())
        })
    }

    /// A text that `parse` takes.
    pub(crate) fn optional_as<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.ask(key)?;
        let parsed = match value.get_ref() {
            DeValue::String(text) => parse(text),
            other => Err(format!(
                "{} where a text in quotes is expected",
                other.type_str()
            )),
        };
        parsed
            .map_err(|text| self.problem(value.span().start, format!("{key}: {text}")))
            .ok()
    }

    /// As [`Section::optional_as`], for a key that must be there.
    pub(crate) fn required_as<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        if !self.table.contains_key(key) {
            self.asked.push(key);
            self.problem(self.offset, format!("{key} is missing in [{}]", self.name));
            return None;
        }
        self.optional_as(key, parse)
    }

    /// As [`Section::optional`], for a key that must be there.
    pub(crate) fn required<T>(&mut self, key: &'static str) -> Option<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        self.required_as(key, |text| {
            text.parse().map_err(|error: T::Err| error.to_string())
        })
    }

    /// A number, whole or not.
    pub(crate) fn number(&mut self, key: &'static str) -> Option<f64> {
        let value = self.ask(key)?;
        let parsed = match value.get_ref() {
            DeValue::Integer(number) => number.as_str().parse().ok(),
            DeValue::Float(number) => number.as_str().parse().ok(),
            _ => None,
        };
        if parsed.is_none() {
            self.problem(value.span().start, format!("{key}: a number is expected"));
        }
        parsed
    }

    /// A whole number in `range`.
    pub(crate) fn whole_number(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u32>,
    ) -> Option<u32> {
        let value = self.ask(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(number) => number.as_str().parse().ok(),
            _ => None,
        };
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let (from, to) = (range.start(), range.end());
            self.problem(
                value.span().start,
                format!("{key}: a whole number from {from} to {to} is expected"),
            );
        }
        number
    }

    /// A sub-table, such as `config = { … }`.
    pub(crate) fn section(&mut self, key: &'static str) -> Option<Self> {
        let value = self.ask(key)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(Self::new(
                table,
                value.span().start,
                key,
                self.problems.clone(),
            )),
            other => {
                self.problem(
                    value.span().start,
                    format!("{key}: {} where a table is expected", other.type_str()),
                );
                None
            }
        }
    }

    /// A list of tables, such as `[[broker]]` or `inputs = [{ … }]`.
    pub(crate) fn sections(&mut self, key: &'static str) -> Vec<Self> {
        let Some(value) = self.ask(key) else {
            return Vec::new();
        };
        let DeValue::Array(array) = value.get_ref() else {
            self.problem(
                value.span().start,
                format!("{key}: a list of tables is expected"),
            );
            return Vec::new();
        };
        let mut sections = Vec::new();
        for element in array {
            match element.get_ref() {
                DeValue::Table(table) => {
                    sections.push(Self::new(
                        table,
                        element.span().start,
                        key,
                        self.problems.clone(),
                    ));
                }
                _ => self.problem(
                    element.span().start,
                    format!("{key}: a list of tables is expected"),
                ),
            }
        }
        sections
    }

    /// Every key with its text.
    pub(crate) fn texts(self) -> BTreeMap<String, String> {
        let mut texts = BTreeMap::new();
        for (key, value) in self.table {
            match value.get_ref() {
                DeValue::String(text) => {
                    texts.insert(key.get_ref().to_string(), text.to_string());
                }
                _ => self.problem(
                    value.span().start,
                    format!("{}: a text in quotes is expected", key.get_ref()),
                ),
            }
        }
        texts
    }

    /// Reports what nobody asked for.
    pub(crate) fn end(self) {
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if self.asked.contains(&name) {
                continue;
            }
            let near = self.asked.iter().find(|asked| near(asked, name));
            let hint = match near {
                Some(near) => format!(", did you mean {near}?"),
                None => format!(", known are: {}", self.asked.join(", ")),
            };
            self.problem(
                key.span().start,
                format!("unknown key {name} in [{}]{hint}", self.name),
            );
        }
    }
}

/// Whether one is the other with a letter missing, added or changed, or two swapped.
fn near(wanted: &str, found: &str) -> bool {
    let (wanted, found): (Vec<_>, Vec<_>) = (wanted.chars().collect(), found.chars().collect());
    let same_start = wanted
        .iter()
        .zip(&found)
        .take_while(|(a, b)| a == b)
        .count();
    let same_end = wanted
        .iter()
        .rev()
        .zip(found.iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let longest = wanted.len().max(found.len());
    wanted.len().abs_diff(found.len()) <= 1 && longest > 2 && same_start + same_end + 2 >= longest
}

/// A time such as `500ms`, `10s`, `5m`, `12h` or `7d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = text.strip_prefix(digits).unwrap_or_default();
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => {
            return Err(format!(
                "{text:?} is not a time such as \"500ms\", \"10s\", \"5m\", \"12h\" or \"7d\""
            ));
        }
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| format!("{text:?} is not a time such as \"10s\""))?;
    Ok(Duration::from_millis(number.saturating_mul(milliseconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(7 * 86_400)));
        for bad in ["", "5", "s", "-1s", "1.5s", "5 s", "5y"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        for (wanted, found) in [
            ("broker", "brokr"),
            ("broker", "brokerr"),
            ("broker", "borker"),
            ("url", "ulr"),
        ] {
            assert!(near(wanted, found), "{found}");
        }
        assert!(!near("broker", "module"));
    }
}
