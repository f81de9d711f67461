//! Runs a module's own recording, as its `tide.toml` names it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::recording::{kind, matches, output, read, rejection, starts_at};
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
        let manifest =
            toml::from_str(&load("tide.toml")?).map_err(|error| format!("tide.toml: {error}"))?;
        let Manifest { test, .. } = &manifest;
        let input = load(&test.input)?;
        Ok(Self { manifest, input })
    }

    fn check<P: Processor>(&self) -> Result<(), String> {
        let whole = self.run::<P>(Cut {
            messages_max: usize::MAX,
            restart: false,
        })?;
        let path = &self.manifest.test.expected;
        if std::env::var_os("TIDE_UPDATE").is_some() {
            let lines: String = whole.iter().map(|line| format!("{line}\n")).collect();
            return std::fs::write(path, lines).map_err(|error| format!("{path}: {error}"));
        }
        let expected = expectation(path, &load(path)?)?;
        compare(&format!("in one batch, against {path}"), &expected, &whole)?;
        self.check_cuts::<P>(&whole)
    }

    /// Cuts the input in other ways, with and without a new instance after each call.
    fn check_cuts<P: Processor>(&self, whole: &[Value]) -> Result<(), String> {
        for messages_max in [7, 1] {
            for restart in [false, true] {
                let outputs = self.run::<P>(Cut {
                    messages_max,
                    restart,
                })?;
                let dropped = if restart {
                    " and a new instance for each"
                } else {
                    ""
                };
                compare(
                    &format!("in batches of {messages_max}{dropped}"),
                    whole,
                    &outputs,
                )?;
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
        host.set_clock(
            starts_at(&self.input).map_err(located)?,
            ClockQuality::Synced,
        );
        let messages = read(&self.input, host.now(), host.now_boot).map_err(located)?;
        host.replay(&messages, cut)
            .map_err(|fault| format!("the module failed: {fault}"))?;
        let outputs = host.outputs().iter().map(|sent| output(&sent.effect));
        Ok(outputs
            .chain(host.rejected().iter().map(|(_, reason)| rejection(reason)))
            .collect())
    }
}

fn load(path: &str) -> Result<String, String> {
    std::fs::read_to_string(Path::new(path)).map_err(|error| format!("{path}: {error}"))
}

fn expectation(path: &str, text: &str) -> Result<Vec<Value>, String> {
    let lines = text
        .lines()
        .zip(1..)
        .filter(|(line, _)| !line.trim().is_empty());
    lines
        .map(|(line, number)| {
            serde_json::from_str(line).map_err(|error| format!("{path}: line {number}: {error}"))
        })
        .collect()
}

/// Kind by kind, since the order between kinds means nothing.
fn compare(run: &str, expected: &[Value], actual: &[Value]) -> Result<(), String> {
    let by_kind = |lines: &[Value]| {
        let mut lines = lines.to_vec();
        lines.sort_by_key(kind);
        lines
    };
    let (expected, actual) = (by_kind(expected), by_kind(actual));
    let none = Value::Null;
    for position in 0..expected.len().max(actual.len()) {
        let wanted = expected.get(position).unwrap_or(&none);
        let got = actual.get(position).unwrap_or(&none);
        if !matches(wanted, got) {
            let number = position + 1;
            return Err(format!(
                "{run}: output {number} differs\nexpected: {wanted}\n     got: {got}"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Batch, Fault, Keyed, Message, Outcome, Publication, Start};

    /// Publishes how many messages it has seen. It must remember that in the state.
    #[derive(Debug)]
    struct Counter {
        remembered: Keyed<u64>,
    }

    impl Processor for Counter {
        fn init(_: &mut Start) -> Result<Self, Fault> {
            Ok(Self {
                remembered: Keyed::open("seen/", 10)?,
            })
        }

        fn process(&mut self, batch: &Batch) -> Result<Outcome, Fault> {
            let mut outcome = Outcome::default();
            for message in &batch.messages {
                let seen = self.remembered.get_mut("all").map_err(Fault::permanent)?;
                *seen += 1;
                outcome.publish(message.cause(), Publication::new("seen", seen.to_string()));
            }
            self.remembered.flush()?;
            Ok(outcome)
        }
    }

    /// The same, and forgets with its instance.
    #[derive(Debug)]
    struct Forgetful(u64);

    impl Processor for Forgetful {
        fn init(_: &mut Start) -> Result<Self, Fault> {
            Ok(Self(0))
        }

        fn process(&mut self, batch: &Batch) -> Result<Outcome, Fault> {
            let mut outcome = Outcome::default();
            for message in &batch.messages {
                self.0 += 1;
                outcome.publish(
                    message.cause(),
                    Publication::new("seen", self.0.to_string()),
                );
            }
            Ok(outcome)
        }
    }

    /// Publishes the size of each batch: depends on the cut.
    #[derive(Debug)]
    struct Cutter;

    impl Processor for Cutter {
        fn init(_: &mut Start) -> Result<Self, Fault> {
            Ok(Self)
        }

        fn process(&mut self, batch: &Batch) -> Result<Outcome, Fault> {
            let mut outcome = Outcome::default();
            let cause = batch.messages.first().and_then(Message::cause);
            outcome.publish(
                cause,
                Publication::new("size", batch.messages.len().to_string()),
            );
            Ok(outcome)
        }
    }

    fn recorded() -> Recorded {
        let line = r#"{"topic":"t","time":0,"integer":1}"#;
        let manifest = "[test]\ninput = 'unused'\nexpected = 'unused'";
        Recorded {
            manifest: toml::from_str(manifest).unwrap(),
            input: [line; 3].join("\n"),
        }
    }

    fn agrees<P: Processor>() -> Result<(), String> {
        let whole = recorded().run::<P>(Cut {
            messages_max: usize::MAX,
            restart: false,
        })?;
        recorded().check_cuts::<P>(&whole)
    }

    #[test]
    fn a_module_that_forgets_or_looks_at_the_cut_is_caught() {
        assert_eq!(agrees::<Counter>(), Ok(()));
        let difference = agrees::<Forgetful>().unwrap_err();
        assert!(
            difference.starts_with("in batches of 1 and a new instance for each: output 2 differs"),
            "{difference}"
        );
        assert!(agrees::<Cutter>().is_err());
    }

    #[test]
    fn an_output_that_is_missing_added_or_different_is_named() {
        let expected = expectation(
            "expected.jsonl",
            "{\"rejected\":{\"reason\":\"r\"}}\n{\"keep\":{\"x\":1.0}}\n",
        )
        .unwrap();
        let compare = |actual: &[Value]| compare("run", &expected, actual);
        let [a, more, r] = [
            r#"{"keep":{"x":1.0000000001}}"#,
            r#"{"keep":{"x":1,"y":2}}"#,
            r#"{"rejected":{"reason":"r"}}"#,
        ]
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
        assert_eq!(compare(&[a.clone(), r.clone()]), Ok(()));
        assert_eq!(compare(&[more, r.clone()]), Ok(()));
        assert!(
            compare(std::slice::from_ref(&a))
                .unwrap_err()
                .contains("output 2 differs")
        );
        assert!(
            compare(&[a.clone(), r.clone(), a])
                .unwrap_err()
                .contains("output 2")
        );
        assert!(compare(&[r]).unwrap_err().contains("output 1"));
    }

    #[test]
    fn a_malformed_recording_is_refused_with_the_line() {
        for (text, problem) in [
            ("{}", "line 1: missing field `topic`"),
            (
                "\n{\"topic\":\"t\",\"time\":0}",
                "line 2: exactly one of payload",
            ),
            (
                r#"{"topic":"t","time":0,"number":1,"text":"x"}"#,
                "line 1: exactly one of payload",
            ),
            (
                r#"{"topic":"t","time":0,"number":1,"colour":"red"}"#,
                "line 1: unknown field `colour`",
            ),
            (
                r#"{"topic":"t","number":1,"time":"noon"}"#,
                "line 1: \"noon\" is not a time",
            ),
        ] {
            let error = read(text, super::super::START, crate::BootTime(0)).unwrap_err();
            assert!(error.starts_with(problem), "{error}");
        }
    }
}
