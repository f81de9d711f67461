//! From a set to what can be run: its documents reopened, its code loaded and hashed.

use std::collections::BTreeMap;

use tidegate_bundle::{
    Artifact, ArtifactKind, ConfigValue, DeployedModule, Release, Rollout, Trust,
    VerifiedDeployment,
};

use super::Site;
use crate::error::Error;
use crate::machine::Set;
use crate::store::{Blob, Store};

/// A module, ready to run under its generation.
#[derive(Debug, Clone)]
pub struct Generation {
    /// Counts the activations of modules of its name.
    pub generation: u64,
    /// What the deployment says of it: name, inputs, grants, residency.
    pub module: DeployedModule,
    /// Its release: streams and limits.
    pub release: Release,
    /// How it proves itself.
    pub rollout: Rollout,
    /// Configuration: the release's, the deployment's over it, flags.
    pub config: BTreeMap<String, ConfigValue>,
    /// The component.
    pub component: Vec<u8>,
    /// Code made from it for this machine, if the release has it.
    pub precompiled: Option<Vec<u8>>,
}

/// Opens the documents of a set again. They were accepted before, so the memory knows them.
pub(super) fn reopen(store: &Store, trust: &Trust, set: &Set) -> Result<VerifiedDeployment, Error> {
    let document = store.load(set.document)?;
    let releases = set.releases.values().map(|blob| store.load(*blob));
    let releases = releases.collect::<Result<Vec<_>, _>>()?;
    let releases: Vec<_> = releases.iter().map(Vec::as_slice).collect();
    Ok(trust.reopen(&document, &releases)?)
}

/// Loads all modules of a set that are to run.
pub(super) fn load(
    store: &Store,
    trust: &Trust,
    site: &Site,
    set: &Set,
) -> Result<Vec<Generation>, Error> {
    let deployment = reopen(store, trust, set)?;
    let mut generations = Vec::new();
    for (module, release) in deployment.modules().filter(|(module, _)| module.enabled()) {
        let code = |wanted: fn(&Site, &Artifact) -> bool| {
            let mut artifacts = release.artifacts.iter();
            let found = artifacts.find(|artifact| wanted(site, artifact));
            found.map(|artifact| store.load(blob(artifact))).transpose()
        };
        let component = code(|_, artifact| artifact.kind == ArtifactKind::Component)?;
        let numbered = set.module(&module.name).map(|module| module.generation);
        generations.push(Generation {
            generation: numbered.ok_or(Error::Nothing("known of a module"))?,
            rollout: deployment.deployment().rollout.clone(),
            config: module.configuration(release),
            component: component.ok_or(Error::Nothing("a component"))?,
            precompiled: code(Site::is_precompiled)?,
            module: module.clone(),
            release: release.clone(),
        });
    }
    Ok(generations)
}

/// What the store calls an artifact.
pub(super) fn blob(artifact: &Artifact) -> Blob {
    Blob {
        sha256: artifact.sha256,
        length: artifact.length,
    }
}
