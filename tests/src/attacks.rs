//! The attacks: programs that give forged, old, foreign and changed input to a part of the product, and count what became of it.
//!
//! A program prints one line of JSON for each attack; what the columns mean is told where it counts them
//! (`runtime/bundle/examples/attacks/main.rs`, `cloud/examples/attacks-centre/main.rs`). Each is also run with checks left out, one at a time: the *negative controls*. If
//! nothing gets through then, the attacks prove nothing.

use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::binaries::{repository, target_folder};

/// A program of attacks.
#[derive(Debug)]
pub struct Suite {
    /// The crate whose example it is.
    pub package: &'static str,
    /// The example. Cargo puts those of all crates in one folder.
    pub example: &'static str,
    /// Checks that can be left out, as `TIDEGATE_FAULT` names them.
    pub controls: &'static [&'static str],
}

/// All of them. Attacks on another part are a line here.
pub const SUITES: &[Suite] = &[
    Suite {
        package: "tidegate-bundle",
        example: "attacks",
        controls: &["verify-not-strict", "keys-counted-twice", "no-counter"],
    },
    Suite {
        package: "tidegate-cloud",
        example: "attacks-centre",
        controls: &["no-signature", "no-count", "no-revocation"],
    },
];

/// What was counted of an attack: a line of the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line {
    /// Its number and name.
    pub attack: String,
    /// What was tried.
    pub variants: u64,
    /// What was refused of that.
    pub refused: u64,
    /// Refused for the reason that follows from what was done.
    pub reason_right: u64,
    /// After which what is remembered was the same to the byte.
    pub state_unchanged: u64,
    /// After which the same modules ran.
    pub running_unchanged: u64,
    /// Changes that left what is signed as it was, and were taken for the genuine document. They are no variants.
    pub harmless: u64,
    /// What was wrong, in a sentence each; the first few.
    pub problems: Vec<String>,
}

impl Suite {
    /// Runs all its attacks, with so many random changes.
    ///
    /// # Errors
    /// When the program cannot be built, or cannot make an attack.
    pub fn run(&self, mutations: u64, seed: u64) -> Result<Vec<Line>> {
        self.lines(mutations, seed, None)
    }

    /// The same with a check left out: the lines of those attacks that got something through.
    ///
    /// # Errors
    /// As [`Suite::run`].
    pub fn control(&self, fault: &str, mutations: u64, seed: u64) -> Result<Vec<Line>> {
        let mut lines = self.lines(mutations, seed, Some(fault))?;
        lines.retain(|line| line.refused < line.variants);
        Ok(lines)
    }

    fn lines(&self, mutations: u64, seed: u64, fault: Option<&str>) -> Result<Vec<Line>> {
        // Cargo puts both builds of a program in one place.
        static TURN: Mutex<()> = Mutex::new(());
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command
            .current_dir(repository())
            .args([
                "run",
                "--quiet",
                "-p",
                self.package,
                "--example",
                self.example,
            ])
            .arg("--target-dir")
            .arg(target_folder()?)
            .env_remove("TIDEGATE_FAULT")
            .stdin(Stdio::null())
            .stderr(Stdio::inherit());
        if let Some(fault) = fault {
            command
                .args(["--features", "faults"])
                .env("TIDEGATE_FAULT", fault);
        }
        command
            .arg("--")
            .args([mutations.to_string(), seed.to_string()]);
        let output = command.output().context("cannot start cargo")?;
        ensure!(
            output.status.success(),
            "the attacks of {} ended with {}",
            self.package,
            output.status
        );
        let text = String::from_utf8(output.stdout).context("the attacks print no text")?;
        let lines: Vec<Line> = text.lines().map(Line::read).collect::<Result<_>>()?;
        ensure!(!lines.is_empty(), "{} has no attacks", self.package);
        Ok(lines)
    }
}

impl Line {
    fn read(line: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(line).context("a line is not JSON")?;
        let field = |name| {
            let field = value.get(name);
            field.with_context(|| format!("a line has no {name}"))
        };
        let number = |name| field(name)?.as_u64().context("not a number");
        let text = |name| field(name)?.as_str().context("not a text");
        let problems = field("problems")?.as_array().context("not a list")?;
        Ok(Self {
            attack: format!("{} {}", text("attack")?, text("name")?),
            variants: number("variants")?,
            refused: number("refused")?,
            reason_right: number("reason_right")?,
            state_unchanged: number("state_unchanged")?,
            running_unchanged: number("running_unchanged")?,
            harmless: number("harmless")?,
            problems: problems
                .iter()
                .filter_map(|problem| Some(problem.as_str()?.to_owned()))
                .collect(),
        })
    }

    /// Whether everything was refused, for the right reason, and changed nothing. An attack that tried nothing proves nothing.
    pub fn holds(&self) -> bool {
        let held = [
            self.refused,
            self.reason_right,
            self.state_unchanged,
            self.running_unchanged,
        ];
        self.variants > 0
            && held.iter().all(|count| *count == self.variants)
            && self.problems.is_empty()
    }

    /// The columns of the table.
    pub fn columns(&self) -> [String; 6] {
        [
            self.attack.clone(),
            self.variants.to_string(),
            self.refused.to_string(),
            self.reason_right.to_string(),
            self.state_unchanged.to_string(),
            self.running_unchanged.to_string(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attack_holds_only_if_it_tried_something_and_all_of_it_was_refused() {
        assert!(!Line::default().holds());
        let line = r#"{"attack":"T1","name":"tricks","variants":3,"refused":3,"reason_right":3,
            "state_unchanged":3,"running_unchanged":3,"harmless":1,"problems":[]}"#;
        let line = Line::read(line).unwrap();
        assert!(line.holds());
        let accepted = Line {
            refused: 2,
            ..line.clone()
        };
        let moved = Line {
            state_unchanged: 2,
            ..line.clone()
        };
        let odd = Line {
            problems: vec!["a genuine document was refused".to_owned()],
            ..line
        };
        assert!(![accepted, moved, odd].iter().any(Line::holds));
        assert!(Line::read("{}").is_err());
    }
}
