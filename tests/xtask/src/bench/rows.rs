//! Durable rows a second, against bare SQLite with the same settings and rows per commit.

use anyhow::{Context, Result};
use serde_json::Value;

use super::rigged::Rig;
use super::table::{Line, Target};

pub(super) fn run(rig: &Rig) -> Result<Vec<Line>> {
    let measured = rig.measured("tidegate-buffer", "rows_per_second", &[])?;
    let number = |name: &str| {
        measured
            .get(name)
            .and_then(Value::as_f64)
            .with_context(|| format!("no {name}"))
    };
    Ok(vec![Line::new(
        "durable rows",
        number("ours")?,
        number("raw")?,
        "rows/s",
        Target::ShareAtLeast(0.7),
    )])
}
