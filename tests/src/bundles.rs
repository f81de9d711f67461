//! Keys, the root document and signed modules, made with `tide` as a module author makes them.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::binaries::Binaries;
use crate::process::{Outcome, run, run_well};

/// A package with nothing in it, around a component that is there.
const AGAIN: &str = "[package]\nname = \"again\"\nedition = \"2024\"\n\n\
                     [lib]\ncrate-type = [\"cdylib\"]\n\n[workspace]\n";

/// Where bundles are signed: a key, and the root document that trusts it.
#[derive(Debug)]
pub struct Workshop {
    tide: PathBuf,
    folder: PathBuf,
}

impl Workshop {
    /// Makes a key and a root document in a folder `workshop` of `folder`.
    ///
    /// # Errors
    /// When `tide` fails.
    pub fn open(binaries: &Binaries, folder: &Path) -> Result<Self> {
        let folder = folder.join("workshop");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let workshop = Self {
            tide: binaries.tide(),
            folder,
        };
        let (key, root) = (workshop.key(), workshop.root());
        let public = key.with_extension("key.pub");
        workshop.tide(&["keygen".as_ref(), key.as_ref()])?;
        workshop.tide(&[
            "root".as_ref(),
            "init".as_ref(),
            root.as_ref(),
            "--fleet".as_ref(),
            "plant".as_ref(),
            "--root-key".as_ref(),
            key.as_ref(),
            "--release-key".as_ref(),
            public.as_ref(),
            "--deploy-key".as_ref(),
            public.as_ref(),
            "--time-key".as_ref(),
            public.as_ref(),
        ])?;
        Ok(workshop)
    }

    /// The secret key.
    pub fn key(&self) -> PathBuf {
        self.folder.join("publisher.key")
    }

    /// The root document.
    pub fn root(&self) -> PathBuf {
        self.folder.join("root.json")
    }

    /// Builds the module in `source` and signs it; gives the bundle.
    ///
    /// # Errors
    /// When `tide` fails.
    pub fn bundle(&self, source: &Path) -> Result<PathBuf> {
        self.component(source)?;
        let (key, folder) = (self.key(), &self.folder);
        let signed = self.tide(&[
            "sign".as_ref(),
            source.as_ref(),
            "--key".as_ref(),
            key.as_ref(),
            "--to".as_ref(),
            folder.as_ref(),
        ])?;
        path(&signed, "/bundle")
    }

    /// Signs the component of the module in `source` once more with other bytes, which do the same: what has to be fetched.
    ///
    /// # Errors
    /// When `tide` fails.
    pub fn again(&self, source: &Path) -> Result<PathBuf> {
        let mut component = fs::read(self.component(source)?)?;
        // A section that nobody reads.
        component.extend_from_slice(b"\0\x06\x05again");
        let folder = self.folder.join("again");
        let target = folder.join("target");
        let built = target.join("wasm32-wasip2/release");
        for folder in [&built, &folder.join("src")] {
            fs::create_dir_all(folder)?;
        }
        fs::write(built.join("again.wasm"), component)?;
        fs::copy(source.join("tide.toml"), folder.join("tide.toml"))?;
        fs::write(folder.join("src/lib.rs"), "")?;
        fs::write(folder.join("Cargo.toml"), AGAIN)?;
        let mut command = Command::new(&self.tide);
        command.arg("sign").arg(&folder).arg("--key");
        command.arg(self.key()).args(["-o", "json"]);
        let output = command.env("CARGO_TARGET_DIR", target).output()?;
        let printed = String::from_utf8_lossy(&output.stdout);
        let facts = serde_json::from_str(&printed).with_context(|| {
            let said = String::from_utf8_lossy(&output.stderr);
            format!("tide printed no JSON: {printed}{said}")
        })?;
        path(&facts, "/bundle")
    }

    /// Builds the module in `source`; gives the component.
    ///
    /// # Errors
    /// When `tide` fails.
    pub fn component(&self, source: &Path) -> Result<PathBuf> {
        path(
            &self.tide(&["build".as_ref(), source.as_ref()])?,
            "/component",
        )
    }

    /// Asks `tide` whether a bundle is trusted.
    ///
    /// # Errors
    /// When `tide` cannot be started.
    pub fn verify(&self, bundle: &Path) -> Result<Outcome> {
        let root = self.root();
        run(
            &self.tide,
            [
                "verify".as_ref(),
                bundle.as_os_str(),
                "--root".as_ref(),
                root.as_os_str(),
            ],
        )
    }

    /// Runs `tide`; gives what it prints.
    ///
    /// # Errors
    /// When it fails.
    pub fn tide(&self, arguments: &[&OsStr]) -> Result<Value> {
        let json = ["-o".as_ref(), "json".as_ref()];
        let printed = run_well(&self.tide, arguments.iter().copied().chain(json))?;
        serde_json::from_str(&printed).with_context(|| format!("tide printed no JSON: {printed}"))
    }
}

fn path(facts: &Value, pointer: &str) -> Result<PathBuf> {
    let path = facts
        .pointer(pointer)
        .and_then(Value::as_str)
        .map(PathBuf::from);
    let path = path.with_context(|| format!("no {pointer} in {facts}"))?;
    ensure!(
        path.is_file(),
        "tide named {}, which is not there",
        path.display()
    );
    Ok(path)
}
