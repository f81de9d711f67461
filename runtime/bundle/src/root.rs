//! The root document: which keys a fleet has, and what each of them may sign.
//!
//! A gateway's first root is put there by its operator and carries its own keys, so it is parsed before its signatures
//! are checked; they prove that its holders agreed on it, and its [`VerifiedRoot::digest`] can be compared by eye.
//! `expires` is advice: a gateway without a clock goes on, and reports it. Every later root comes by rotation, under the
//! keys of the one before ([`VerifiedRoot::next`]).

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::json::{self, Item};
use crate::{Digest, Envelope, Error, KeyId, PublicKey, Sign, Signers, text};

/// DSSE payload type of the root document.
pub const ROOT_TYPE: &str = "application/vnd.tidegate.root.v1+json";
pub(crate) const DOCUMENT: &str = "root document";

/// The root document.
#[derive(Debug, Clone, Serialize)]
pub struct Root {
    /// Name of the fleet; every later document names it.
    pub fleet_id: String,
    /// Counts root documents of this fleet, from 1.
    pub version: u64,
    /// Raised to make a fleet forget sequence numbers that a stolen key ran up.
    pub epoch: u64,
    /// The keys of all roles.
    pub keys: BTreeMap<KeyId, PublicKey>,
    /// Which of them may sign what.
    pub roles: Roles,
    /// Oldest runtime that may work with this fleet.
    pub min_runtime_version: semver::Version,
    /// Unix seconds after which a new root is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
}

/// The roles of a fleet. Without a role, nobody may sign its documents.
#[derive(Debug, Clone, Serialize)]
pub struct Roles {
    /// Signs the root document.
    pub root: Role,
    /// Signs releases.
    pub release: ReleaseRole,
    /// Signs deployments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deploy: Option<Role>,
    /// Signs the time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Role>,
}

/// Keys, and how many distinct ones of them must sign.
#[derive(Debug, Clone, Serialize)]
pub struct Role {
    /// The keys that may sign, each once.
    pub key_ids: Vec<KeyId>,
    /// How many must: at least one, at most all.
    pub threshold: usize,
}

/// The release role: each key has the modules that it may sign.
#[derive(Debug, Clone, Serialize)]
pub struct ReleaseRole {
    /// The keys and their threshold.
    #[serde(flatten)]
    pub role: Role,
    /// For each key of the role: module names, or beginnings of names followed by `*`.
    pub modules: BTreeMap<KeyId, Vec<String>>,
}

impl Root {
    /// Signs this root with keys of its root role.
    ///
    /// # Errors
    ///
    /// Whatever [`VerifiedRoot::open`] would say to the result, so nobody can write a root that no gateway takes.
    pub fn sign(&self, keys: &[&impl Sign]) -> Result<Vec<u8>, Error> {
        let payload = json::write(DOCUMENT, self)?;
        let bytes = Envelope::sign(DOCUMENT, ROOT_TYPE, payload, keys)?.write()?;
        VerifiedRoot::open(&bytes)?;
        Ok(bytes)
    }

    /// The signers of a role.
    #[must_use]
    pub fn signers(&self, role: &Role) -> Signers<'_> {
        let key = |id: &KeyId| Some((*id, self.keys.get(id)?));
        Signers {
            keys: role.key_ids.iter().filter_map(key).collect(),
            threshold: role.threshold,
        }
    }

    /// The signers of a role that a fleet need not have. Without it, nobody can sign.
    pub(crate) fn signers_of(&self, role: Option<&Role>) -> Signers<'_> {
        let nobody = || Signers {
            keys: BTreeMap::new(),
            threshold: 1,
        };
        role.map_or_else(nobody, |role| self.signers(role))
    }

    /// How many of these keys may sign releases of a module.
    pub(crate) fn publishers_of(&self, module: &str, signed_by: &BTreeSet<KeyId>) -> usize {
        let covers = |patterns: &Vec<String>| {
            patterns
                .iter()
                .any(|pattern| text::pattern_covers(pattern, module))
        };
        let modules = &self.roles.release.modules;
        signed_by
            .iter()
            .filter(|id| modules.get(id).is_some_and(covers))
            .count()
    }

    pub(crate) fn read(payload: &[u8]) -> Result<Self, Error> {
        let mut fields = json::read(DOCUMENT, payload)?.fields()?;
        let fleet_id = fields
            .required("fleet_id")?
            .checked_text(text::check_name)?;
        let version = fields.required("version")?.positive()?;
        let epoch = fields.required("epoch")?.positive()?;
        let keys = read_keys(fields.required("keys")?)?;
        let mut roles = fields.required("roles")?.fields()?;
        let min_runtime_version = fields
            .required("min_runtime_version")?
            .parsed(semver::Version::parse)?;
        let expires = fields.optional("expires").map(Item::integer).transpose()?;
        fields.end()?;

        let read_role = |item: Item| read_role(item, &keys);
        let (root, release) = (
            read_role(roles.required("root")?)?,
            roles.required("release")?,
        );
        let release = read_release_role(release, &keys)?;
        let deploy = roles.optional("deploy").map(read_role).transpose()?;
        let time = roles.optional("time").map(read_role).transpose()?;
        roles.end()?;
        let roles = Roles {
            root,
            release,
            deploy,
            time,
        };
        Ok(Self {
            fleet_id,
            version,
            epoch,
            keys,
            roles,
            min_runtime_version,
            expires,
        })
    }
}

