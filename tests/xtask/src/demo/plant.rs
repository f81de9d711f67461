//! Keys, signed modules, broker, centre and gateway of the demo.

use std::path::Path;

use anyhow::Result;
use tidegate_tests::binaries::{Binaries, repository};
use tidegate_tests::bundles::Workshop;
use tidegate_tests::site::{Module, Plan, Site};

use super::log::MachineLog;
use crate::steps::Steps;

/// Publishers number their messages, so that a repeated delivery counts once.
const MESSAGE_ID: &str = "message-id = { field = \"id\" }";

/// The machine's own sensors.
const SENSOR: &str = "[[sensor]]\nname = \"machine\"\ndriver = \"host\"\ninterval = \"500ms\"\n";

/// The running demo.
#[derive(Debug)]
pub(crate) struct Plant {
    /// Everything but the keys.
    pub(crate) site: Site,
}

/// Builds and signs the modules and starts everything but the gateway.
pub(crate) fn start(
    steps: &Steps,
    binaries: &Binaries,
    folder: &Path,
    log: &MachineLog,
) -> Result<Plant> {
    steps.say("making keys and the root document");
    let workshop = Workshop::open(binaries, folder)?;
    let mut modules = Vec::new();
    for (example, settings) in settings(log) {
        steps.say(&format!("building and signing {example}"));
        let bundle = workshop.bundle(&repository().join("guest-examples").join(example))?;
        modules.push(Module { bundle, settings });
    }
    steps.say("starting mosquitto and the centre");
    let plan = Plan {
        directory: folder,
        binaries,
        program: None,
        modules,
        broker: MESSAGE_ID,
        sections: SENSOR,
        tapped: false,
    };
    Ok(Plant {
        site: Site::start(&plan, &workshop)?,
    })
}

/// The modules: each example, and one summary for each kind of input.
fn settings(log: &MachineLog) -> Vec<(&'static str, String)> {
    let input = |topic: &str| format!("inputs = [{{ from = \"plant\", topic = \"{topic}\" }}]");
    let channels = serde_json::to_string(&log.channels).unwrap_or_default();
    let first = log.channels.first().map_or("", String::as_str);
    let summary = |name: &str, inputs: &str, field: &str| {
        let config = format!("config = {{ window = \"5s\"{field} }}");
        (
            "rolling-summary",
            format!("name = \"{name}\"\n{inputs}\n{config}"),
        )
    };
    vec![
        (
            "threshold-alarm",
            format!(
                "{}\npublish = [{{ to = \"plant\", topic = \"alarms/#\" }}]\n\
                 config = {{ \"input.field\" = \"celsius\", machine = \"{{1}}\", limit = \"80\", clear = \"75\" }}",
                input("machines/+/temperature")
            ),
        ),
        (
            "vibration-anomaly",
            format!(
                "{}\npublish = [{{ to = \"plant\", topic = \"anomalies/#\" }}]\n\
                 config = {{ channels = '{channels}', machine = \"{{1}}\" }}",
                input("machines/+/log")
            ),
        ),
        (
            "unit-convert",
            format!(
                "{}\npublish = [{{ to = \"plant\", topic = \"imperial/#\" }}]",
                input("machines/press-7/temperature")
            ),
        ),
        summary(
            "log-summary",
            &input("machines/+/log"),
            &format!(", \"input.field\" = '{first}'"),
        ),
        summary(
            "temperature-summary",
            &input("machines/+/temperature"),
            ", \"input.field\" = \"celsius\"",
        ),
        summary(
            "sensor-summary",
            "inputs = [{ from = \"machine\", topic = \"#\" }]",
            "",
        ),
    ]
}
