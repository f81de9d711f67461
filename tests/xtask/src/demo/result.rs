//! What the centre holds, held against what went in.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;
use tidegate_tests::cloud::Cloud;
use tidegate_tests::counter::Counter;
use tidegate_tests::meter;
use tidegate_tests::site::GATEWAY;

use super::feed::{Fed, Reaction};
use super::plant::Plant;

/// Everything that the table says.
#[derive(Debug)]
pub(crate) struct Outcome {
    lines: Vec<Line>,
}

/// One line: a fact, and whether it is as it must be. Some facts are only told.
#[derive(Debug)]
struct Line {
    name: &'static str,
    value: String,
    holds: Option<bool>,
}

impl Outcome {
    /// Whether all is as it must be.
    pub(crate) fn holds(&self) -> bool {
        self.lines.iter().all(|line| line.holds != Some(false))
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let width = self
            .lines
            .iter()
            .map(|line| line.name.len())
            .max()
            .unwrap_or_default();
        let line = |line: &Line| {
            let mark = match line.holds {
                Some(true) => "ok",
                Some(false) => "NO",
                None => "  ",
            };
            format!("  {mark}  {:width$}  {}\n", line.name, line.value)
        };
        self.lines.iter().map(line).collect()
    }
}

/// Asks the centre, the gateway and the counter.
pub(crate) fn collect(
    plant: &Plant,
    counter: &mut Counter,
    fed: &Fed,
    most_waiting: u64,
    reaction: &Reaction,
) -> Result<Outcome> {
    let site = &plant.site;
    let counted = counted(&site.cloud)?;
    let messages = counter.count()?;
    let held = Held::ask(&site.cloud)?;
    let (missing, doubled) = converted(&site.cloud, fed.other)?;
    let lost = fed.messages.saturating_sub(counted) + missing;
    let doubled = counted.saturating_sub(fed.messages) + doubled + held.beyond_marks;
    let status = site.gateway.status()?;
    let milliseconds = |pointer: &str| {
        status
            .pointer(pointer)
            .and_then(Value::as_f64)
            .unwrap_or(f64::NAN)
    };
    let durable = (
        milliseconds("/buffer/in_to_durable_ms/p50"),
        milliseconds("/buffer/in_to_durable_ms/p99"),
    );
    let up = site.link.bytes_up();
    let local = |share: f64| reaction.quantile(share).as_secs_f64() * 1e3;
    let told = |name, value| Line {
        name,
        value,
        holds: None,
    };
    let must = |name, value, holds| Line {
        name,
        value,
        holds: Some(holds),
    };
    let lines = vec![
        must(
            "messages in, by an independent subscriber",
            format!(
                "{messages} ({} machine log, {} mosquitto_pub, rest probe)",
                fed.log, fed.other
            ),
            messages == fed.messages,
        ),
        must(
            "sum of window counts",
            counted.to_string(),
            counted == fed.messages,
        ),
        must(
            "windows of this machine's sensors",
            held.sensor_windows.to_string(),
            held.sensor_windows > 0,
        ),
        told("rows at the centre by class", held.by_class()),
        must(
            "alarms and clearances",
            format!("{} of {}", held.alarms, fed.alarms),
            held.alarms == fed.alarms,
        ),
        must("rows lost", lost.to_string(), lost == 0),
        must("rows doubled", doubled.to_string(), doubled == 0),
        must("kills -9 under load", "2".into(), true),
        must(
            "most rows waiting while the link was cut",
            most_waiting.to_string(),
            most_waiting > 0,
        ),
        told(
            "raw bytes in, bytes up",
            format!("{} -> {up} ({:.1} %)", fed.bytes, percent(up, fed.bytes)),
        ),
        told(
            "message in -> alarm out, p50 / p99",
            format!("{:.2} / {:.2} ms", local(0.5), local(0.99)),
        ),
        told(
            "message in -> durable, p50 / p99",
            format!("{:.2} / {:.2} ms", durable.0, durable.1),
        ),
        told(
            "memory of the gateway (PSS)",
            format!("{:.1} MiB", memory_mib(site.gateway.id()?)?),
        ),
    ];
    Ok(Outcome { lines })
}

/// Sum of the counts of all windows over MQTT messages.
pub(crate) fn counted(cloud: &Cloud) -> Result<u64> {
    let mut sum = 0;
    cloud.rows(GATEWAY, "summaries", |row| {
        if key(row).starts_with("machines/") {
            sum += row
                .pointer("/values/count")
                .and_then(Value::as_u64)
                .context("a window without its count")?;
        }
        Ok(())
    })?;
    Ok(sum)
}

/// Rows at the centre.
#[derive(Debug, Default)]
struct Held {
    classes: BTreeMap<String, u64>,
    alarms: u64,
    sensor_windows: u64,
    beyond_marks: u64,
}

impl Held {
    fn ask(cloud: &Cloud) -> Result<Self> {
        let mut held = Self::default();
        let streams = cloud.streams(GATEWAY)?;
        for stream in streams
            .pointer("/streams")
            .and_then(Value::as_array)
            .context("no streams")?
        {
            let name = stream
                .pointer("/stream")
                .and_then(Value::as_str)
                .context("a stream without a name")?;
            let mut identities = std::collections::BTreeSet::new();
            cloud.rows(GATEWAY, name, |row| {
                let class = row
                    .pointer("/class")
                    .and_then(Value::as_str)
                    .context("a row without a class")?;
                *held.classes.entry(class.to_owned()).or_default() += 1;
                held.alarms += u64::from(name == "alarms");
                held.sensor_windows +=
                    u64::from(name == "summaries" && !key(row).starts_with("machines/"));
                let identity = (
                    row.pointer("/epoch").map(Value::to_string),
                    row.pointer("/seq").map(Value::to_string),
                );
                held.beyond_marks += u64::from(!identities.insert(identity));
                Ok(())
            })?;
        }
        Ok(held)
    }

    fn by_class(&self) -> String {
        self.classes
            .iter()
            .map(|(class, rows)| format!("{rows} {class}"))
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// Messages of the other client without a converted row, and rows beyond one of a message.
fn converted(cloud: &Cloud, messages: u64) -> Result<(u64, u64)> {
    let mut rows: BTreeMap<String, u64> = BTreeMap::new();
    cloud.rows(GATEWAY, "readings", |row| {
        let id = row
            .pointer("/values/id")
            .and_then(Value::as_str)
            .context("a reading without an id")?;
        *rows.entry(id.to_owned()).or_default() += 1;
        Ok(())
    })?;
    let missing = (0..messages)
        .filter(|number| !rows.contains_key(&format!("press/{number}")))
        .count();
    let all: u64 = rows.values().sum();
    Ok((u64::try_from(missing)?, all - u64::try_from(rows.len())?))
}

fn key(row: &Value) -> &str {
    row.pointer("/key")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

#[allow(clippy::cast_precision_loss, reason = "for people")]
fn percent(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole.max(1) as f64
}

#[allow(clippy::cast_precision_loss, reason = "for people")]
fn memory_mib(process: u32) -> Result<f64> {
    Ok(meter::pss_kib(process)? as f64 / 1024.0)
}
