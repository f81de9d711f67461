//! The status document: what a gateway says of itself, signed by its device key.
//!
//! The only document that goes up. It is read at the centre, which knows the device keys of its gateways; `store_epoch` and
//! `counter` order the reports of one gateway, so that an old one is known as old.

use serde::Serialize;

use crate::json::{self, Item};
use crate::{Digest, Envelope, Error, PublicKey, Signers, SigningKey, text};

/// DSSE payload type of the status document.
pub const STATUS_TYPE: &str = "application/vnd.tidegate.status.v1+json";
const DOCUMENT: &str = "status document";

/// The status document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Name of the fleet.
    pub fleet_id: String,
    /// The gateway.
    pub gateway_id: String,
    /// Epoch of its database.
    pub store_epoch: StoreEpoch,
    /// Counts its reports within that epoch, from 1.
    pub counter: u64,
    /// Version of its root.
    pub root_version: u64,
    /// Epoch of the fleet, by its root.
    pub epoch: u64,
    /// Number of the newest deployment that it has accepted; zero if none.
    pub seq: u64,
    /// Modules that it has, those that run in the shadow as well.
    pub modules: Vec<InstalledModule>,
    /// Documents and bundles that it has refused, the newest last.
    pub refused: Vec<RefusedDocument>,
    /// What its clock is worth.
    pub clock: ClockQuality,
    /// Layers of protection that its machine does not give, one line each.
    pub missing_protection: Vec<String>,
    /// Digest of the deployment that has proven itself here; none before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<Digest>,
    /// What its machine is; none if it does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub facts: Option<Facts>,
    /// Why it takes nothing any more; none while it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frozen: Option<String>,
}

/// What the machine of a gateway is, as far as it decides what can run there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// Its target triple.
    pub target: String,
    /// Engine and settings of its runtime: precompiled code of these loads there.
    pub engine: String,
    /// Whether it can compile a component itself.
    pub compiler: bool,
    /// Memory that all its modules may have together, in bytes.
    pub memory_bytes: u64,
    /// Names of its brokers and sensors.
    pub field: Vec<String>,
}

/// One opening of a gateway's database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct StoreEpoch {
    /// Counts the openings.
    pub ordinal: u64,
    /// Drawn anew at each.
    pub random: u64,
}

/// A module on a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstalledModule {
    /// Its name there.
    pub name: String,
    /// Digest of its release.
    pub release: Digest,
    /// Version of that release.
    pub version: semver::Version,
    /// Counts the activations of modules of this name.
    pub generation: u64,
    /// How far it has come.
    pub phase: Phase,
}

/// How far a module has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Runs beside the active one, without effect.
    Shadow,
    /// Active; the one before stands by.
    Probation,
    /// Active for good.
    Confirmed,
    /// Was active or a shadow, and was given up.
    RolledBack,
    /// Switched off by its flag.
    Off,
}

/// Something that a gateway has refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusedDocument {
    /// Digest of the file, as it came.
    pub sha256: Digest,
    /// Reason code.
    pub reason: String,
    /// The reason in one sentence, for people; none if it does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What a clock is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClockQuality {
    /// Not set since boot.
    Unset,
    /// Was set, has lost its source.
    HeldOver,
    /// Disciplined by a time source.
    Synced,
}

const PHASES: &[(&str, Phase)] = &[
    ("shadow", Phase::Shadow),
    ("probation", Phase::Probation),
    ("confirmed", Phase::Confirmed),
    ("rolled-back", Phase::RolledBack),
    ("off", Phase::Off),
];

const QUALITIES: &[(&str, ClockQuality)] = &[
    ("unset", ClockQuality::Unset),
    ("held-over", ClockQuality::HeldOver),
    ("synced", ClockQuality::Synced),
];

impl Status {
    /// Signs this report with the device key.
    ///
    /// # Errors
    ///
    /// Whatever a reader would say to its form.
    pub fn sign(&self, device: &SigningKey) -> Result<Vec<u8>, Error> {
        let payload = json::write(DOCUMENT, self)?;
        read(&payload)?;
        Envelope::sign(DOCUMENT, STATUS_TYPE, payload, &[device])?.write()
    }

