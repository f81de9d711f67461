//! Files that an operator writes: a TOML document, read section by section. Every problem is collected with its line
//! instead of stopping at the first, so that a file is mended in one go.
//!
//! No I/O: the caller has the text. Used for `gateway.toml`, for the site's policy file and for deployments that are
//! kept as files, so that all are wrong in the same words.
//!
//! ```
//! let policy = "limit = \"64KiB\"\nlimmit = 5";
//! let read = tidegate_settings::read(policy, |top| top.required_as("limit", tidegate_settings::size));
//! let problems = read.unwrap_err();
//! assert_eq!(problems[0].to_string(), "line 2: unknown key limmit in [the file], did you mean limit?");
//! ```

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
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong, and where that helps, what would be right.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.text)
    }
}

/// Problems found so far in one text.
#[derive(Debug, Clone)]
struct Problems<'a> {
    text: &'a str,
    found: Rc<RefCell<Vec<Problem>>>,
}

impl<'a> Problems<'a> {
    /// None yet.
    fn new(text: &'a str) -> Self {
        Self {
            text,
            found: Rc::default(),
        }
    }

    /// Adds a problem at byte `offset`.
    fn add(&self, offset: usize, text: impl Into<String>) {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        self.found.borrow_mut().push(Problem {
            line,
            text: text.into(),
        });
    }

    /// All problems, in order of line.
    fn take(&self) -> Vec<Problem> {
        let mut found = self.found.take();
        found.sort();
        found.dedup();
        found
    }
}

