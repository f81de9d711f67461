//! From text to [`DeploymentFile`], with the checks of the document, so that whoever writes it sees the line.

use std::collections::BTreeMap;
use std::path::Path;

use tidegate_bundle::{
    Check, ConfigValue, Digest, Downgrade, Flag, Grants, Input, Publish, Residency, Rollout,
    SecretRef, Shadow, Target, text,
};
use tidegate_settings::{Problem, Section, Value, duration};

use super::{DeploymentFile, Module, ReleaseRef};

/// TOML's own: a whole number is 64 bits with a sign.
const NUMBER_MAX: u64 = i64::MAX.unsigned_abs();

pub(super) fn read(text: &str, folder: &Path) -> Result<DeploymentFile, Vec<Problem>> {
    tidegate_settings::read(text, |top| {
        let target = target(top);
        let seq = top.required_whole_number("seq", 1..=NUMBER_MAX);
        let expires_after = top.optional_as("expires-after", duration);
        let rollout = top.required_section("rollout").map(rollout);
        let mut modules = Vec::new();
        for section in top.sections("module") {
            modules.extend(module(section, folder, &modules));
        }
        let mut downgrades = Vec::new();
        for section in top.sections("downgrade") {
            downgrades.extend(downgrade(section, &downgrades));
        }
        Some(DeploymentFile {
            target: target?,
            seq: seq?,
            expires_after,
            rollout: rollout??,
            modules,
            downgrades,
        })
    })
}

fn target(top: &mut Section<'_>) -> Option<Target> {
    let gateway = top.optional_as("gateway", name).map(Target::GatewayId);
    let group = top.optional_as("group", name).map(Target::GroupId);
    one_of(top, ["gateway", "group"], gateway, group)
}

fn rollout(mut section: Section<'_>) -> Option<Rollout> {
    let check = check(&mut section);
    let messages = section.whole_number("shadow-messages", 0..=Rollout::MESSAGES_MAX);
    let minutes = section.whole_number("shadow-minutes", 0..=Rollout::MINUTES_MAX);
    let shadow = one_of(
        &section,
        ["shadow-messages", "shadow-minutes"],
        messages.map(Shadow::Messages),
        minutes.map(Shadow::Minutes),
    );
    let percent = 1..=Rollout::PERCENT_MAX;
    let cpu = section.required_whole_number("cpu-percent-max", percent.clone());
    let latency = section.required_whole_number("latency-percent-max", percent);
    let probation = section.required_whole_number("probation-minutes", 0..=Rollout::MINUTES_MAX);
    let attempts = section.required_whole_number("attempts", 1..=Rollout::ATTEMPTS_MAX);
    section.end();
    Some(Rollout {
        check: check?,
        shadow: shadow?,
        cpu_percent_max: cpu?,
        latency_percent_max: latency?,
        probation_minutes: probation?,
        attempts: attempts?,
    })
}

fn check(section: &mut Section<'_>) -> Option<Check> {
    let check = section.required_as("check", |text| match text {
        "equal" => Ok(Check::Equal),
        "tolerance" => Ok(Check::Tolerance { tolerance_ppm: 0 }),
        "count" => Ok(Check::Count),
        other => Err(format!(
            "{other:?} is none of \"equal\", \"tolerance\" and \"count\""
        )),
    })?;
    let Check::Tolerance { .. } = check else {
        section.refuse(
            "tolerance-ppm",
            "has a meaning with check = \"tolerance\" only",
        );
        section.whole_number("tolerance-ppm", 0..=u64::MAX);
        return Some(check);
    };
    let tolerance_ppm = section.required_whole_number("tolerance-ppm", 1..=Rollout::PPM_MAX)?;
    Some(Check::Tolerance { tolerance_ppm })
}

fn module(mut section: Section<'_>, folder: &Path, before: &[Module]) -> Option<Module> {
    let name = section.required_as("name", |text| {
        distinct(
            before.iter().map(|module| &module.name),
            name(text)?,
            "module",
        )
    });
    let bundle = section.optional_as("bundle", |text| Ok(ReleaseRef::Bundle(folder.join(text))));
    let release = section.optional_as("release", |text| {
        let digest = Digest::parse(text).map_err(|problem| problem.to_string())?;
        Ok(ReleaseRef::Digest(digest))
    });
    let release = one_of(&section, ["bundle", "release"], bundle, release);
    let inputs = topics(&mut section, "inputs", "from", |from, topic| Input {
        from,
        topic,
    });
    let publish = topics(&mut section, "publish", "to", |to, topic| Publish {
        to,
        topic,
    });
    let actuate = section.list_as("actuate", line);
    let wasi = section.list_as("wasi", line);
    let config = section.section("config").map(config).unwrap_or_default();
    let flags = section.section("flags").map(flags).unwrap_or_default();
    let mut streams = Vec::new();
    for section in section.sections("stream") {
        streams.extend(stream(section, &streams));
    }
    section.end();
    Some(Module {
        name: name?,
        release: release?,
        inputs,
        grants: Grants {
            publish,
            actuate,
            wasi,
        },
        config,
        flags,
        streams,
    })
}

