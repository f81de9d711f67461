//! The recorded machine log, or a file of the user's: messages with several numbers each.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value};
use tidegate_tests::binaries::repository;

/// Most messages that are taken from a file; it is repeated as long as the demo lasts.
const MESSAGES_MAX: usize = 100_000;

/// Numbers that count or date a message and measure nothing.
const COUNTERS: [&str; 6] = ["id", "index", "seq", "time", "timestamp", "ts"];

/// Messages of one machine, all with the same channels.
#[derive(Debug)]
pub(crate) struct MachineLog {
    /// Names of the numbers that every message has.
    pub(crate) channels: Vec<String>,
    /// The messages.
    pub(crate) messages: Vec<Map<String, Value>>,
    name: String,
    left_out: usize,
}

impl MachineLog {
    /// The log that comes with the vibration example.
    pub(crate) fn recorded() -> Result<Self> {
        Self::read(&repository().join("guest-examples/vibration-anomaly/recorded/input.jsonl"))
    }

    /// A file: JSONL, either plain objects or recorded messages, or CSV with a line of names.
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let csv = file.extension().is_some_and(|extension| extension == "csv");
        let objects = if csv {
            csv_objects(&text)
        } else {
            json_objects(&text)
        };
        let objects = objects.with_context(|| format!("cannot use {}", file.display()))?;
        let first = objects
            .first()
            .with_context(|| format!("{} has no messages", file.display()))?;
        let measured = |name: &str| !COUNTERS.contains(&name.to_lowercase().as_str());
        let numbers = first
            .iter()
            .filter(|(name, value)| value.is_number() && measured(name));
        let channels: Vec<String> = numbers.map(|(name, _)| name.clone()).collect();
        ensure!(
            !channels.is_empty(),
            "the first message of {} has no number",
            file.display()
        );
        let all = objects.len();
        let complete = |object: &Map<String, Value>| {
            channels
                .iter()
                .all(|channel| object.get(channel).is_some_and(Value::is_number))
        };
        let messages: Vec<_> = objects
            .into_iter()
            .filter(complete)
            .take(MESSAGES_MAX)
            .collect();
        let left_out = all - messages.len();
        Ok(Self {
            channels,
            messages,
            name: file.display().to_string(),
            left_out,
        })
    }

    /// For people.
    pub(crate) fn description(&self) -> String {
        let left_out = match self.left_out {
            0 => String::new(),
            number => format!(" ({number} more lack one of them and are left out)"),
        };
        format!(
            "{} messages of {} with {}{left_out}",
            self.messages.len(),
            self.name,
            self.channels.join(", ")
        )
    }
}

fn json_objects(text: &str) -> Result<Vec<Map<String, Value>>> {
    let mut objects = Vec::new();
    for (line, number) in text
        .lines()
        .zip(1..)
        .filter(|(line, _)| !line.trim().is_empty())
    {
        let value =
            serde_json::from_str(line).with_context(|| format!("line {number} is not JSON"))?;
        let Value::Object(mut object) = value else {
            bail!("line {number} is not a JSON object")
        };
        match object.remove("payload") {
            Some(Value::Object(payload)) => objects.push(payload),
            Some(_) => bail!("the payload in line {number} is not an object"),
            None => objects.push(object),
        }
    }
    Ok(objects)
}

fn csv_objects(text: &str) -> Result<Vec<Map<String, Value>>> {
    let mut lines = text
        .lines()
        .zip(1..)
        .filter(|(line, _)| !line.trim().is_empty());
    let (names, _) = lines.next().context("it is empty")?;
    let separator = if names.contains(';') { ';' } else { ',' };
    let names: Vec<&str> = names
        .split(separator)
        .map(|name| name.trim().trim_matches('"'))
        .collect();
    let mut objects = Vec::new();
    for (line, number) in lines {
        let fields: Vec<&str> = line
            .split(separator)
            .map(|field| field.trim().trim_matches('"'))
            .collect();
        ensure!(
            fields.len() == names.len(),
            "line {number} has {} fields, the first line has {}",
            fields.len(),
            names.len()
        );
        let value = |field: &str| {
            field
                .parse::<f64>()
                .map_or_else(|_| Value::from(field), Value::from)
        };
        objects.push(
            names
                .iter()
                .zip(fields)
                .map(|(name, field)| ((*name).to_owned(), value(field)))
                .collect(),
        );
    }
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<MachineLog> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        MachineLog::read(&file)
    }

    #[test]
    fn csv_and_both_kinds_of_jsonl_give_the_same_messages() {
        let csv = read("a.csv", "time;x;y\n10:00;1.5;2\n10:01;2.5;3\n").unwrap();
        let plain = r#"{"time":"10:00","x":1.5,"y":2.0}"#;
        let recorded = format!(r#"{{"topic":"t","payload":{plain}}}"#);
        assert_eq!(csv.channels, ["x", "y"]);
        assert_eq!(csv.messages[0], read("a.jsonl", plain).unwrap().messages[0]);
        assert_eq!(
            csv.messages[0],
            read("b.jsonl", &recorded).unwrap().messages[0]
        );
    }

    #[test]
    fn messages_without_all_numbers_are_left_out_and_said() {
        let log = read("a.csv", "x,y\n1,2\n1,\n3,4\n").unwrap();
        assert_eq!(log.messages.len(), 2);
        assert!(
            log.description().contains("1 more lack"),
            "{}",
            log.description()
        );
    }

    #[test]
    fn a_file_that_cannot_be_used_is_refused_with_the_line() {
        for (name, text, words) in [
            ("a.csv", "x,y\n1,2\n1,2,3\n", "line 3 has 3 fields"),
            ("a.csv", "", "empty"),
            ("a.jsonl", "{\"x\":1}\n{", "line 2 is not JSON"),
            ("a.jsonl", "[1]", "line 1 is not a JSON object"),
            ("a.jsonl", "{\"x\":\"1\"}", "has no number"),
        ] {
            let error = format!("{:#}", read(name, text).unwrap_err());
            assert!(error.contains(words), "{error}");
        }
    }
}