/// A root document that its own root role signed.
#[derive(Debug, Clone)]
pub struct VerifiedRoot {
    pub(crate) root: Root,
    pub(crate) digest: Digest,
}

impl VerifiedRoot {
    /// Opens the root that the operator trusts.
    ///
    /// # Errors
    ///
    /// Any reason of the envelope, of the document's form, of its keys (`weak-key`, `key-id-mismatch`) or of its
    /// signatures.
    pub fn open(bytes: &[u8]) -> Result<Self, Error> {
        let envelope = Envelope::read(DOCUMENT, bytes)?;
        envelope.check_type(ROOT_TYPE)?;
        let root = Root::read(envelope.unverified_payload())?;
        let (payload, _) = envelope.verify(ROOT_TYPE, &root.signers(&root.roles.root))?;
        let digest = Digest::of(payload);
        Ok(Self { root, digest })
    }

    /// The document.
    #[must_use]
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The SHA-256 of the signed body.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

fn read_keys(item: Item) -> Result<BTreeMap<KeyId, PublicKey>, Error> {
    let mut keys = BTreeMap::new();
    for (id, item) in item.entries()? {
        let listed = KeyId::parse(&id).map_err(|_| item.refuse("has an id that is no digest"))?;
        let key = PublicKey::parse(&item.text()?)?;
        if key.id() != listed {
            return Err(Error::KeyIdMismatch {
                listed,
                found: key.id(),
            });
        }
        keys.insert(listed, key);
    }
    Ok(keys)
}

fn read_role(item: Item, keys: &BTreeMap<KeyId, PublicKey>) -> Result<Role, Error> {
    let mut fields = item.fields()?;
    let role = read_role_fields(&mut fields, keys)?;
    fields.end()?;
    Ok(role)
}

fn read_role_fields(
    fields: &mut json::Fields,
    keys: &BTreeMap<KeyId, PublicKey>,
) -> Result<Role, Error> {
    let mut key_ids = Vec::new();
    for item in fields.required("key_ids")?.list()? {
        let (unknown, repeated) = (
            item.refuse("is not among the keys"),
            item.refuse("stands there twice"),
        );
        let id = item.parsed(KeyId::parse)?;
        if !keys.contains_key(&id) {
            return Err(unknown);
        }
        if key_ids.contains(&id) {
            return Err(repeated);
        }
        key_ids.push(id);
    }
    let item = fields.required("threshold")?;
    let out_of_range = item.refuse(format!(
        "must be at least 1 and at most the number of keys, {}",
        key_ids.len()
    ));
    let threshold = usize::try_from(item.integer()?).unwrap_or(usize::MAX);
    if !(1..=key_ids.len()).contains(&threshold) {
        return Err(out_of_range);
    }
    Ok(Role { key_ids, threshold })
}

fn read_release_role(item: Item, keys: &BTreeMap<KeyId, PublicKey>) -> Result<ReleaseRole, Error> {
    let mut fields = item.fields()?;
    let role = read_role_fields(&mut fields, keys)?;
    let item = fields.required("modules")?;
    fields.end()?;
    let incomplete = item.refuse("must have exactly the keys of the role");
    let mut modules = BTreeMap::new();
    for (id, item) in item.entries()? {
        let id = KeyId::parse(&id).map_err(|_| item.refuse("has an id that is no digest"))?;
        modules.insert(id, item.checked_texts(text::check_pattern)?);
    }
    if modules.len() != role.key_ids.len()
        || !role.key_ids.iter().all(|id| modules.contains_key(id))
    {
        return Err(incomplete);
    }
    Ok(ReleaseRole { role, modules })
}
