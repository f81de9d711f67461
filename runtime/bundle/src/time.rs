//! The time document: what the time is, and which deployment and root are the newest, in answer to a nonce.
//!
//! The nonce is the gateway's, new for each question, so that an old answer is of no use to whoever kept it. With it a
//! gateway learns that nothing newer is being kept from it, without a clock of its own.

use serde::Serialize;

use crate::{Digest, Envelope, Error, Sign, VerifiedRoot, json};

/// DSSE payload type of the time document.
pub const TIME_TYPE: &str = "application/vnd.tidegate.time.v1+json";
pub(crate) const DOCUMENT: &str = "time document";

/// The time document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Time {
    /// Name of the fleet.
    pub fleet_id: String,
    /// The gateway that asked.
    pub gateway_id: String,
    /// What it asked with.
    pub nonce: Nonce,
    /// Unix seconds.
    pub time: u64,
    /// Epoch of the newest deployment for this gateway.
    pub epoch: u64,
    /// Its number; zero if there is none.
    pub seq: u64,
    /// Version of the newest root.
    pub root_version: u64,
    /// Seconds for which a gateway may take it that nothing newer has come.
    pub valid_for: u64,
}

/// 32 random bytes with which a gateway asks once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Nonce(Digest);

impl Nonce {
    /// A new one, from the system's random numbers.
    ///
    /// # Errors
    ///
    /// `no-random` if the system has none.
    pub fn generate() -> Result<Self, Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|error| Error::NoRandom(error.to_string()))?;
        Ok(Self(Digest::from_bytes(bytes)))
    }

    /// Reads 64 lower-case hexadecimal digits.
    ///
    /// # Errors
    ///
    /// `malformed` for anything else.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Digest::parse(text).map(Self)
    }
}

impl std::fmt::Display for Nonce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Time {
    /// Signs this statement with keys of the time role.
    ///
    /// # Errors
    ///
    /// Whatever a reader would say to its form.
    pub fn sign(&self, keys: &[&impl Sign]) -> Result<Vec<u8>, Error> {
        let payload = json::write(DOCUMENT, self)?;
        read(&payload)?;
        Envelope::sign(DOCUMENT, TIME_TYPE, payload, keys)?.write()
    }
}

/// Verifies a time document under the time role, then reads it.
pub(crate) fn verify(bytes: &[u8], root: &VerifiedRoot) -> Result<Time, Error> {
    let root = root.root();
    let signers = root.signers_of(root.roles.time.as_ref());
    let envelope = Envelope::read(DOCUMENT, bytes)?;
    let (payload, _) = envelope.verify(TIME_TYPE, &signers)?;
    read(payload)
}

fn read(payload: &[u8]) -> Result<Time, Error> {
    let mut fields = json::read(DOCUMENT, payload)?.fields()?;
    let time = Time {
        fleet_id: fields.required("fleet_id")?.name()?,
        gateway_id: fields.required("gateway_id")?.name()?,
        nonce: fields.required("nonce")?.parsed(Nonce::parse)?,
        time: fields.required("time")?.integer()?,
        epoch: fields.required("epoch")?.positive()?,
        seq: fields.required("seq")?.integer()?,
        root_version: fields.required("root_version")?.positive()?,
        valid_for: fields.required("valid_for")?.positive()?,
    };
    fields.end()?;
    Ok(time)
}
