//! Numbers as text for a monitoring system: the exposition format of OpenMetrics 1.0. Pure.
//!
//! Families are written one after the other, each with its samples; one without samples is left out. The unit is what the
//! family's name ends with. Whoever writes bounds the labels: they are names of things that an operator has given.

use std::fmt::{Display, Write};

/// MIME type of an exposition.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What its name may end with, and is told as its unit.
const UNITS: [&str; 2] = ["seconds", "bytes"];

/// What a number does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until the process starts again.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Is always 1, and tells by its labels.
    Info,
    /// Quantiles: each sample has a label `quantile`.
    Summary,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Info => "info",
            Self::Summary => "summary",
        }
    }

    /// What the name of a sample has behind that of its family.
    const fn suffix(self) -> &'static str {
        match self {
            Self::Counter => "_total",
            Self::Info => "_info",
            Self::Gauge | Self::Summary => "",
        }
    }
}

/// An exposition under construction.
#[derive(Debug, Default)]
pub struct Exposition(String);

/// A family of samples under construction.
#[derive(Debug)]
pub struct Family<'e> {
    text: &'e mut String,
    name: &'static str,
    kind: Kind,
    help: &'static str,
    begun: bool,
}

impl Exposition {
    /// Begins a family. Its name is unique, of lower case letters and `_`, and without the suffix that samples get.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &'static str) -> Family<'_> {
        Family {
            text: &mut self.0,
            name,
            kind,
            help,
            begun: false,
        }
    }

    /// A family of one sample without labels.
    pub fn single(
        &mut self,
        name: &'static str,
        kind: Kind,
        help: &'static str,
        value: impl Display,
    ) {
        self.family(name, kind, help).sample(&[], value);
    }

    /// The whole text.
    pub fn finish(self) -> String {
        self.0 + "# EOF\n"
    }
}

impl Family<'_> {
    /// Adds a sample: `value` is a finite number, and no other sample of the family has these labels.
    pub fn sample(&mut self, labels: &[(&'static str, &str)], value: impl Display) {
        self.begin();
        let labels = labels.iter();
        let labels: Vec<_> = labels
            .map(|(label, text)| format!("{label}=\"{}\"", escaped(text)))
            .collect();
        let labels = match labels.is_empty() {
            true => String::new(),
            false => format!("{{{}}}", labels.join(",")),
        };
        let suffix = self.kind.suffix();
        line(
            self.text,
            format_args!("{}{suffix}{labels} {value}", self.name),
        );
    }

    fn begin(&mut self) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let (name, kind) = (self.name, self.kind.as_str());
        line(self.text, format_args!("# TYPE {name} {kind}"));
        let unit = UNITS
            .iter()
            .find(|unit| name.rsplit('_').next() == Some(**unit));
        if let Some(unit) = unit {
            line(self.text, format_args!("# UNIT {name} {unit}"));
        }
        line(
            self.text,
            format_args!("# HELP {name} {}", escaped(self.help)),
        );
    }
}

fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _written = writeln!(text, "{words}");
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_have_their_type_unit_and_help_before_their_samples_and_the_text_its_end() {
        let mut exposition = Exposition::default();
        exposition.single("gate_rows", Kind::Counter, "Rows.", 7_u64);
        let mut lag = exposition.family("gate_lag_seconds", Kind::Gauge, "Lag.");
        lag.sample(&[("stream", "a")], 1.5);
        lag.sample(&[("stream", "b"), ("site", "x")], 0.0);
        let _without_samples = exposition.family("gate_nothing", Kind::Gauge, "Nothing.");
        exposition
            .family("gate", Kind::Info, "Itself.")
            .sample(&[("version", "1\"\\\n")], 1);
        assert_eq!(
            exposition.finish(),
            "# TYPE gate_rows counter\n# HELP gate_rows Rows.\ngate_rows_total 7\n\
             # TYPE gate_lag_seconds gauge\n# UNIT gate_lag_seconds seconds\n# HELP gate_lag_seconds Lag.\n\
             gate_lag_seconds{stream=\"a\"} 1.5\ngate_lag_seconds{stream=\"b\",site=\"x\"} 0\n\
             # TYPE gate info\n# HELP gate Itself.\ngate_info{version=\"1\\\"\\\\\\n\"} 1\n# EOF\n"
        );
    }
}
