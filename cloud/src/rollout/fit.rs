//! Whether a deployment can run on a gateway, from what the gateway's machine is said to be.
//!
//! The gateway checks all of this itself and more. Here it keeps a rollout from reaching a gateway that would only
//! refuse, and lets a person read why.

use std::collections::BTreeMap;

use tidegate_bundle::{ArtifactKind, Deployment, Digest, Facts, Release};

/// Whether it fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fit {
    /// As far as can be seen.
    Fits,
    /// The gateway has not said what its machine is.
    Unknown,
    /// It does not, for these reasons.
    Unfit(Vec<String>),
}

/// Holds a deployment with its releases against the facts of a machine.
pub fn fit(
    deployment: &Deployment,
    releases: &BTreeMap<Digest, Release>,
    facts: Option<&Facts>,
) -> Fit {
    let Some(facts) = facts else {
        return Fit::Unknown;
    };
    let mut reasons = Vec::new();
    let mut memory_bytes = 0_u64;
    let enabled = deployment.modules.iter().filter(|module| module.enabled());
    for module in enabled {
        let inputs = module.inputs.iter().map(|input| &input.from);
        let outputs = module.grants.publish.iter().map(|publish| &publish.to);
        for source in inputs.chain(outputs) {
            if !facts.field.contains(source) {
                let reason = format!(
                    "module {} needs {source}, and the gateway has no broker or sensor of that name",
                    module.name
                );
                if !reasons.contains(&reason) {
                    reasons.push(reason);
                }
            }
        }
        let Some(release) = releases.get(&module.release) else {
            continue;
        };
        memory_bytes = memory_bytes.saturating_add(release.limits.memory_bytes);
        if !facts.compiler && !is_compiled_for(release, facts) {
            reasons.push(format!(
                "module {} {} has no code for {} with engine {}, and the gateway has no compiler",
                module.name, release.version, facts.target, facts.engine
            ));
        }
    }
    if memory_bytes > facts.memory_bytes {
        reasons.push(format!(
            "the modules may take {} MiB of memory, and the gateway has {} MiB for them",
            memory_bytes.div_ceil(1 << 20),
            facts.memory_bytes >> 20
        ));
    }
    match reasons.is_empty() {
        true => Fit::Fits,
        false => Fit::Unfit(reasons),
    }
}

fn is_compiled_for(release: &Release, facts: &Facts) -> bool {
    release.artifacts.iter().any(|artifact| {
        matches!(&artifact.kind, ArtifactKind::Precompiled { target, engine }
            if *target == facts.target && *engine == facts.engine)
    })
}
