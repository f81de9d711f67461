//! `tide.toml`: what a module is called, asks for and keeps.
//!
//! Everything is checked where it stands, with the checks of the release document, so that an author reads the line
//! number in `tide build` and not the reason code at the first gateway.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use tidegate_bundle::{Capabilities, Class, Limits, Stream, text};

use crate::{error, files};

/// Name of the file in a module's folder.
pub(crate) const FILE_NAME: &str = "tide.toml";
const BYTES_MAX: u64 = 64 * 1024;

/// A line of tide.toml that is not what it must be.
#[derive(Debug, thiserror::Error)]
#[error("{}:{line}: {problem}", path.display())]
pub(crate) struct Error {
    path: PathBuf,
    line: usize,
    problem: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub(crate) module: Module,
    #[serde(default, deserialize_with = "capabilities")]
    pub(crate) capabilities: Capabilities,
    #[serde(default = "default_limits", deserialize_with = "limits")]
    pub(crate) limits: Limits,
    #[serde(default, rename = "stream", deserialize_with = "streams")]
    pub(crate) streams: Vec<Stream>,
    #[serde(default)]
    pub(crate) config: BTreeMap<String, String>,
    pub(crate) test: Option<Test>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Module {
    #[serde(deserialize_with = "name")]
    pub(crate) name: String,
    pub(crate) version: semver::Version,
    #[serde(deserialize_with = "positive")]
    pub(crate) counter: u64,
    #[serde(default, deserialize_with = "optional_line")]
    pub(crate) description: Option<String>,
}

/// Recorded input, and the outputs that it must lead to; paths from the module's folder.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Test {
    pub(crate) input: PathBuf,
    pub(crate) expected: PathBuf,
}

