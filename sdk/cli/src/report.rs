//! What a command says when it is done.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::cli::Output;

/// The result of a command, for people and for programs.
#[derive(Debug)]
pub(crate) struct Report {
    text: String,
    json: Value,
}

impl Report {
    /// A report of facts for programs; what people read is added with [`Report::line`] and [`Report::fact`].
    pub(crate) fn new(json: Value) -> Self {
        Self {
            text: String::new(),
            json,
        }
    }

    pub(crate) fn line(mut self, line: impl AsRef<str>) -> Self {
        self.text.push_str(line.as_ref());
        self.text.push('\n');
        self
    }

    /// A line `name  value`, aligned with the others.
    pub(crate) fn fact(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        // Writing to a String cannot fail.
        writeln!(self.text, "{name:<13} {value}").ok();
        self
    }

    pub(crate) fn facts(self, facts: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        facts
            .into_iter()
            .fold(self, |report, (name, value)| report.fact(name, value))
    }

    /// What is worth knowing and stops nothing.
    pub(crate) fn notes(mut self, notes: Vec<String>) -> Self {
        for note in &notes {
            self = self.line(format!("note: {note}"));
        }
        if let Some(object) = self.json.as_object_mut() {
            object.insert("notes".to_owned(), json!(notes));
        }
        self
    }

    pub(crate) fn print(self, output: Output) -> ExitCode {
        let text = match output {
            Output::Text => self.text,
            Output::Json => format!("{}\n", merged(json!({"ok": true}), self.json)),
        };
        match io::stdout().write_all(text.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            // Whoever read stdout has gone, as `head` does.
            Err(_) => ExitCode::FAILURE,
        }
    }
}

/// One line of progress, on stderr.
pub(crate) fn say(line: impl AsRef<str>) {
    // Without anybody to read it, progress is not worth failing for.
    writeln!(io::stderr(), "{}", line.as_ref()).ok();
}

/// Bytes, with the unit that people use.
pub(crate) fn size(bytes: usize) -> String {
    let kib = bytes.div_ceil(1024);
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..0x10_0000 => format!("{kib} KiB ({bytes} bytes)"),
        _ => format!("{} MiB ({bytes} bytes)", kib.div_ceil(1024)),
    }
}

fn merged(mut object: Value, more: Value) -> Value {
    if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
        object.extend(more);
    }
    object
}
