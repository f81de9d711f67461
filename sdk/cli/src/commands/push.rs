//! `tide push`: a bundle to a centre.
//!
//! The centre verifies it under the fleet's root, and keeps it for gateways. A bundle that is there already is no error: a
//! push whose answer was lost is done again.

use std::path::PathBuf;

use serde_json::Value;
use tidegate_bundle::UnverifiedBundle;

use crate::centre::Access;
use crate::error::Error;
use crate::files;
use crate::report::Report;

const BUNDLE_CONTENT_TYPE: &str = "application/vnd.tidegate.bundle";

/// Bring a release to a centre.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What `tide sign` wrote.
    bundle: PathBuf,
    #[command(flatten)]
    access: Access,
}

impl Args {
    pub(crate) fn run(&self) -> Result<Report, Error> {
        let centre = self.access.prepare()?;
        let bytes = files::read_bundle(&self.bundle)?;
        // What is no bundle need not travel; whether it is genuine the centre says.
        UnverifiedBundle::open(bytes.clone()).map_err(|source| Error::Refused {
            path: self.bundle.clone(),
            source,
        })?;
        let answer = centre.post("/v1/releases", BUNDLE_CONTENT_TYPE, bytes)?;
        let text = |field| {
            let text = answer.pointer(field).and_then(Value::as_str);
            text.unwrap_or("?").escape_debug().to_string()
        };
        let new = answer.get("new").and_then(Value::as_bool) == Some(true);
        let state = if new {
            "is at the centre"
        } else {
            "was at the centre already"
        };
        let (module, version) = (text("/release/module"), text("/release/version"));
        let identity = text("/release/identity");
        Ok(Report::new(answer)
            .line(format!("{module} {version} {state}"))
            .fact("identity", identity))
    }
}
