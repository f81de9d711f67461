//! A deployment as the machine knows it: what it is made of, by digest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidegate_bundle::Digest;

use crate::store::Blob;

/// A complete deployment: what it needs in the store, what it runs, and on which terms it is tried. Only the client makes
/// one, of a deployment that it has verified.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Set {
    /// Digest of its signed body.
    pub deployment: Digest,
    /// The file of the deployment.
    pub document: Blob,
    /// The file of each of its releases, by the digest of the release's signed body.
    pub releases: BTreeMap<Digest, Blob>,
    /// Components, and code for this machine.
    pub artifacts: Vec<Blob>,
    /// Its modules.
    pub modules: Vec<Module>,
    /// Whether a changed module runs in the shadow before it is active.
    pub shadowed: bool,
    /// Minutes for which those before stand by.
    pub probation_minutes: u64,
    /// How often it is begun with before it is given up.
    pub attempts: u64,
}

/// A module of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Module {
    /// Its name on the gateway.
    pub name: String,
    /// Digest of the signed body of its release.
    pub release: Digest,
    /// Digest of all that the deployment says of it, its release among it.
    pub settings: Digest,
    /// Whether it is to run.
    pub enabled: bool,
    /// Counts the activations of modules of this name. Given by the machine.
    pub generation: u64,
}

impl Set {
    /// All that must be in the store.
    pub fn blobs(&self) -> impl Iterator<Item = &Blob> {
        let document = std::iter::once(&self.document);
        document
            .chain(self.releases.values())
            .chain(&self.artifacts)
    }

    /// A module by its name.
    #[must_use]
    pub fn module(&self, name: &str) -> Option<&Module> {
        self.modules.iter().find(|module| module.name == name)
    }

    /// The modules that are not those of `before`.
    pub fn changed<'a>(&'a self, before: Option<&'a Self>) -> impl Iterator<Item = &'a Module> {
        let modules = self.modules.iter();
        modules.filter(move |module| {
            let same = before.and_then(|set| set.module(&module.name));
            same.is_none_or(|same| same.generation != module.generation)
        })
    }

    /// The one module that runs and is not of `before`, if there is exactly one.
    pub(super) fn only_changed<'a>(&'a self, before: Option<&'a Self>) -> Option<&'a Module> {
        let mut changed = self.changed(before).filter(|module| module.enabled);
        match (changed.next(), changed.next()) {
            (Some(module), None) => Some(module),
            _ => None,
        }
    }

    /// Gives each module its generation: that of `before` where nothing changes, and one that never was where something
    /// does.
    pub(super) fn number(&mut self, before: Option<&Self>, highest: &mut BTreeMap<String, u64>) {
        for module in &mut self.modules {
            let same = before.and_then(|set| set.module(&module.name));
            let same = same.filter(|same| {
                (same.release, same.settings, same.enabled)
                    == (module.release, module.settings, module.enabled)
            });
            module.generation = match same {
                Some(same) => same.generation,
                None => {
                    let highest = highest.entry(module.name.clone()).or_default();
                    *highest = highest.saturating_add(1);
                    *highest
                }
            };
        }
    }
}
