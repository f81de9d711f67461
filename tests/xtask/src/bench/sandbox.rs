//! What a message of 128 bytes costs in the sandbox, in a batch of 256, against the same work natively.

use anyhow::{Context, Result};
use serde_json::Value;
use tidegate_tests::binaries::repository;

use super::rigged::Rig;
use super::table::{Line, Target};

pub(super) fn run(rig: &Rig) -> Result<Vec<Line>> {
    let (_folder, workshop) = rig.workshop()?;
    let component = workshop.component(&repository().join("tests/guests/sum"))?;
    let measured = rig.measured("tidegate-sandbox", "per_message", &[&component])?;
    let number = |name: &str| {
        measured
            .get(name)
            .and_then(Value::as_f64)
            .with_context(|| format!("no {name}"))
    };
    let (guest, native) = (number("guest_ns")?, number("native_ns")?);
    Ok(vec![Line::new(
        "sandbox, per message of 128 bytes",
        guest,
        native,
        "ns",
        Target::AtMost(300.0),
    )])
}