/// Brokers or sensors, and topics of them.
fn topics<T: PartialEq>(
    section: &mut Section<'_>,
    key: &'static str,
    source: &'static str,
    make: impl Fn(String, String) -> T,
) -> Vec<T> {
    let mut all = Vec::new();
    for mut section in section.sections(key) {
        let source = section.required_as(source, name);
        let topic = section.required_as("topic", |text| checked(text, text::check_filter));
        let (place, made) = (section.offset(""), source.zip(topic));
        match made.map(|(source, topic)| make(source, topic)) {
            Some(made) if all.contains(&made) => {
                section.problem(place, format!("{key}: stands there twice"));
            }
            made => all.extend(made),
        }
        section.end();
    }
    all
}

fn config(section: Section<'_>) -> BTreeMap<String, ConfigValue> {
    section.entries(|key, value| {
        text::check_config_key(key).map_err(|problem| format!("the key {problem}"))?;
        match value {
            Value::Text(text) => Ok(Some(ConfigValue::Text(text.to_owned()))),
            Value::Table(section) => Ok(secret(section).map(ConfigValue::Secret)),
            _ => Err(
                "a text in quotes is expected, or where a secret is: { file = \"NAME\" }"
                    .to_owned(),
            ),
        }
    })
}

/// One of three kinds, and the name of the secret.
fn secret(mut section: Section<'_>) -> Option<SecretRef> {
    let kinds = [
        section.optional_as("file", name).map(SecretRef::File),
        section
            .optional_as("credential", name)
            .map(SecretRef::Credential),
        section
            .optional_as("environment", name)
            .map(SecretRef::Environment),
    ];
    let given = ["file", "credential", "environment"].map(|kind| section.has(kind));
    if given.iter().filter(|is_given| **is_given).count() != 1 {
        let text = "a secret is exactly one of file, credential and environment";
        section.problem(section.offset(""), text);
    }
    section.end();
    kinds.into_iter().flatten().next()
}

fn flags(section: Section<'_>) -> BTreeMap<String, Flag> {
    section.entries(|key, value| {
        text::check_name(key).map_err(|problem| format!("the key {problem}"))?;
        match value {
            Value::Boolean(on) => Ok(Some(Flag::Switch(on))),
            Value::Text(text) if key != Flag::ENABLED => Ok(Some(Flag::Text(line(text)?))),
            _ if key == Flag::ENABLED => Err("true or false is expected".to_owned()),
            _ => Err("true, false or a text in quotes is expected".to_owned()),
        }
    })
}

fn stream(mut section: Section<'_>, before: &[Residency]) -> Option<Residency> {
    let name = section.required_as("name", |text| {
        distinct(
            before.iter().map(|stream| &stream.name),
            name(text)?,
            "stream",
        )
    });
    let region = section.optional_as("region", self::name);
    let may_leave_site = section.boolean("may-leave-site").unwrap_or(true);
    section.end();
    Some(Residency {
        name: name?,
        region,
        may_leave_site,
    })
}

fn downgrade(mut section: Section<'_>, before: &[Downgrade]) -> Option<Downgrade> {
    let module = section.required_as("module", |text| {
        distinct(
            before.iter().map(|downgrade| &downgrade.module),
            name(text)?,
            "downgrade",
        )
    });
    let to_counter = section.required_whole_number("to-counter", 1..=NUMBER_MAX);
    section.end();
    Some(Downgrade {
        module: module?,
        to_counter: to_counter?,
    })
}

/// Of two keys exactly one may be there.
fn one_of<T>(
    section: &Section<'_>,
    keys: [&str; 2],
    first: Option<T>,
    second: Option<T>,
) -> Option<T> {
    let [one, other] = keys;
    if section.has(one) == section.has(other) {
        let text = format!("exactly one of {one} and {other} is expected");
        section.problem(section.offset(other), text);
    }
    first.or(second)
}

fn distinct<'a>(
    mut before: impl Iterator<Item = &'a String>,
    name: String,
    what: &str,
) -> Result<String, String> {
    match before.any(|other| *other == name) {
        true => Err(format!("there is another {what} with {name:?}")),
        false => Ok(name),
    }
}

fn name(text: &str) -> Result<String, String> {
    checked(text, text::check_name)
}

fn line(text: &str) -> Result<String, String> {
    checked(text, text::check_line)
}

fn checked(text: &str, check: fn(&str) -> Result<(), &'static str>) -> Result<String, String> {
    check(text).map_err(|problem| format!("{text:?} {problem}"))?;
    Ok(text.to_owned())
}
