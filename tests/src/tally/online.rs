//! The same, with deployments that come from the centre.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Scene, TALLY};
use crate::binaries::Binaries;
use crate::fleet::{Deployed, Terms, said};
use crate::process::run_well;
use crate::site::GATEWAY;
use crate::wait::wait_until;

/// The gateway asks every second.
const SECTIONS: &str = "[updates]\ninterval = \"1s\"\n";

impl Scene {
    /// Starts a gateway under a fleet whose centre has the module and no deployment yet, with the load paused.
    ///
    /// # Errors
    /// When something does not start.
    pub fn online(binaries: &Binaries, directory: &Path, per_second: f64) -> Result<Self> {
        let mut scene = Self::enrolled(binaries, directory, per_second, None, SECTIONS)?;
        let (root, key) = (scene.fleet.root(), scene.fleet.key());
        let [root, key] = [&root, &key].map(|path| path.to_str().context("a path is text"));
        let arguments = ["--root", root?, "--time-key", key?];
        scene.site.cloud.kill9()?;
        scene.site.cloud.start_again_with(&arguments)?;
        let gateway = &scene.site.gateway;
        let config = gateway.configuration();
        let arguments: [&OsStr; 3] = [
            "device-key".as_ref(),
            "--config".as_ref(),
            config.as_os_str(),
        ];
        let key = run_well(gateway.program(), arguments)?;
        scene.site.cloud.know(GATEWAY, &key)?;
        let bundle = scene.bundle.clone();
        scene.fleet.push(&scene.site.cloud, &bundle)?;
        scene.site.gateway.start()?;
        Ok(scene)
    }

    /// Brings the next deployment to the centre, with a flaw as in [`Scene::deploy`]. Gives what the gateway will call it.
    ///
    /// # Errors
    /// When the centre does not take it.
    pub fn push(&mut self, terms: Terms, flaw: &str) -> Result<Value> {
        let module = self.module(flaw);
        self.push_module(terms, module)
    }

    /// Brings the next deployment, of this module, to the centre. Gives what the gateway will call it.
    ///
    /// # Errors
    /// When the centre does not take it.
    pub fn push_module(&mut self, terms: Terms, module: Deployed) -> Result<Value> {
        let signed = self.fleet.signed(terms, &[module])?;
        let answer = self.fleet.push(&self.site.cloud, &signed)?;
        let digest = answer.pointer("/deployment/digest").cloned();
        digest.with_context(|| format!("no digest in {answer}"))
    }

    /// Waits until the centre says that this has become of a deployment at the gateway.
    ///
    /// # Errors
    /// When it does not say so.
    pub fn shown(&self, deployment: &Value, state: &str) -> Result<()> {
        let mut last = Value::Null;
        let path = format!("/v1/fleet/{GATEWAY}");
        let shown = wait_until("the centre to show it", super::SOON, || {
            last = self.site.cloud.get_json(&path)?;
            let of_this = *said(&last, "/desired/deployment") == *deployment;
            Ok(of_this && *said(&last, "/state") == *state)
        });
        shown.with_context(|| format!("{state} was expected of {deployment}: {last}"))
    }

    /// Waits until this is so of what the gateway has last reported to the centre.
    ///
    /// # Errors
    /// When it does not get there.
    pub fn reported(&self, what: &str, is: impl Fn(&Value) -> bool) -> Result<()> {
        let mut last = Value::Null;
        let path = format!("/v1/fleet/{GATEWAY}");
        let seen = wait_until(what, super::SOON, || {
            last = said(&self.site.cloud.get_json(&path)?, "/reported").clone();
            Ok(is(&last))
        });
        seen.with_context(|| format!("it has reported {last}"))
    }

    /// Bytes of the module's component.
    ///
    /// # Errors
    /// When the bundle cannot be read.
    pub fn component_bytes(&self) -> Result<u64> {
        // It is nearly all of the bundle.
        Ok(fs::metadata(&self.bundle)?.len())
    }

    /// Bytes of a blob that have come to the gateway and are not all of it; none if there is no such.
    ///
    /// # Errors
    /// When the gateway's store cannot be read.
    pub fn begun(&self) -> Result<Option<u64>> {
        let store = self.site.gateway.state().join("updates/sha256");
        for entry in fs::read_dir(&store).with_context(|| format!("no store of {TALLY}"))? {
            let entry = entry?;
            if entry.path().extension() == Some("begun".as_ref()) {
                return Ok(Some(entry.metadata()?.len()));
            }
        }
        Ok(None)
    }
}
