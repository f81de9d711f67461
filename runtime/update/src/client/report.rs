//! What is said of the client in a report to the centre.

use std::collections::BTreeMap;

use tidegate_bundle::{Digest, InstalledModule};

use super::Client;
use crate::error::chain;

impl Client {
    /// The modules of all sets, and how far each has come. One whose release cannot be read has no version, and is left out.
    #[must_use]
    pub fn installed(&self) -> Vec<InstalledModule> {
        let mut versions = BTreeMap::<Digest, semver::Version>::new();
        for set in self.state.machine.sets() {
            if set
                .releases
                .keys()
                .all(|digest| versions.contains_key(digest))
            {
                continue;
            }
            match self.reopen(&self.state.trust, set) {
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
        let phases = self.state.machine.phases().into_iter();
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
}
