//! Installs what a fresh machine lacks.

use anyhow::Result;
use tidegate_tests::tools;

use crate::steps::Steps;

/// Installs the programs of other makes. The compiler for modules is set up by the first `tide build`.
pub(crate) fn run(steps: &Steps) -> Result<()> {
    tools::install_missing(&mut |text| steps.say(text))?;
    for tool in tools::Tool::ALL {
        let found = match tool.find() {
            None if tool.is_optional() => "not on this machine".to_owned(),
            _ => tool.path()?.display().to_string(),
        };
        steps.say(&format!("{}: {found}", tool.program()));
    }
    Ok(())
}
