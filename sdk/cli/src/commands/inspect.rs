//! `tide inspect`: what is in a bundle or a component, whoever signed it.

use std::path::PathBuf;

use serde_json::{Value, json};
use tidegate_bundle::{ArtifactKind, Digest, Release, Stream, UnverifiedBundle};

use crate::component::Component;
use crate::error::Error;
use crate::files;
use crate::report::{Report, size};

/// Show what is in a bundle or a component. Says nothing about who signed it: that is tide verify.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A bundle or a WebAssembly component.
    file: PathBuf,
}

impl Args {
    pub(crate) fn run(&self) -> Result<Report, Error> {
        let bytes = files::read_bundle(&self.file)?;
        if bytes.starts_with(b"\0asm") {
            let component = self.component(&bytes)?;
            let facts = json!({"component": component_json(&component)});
            return Ok(Report::new(facts).facts(component_facts(&component)));
        }
        if bytes.get(257..262) != Some(b"ustar") {
            return Err(Error::UnknownFile {
                path: self.file.clone(),
            });
        }
        self.bundle(bytes)
    }

    fn bundle(&self, bytes: Vec<u8>) -> Result<Report, Error> {
        let (length, digest) = (bytes.len(), Digest::of(&bytes));
        let unreadable = |source| Error::Document {
            path: self.file.clone(),
            source,
        };
        let bundle = UnverifiedBundle::open(bytes).map_err(unreadable)?;
        let release = bundle.unverified_release().map_err(unreadable)?;
        let component = release
            .artifacts
            .iter()
            .find(|artifact| artifact.kind == ArtifactKind::Component);
        let component = component.and_then(|artifact| bundle.unverified_artifact(artifact.sha256));
        let component = component.map(|bytes| self.component(bytes)).transpose()?;
        let facts = json!({
            "bundle": {"length": length, "sha256": digest}, "verified": false, "release": release,
            "component": component.as_ref().map(component_json),
        });
        let report = Report::new(facts)
            .line("bundle (its signatures were not checked: tide verify does)")
            .fact("size", size(length))
            .fact("sha256", digest)
            .facts(release_facts(&release));
        Ok(match component {
            Some(component) => report.line("component").facts(component_facts(&component)),
            None => report.line("the component that it names is not in it"),
        })
    }

    fn component(&self, bytes: &[u8]) -> Result<Component, Error> {
        Component::read(bytes).map_err(|source| Error::Component {
            path: self.file.clone(),
            source,
        })
    }
}

/// A release, one fact per line.
pub(crate) fn release_facts(release: &Release) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        (
            "module",
            format!(
                "{} {}, counter {}",
                release.module, release.version, release.counter
            ),
        ),
        ("world", release.world.clone()),
        ("publishes to", words(&release.capabilities.publish)),
        ("writes to", words(&release.capabilities.actuate)),
        ("asks for", words(&release.capabilities.wasi)),
        ("memory", binary(release.limits.memory_bytes)),
        ("state", binary(release.limits.state_bytes)),
        ("created", format!("{} (unix seconds)", release.created)),
    ];
    facts.extend(
        release
            .description
            .iter()
            .map(|text| ("description", text.clone())),
    );
    facts.extend(
        release
            .streams
            .iter()
            .map(|stream| ("stream", stream_words(stream))),
    );
    facts.extend(
        release
            .config
            .iter()
            .map(|(key, value)| ("config", format!("{key} = {value:?}"))),
    );
    facts.extend(release.artifacts.iter().map(|artifact| {
        let kind = match &artifact.kind {
            ArtifactKind::Component => "component".to_owned(),
            ArtifactKind::Precompiled { target, engine } => {
                format!("precompiled for {target}, {engine}")
            }
        };
        (
            "artifact",
            format!("{kind}, {} bytes, {}", artifact.length, artifact.sha256),
        )
    }));
    facts
}

fn component_facts(component: &Component) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("size", size(component.size)),
        ("sha256", component.digest.to_string()),
        (
            "world",
            component
                .world()
                .unwrap_or("not a Tidegate module")
                .to_owned(),
        ),
    ];
    facts.extend(
        component
            .exports
            .iter()
            .map(|export| ("exports", export.clone())),
    );
    facts.extend(
        component
            .imports_in_words()
            .into_iter()
            .map(|import| ("imports", import)),
    );
    facts
}

fn component_json(component: &Component) -> Value {
    json!({
        "length": component.size, "sha256": component.digest, "world": component.world(),
        "exports": component.exports, "imports": component.imports,
    })
}

fn stream_words(stream: &Stream) -> String {
    let unit = stream
        .unit
        .as_ref()
        .map(|unit| format!(" in {unit}"))
        .unwrap_or_default();
    let description = stream
        .description
        .as_ref()
        .map(|text| format!(": {text}"))
        .unwrap_or_default();
    format!(
        "{} ({}){unit}{description}",
        stream.name,
        stream.class.name()
    )
}

/// Bytes in the largest unit that divides them.
fn binary(bytes: u64) -> String {
    match bytes {
        bytes if bytes % (1 << 20) == 0 => format!("{} MiB", bytes >> 20),
        bytes if bytes % (1 << 10) == 0 => format!("{} KiB", bytes >> 10),
        bytes => format!("{bytes} bytes"),
    }
}

fn words(list: &[String]) -> String {
    if list.is_empty() {
        "nothing".to_owned()
    } else {
        list.join(", ")
    }
}
