//! The audit log: who did what, in rows that hold each other.
//!
//! Each row has the SHA-256 of the hash before it and of its own bytes; so one that is changed, dropped or put in between
//! is found by whoever counts on from the first. Rows that are cut off at the end are found by whoever has kept a later
//! hash: the log of the process has each.

use std::future::Future;

use tidegate_bundle::Digest;
use tidegate_wire::WallTime;

use super::{Error, Page, Tenant};
use crate::access::{Person, Role};

/// Longest text of a field, in characters.
const TEXT_MAX: usize = 200;

/// The hash before the first row.
pub const START: [u8; 32] = [0; 32];

/// Where the audit log is kept: one chain for each tenant, which only grows.
pub trait Audit {
    /// Adds a row, and returns after its fsync.
    fn note(
        &self,
        tenant: &Tenant,
        event: &Event,
        time: WallTime,
    ) -> impl Future<Output = Result<Entry, Error>> + Send;

    /// Rows from the one after this number on, oldest first: at most `count_max`.
    fn entries_after(
        &self,
        tenant: &Tenant,
        number: u64,
        count_max: u32,
    ) -> impl Future<Output = Result<Page<Entry>, Error>> + Send;

    /// Rows before this number, newest first: at most `count_max`.
    fn entries_before(
        &self,
        tenant: &Tenant,
        number: u64,
        count_max: u32,
    ) -> impl Future<Output = Result<Page<Entry>, Error>> + Send;
}

/// What a row says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Name of the token; empty if nobody is known.
    pub who: String,
    /// Its role at that time; empty if nobody is known.
    pub role: String,
    /// What was tried.
    pub action: String,
    /// On what.
    pub object: String,
    /// `done`, or the code of the refusal.
    pub outcome: String,
}

impl Event {
    /// Of someone who is known.
    pub fn of(person: &Person, action: &str, object: &str, outcome: &str) -> Self {
        Self::new(
            (person.name.as_str(), person.role.as_str()),
            action,
            object,
            outcome,
        )
    }

    /// Of nobody who is known.
    pub fn of_nobody(action: &str, object: &str, outcome: &str) -> Self {
        Self::new(("", ""), action, object, outcome)
    }

    /// Of the centre itself. No token has such a name.
    pub fn of_centre(action: &str, object: &str, outcome: &str) -> Self {
        Self::new(("the centre", ""), action, object, outcome)
    }

    /// On the centre's own machine. No token has such a name.
    pub fn of_owner(action: &str, object: &str) -> Self {
        let role = Role::Releaser.as_str();
        Self::new(("owner of the database", role), action, object, "done")
    }

    fn new((who, role): (&str, &str), action: &str, object: &str, outcome: &str) -> Self {
        let text = |text: &str| text.chars().take(TEXT_MAX).collect();
        Self {
            who: text(who),
            role: text(role),
            action: text(action),
            object: text(object),
            outcome: text(outcome),
        }
    }
}

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place, from 1 on without a gap.
    pub number: u64,
    /// When it was written, by the centre's clock.
    pub time: WallTime,
    /// What it says.
    pub event: Event,
    /// Holds it to all rows before it.
    pub hash: [u8; 32],
}

impl Entry {
    /// The row that follows `before`.
    ///
    /// # Errors
    /// Never seen with these types.
    pub fn after(
        before: Option<&Self>,
        tenant: &Tenant,
        event: Event,
        time: WallTime,
    ) -> Result<Self, Error> {
        let (number, hash) = before.map_or((0, START), |before| (before.number, before.hash));
        let mut entry = Self {
            number: number.saturating_add(1),
            time,
            event,
            hash,
        };
        entry.hash = entry.hash_after(&hash, tenant)?;
        Ok(entry)
    }

    /// The hash that a row with these fields has after `before`: SHA-256 of that hash and a CBOR array of the fields.
    ///
    /// # Errors
    /// Never seen with these types.
    pub fn hash_after(&self, before: &[u8; 32], tenant: &Tenant) -> Result<[u8; 32], Error> {
        let event = &self.event;
        let fields = minicbor::to_vec((
            tenant.as_str(),
            self.number,
            self.time.0,
            &event.who,
            &event.role,
            &event.action,
            &event.object,
            &event.outcome,
        ));
        let fields = fields.map_err(|error| Error::Encode(error.to_string()))?;
        let bytes = [&before[..], &fields].concat();
        Ok(*Digest::of(&bytes).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_row_is_that_of_the_documented_bytes() {
        let event = Event::of_nobody("GET /v1/gateways", "", "bad-token");
        let entry = Entry::after(None, &Tenant::default(), event, WallTime(7)).unwrap();
        let bytes = [
            &[0; 32][..],
            b"\x88\x67default\x01\x07\x60\x60\x70GET /v1/gateways\x60\x69bad-token",
        ]
        .concat();
        assert_eq!(entry.hash, *Digest::of(&bytes).as_bytes());
    }

    #[test]
    fn a_text_of_any_length_is_bounded() {
        let long = "ä".repeat(9000);
        let event = Event::of_nobody(&long, &long, &long);
        assert_eq!(event.object.chars().count(), TEXT_MAX);
    }
}
