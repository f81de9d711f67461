//! Permissions as single things: to hold against a policy, to compare between versions, to say in words.

use std::collections::BTreeSet;
use std::fmt;

use tidegate_bundle::{ConfigValue, DeployedModule, SecretRef, text};

/// One thing that a module is granted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Permission {
    /// To publish.
    Publish {
        /// The broker, by its name in gateway.toml.
        to: String,
        /// Topic filter.
        topic: String,
    },
    /// To write a device point.
    Actuate(String),
    /// To import something beyond the contract.
    Wasi(String),
    /// To be given a secret.
    Secret(String),
}

impl Permission {
    /// Whether this is `narrower`, or wider.
    #[must_use]
    pub fn covers(&self, narrower: &Self) -> bool {
        match (self, narrower) {
            (
                Self::Publish { to, topic },
                Self::Publish {
                    to: other,
                    topic: narrow,
                },
            ) => to == other && text::filter_covers(topic, narrow),
            _ => self == narrower,
        }
    }
}

/// In words to be read after *may* or *to*.
impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Publish { to, topic } => write!(f, "publish {topic} on {to}"),
            Self::Actuate(point) => write!(f, "write {point}"),
            Self::Wasi(import) => write!(f, "import {import}"),
            Self::Secret(name) => write!(f, "be given secret {name}"),
        }
    }
}

/// All that a deployment grants a module.
#[must_use]
pub fn permissions(module: &DeployedModule) -> BTreeSet<Permission> {
    let publish = module
        .grants
        .publish
        .iter()
        .map(|publish| Permission::Publish {
            to: publish.to.clone(),
            topic: publish.topic.clone(),
        });
    let actuate = module
        .grants
        .actuate
        .iter()
        .cloned()
        .map(Permission::Actuate);
    let wasi = module.grants.wasi.iter().cloned().map(Permission::Wasi);
    let secrets = module.config.values().filter_map(|value| match value {
        ConfigValue::Text(_) => None,
        ConfigValue::Secret(
            SecretRef::File(name) | SecretRef::Credential(name) | SecretRef::Environment(name),
        ) => Some(Permission::Secret(name.clone())),
    });
    publish.chain(actuate).chain(wasi).chain(secrets).collect()
}

/// How what one version is granted differs from what another is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Only the newer may.
    Added(Permission),
    /// Only the older might.
    Removed(Permission),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added(permission) => write!(f, "may now {permission}"),
            Self::Removed(permission) => write!(f, "may no longer {permission}"),
        }
    }
}

/// From what one version is granted to what another is; of a module that was not there, everything is added. What a wider
/// permission of the other side covers is no change.
#[must_use]
pub fn changes(older: Option<&DeployedModule>, newer: Option<&DeployedModule>) -> Vec<Change> {
    let older = older.map(permissions).unwrap_or_default();
    let newer = newer.map(permissions).unwrap_or_default();
    let only = |these: &BTreeSet<Permission>, those: &BTreeSet<Permission>| {
        let covered = |it: &Permission| those.iter().any(|wide| wide.covers(it));
        let only = these.iter().filter(|it| !covered(it)).cloned();
        only.collect::<Vec<_>>()
    };
    let added = only(&newer, &older).into_iter().map(Change::Added);
    let removed = only(&older, &newer).into_iter().map(Change::Removed);
    added.chain(removed).collect()
}
