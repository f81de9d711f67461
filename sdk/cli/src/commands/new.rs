//! `tide new`: a module that builds and passes its tests, to change from there.

use std::path::PathBuf;

use serde_json::json;
use tidegate_bundle::text;

use crate::error::Error;
use crate::report::Report;
use crate::sdk;

/// Make a new module in a folder of its name.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the module: a-z, 0-9 and -.
    name: String,
    /// What to start from.
    #[arg(long, default_value = "map")]
    template: String,
}

impl Args {
    pub(crate) fn run(&self) -> Result<Report, Error> {
        let name = &self.name;
        let refuse = |what, text: &str, problem: String| Error::Argument {
            what,
            text: text.to_owned(),
            problem,
        };
        text::check_name(name)
            .map_err(|problem| refuse("module name", name, problem.to_owned()))?;
        // It is the name of a Rust package, too.
        if !name.starts_with(|first: char| first.is_ascii_lowercase()) {
            return Err(refuse(
                "module name",
                name,
                "must begin with a letter".to_owned(),
            ));
        }
        let templates = sdk::templates();
        if !templates.contains(&self.template.as_str()) {
            let problem = format!("is none of the templates: {}", templates.join(", "));
            return Err(refuse("template", &self.template, problem));
        }
        let folder = PathBuf::from(name);
        if folder.exists() {
            return Err(refuse("folder", name, "is there already".to_owned()));
        }
        sdk::write_project(&folder, &self.template, name)?;
        Ok(
            Report::new(json!({"module": name, "folder": folder, "template": self.template}))
                .line(format!(
                    "made {name}/ from the template {}; next:",
                    self.template
                ))
                .line(format!("  cd {name}"))
                .line("  cargo test    # the function alone, no WebAssembly needed")
                .line("  tide build    # the component")
                .line("  tide test     # the component in the gateway's engine, on recorded input"),
        )
    }
}
