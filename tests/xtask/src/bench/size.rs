//! Size of our programs, against the bare subscriber: what an MQTT client without sandbox and database needs.

use std::path::Path;

use anyhow::{Context, Result};

use super::rigged::{Rig, float};
use super::table::{Line, Target};

pub(super) fn run(rig: &Rig) -> Result<Vec<Line>> {
    let bare = megabytes(&rig.bare)?;
    let line = |name: &str, file: &Path, bound| -> Result<Line> {
        Ok(Line::new(
            format!("size of {name}"),
            megabytes(file)?,
            bare,
            "MB",
            Target::AtMost(bound),
        ))
    };
    Ok(vec![
        line("tidegate", &rig.binaries.tidegate(), 14.0)?,
        line("tidegate-cloud", &rig.binaries.tidegate_cloud(), 14.0)?,
        line("tide", &rig.binaries.tide(), 20.0)?,
    ])
}

fn megabytes(file: &Path) -> Result<f64> {
    let metadata = file
        .metadata()
        .with_context(|| format!("no {}", file.display()))?;
    Ok(float(metadata.len()) / 1e6)
}
