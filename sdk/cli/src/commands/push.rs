//! `tide push`: a signed file to a centre: a bundle, a deployment, or a root document.
//!
//! The centre verifies it under the fleet's root, and keeps it for gateways. What is there already is no error: a push whose
//! answer was lost is done again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tidegate_bundle::{
    DEPLOYMENT_TYPE, Deployment, Digest, ROOT_TYPE, Target, UnverifiedBundle, VerifiedRoot,
};

use super::heard::Heard;
use crate::centre::{Access, Centre};
use crate::error::Error;
use crate::files;
use crate::report::Report;

/// Where an archive says that it is one.
const TAR_MAGIC_AT: usize = 257;

pub(super) const BUNDLE_CONTENT_TYPE: &str = "application/vnd.tidegate.bundle";

/// Bring a release, a deployment or a root to a centre.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What `tide sign`, `tide deploy` or `tide root rotate` wrote.
    file: PathBuf,
    #[command(flatten)]
    access: Access,
}

impl Args {
    pub(crate) fn run(&self) -> Result<Report, Error> {
        let centre = self.access.prepare()?;
        let bytes = files::read_bundle(&self.file)?;
        let refused = |source| Error::Refused {
            path: self.file.clone(),
            source,
        };
        // What is none of these need not travel; whether it is genuine the centre says.
        if is_archive(&bytes) {
            UnverifiedBundle::open(bytes.clone()).map_err(refused)?;
            return push_bundle(&centre, bytes);
        }
        if !is_envelope(&bytes) {
            return Err(Error::NothingToPush {
                path: self.file.clone(),
            });
        }
        match Deployment::unverified(&bytes) {
            Ok((deployment, digest)) => push_deployment(&centre, bytes, &deployment, digest),
            Err(tidegate_bundle::Error::WrongType { .. }) => {
                VerifiedRoot::open(&bytes).map_err(refused)?;
                push_root(&centre, bytes)
            }
            Err(error) => Err(refused(error)),
        }
    }
}

/// Whether it is a tar archive, as bundles are.
fn is_archive(bytes: &[u8]) -> bool {
    bytes
        .get(TAR_MAGIC_AT..)
        .is_some_and(|rest| rest.starts_with(b"ustar"))
}

/// Whether it is JSON with the field by which envelopes say what they hold.
fn is_envelope(bytes: &[u8]) -> bool {
    let json: Option<Value> = serde_json::from_slice(bytes).ok();
    json.is_some_and(|json| json.get("payloadType").is_some())
}

/// A signed deployment, and the digest by which the centre knows it.
pub(super) fn read_deployment(file: &Path) -> Result<(Vec<u8>, Deployment, Digest), Error> {
    let bytes = files::read_document(file)?;
    let read = Deployment::unverified(&bytes);
    let (deployment, digest) = read.map_err(|source| Error::Refused {
        path: file.to_owned(),
        source,
    })?;
    Ok((bytes, deployment, digest))
}

fn push_bundle(centre: &Centre, bytes: Vec<u8>) -> Result<Report, Error> {
    let answer = centre.post("/v1/releases", BUNDLE_CONTENT_TYPE, bytes)?;
    let text = |field| {
        let text = answer.pointer(field).and_then(Value::as_str);
        text.unwrap_or("?").escape_debug().to_string()
    };
    let state = state(&answer);
    let (module, version) = (text("/release/module"), text("/release/version"));
    let identity = text("/release/identity");
    Ok(Report::new(answer)
        .line(format!("{module} {version} {state}"))
        .fact("identity", identity))
}

fn push_deployment(
    centre: &Centre,
    bytes: Vec<u8>,
    deployment: &Deployment,
    digest: Digest,
) -> Result<Report, Error> {
    let answer = centre.post("/v1/deployments", DEPLOYMENT_TYPE, bytes)?;
    let state = state(&answer);
    let (target, next) = match &deployment.target {
        Target::GatewayId(gateway) => (format!("gateway {gateway}"), "It is in force from now on."),
        Target::GroupId(group) => (
            format!("group {group}"),
            "A rollout brings it to its gateways: tide rollout start",
        ),
    };
    let named = match &deployment.target {
        Target::GatewayId(gateway) => [gateway.clone()].into(),
        Target::GroupId(_) => BTreeSet::new(),
    };
    let notes = Heard::notes(centre, &named)?;
    let seq = deployment.seq;
    Ok(Report::new(answer)
        .line(format!("deployment {seq} for {target} {state}"))
        .fact("sha256", digest)
        .line(next)
        .notes(notes))
}

fn push_root(centre: &Centre, bytes: Vec<u8>) -> Result<Report, Error> {
    let answer = centre.post("/v1/roots", ROOT_TYPE, bytes)?;
    let state = state(&answer);
    let version = answer.get("version").and_then(Value::as_u64).unwrap_or(0);
    Ok(Report::new(answer).line(format!("root {version} {state}")))
}

fn state(answer: &Value) -> &'static str {
    match answer.get("new").and_then(Value::as_bool) {
        Some(true) => "is at the centre",
        _ => "was at the centre already",
    }
}
