//! Files that an operator writes: the site's policy, and what `gateway.toml` and deployments kept as files are read with.

use std::time::Duration;

use tidegate_settings::{Problem, Section, Value, duration, read, size};
use tidegate_update::Policy;

use crate::Subject;

/// `policy.toml`.
#[derive(Debug)]
pub struct SitePolicy;

/// The reader of all such files. That of `gateway.toml` is the gateway's own and cannot be reached from here.
#[derive(Debug)]
pub struct Settings;

impl Subject for SitePolicy {
    fn seeds() -> Vec<Vec<u8>> {
        vec![include_bytes!("../../../runtime/update/policy.toml").to_vec()]
    }

    fn check(input: &[u8]) {
        check_lines(input, Policy::parse);
    }
}

impl Subject for Settings {
    fn seeds() -> Vec<Vec<u8>> {
        vec![include_bytes!("../../../runtime/gateway/gateway.toml").to_vec()]
    }

    fn check(input: &[u8]) {
        check_lines(input, |text| {
            read(text, |top| Some(format!("{:?}", everything(top))))
        });
        if let Ok(text) = std::str::from_utf8(input) {
            check_units(text);
        }
    }
}

/// A file has a value or problems, in order, whose lines it has.
fn check_lines<T>(input: &[u8], parse: impl Fn(&str) -> Result<T, Vec<Problem>>) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let last = text.split('\n').count();
    if let Err(problems) = parse(text) {
        assert!(!problems.is_empty() && problems.is_sorted());
        for problem in problems {
            assert!((1..=last).contains(&problem.line), "{problem}");
        }
    }
}

/// Reads a file with everything that a section can be asked for, by the words of `gateway.toml`.
fn everything(top: &mut Section<'_>) -> Vec<String> {
    let mut all = Vec::new();
    let text = |text: &str| Ok::<_, String>(text.to_owned());
    if let Some(mut gateway) = top.required_section("gateway") {
        all.extend(gateway.required_as("name", text));
        all.extend(gateway.optional::<String>("state"));
        gateway.refuse("group", "is refused here");
        gateway.end();
    }
    if let Some(mut buffer) = top.section("buffer") {
        all.extend(
            buffer
                .optional_as("quota", size)
                .map(|size| size.to_string()),
        );
        all.extend(
            buffer
                .required_whole_number("rows", 1..=u16::MAX)
                .map(|rows| rows.to_string()),
        );
        all.extend(buffer.number("share").map(|share| share.to_string()));
        all.extend(buffer.boolean("flash").map(|flash| flash.to_string()));
        buffer.end();
    }
    for mut module in top.sections("module") {
        all.extend(module.list_as("actuate", text));
        for mut input in module.sections("inputs") {
            all.extend(input.required_as("from", text));
            input.end();
        }
        let config = module.section("config").map(Section::texts);
        all.extend(
            config
                .into_iter()
                .flatten()
                .map(|(key, value)| key + &value),
        );
        let flags = module.section("flags").map(|flags| flags.entries(flag));
        all.extend(flags.into_iter().flatten().map(|(key, value)| key + &value));
        module.end();
    }
    all
}

fn flag(key: &str, value: Value<'_>) -> Result<Option<String>, String> {
    match value {
        Value::Text(text) => Ok(Some(text.to_owned())),
        Value::Boolean(on) => Ok(Some(on.to_string())),
        Value::Table(table) => {
            table.end();
            Ok(None)
        }
        Value::Other => Err(format!("{key} is neither text nor switch")),
    }
}

/// A number with a unit means that many of it.
fn check_units(text: &str) {
    if let (Ok(bytes), Some(number)) = (size(text), text.strip_suffix("KiB")) {
        assert_eq!(number.trim().parse().ok(), bytes.checked_div(1024));
    }
    if let (Ok(time), Some(number)) = (duration(text), text.strip_suffix("ms")) {
        assert_eq!(number.parse().map(Duration::from_millis), Ok(time));
    }
}
