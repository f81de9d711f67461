//! The deployment document, read field by field.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Check, ConfigValue, DeployedModule, Deployment, Downgrade, Flag, Grants, Input, Publish,
    Residency, Rollout, SecretRef, Shadow, Target,
};
use crate::json::{self, Fields, Item};
use crate::{Digest, Error, text};

pub(crate) const DOCUMENT: &str = "deployment document";
/// Reads the body of a deployment.
pub(crate) fn read(payload: &[u8]) -> Result<Deployment, Error> {
    let body = json::read(DOCUMENT, payload)?;
    let whole = body.clone();
    let mut fields = body.fields()?;
    let deployment = Deployment {
        fleet_id: fields.required("fleet_id")?.name()?,
        target: read_target(&mut fields, &whole)?,
        epoch: fields.required("epoch")?.positive()?,
        seq: fields.required("seq")?.positive()?,
        min_root_version: fields.required("min_root_version")?.positive()?,
        modules: read_modules(fields.required("modules")?)?,
        rollout: read_rollout(fields.required("rollout")?)?,
        downgrades: read_downgrades(fields.required("downgrades")?)?,
        created: fields.required("created")?.integer()?,
        expires: fields.optional("expires").map(Item::integer).transpose()?,
    };
    fields.end()?;
    Ok(deployment)
}

fn read_target(fields: &mut Fields, whole: &Item) -> Result<Target, Error> {
    let gateway = fields.optional("gateway_id");
    match (gateway, fields.optional("group_id")) {
        (Some(gateway), None) => gateway.name().map(Target::GatewayId),
        (None, Some(group)) => group.name().map(Target::GroupId),
        _ => Err(whole.refuse("must have exactly one of gateway_id and group_id")),
    }
}

fn read_modules(item: Item) -> Result<Vec<DeployedModule>, Error> {
    let mut modules: Vec<DeployedModule> = Vec::new();
    for item in item.list()? {
        let repeated = item.refuse("has the name of another module");
        let module = read_module(item)?;
        if modules.iter().any(|other| other.name == module.name) {
            return Err(repeated);
        }
        modules.push(module);
    }
    Ok(modules)
}

fn read_module(item: Item) -> Result<DeployedModule, Error> {
    let mut fields = item.fields()?;
    let module = DeployedModule {
        name: fields.required("name")?.name()?,
        release: fields.required("release")?.parsed(Digest::parse)?,
        inputs: distinct(fields.required("inputs")?, |item| {
            let (from, topic) = read_topics(item, "from")?;
            Ok(Input { from, topic })
        })?,
        grants: read_grants(fields.required("capabilities")?)?,
        config: read_config(fields.required("config")?)?,
        flags: read_flags(fields.required("flags")?)?,
        streams: read_streams(fields.required("streams")?)?,
    };
    fields.end()?;
    Ok(module)
}

fn read_grants(item: Item) -> Result<Grants, Error> {
    let mut fields = item.fields()?;
    let grants = Grants {
        publish: distinct(fields.required("publish")?, |item| {
            let (to, topic) = read_topics(item, "to")?;
            Ok(Publish { to, topic })
        })?,
        actuate: fields
            .required("actuate")?
            .checked_texts(text::check_line)?,
        wasi: fields.required("wasi")?.checked_texts(text::check_line)?,
    };
    fields.end()?;
    Ok(grants)
}

/// A broker or sensor, and a filter for topics of it.
fn read_topics(item: Item, source: &str) -> Result<(String, String), Error> {
    let mut fields = item.fields()?;
    let source = fields.required(source)?.name()?;
    let topic = fields.required("topic")?.checked_text(text::check_filter)?;
    fields.end()?;
    Ok((source, topic))
}

fn read_config(item: Item) -> Result<BTreeMap<String, ConfigValue>, Error> {
    let mut config = BTreeMap::new();
    for (key, item) in item.entries()? {
        text::check_config_key(&key)
            .map_err(|problem| item.refuse(format!("has a key that {problem}")))?;
        let value = if item.is_text() {
            ConfigValue::Text(item.text()?)
        } else {
            ConfigValue::Secret(read_secret(item)?)
        };
        config.insert(key, value);
    }
    Ok(config)
}

