//! Installs what a fresh machine lacks.

use anyhow::Result;
use tidegate_tests::tools;

use crate::steps::Steps;

/// Installs the programs of other makes. The compiler for modules is set up by the first `tide build`.
pub(crate) fn run(steps: &Steps) -> Result<()> {
    tools::install_missing(&mut |text| steps.say(text))?;
    for tool in tools::Tool::ALL {
        steps.say(&format!("{}: {}", tool.program(), tool.path()?.display()));
    }
    Ok(())
}
