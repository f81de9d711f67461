//! What is said of the client in a report to the centre.

use std::collections::BTreeMap;

use tidegate_bundle::{Digest, InstalledModule, Refusal, Trust, text};

use super::{Client, code};
use crate::error::{Error, chain};
use crate::machine::Machine;
use crate::store::Store;

impl Client {
    /// The modules of all sets, and how far each has come. One whose release cannot be read has no version, and is left out.
    #[must_use]
    pub fn installed(&self) -> Vec<InstalledModule> {
        installed(&self.store, &self.state.trust, &self.state.machine)
    }

    /// Why something is refused, in one sentence. Of a deployment that failed here last, that is why it failed.
    #[must_use]
    pub fn sentence(&self, error: &Error) -> String {
        let mut words = chain(error);
        if let Error::Document(tidegate_bundle::Error::Refused(Refusal::Denied { digest, .. })) =
            error
            && let Some(given_up) = self.state.machine.given_up()
            && given_up.deployment == *digest
        {
            words = format!("it has failed on this gateway: {given_up}");
        }
        text::sentence(&words)
    }
}

/// The modules of all sets of a machine that have a release that can be read.
pub(super) fn installed(store: &Store, trust: &Trust, machine: &Machine) -> Vec<InstalledModule> {
    let mut versions = BTreeMap::<Digest, semver::Version>::new();
    for set in machine.sets() {
        if set
            .releases
            .keys()
            .all(|digest| versions.contains_key(digest))
        {
            continue;
        }
        match code::reopen(store, trust, set) {
            Ok(deployment) => versions.extend(
                deployment
                    .modules()
                    .map(|(module, release)| (module.release, release.version.clone())),
            ),
            Err(error) => {
                tracing::debug!(
                    "cannot report deployment {}: {}",
                    set.deployment,
                    chain(&error)
                );
            }
        }
    }
    let phases = machine.phases().into_iter();
    let installed = phases.filter_map(|(module, phase)| {
        Some(InstalledModule {
            name: module.name.clone(),
            release: module.release,
            version: versions.get(&module.release)?.clone(),
            generation: module.generation,
            phase,
        })
    });
    installed.collect()
}
