//! `tide bundle-usb`: one file that brings an update to a gateway without a link.
//!
//! The same contents give the same bytes. What a gateway of this fleet would refuse is not written: it goes through the
//! code that decides there, as for a gateway that comes to the fleet now and has a runtime that is new enough.

use std::path::PathBuf;

use serde_json::json;
use tidegate_bundle::{
    DOCUMENT_BYTES_MAX, Deployment, Gateway, Now, Stick, Target, Trust, UnverifiedBundle,
    VerifiedBundle, VerifiedDeployment, VerifiedRoot,
};

use crate::centre::{Centre, MaybeAccess};
use crate::clock;
use crate::commands::deploy::{number, release_words, target};
use crate::commands::verify::read_verified;
use crate::error::Error;
use crate::files;
use crate::report::{Report, size};

/// Write a stick: one file with all that a gateway needs for an update.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Root document of the fleet. Repeat it for all that gateways may lack, in whatever order; a centre has those that
    /// follow.
    #[arg(long, required = true)]
    root: Vec<PathBuf>,
    /// What `tide deploy` wrote.
    #[arg(long)]
    deployment: PathBuf,
    /// What `tide sign` wrote; repeat it for each release that the deployment names and a centre does not have.
    #[arg(long)]
    bundle: Vec<PathBuf>,
    /// Where to write the stick; replaced, if it is there.
    #[arg(long)]
    to: PathBuf,
    #[command(flatten)]
    access: MaybeAccess,
}

/// A document, and the file that it is in.
struct Document {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Args {
    pub(crate) fn run(&self) -> Result<Report, Error> {
        let centre = self.access.prepare()?;
        let roots = self.roots(centre.as_ref())?;
        let mut trust = trust(&roots)?;
        let deployment = read(&self.deployment)?;
        let bundles = self.bundle.iter();
        let bundles = bundles.map(|path| read_verified(path, trust.root()));
        let mut bundles = bundles.collect::<Result<Vec<_>, _>>()?;
        if let Some(centre) = &centre {
            fetch(centre, trust.root(), &deployment, &mut bundles)?;
        }
        let accepted = accept(&mut trust, &deployment, &bundles)?;

        let roots: Vec<_> = roots.iter().map(|root| root.bytes.as_slice()).collect();
        let releases: Vec<_> = bundles.iter().map(VerifiedBundle::document).collect();
        let blobs: Vec<_> = bundles.iter().flat_map(VerifiedBundle::artifacts).collect();
        let stick = Stick {
            roots: &roots,
            deployment: &deployment.bytes,
            releases: &releases,
            blobs: &blobs,
        };
        let bytes = stick.write().map_err(Error::Stick)?;
        files::write(&self.to, &bytes)?;
        Ok(self.report(&trust, &accepted, bytes.len()))
    }

    /// The roots by version. Each must be one; that they follow each other is held next.
    fn roots(&self, centre: Option<&Centre>) -> Result<Vec<Document>, Error> {
        let mut roots = Vec::new();
        for path in &self.root {
            let version = files::read_root(path)?.root().version;
            roots.push((version, read(path)?));
        }
        roots.sort_by_key(|(version, _)| *version);
        let newest = roots.last().map_or(0, |(version, _)| *version);
        for version in (newest..).skip(1) {
            let path = format!("/v1/roots/{version}");
            let found = centre.map(|centre| centre.file(&path)).transpose()?;
            let Some(bytes) = found.flatten() else {
                break;
            };
            let path = PathBuf::from(path);
            roots.push((version, Document { path, bytes }));
        }
        Ok(roots.into_iter().map(|(_, root)| root).collect())
    }

    fn report(&self, trust: &Trust, accepted: &VerifiedDeployment, length: usize) -> Report {
        let deployment = accepted.deployment();
        let facts = json!({
            "stick": self.to, "length": length, "root_version": trust.root().root().version,
            "sha256": accepted.digest(), "document": deployment,
        });
        let mut report = Report::new(facts)
            .fact("stick", self.to.display())
            .fact("size", size(length))
            .fact("for", target(deployment))
            .fact("number", number(deployment));
        for (module, release) in accepted.modules() {
            let words = release_words(release);
            report = report.fact("module", format!("{}: {words}", module.name));
        }
        report
    }
}

/// Follows the roots from the oldest to the newest.
fn trust(roots: &[Document]) -> Result<Trust, Error> {
    let mut roots = roots.iter();
    // Clap wants at least one.
    let first = roots.next().map(|root| root.bytes.as_slice());
    let mut trust = Trust::begin(first.unwrap_or_default()).map_err(Error::Root)?;
    for root in roots {
        let accepted = trust.accept_root(&root.bytes);
        accepted.map_err(|source| root.refused(source))?;
    }
    Ok(trust)
}

/// Adds the releases that the deployment names and nobody has given.
fn fetch(
    centre: &Centre,
    root: &VerifiedRoot,
    document: &Document,
    bundles: &mut Vec<VerifiedBundle>,
) -> Result<(), Error> {
    let refused = |source| document.refused(source);
    let (deployment, _) = Deployment::verify(&document.bytes, root).map_err(refused)?;
    let mut missing = deployment.releases();
    for bundle in &*bundles {
        missing.remove(&bundle.digest());
    }
    for digest in missing {
        let path = centre.blob_of(digest)?.ok_or(Error::NoRelease(digest))?;
        let bytes = centre.file(&path)?.ok_or(Error::NoRelease(digest))?;
        let bundle = UnverifiedBundle::open(bytes).and_then(|bundle| bundle.verify(root));
        bundles.push(bundle.map_err(|source| Error::Refused {
            path: PathBuf::from(path),
            source,
        })?);
    }
    Ok(())
}

/// What the gateway that it is for would say to the deployment with these releases.
fn accept(
    trust: &mut Trust,
    document: &Document,
    bundles: &[VerifiedBundle],
) -> Result<VerifiedDeployment, Error> {
    let refused = |source| document.refused(source);
    let bytes = &document.bytes;
    let (deployment, _) = Deployment::verify(bytes, trust.root()).map_err(refused)?;
    let (gateway_id, group_id) = match deployment.target {
        Target::GatewayId(id) => (id, None),
        Target::GroupId(id) => (String::new(), Some(id)),
    };
    let gateway = Gateway {
        gateway_id,
        group_id,
        runtime_version: trust.root().root().min_runtime_version.clone(),
        built: 0,
    };
    let now = Now::Synchronised(clock::now());
    let releases: Vec<_> = bundles.iter().map(VerifiedBundle::document).collect();
    Deployment::verify_downgrades(bytes, trust.root()).map_err(refused)?;
    let accepted = trust.accept_deployment(&gateway, now, bytes, &releases);
    accepted.map_err(refused)
}

fn read(path: &std::path::Path) -> Result<Document, Error> {
    Ok(Document {
        path: path.to_owned(),
        bytes: files::read(path, DOCUMENT_BYTES_MAX as u64)?,
    })
}

impl Document {
    fn refused(&self, source: tidegate_bundle::Error) -> Error {
        Error::Refused {
            path: self.path.clone(),
            source,
        }
    }
}