    /// Reads a report without a look at its signature. Nobody has checked who says it.
    ///
    /// # Errors
    ///
    /// Any reason of the envelope or of the document's form.
    pub fn unverified(bytes: &[u8]) -> Result<Self, Error> {
        let envelope = Envelope::read(DOCUMENT, bytes)?;
        envelope.check_type(STATUS_TYPE)?;
        read(envelope.unverified_payload())
    }
}

/// A report that the device of a gateway has signed.
#[derive(Debug, Clone)]
pub struct VerifiedStatus(Status);

impl VerifiedStatus {
    /// Opens the report of the gateway whose device key this is. That it names this gateway, and is newer than the last,
    /// is the caller's to check: only the caller knows both.
    ///
    /// # Errors
    ///
    /// Any reason of the envelope, of its signature or of the document's form.
    pub fn open(bytes: &[u8], device: &PublicKey) -> Result<Self, Error> {
        let signers = Signers {
            keys: [(device.id(), device)].into(),
            threshold: 1,
        };
        let envelope = Envelope::read(DOCUMENT, bytes)?;
        let (payload, _) = envelope.verify(STATUS_TYPE, &signers)?;
        read(payload).map(Self)
    }

    /// The document.
    #[must_use]
    pub fn status(&self) -> &Status {
        &self.0
    }
}

fn read(payload: &[u8]) -> Result<Status, Error> {
    let mut fields = json::read(DOCUMENT, payload)?.fields()?;
    let status = Status {
        fleet_id: fields.required("fleet_id")?.name()?,
        gateway_id: fields.required("gateway_id")?.name()?,
        store_epoch: read_store_epoch(fields.required("store_epoch")?)?,
        counter: fields.required("counter")?.positive()?,
        root_version: fields.required("root_version")?.positive()?,
        epoch: fields.required("epoch")?.positive()?,
        seq: fields.required("seq")?.integer()?,
        modules: read_list(fields.required("modules")?, read_module)?,
        refused: read_list(fields.required("refused")?, read_refused)?,
        clock: fields.required("clock")?.word(QUALITIES)?,
        missing_protection: fields
            .required("missing_protection")?
            .checked_texts(text::check_line)?,
        confirmed: fields
            .optional("confirmed")
            .map(|item| item.parsed(Digest::parse))
            .transpose()?,
        facts: fields.optional("facts").map(read_facts).transpose()?,
        frozen: read_sentence(fields.optional("frozen"))?,
    };
    fields.end()?;
    Ok(status)
}

fn read_facts(item: Item) -> Result<Facts, Error> {
    let mut fields = item.fields()?;
    let facts = Facts {
        target: fields.required("target")?.checked_text(text::check_line)?,
        engine: fields.required("engine")?.checked_text(text::check_line)?,
        compiler: fields.required("compiler")?.boolean()?,
        memory_bytes: fields.required("memory_bytes")?.positive()?,
        field: fields.required("field")?.checked_texts(text::check_name)?,
    };
    fields.end()?;
    Ok(facts)
}

fn read_list<T>(item: Item, read: fn(Item) -> Result<T, Error>) -> Result<Vec<T>, Error> {
    item.list()?.into_iter().map(read).collect()
}

fn read_store_epoch(item: Item) -> Result<StoreEpoch, Error> {
    let mut fields = item.fields()?;
    let epoch = StoreEpoch {
        ordinal: fields.required("ordinal")?.integer()?,
        random: fields.required("random")?.integer()?,
    };
    fields.end()?;
    Ok(epoch)
}

fn read_module(item: Item) -> Result<InstalledModule, Error> {
    let mut fields = item.fields()?;
    let module = InstalledModule {
        name: fields.required("name")?.name()?,
        release: fields.required("release")?.parsed(Digest::parse)?,
        version: fields.required("version")?.parsed(semver::Version::parse)?,
        generation: fields.required("generation")?.positive()?,
        phase: fields.required("phase")?.word(PHASES)?,
    };
    fields.end()?;
    Ok(module)
}

fn read_refused(item: Item) -> Result<RefusedDocument, Error> {
    let mut fields = item.fields()?;
    let refused = RefusedDocument {
        sha256: fields.required("sha256")?.parsed(Digest::parse)?,
        reason: fields.required("reason")?.name()?,
        why: read_sentence(fields.optional("why"))?,
    };
    fields.end()?;
    Ok(refused)
}

fn read_sentence(item: Option<Item>) -> Result<Option<String>, Error> {
    item.map(|item| item.checked_text(text::check_sentence))
        .transpose()
}
