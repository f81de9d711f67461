//! A real module, built for WebAssembly and run in the engine. It is made anew by `tide new` each time, in a folder
//! that stays, so that only the first run compiles what it stands on.

use std::fs;
use std::path::{Path, PathBuf};

use crate::fixture::{Ran, tide};

/// Keeps its count in memory and not in the state, and cannot bear the number 13.
const FORGETFUL: &str = r#"
use tidegate_sdk::{Batch, Body, Class, Fault, Outcome, Processor, Row, Start, Values};

struct Forgetful(i64);
tidegate_sdk::export!(Forgetful);

impl Processor for Forgetful {
    fn init(_: &mut Start) -> Result<Self, Fault> {
        Ok(Self(0))
    }

    fn process(&mut self, batch: &Batch) -> Result<Outcome, Fault> {
        let mut outcome = Outcome::default();
        for message in &batch.messages {
            assert!(message.body != Body::Number(13.0), "unlucky");
            self.0 += 1;
            let values = Values::new().with("count", self.0);
            outcome.keep(message.cause(), Row::new("readings", Class::Raw, "", message.time, values));
        }
        tidegate_sdk::info!("{} so far", self.0);
        Ok(outcome)
    }
}
"#;

fn make(name: &str) -> PathBuf {
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR")).join("modules");
    let module = parent.join(name);
    fs::create_dir_all(&parent).unwrap();
    if module.exists() {
        fs::remove_dir_all(&module).unwrap();
    }
    tide(&parent, &["new", name]).check(0, &[]);
    module
}

fn tide_in(module: &Path, arguments: &[&str]) -> Ran {
    let mut command = crate::fixture::command(module, arguments);
    command.env(
        "CARGO_TARGET_DIR",
        Path::new(env!("CARGO_TARGET_TMPDIR")).join("modules-target"),
    );
    crate::fixture::ran(command.output().unwrap())
}

fn messages(numbers: &[f64]) -> String {
    let line = |number| {
        format!("{{\"topic\":\"a\",\"time\":\"2026-03-01T08:00:00Z\",\"number\":{number:?}}}\n")
    };
    numbers.iter().map(line).collect()
}

#[test]
fn a_module_meets_its_expectation_and_no_other() {
    let module = make("recorded");
    tide_in(&module, &["build"]).check(0, &["component", "sha256"]);
    tide_in(&module, &["build", "--target", "wasm32-unknown-unknown"]).check(0, &[]);
    tide_in(&module, &["test"]).check(0, &["as in", "each on a new instance"]);

    let expected = module.join("recorded/expected.jsonl");
    let before = fs::read_to_string(&expected).unwrap();
    fs::write(&expected, before.replacen("readings", "reading", 1)).unwrap();
    tide_in(&module, &["test"]).check(
        2,
        &["does not send what is expected", "expected (line ", "got: "],
    );
    fs::write(&expected, "").unwrap();
    tide_in(&module, &["test"]).check(2, &["expected: nothing more"]);
    fs::write(&expected, "not json\n").unwrap();
    tide_in(&module, &["test"]).check(65, &["line 1"]);
    tide_in(&module, &["test", "--update"]).check(0, &["wrote "]);
    tide_in(&module, &["test"]).check(0, &[]);
}

#[test]
fn a_module_that_keeps_its_memory_outside_the_state_is_found_out() {
    let module = make("forgetful");
    fs::write(module.join("src/lib.rs"), FORGETFUL).unwrap();
    let input = module.join("recorded/input.jsonl");
    fs::write(&input, messages(&[1.0, 2.0, 3.0, 4.0])).unwrap();
    tide_in(&module, &["test", "--update"]).check(
        2,
        &[
            "sends something else with two messages a call, each on a new instance",
            "\"count\":3",
        ],
    );
    // One call is one instance: nothing to forget.
    fs::write(&input, messages(&[1.0, 2.0])).unwrap();
    tide_in(&module, &["test", "--update"]).check(0, &["2 so far"]);
    fs::write(&input, messages(&[1.0, 13.0])).unwrap();
    tide_in(&module, &["test"]).check(
        2,
        &["at line 2 of the input (one message a call)", "unlucky"],
    );
}
