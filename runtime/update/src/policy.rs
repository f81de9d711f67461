//! The site's policy: what may ever be granted here, whoever signs.
//!
//! It is a file of the site (`policy.toml`, described in docs/guides/operating.md), and never comes over a link or stick.
//! What it does not permit, no deployment gets. So a stolen deploy key, or a publisher who asks for more than yesterday,
//! ends where the site says.
//!
//! # Invariants
//!
//! - What is not permitted is refused; an empty policy permits nothing.
//! - A module is held against one entry, the first whose name covers that in its *release*, which its publisher signed:
//!   under another name on the gateway it is still the same module. Entries never add up.
//! - A refusal names everything that is refused at once.

mod permission;
mod read;

use tidegate_bundle::{DeployedModule, Release, text};
use tidegate_settings::Problem;

pub use permission::{Change, Permission, changes, permissions};

/// What the site permits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    new_permissions: NewPermissions,
    entries: Vec<Entry>,
}

/// How a permission is granted that the confirmed version of a module does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum NewPermissions {
    /// Only by an entry with the module's own name: somebody on site has thought of this module.
    #[default]
    Named,
    /// By any entry that covers it.
    Covered,
}

/// What modules of a name may have.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    /// A module's name, or the beginning of names and `*`.
    name: String,
    permissions: Vec<Permission>,
    memory_bytes: u64,
    state_bytes: u64,
    /// Whether its rows may leave the site.
    may_leave_site: bool,
    /// Where they may be kept then; anywhere, if this is empty.
    regions: Vec<String>,
}

/// What a site has to say to a module of a deployment, before anything of it is taken.
pub trait Rules {
    /// What speaks against a module, and the release that it names. `before` is the same module in the confirmed
    /// deployment.
    fn denials(
        &self,
        module: &DeployedModule,
        release: &Release,
        before: Option<&DeployedModule>,
    ) -> Vec<Denial>;
}

impl Rules for Policy {
    fn denials(
        &self,
        module: &DeployedModule,
        release: &Release,
        before: Option<&DeployedModule>,
    ) -> Vec<Denial> {
        self.permits(module, release, before)
    }
}

/// Something that the site does not permit, or does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// No entry covers the module.
    #[error("module {module} is not permitted here")]
    Module {
        /// Name in its release.
        module: String,
    },
    /// Its entry does not have the permission.
    #[error("module {module} is not permitted to {permission}")]
    Permission {
        /// Name in its release.
        module: String,
        /// What it is granted.
        permission: Permission,
    },
    /// It is new, and no entry has the module's own name.
    #[error(
        "module {module} is granted what its confirmed version does not have, to {permission}: an entry of that name must \
         permit it"
    )]
    NewPermission {
        /// Name in its release.
        module: String,
        /// What it is granted.
        permission: Permission,
    },
    /// It asks for more than it may be given.
    #[error("module {module} asks for {asked} bytes of {what}, {permitted} are permitted")]
    Limit {
        /// Name in its release.
        module: String,
        /// Memory or state.
        what: &'static str,
        /// Bytes that it asks for.
        asked: u64,
        /// Bytes that it may be given.
        permitted: u64,
    },
    /// Its rows must stay.
    #[error("rows of stream {stream} of module {module} may not leave the site")]
    LeavesSite {
        /// Name in its release.
        module: String,
        /// The stream.
        stream: String,
    },
    /// Its rows may be kept in certain regions only.
    #[error("rows of stream {stream} of module {module} may not be kept in {}", of_region(.region))]
    Region {
        /// Name in its release.
        module: String,
        /// The stream.
        stream: String,
        /// The region that the deployment names.
        region: Option<String>,
    },
    /// It imports what it is not granted, and could not be linked.
    #[error("module {module} needs import {import}, which the deployment does not grant")]
    NotGranted {
        /// Name in its release.
        module: String,
        /// What it imports.
        import: String,
    },
    /// Its configuration refers to a secret that the site does not have.
    #[error("secret {secret} of module {module} cannot be read: {reason}")]
    Secret {
        /// Its name on the gateway.
        module: String,
        /// The reference, never the value.
        secret: String,
        /// The reason.
        reason: String,
    },
    /// It is fed by, or publishes to, what the site does not have.
    #[error("module {module} needs a broker or sensor named {source_name}, and there is none")]
    Source {
        /// Its name on the gateway.
        module: String,
        /// The broker or sensor.
        source_name: String,
    },
}