impl Manifest {
    /// Reads the manifest of the module in a folder.
    pub(crate) fn read(folder: &Path) -> Result<Self, error::Error> {
        let path = folder.join(FILE_NAME);
        let text = files::read_text(&path, BYTES_MAX)?;
        Ok(Self::parse(&path, &text)?)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        toml::from_str(text).map_err(|error| {
            let before = error
                .span()
                .and_then(|span| text.get(..span.start))
                .unwrap_or_default();
            Error {
                path: path.to_owned(),
                line: before.matches('\n').count() + 1,
                problem: error.message().trim_end().replace('\n', ", "),
            }
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct CapabilitiesTable {
    #[serde(deserialize_with = "filters")]
    publish: Vec<String>,
    #[serde(deserialize_with = "lines")]
    actuate: Vec<String>,
    #[serde(deserialize_with = "lines")]
    wasi: Vec<String>,
}

fn capabilities<'de, D: Deserializer<'de>>(input: D) -> Result<Capabilities, D::Error> {
    let CapabilitiesTable {
        publish,
        actuate,
        wasi,
    } = CapabilitiesTable::deserialize(input)?;
    Ok(Capabilities {
        publish,
        actuate,
        wasi,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsTable {
    #[serde(deserialize_with = "positive")]
    memory_mib: u64,
    state_kib: u64,
}

impl Default for LimitsTable {
    fn default() -> Self {
        Self {
            memory_mib: 16,
            state_kib: 256,
        }
    }
}

fn limits<'de, D: Deserializer<'de>>(input: D) -> Result<Limits, D::Error> {
    let LimitsTable {
        memory_mib,
        state_kib,
    } = LimitsTable::deserialize(input)?;
    Ok(limits_of(memory_mib, state_kib))
}

fn default_limits() -> Limits {
    let LimitsTable {
        memory_mib,
        state_kib,
    } = LimitsTable::default();
    limits_of(memory_mib, state_kib)
}

fn limits_of(memory_mib: u64, state_kib: u64) -> Limits {
    Limits {
        memory_bytes: memory_mib.saturating_mul(1 << 20),
        state_bytes: state_kib.saturating_mul(1 << 10),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamTable {
    #[serde(deserialize_with = "name")]
    name: String,
    class: ClassWord,
    #[serde(default, deserialize_with = "optional_line")]
    unit: Option<String>,
    #[serde(default, deserialize_with = "optional_line")]
    description: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum ClassWord {
    Alarm,
    Summary,
    Raw,
}

fn streams<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<Stream>, D::Error> {
    let tables = Vec::<StreamTable>::deserialize(input)?;
    let mut streams: Vec<Stream> = Vec::new();
    for StreamTable {
        name,
        class,
        unit,
        description,
    } in tables
    {
        if streams.iter().any(|stream| stream.name == name) {
            return Err(D::Error::custom(format!(
                "two streams have the name {name:?}"
            )));
        }
        let class = match class {
            ClassWord::Alarm => Class::Alarm,
            ClassWord::Summary => Class::Summary,
            ClassWord::Raw => Class::Raw,
        };
        streams.push(Stream {
            name,
            class,
            unit,
            description,
        });
    }
    Ok(streams)
}

type Check = fn(&str) -> Result<(), &'static str>;

fn checked<E: serde::de::Error>(text: String, check: Check) -> Result<String, E> {
    match check(&text) {
        Ok(()) => Ok(text),
        Err(problem) => Err(E::custom(format!("{text:?} {problem}"))),
    }
}

fn name<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    checked(String::deserialize(input)?, text::check_name)
}

fn optional_line<'de, D: Deserializer<'de>>(input: D) -> Result<Option<String>, D::Error> {
    checked(String::deserialize(input)?, text::check_line).map(Some)
}

fn all_checked<'de, D: Deserializer<'de>>(input: D, check: Check) -> Result<Vec<String>, D::Error> {
    Vec::<String>::deserialize(input)?
        .into_iter()
        .map(|text| checked(text, check))
        .collect()
}

fn lines<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<String>, D::Error> {
    all_checked(input, text::check_line)
}

fn filters<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<String>, D::Error> {
    all_checked(input, text::check_filter)
}

fn positive<'de, D: Deserializer<'de>>(input: D) -> Result<u64, D::Error> {
    match u64::deserialize(input)? {
        0 => Err(D::Error::custom("must be at least 1")),
        value => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
[module]
name = "threshold-alarm"
version = "1.2.0"
counter = 7
description = "says when it is too hot"

[capabilities]
publish = ["alarms/#"]

[limits]
memory_mib = 8

[[stream]]
name = "alarms"
class = "alarm"
unit = "Cel"

[config]
high = "80"

[test]
input = "recorded/input.jsonl"
expected = "recorded/expected.jsonl"
"#;

    fn parse(text: &str) -> Result<Manifest, Error> {
        Manifest::parse(Path::new("tide.toml"), text)
    }

    #[test]
    fn a_whole_manifest_is_read_and_what_it_leaves_out_has_a_default() {
        let manifest = parse(WHOLE).unwrap();
        assert_eq!(manifest.module.counter, 7);
        assert_eq!(
            manifest.limits,
            Limits {
                memory_bytes: 8 << 20,
                state_bytes: 256 << 10
            }
        );
        assert_eq!(manifest.streams[0].class, Class::Alarm);
        assert!(manifest.capabilities.wasi.is_empty());
        let least = parse("[module]\nname = \"a\"\nversion = \"0.1.0\"\ncounter = 1\n").unwrap();
        assert_eq!(least.limits, default_limits());
        assert!(least.test.is_none());
    }

    #[test]
    fn a_mistake_is_named_with_its_line() {
        for (from, to, line, words) in [
            (
                "counter = 7",
                "counter = 7\ncuonter = 8",
                6,
                "unknown field `cuonter`",
            ),
            ("counter = 7", "counter = 0", 5, "must be at least 1"),
            (
                "counter = 7",
                "counter = 7\ncounter = 8",
                6,
                "duplicate key",
            ),
            ("counter = 7", "", 2, "missing field `counter`"),
            ("\"1.2.0\"", "\"1.2\"", 4, "minor"),
            (
                "threshold-alarm",
                "Threshold",
                3,
                "must be 1 to 64 characters of a-z, 0-9 and -",
            ),
            ("alarms/#", "alarms/#/x", 9, "is no topic filter"),
            (
                "memory_mib = 8",
                "memory_mb = 8",
                12,
                "unknown field `memory_mb`, expected `memory_mib` or `state_kib`",
            ),
            (
                "class = \"alarm\"",
                "class = \"urgent\"",
                16,
                "expected one of `alarm`, `summary`, `raw`",
            ),
            ("high = \"80\"", "high = 80", 20, "expected a string"),
            ("[test]", "[tests]", 22, "unknown field `tests`"),
            ("[test]", "[test", 22, "unclosed table"),
        ] {
            let error = parse(&WHOLE.replacen(from, to, 1)).unwrap_err();
            assert!(error.problem.contains(words), "{to}: {error}");
            assert_eq!(error.line, line, "{to}: {error}");
        }
    }
}