/// Reads a whole text: `read` takes what it knows from the outermost table, and what it left is unknown.
///
/// # Errors
/// All problems, in order of line; `read` answers with none only where it has noted one.
pub fn read<T>(
    text: &str,
    read: impl FnOnce(&mut Section<'_>) -> Option<T>,
) -> Result<T, Vec<Problem>> {
    let problems = Problems::new(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        problems.add(error.span().map_or(0, |span| span.start), error.message());
    }
    let mut top = Section::new(document.get_ref(), 0, "the file", problems.clone());
    let value = read(&mut top);
    top.end();
    match (value, problems.take()) {
        (Some(value), none) if none.is_empty() => Ok(value),
        (_, problems) => Err(problems),
    }
}

/// What stands under a key that the operator chose.
#[derive(Debug)]
pub enum Value<'a> {
    /// A text in quotes.
    Text(&'a str),
    /// `true` or `false`.
    Boolean(bool),
    /// A table; whoever takes it calls [`Section::end`].
    Table(Section<'a>),
    /// Anything else.
    Other,
}

/// A table of the document. What is not asked for is unknown, and reported by [`Section::end`].
#[derive(Debug)]
pub struct Section<'a> {
    table: &'a DeTable<'a>,
    /// Where the section begins, for what is missing in it.
    offset: usize,
    name: &'static str,
    asked: Vec<&'static str>,
    problems: Problems<'a>,
}

impl<'a> Section<'a> {
    const fn new(
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
    #[must_use]
    pub fn offset(&self, key: &str) -> usize {
        self.table
            .get(key)
            .map_or(self.offset, |value| value.span().start)
    }

    /// Whether `key` is there, of whatever kind.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Adds a problem at byte `offset`.
    pub fn problem(&self, offset: usize, text: impl Into<String>) {
        self.problems.add(offset, text);
    }

    /// Notes that `key` cannot be used, if it is there, and why.
    pub fn refuse(&self, key: &str, reason: &str) {
        if self.table.contains_key(key) {
            self.problem(self.offset(key), format!("{key}: {reason}"));
        }
    }

    /// A text that is parsed as `T`.
    pub fn optional<T>(&mut self, key: &'static str) -> Option<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        self.optional_as(key, |text| {
            text.parse().map_err(|error: T::Err| error.to_string())
        })
    }

    /// A text that `parse` takes.
    pub fn optional_as<T>(
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
    pub fn required_as<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.require(key).then(|| self.optional_as(key, parse))?
    }

    /// Whether `key` is there; notes it if not.
    fn require(&mut self, key: &'static str) -> bool {
        let is_there = self.table.contains_key(key);
        if !is_there {
            self.asked.push(key);
            self.problem(self.offset, format!("{key} is missing in [{}]", self.name));
        }
        is_there
    }

    /// As [`Section::optional`], for a key that must be there.
    pub fn required<T>(&mut self, key: &'static str) -> Option<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        self.required_as(key, |text| {
            text.parse().map_err(|error: T::Err| error.to_string())
        })
    }

    /// A number, whole or not.
    pub fn number(&mut self, key: &'static str) -> Option<f64> {
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
    pub fn whole_number<N>(&mut self, key: &'static str, range: RangeInclusive<N>) -> Option<N>
    where
        N: FromStr + PartialOrd + fmt::Display,
    {
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

    /// As [`Section::whole_number`], for a key that must be there.
    pub fn required_whole_number<N>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<N>,
    ) -> Option<N>
    where
        N: FromStr + PartialOrd + fmt::Display,
    {
        self.require(key).then(|| self.whole_number(key, range))?
    }

    /// As [`Section::section`], for a key that must be there.
    pub fn required_section(&mut self, key: &'static str) -> Option<Self> {
        self.require(key).then(|| self.section(key))?
    }

    /// A sub-table, such as `config = { … }`.
    pub fn section(&mut self, key: &'static str) -> Option<Self> {
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
    pub fn sections(&mut self, key: &'static str) -> Vec<Self> {
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

    /// A list of texts, each taken by `parse`.
    pub fn list_as<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let Some(value) = self.ask(key) else {
            return Vec::new();
        };
        let expected = || format!("{key}: a list of texts in quotes is expected");
        let DeValue::Array(array) = value.get_ref() else {
            self.problem(value.span().start, expected());
            return Vec::new();
        };
        let mut parsed = Vec::new();
        for element in array {
            let found = match element.get_ref() {
                DeValue::String(text) => parse(text).map_err(|text| format!("{key}: {text}")),
                _ => Err(expected()),
            };
            match found {
                Ok(value) => parsed.push(value),
                Err(text) => self.problem(element.span().start, text),
            }
        }
        parsed
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, key: &'static str) -> Option<bool> {
        let value = self.ask(key)?;
        let DeValue::Boolean(boolean) = value.get_ref() else {
            self.problem(
                value.span().start,
                format!("{key}: true or false is expected"),
            );
            return None;
        };
        Some(*boolean)
    }

    /// Every key with its text.
    #[must_use]
    pub fn texts(self) -> BTreeMap<String, String> {
        self.entries(|_, value| match value {
            Value::Text(text) => Ok(Some(text.to_owned())),
            _ => Err("a text in quotes is expected".to_owned()),
        })
    }

    /// Every key with what `read` makes of its value; none where it has noted a problem itself. For tables whose keys the
    /// operator chooses.
    #[must_use]
    pub fn entries<T>(
        self,
        read: impl Fn(&str, Value<'a>) -> Result<Option<T>, String>,
    ) -> BTreeMap<String, T> {
        let mut entries = BTreeMap::new();
        for (key, value) in self.table {
            let (key, offset) = (key.get_ref().as_ref(), value.span().start);
            match read(key, self.value(value)) {
                Ok(Some(value)) => {
                    entries.insert(key.to_owned(), value);
                }
                Ok(None) => {}
                Err(text) => self.problem(offset, format!("{key}: {text}")),
            }
        }
        entries
    }

    fn value(&self, value: &'a Spanned<DeValue<'a>>) -> Value<'a> {
        match value.get_ref() {
            DeValue::String(text) => Value::Text(text),
            DeValue::Boolean(boolean) => Value::Boolean(*boolean),
            DeValue::Table(table) => Value::Table(Section::new(
                table,
                value.span().start,
                self.name,
                self.problems.clone(),
            )),
            _ => Value::Other,
        }
    }

    /// Reports what nobody asked for.
    pub fn end(self) {
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if self.asked.contains(&name) {
                continue;
            }
            let near = self.asked.iter().find(|asked| is_near(asked, name));
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
#[must_use]
pub fn is_near(wanted: &str, found: &str) -> bool {
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

/// A size such as `64KiB`, `32MiB` or `2GiB`, in bytes.
///
/// # Errors
/// What is wrong with the text.
pub fn size(text: &str) -> Result<u64, String> {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30)];
    let mut units = units.iter();
    let number = units.find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, shift)));
    number
        .and_then(|(number, shift)| number.trim().parse::<u64>().ok()?.checked_mul(1 << shift))
        .ok_or_else(|| format!("{text:?} is not a size such as \"64KiB\", \"32MiB\" or \"2GiB\""))
}

/// A time such as `500ms`, `10s`, `5m`, `12h` or `7d`.
///
/// # Errors
/// What is wrong with the text.
pub fn duration(text: &str) -> Result<Duration, String> {
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
    fn sizes_have_a_unit() {
        assert_eq!(size("64KiB"), Ok(64 << 10));
        assert_eq!(size("2 GiB"), Ok(2 << 30));
        for bad in ["", "64", "64MB", "-1GiB", "99999999999999GiB"] {
            assert!(size(bad).unwrap_err().contains("not a size"), "{bad}");
        }
    }

    #[test]
    fn a_list_or_a_switch_of_another_kind_is_told_with_its_line() {
        let text = "list = [\"a\",\n3]\nswitch = \"yes\"";
        let problems = read(text, |top| {
            let list = top.list_as("list", |text| Ok(text.to_owned()));
            top.boolean("switch").map(|_| list)
        });
        let told: Vec<_> = problems.unwrap_err().iter().map(|it| it.line).collect();
        assert_eq!(told, [2, 3]);
    }

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        for (wanted, found) in [
            ("broker", "brokr"),
            ("broker", "brokerr"),
            ("broker", "borker"),
            ("url", "ulr"),
        ] {
            assert!(is_near(wanted, found), "{found}");
        }
        assert!(!is_near("broker", "module"));
    }
}
