//! What [`Trust`] remembers, and the bytes in which it outlasts a restart.
//!
//! One line, `tidegate-trust-1 ` and the SHA-256 of everything after its line feed, then a JSON object, read as strictly as
//! any document. Bytes that cannot be read are refused whole (`memory-damaged`): a gateway that forgot what it had accepted
//! would take it for new again, so it runs on with what it has, takes nothing, and reports it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{DENIED_MAX, Trust, VerifiedDeployment};
use crate::json::{self, Fields, Item};
use crate::{Digest, Error, Refusal, VerifiedRoot, text};

/// Largest memory in bytes: a root, and the counters of 4,096 modules.
pub const TRUST_BYTES_MAX: usize = 1024 * 1024;

/// Most modules whose counters are remembered; none is ever forgotten.
const MODULES_MAX: usize = 4096;
const DOCUMENT: &str = "trust memory";
const MAGIC: &str = "tidegate-trust-1 ";

#[derive(Debug, Clone, Serialize)]
pub(super) struct Memory {
    /// The envelope of the root.
    root: String,
    /// The highest accepted of the root's epoch.
    pub(super) seq: u64,
    /// The newest deployment accepted, of whatever epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) accepted: Option<Digest>,
    /// The newest that has proven itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) confirmed: Option<Digest>,
    /// The highest release counter of each module, or the one that it was downgraded to.
    pub(super) counters: BTreeMap<String, u64>,
    /// Of the newest time document; zero if none.
    pub(super) trusted_time: u64,
    /// Of the documents accepted; zero if none.
    pub(super) newest_created: u64,
    /// The last time document that named what this gateway has as the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) confirmation: Option<Confirmation>,
    /// Deployments and modules that failed here, by their digests, the newest last.
    pub(super) denied: Vec<Digest>,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Confirmation {
    pub(super) time: u64,
    pub(super) valid_for: u64,
}

impl Memory {
    pub(super) fn begin(root: &[u8]) -> Result<Self, Error> {
        Ok(Self {
            root: root_text(root)?,
            seq: 0,
            accepted: None,
            confirmed: None,
            counters: BTreeMap::new(),
            trusted_time: 0,
            newest_created: 0,
            confirmation: None,
            denied: Vec::new(),
        })
    }

    /// The memory under the next root.
    pub(super) fn under_root(&self, root: &[u8], same_epoch: bool) -> Result<Self, Error> {
        let root = root_text(root)?;
        if same_epoch {
            return Ok(Self {
                root,
                ..self.clone()
            });
        }
        Ok(Self {
            root,
            seq: 0,
            trusted_time: 0,
            newest_created: 0,
            confirmation: None,
            ..self.clone()
        })
    }

    /// The memory after a deployment.
    pub(super) fn with_deployment(
        &self,
        accepted: &VerifiedDeployment,
        counters: BTreeMap<String, u64>,
        newest_created: u64,
    ) -> Result<Self, Refusal> {
        if counters.len() > MODULES_MAX {
            return Err(Refusal::TooManyModules { limit: MODULES_MAX });
        }
        Ok(Self {
            seq: accepted.deployment().seq,
            accepted: Some(accepted.digest()),
            counters,
            newest_created: self.newest_created.max(newest_created),
            ..self.clone()
        })
    }
}

impl Trust {
    /// The memory as bytes, to be written to disk before anything is done with a document that was accepted.
    ///
    /// # Errors
    ///
    /// Those of the encoder, which no memory causes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let body = json::write(DOCUMENT, &self.memory)?;
        let mut bytes = format!("{MAGIC}{}\n", Digest::of(&body)).into_bytes();
        bytes.extend_from_slice(&body);
        Ok(bytes)
    }

    /// Reads what [`Trust::to_bytes`] wrote.
    ///
    /// # Errors
    ///
    /// `memory-damaged` for anything else. The caller then goes on with what runs and accepts no document; it never
    /// begins anew by itself.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let damaged = |problem: String| Refusal::MemoryDamaged { problem };
        let body = checked_body(bytes).map_err(|problem| damaged(problem.to_owned()))?;
        let read = read(body).and_then(|memory| {
            let root = VerifiedRoot::open(memory.root.as_bytes())?;
            Ok(Self { root, memory })
        });
        read.map_err(|error| damaged(error.to_string()).into())
    }
}

/// What follows the first line, if that line is its digest.
fn checked_body(bytes: &[u8]) -> Result<&[u8], &'static str> {
    if bytes.len() > TRUST_BYTES_MAX {
        return Err("it is too large");
    }
    let rest = bytes.strip_prefix(MAGIC.as_bytes());
    let rest = rest.ok_or("it does not begin with tidegate-trust-1")?;
    let at = rest.iter().position(|byte| *byte == b'\n');
    let (digest, body) = at
        .and_then(|at| rest.split_at_checked(at))
        .ok_or("it has no body")?;
    let body = body.strip_prefix(b"\n").unwrap_or_default();
    if digest != Digest::of(body).to_string().as_bytes() {
        return Err("it does not match its checksum");
    }
    Ok(body)
}

fn read(body: &[u8]) -> Result<Memory, Error> {
    let mut fields = json::read(DOCUMENT, body)?.fields()?;
    let memory = Memory {
        root: fields.required("root")?.text()?,
        seq: fields.required("seq")?.integer()?,
        accepted: read_digest(&mut fields, "accepted")?,
        confirmed: read_digest(&mut fields, "confirmed")?,
        counters: read_counters(fields.required("counters")?)?,
        trusted_time: fields.required("trusted_time")?.integer()?,
        newest_created: fields.required("newest_created")?.integer()?,
        confirmation: fields
            .optional("confirmation")
            .map(read_confirmation)
            .transpose()?,
        denied: read_denied(fields.required("denied")?)?,
    };
    fields.end()?;
    Ok(memory)
}

fn read_digest(fields: &mut Fields, name: &str) -> Result<Option<Digest>, Error> {
    let item = fields.optional(name);
    item.map(|item| item.parsed(Digest::parse)).transpose()
}

fn read_counters(item: Item) -> Result<BTreeMap<String, u64>, Error> {
    let mut counters = BTreeMap::new();
    for (module, item) in item.entries()? {
        text::check_name(&module).map_err(|problem| item.refuse(problem))?;
        counters.insert(module, item.positive()?);
    }
    Ok(counters)
}

fn read_confirmation(item: Item) -> Result<Confirmation, Error> {
    let mut fields = item.fields()?;
    let confirmation = Confirmation {
        time: fields.required("time")?.integer()?,
        valid_for: fields.required("valid_for")?.positive()?,
    };
    fields.end()?;
    Ok(confirmation)
}

fn read_denied(item: Item) -> Result<Vec<Digest>, Error> {
    let too_many = item.refuse("has too many entries");
    let items = item.list()?;
    if items.len() > DENIED_MAX {
        return Err(too_many);
    }
    let digests = items.into_iter().map(|item| item.parsed(Digest::parse));
    digests.collect()
}

fn root_text(root: &[u8]) -> Result<String, Error> {
    let text = std::str::from_utf8(root);
    text.map(str::to_owned)
        .map_err(|_| Error::malformed("the root document", "is not UTF-8"))
}