impl Denial {
    /// The stable code of this reason, for reports and programs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Module { .. } => "module-not-permitted",
            Self::Permission { .. } => "not-permitted",
            Self::NewPermission { .. } => "new-permission",
            Self::Limit { .. } => "limit-not-permitted",
            Self::LeavesSite { .. } => "leaves-site",
            Self::Region { .. } => "region-not-permitted",
            Self::NotGranted { .. } => "not-granted",
            Self::Secret { .. } => "secret-unreadable",
            Self::Source { .. } => "unknown-source",
        }
    }
}

impl Policy {
    /// Reads the policy file.
    ///
    /// # Errors
    /// All problems at once, each with its line.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        read::read(text)
    }

    /// Holds a module of a deployment, and the release that it names, against the policy. `before` is the same module in
    /// the confirmed deployment. Permitted is what meets no denial.
    #[must_use]
    pub fn permits(
        &self,
        module: &DeployedModule,
        release: &Release,
        before: Option<&DeployedModule>,
    ) -> Vec<Denial> {
        let mut denials = check_imports(module, release);
        let mut entries = self.entries.iter();
        let name = &release.module;
        match entries.find(|entry| text::pattern_covers(&entry.name, name)) {
            Some(entry) => {
                denials.extend(self.check_permissions(entry, module, release, before));
                denials.extend(entry.check_limits(release));
                denials.extend(entry.check_streams(module, release));
            }
            None => denials.push(Denial::Module {
                module: name.clone(),
            }),
        }
        denials
    }

    fn check_permissions(
        &self,
        entry: &Entry,
        module: &DeployedModule,
        release: &Release,
        before: Option<&DeployedModule>,
    ) -> Vec<Denial> {
        let had = before.map(permissions).unwrap_or_default();
        let named = entry.name == release.module || self.new_permissions == NewPermissions::Covered;
        let denial = |permission: Permission| {
            let module = release.module.clone();
            let is_new = !had.iter().any(|had| had.covers(&permission));
            if !entry
                .permissions
                .iter()
                .any(|wide| wide.covers(&permission))
            {
                Some(Denial::Permission { module, permission })
            } else if is_new && !named {
                Some(Denial::NewPermission { module, permission })
            } else {
                None
            }
        };
        permissions(module).into_iter().filter_map(denial).collect()
    }
}

impl Entry {
    fn check_limits(&self, release: &Release) -> Vec<Denial> {
        let limits = [
            ("memory", release.limits.memory_bytes, self.memory_bytes),
            ("state", release.limits.state_bytes, self.state_bytes),
        ];
        let over = limits
            .into_iter()
            .filter(|(_, asked, permitted)| asked > permitted);
        over.map(|(what, asked, permitted)| Denial::Limit {
            module: release.module.clone(),
            what,
            asked,
            permitted,
        })
        .collect()
    }

    fn check_streams(&self, module: &DeployedModule, release: &Release) -> Vec<Denial> {
        let denial = |stream: &tidegate_bundle::Stream| {
            let residency = module.residency(&stream.name);
            let (module, stream) = (release.module.clone(), stream.name.clone());
            let region = residency.region;
            let permitted = self.regions.is_empty()
                || region
                    .as_ref()
                    .is_some_and(|region| self.regions.contains(region));
            match residency.may_leave_site {
                false => None,
                true if !self.may_leave_site => Some(Denial::LeavesSite { module, stream }),
                true if permitted => None,
                true => Some(Denial::Region {
                    module,
                    stream,
                    region,
                }),
            }
        };
        release.streams.iter().filter_map(denial).collect()
    }
}

/// The contract: what a component imports beyond it must be granted, or it cannot be linked.
fn check_imports(module: &DeployedModule, release: &Release) -> Vec<Denial> {
    let asked = release.capabilities.wasi.iter();
    asked
        .filter(|import| !module.grants.wasi.contains(import))
        .map(|import| Denial::NotGranted {
            module: release.module.clone(),
            import: import.clone(),
        })
        .collect()
}

fn of_region(region: &Option<String>) -> String {
    region
        .as_ref()
        .map_or_else(|| "any region".to_owned(), |name| format!("region {name}"))
}

#[cfg(test)]
mod tests;
