//! Runs a module's own recording, as its `tide.toml` names it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::recording::{matches, output, read, rejection, starts_at};
use super::{Cut, Host};
use crate::message::ClockQuality;
use crate::processor::Processor;

/// What a test needs of `tide.toml`.
#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    config: BTreeMap<String, String>,
    test: Test,
}

#[derive(Deserialize)]
struct Test {
    input: String,
    expected: String,
}

/// Runs the recording that the crate's `tide.toml` names under `[test]`, with its `[config]`, and asserts that the outputs
/// are the expected ones: in one batch, in batches of seven, one by one, and with the instance dropped after each call.
///
/// With the environment variable `TIDE_UPDATE` set, the expectation is written instead. Look at the difference before
/// you commit it.
#[track_caller]
pub fn assert_recording<P: Processor>() {
    let result = Recorded::load().and_then(|recorded| recorded.check::<P>());
    assert!(result.is_ok(), "{}", result.err().unwrap_or_default());
}

struct Recorded {
    manifest: Manifest,
    input: String,
}

impl Recorded {
    /// From the working directory, which is the crate's in a test.
    fn load() -> Result<Self, String> {
        let manifest = toml::from_str(&load("tide.toml")?).map_err(|error| format!("tide.toml: {error}"))?;
        let Manifest { test, .. } = &manifest;
        let input = load(&test.input)?;
        Ok(Self { manifest, input })
    }

    fn check<P: Processor>(&self) -> Result<(), String> {
        let whole = self.run::<P>(Cut { messages_max: usize::MAX, restart: false })?;
        let path = &self.manifest.test.expected;
        if std::env::var_os("TIDE_UPDATE").is_some() {
            let lines: String = whole.iter().map(|line| format!("{line}\n")).collect();
            return std::fs::write(path, lines).map_err(|error| format!("{path}: {error}"));
        }
        let expected = expectation(path, &load(path)?)?;
        compare(&format!("in one batch, against {path}"), &expected, &whole)?;
        for messages_max in [7, 1] {
            for restart in [false, true] {
                let outputs = self.run::<P>(Cut { messages_max, restart })?;
                let dropped = if restart { " and a new instance for each" } else { "" };
                compare(&format!("in batches of {messages_max}{dropped}"), &whole, &outputs)?;
            }
        }
        Ok(())
    }

    /// Outputs, then rejections, each in their order.
    fn run<P: Processor>(&self, cut: Cut) -> Result<Vec<Value>, String> {
        let mut host = Host::<P>::new();
        for (key, value) in &self.manifest.config {
            host.set_config(key, value);
        }
        let path = &self.manifest.test.input;
        let located = |error| format!("{path}: {error}");
        host.set_clock(starts_at(&self.input).map_err(located)?, ClockQuality::Synced);
        let messages = read(&self.input, host.now(), host.now_boot).map_err(located)?;
        host.replay(&messages, cut).map_err(|fault| format!("the module failed: {fault}"))?;
        let outputs = host.outputs().iter().map(|sent| output(&sent.effect));
        Ok(outputs.chain(host.rejected().iter().map(|(_, reason)| rejection(reason))).collect())
    }
}

fn load(path: &str) -> Result<String, String> {
    std::fs::read_to_string(Path::new(path)).map_err(|error| format!("{path}: {error}"))
}

fn expectation(path: &str, text: &str) -> Result<Vec<Value>, String> {
    let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    let mut expected: Vec<Value> = lines
        .map(|(line, number)| serde_json::from_str(line).map_err(|error| format!("{path}: line {number}: {error}")))
        .collect::<Result<_, _>>()?;
    // The order between outputs and rejections means nothing.
    expected.sort_by_key(|line| line.get("rejected").is_some());
    Ok(expected)
}

fn compare(run: &str, expected: &[Value], actual: &[Value]) -> Result<(), String> {
    let none = Value::Null;
    for position in 0..expected.len().max(actual.len()) {
        let wanted = expected.get(position).unwrap_or(&none);
        let got = actual.get(position).unwrap_or(&none);
        if !matches(wanted, got) {
            let number = position + 1;
            return Err(format!("{run}: output {number} differs\nexpected: {wanted}\n     got: {got}"));
        }
    }
    Ok(())
}
