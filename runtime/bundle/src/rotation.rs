//! Root rotation: how one root document follows another.
//!
//! Root N+1 is signed by the thresholds of the root roles of both N and N+1: the old holders hand over, and the new ones
//! prove that they have their keys. No version is left out, so whoever was away for forty roots takes them one by one,
//! each under the keys of the one before. A root raises the fleet's epoch by one at most and never lowers it.
//!
//! That a root has expired does not keep it from being taken: a chain is only as good as its last link, and a gateway
//! that was off for years must find its way to it.

use crate::root::{DOCUMENT, ROOT_TYPE, Root};
use crate::{Digest, Envelope, Error, Refusal, VerifiedRoot};

impl VerifiedRoot {
    /// Opens the root that follows this one. The bytes are verified under this root's keys before they are parsed.
    ///
    /// # Errors
    ///
    /// Any reason of the envelope, of the document's form, of its keys or of its signatures, under either of the two
    /// root roles; `wrong-fleet`, `root-version`, `root-epoch`.
    pub fn next(&self, bytes: &[u8]) -> Result<Self, Error> {
        let current = self.root();
        let envelope = Envelope::read(DOCUMENT, bytes)?;
        let (payload, _) = envelope.verify(ROOT_TYPE, &current.signers(&current.roles.root))?;
        let root = Root::read(payload)?;
        envelope.verify(ROOT_TYPE, &root.signers(&root.roles.root))?;
        check_follows(current, &root)?;
        let digest = Digest::of(payload);
        Ok(Self { root, digest })
    }
}

fn check_follows(current: &Root, next: &Root) -> Result<(), Refusal> {
    if next.fleet_id != current.fleet_id {
        return Err(Refusal::WrongFleet {
            document: DOCUMENT,
            expected: current.fleet_id.clone(),
            found: next.fleet_id.clone(),
        });
    }
    if current.version.checked_add(1) != Some(next.version) {
        return Err(Refusal::RootVersion {
            expected: current.version.saturating_add(1),
            found: next.version,
        });
    }
    if next.epoch != current.epoch && current.epoch.checked_add(1) != Some(next.epoch) {
        return Err(Refusal::RootEpoch {
            current: current.epoch,
            found: next.epoch,
        });
    }
    Ok(())
}