/// One of three kinds, and the name of the secret.
fn read_secret(item: Item) -> Result<SecretRef, Error> {
    let place = item.clone();
    let bad = || place.refuse("must be a string, or name a file, a credential or an environment");
    let mut entries = item.entries().map_err(|_| bad())?.into_iter();
    let (Some((kind, item)), None) = (entries.next(), entries.next()) else {
        return Err(bad());
    };
    let name = item.name()?;
    match kind.as_str() {
        "file" => Ok(SecretRef::File(name)),
        "credential" => Ok(SecretRef::Credential(name)),
        "environment" => Ok(SecretRef::Environment(name)),
        _ => Err(bad()),
    }
}

fn read_flags(item: Item) -> Result<BTreeMap<String, Flag>, Error> {
    let mut flags = BTreeMap::new();
    for (key, item) in item.entries()? {
        text::check_name(&key).map_err(|problem| item.refuse(problem))?;
        let flag = if item.is_text() && key != Flag::ENABLED {
            Flag::Text(item.checked_text(text::check_line)?)
        } else {
            Flag::Switch(item.boolean()?)
        };
        flags.insert(key, flag);
    }
    Ok(flags)
}

fn read_streams(item: Item) -> Result<Vec<Residency>, Error> {
    let mut streams: Vec<Residency> = Vec::new();
    for item in item.list()? {
        let repeated = item.refuse("has the name of another stream");
        let mut fields = item.fields()?;
        let stream = Residency {
            name: fields.required("name")?.name()?,
            region: fields.optional("region").map(Item::name).transpose()?,
            may_leave_site: fields.required("may_leave_site")?.boolean()?,
        };
        fields.end()?;
        if streams.iter().any(|other| other.name == stream.name) {
            return Err(repeated);
        }
        streams.push(stream);
    }
    Ok(streams)
}

fn read_rollout(item: Item) -> Result<Rollout, Error> {
    let whole = item.clone();
    let mut fields = item.fields()?;
    let rollout = Rollout {
        check: read_check(&mut fields)?,
        shadow: read_shadow(&mut fields, &whole)?,
        cpu_percent_max: fields
            .required("cpu_percent_max")?
            .within(1..=Rollout::PERCENT_MAX)?,
        latency_percent_max: fields
            .required("latency_percent_max")?
            .within(1..=Rollout::PERCENT_MAX)?,
        probation_minutes: fields
            .required("probation_minutes")?
            .within(0..=Rollout::MINUTES_MAX)?,
        attempts: fields
            .required("attempts")?
            .within(1..=Rollout::ATTEMPTS_MAX)?,
    };
    fields.end()?;
    Ok(rollout)
}

fn read_check(fields: &mut Fields) -> Result<Check, Error> {
    let words = [
        ("equal", Check::Equal),
        ("tolerance", Check::Tolerance { tolerance_ppm: 0 }),
        ("count", Check::Count),
    ];
    let check = fields.required("check")?.word(&words)?;
    let Check::Tolerance { .. } = check else {
        return Ok(check);
    };
    let tolerance_ppm = fields
        .required("tolerance_ppm")?
        .within(1..=Rollout::PPM_MAX)?;
    Ok(Check::Tolerance { tolerance_ppm })
}

fn read_shadow(fields: &mut Fields, whole: &Item) -> Result<Shadow, Error> {
    let messages = fields.optional("shadow_messages");
    match (messages, fields.optional("shadow_minutes")) {
        (Some(messages), None) => messages
            .within(0..=Rollout::MESSAGES_MAX)
            .map(Shadow::Messages),
        (None, Some(minutes)) => minutes
            .within(0..=Rollout::MINUTES_MAX)
            .map(Shadow::Minutes),
        _ => Err(whole.refuse("must have exactly one of shadow_messages and shadow_minutes")),
    }
}

fn read_downgrades(item: Item) -> Result<Vec<Downgrade>, Error> {
    let mut downgrades: Vec<Downgrade> = Vec::new();
    for item in item.list()? {
        let repeated = item.refuse("has the module of another entry");
        let mut fields = item.fields()?;
        let downgrade = Downgrade {
            module: fields.required("module")?.name()?,
            to_counter: fields.required("to_counter")?.positive()?,
        };
        fields.end()?;
        if downgrades
            .iter()
            .any(|other| other.module == downgrade.module)
        {
            return Err(repeated);
        }
        downgrades.push(downgrade);
    }
    Ok(downgrades)
}

/// A list without repetition.
fn distinct<T: Ord + Clone>(
    item: Item,
    read: impl Fn(Item) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let (mut seen, mut all) = (BTreeSet::new(), Vec::new());
    for item in item.list()? {
        let repeated = item.refuse("stands there twice");
        let value = read(item)?;
        if !seen.insert(value.clone()) {
            return Err(repeated);
        }
        all.push(value);
    }
    Ok(all)
}
