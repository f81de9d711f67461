//! What a gateway remembers of its fleet, and the rules by which the next document is taken.
//!
//! [`Trust`] takes the bytes of documents and gives verified ones, or a refusal. It holds what must outlive a restart: the
//! root, the highest `(epoch, seq)`, the highest counter of each module's releases, what is known of the time, and what
//! has failed here. It reads no clock and no file: the caller hands in both, and writes [`Trust::to_bytes`] to disk
//! before it acts on a document.
//!
//! # Invariants
//!
//! - A refusal changes nothing: the memory moves only when every rule holds, and then all of it at once.
//! - Counters protect, clocks do not. Without a synchronised clock nothing is refused for its age.
//! - Nothing that one key can say blocks a gateway for good. A run-up `seq` or time is forgotten with the epoch, which a
//!   new root raises; a run-up release counter is taken back by a downgrade that both roles sign.
//! - A clock of the gateway moves nothing here; only what was signed does.

mod accept;
mod memory;

use crate::time::{self, Time};
use crate::{Digest, Error, Nonce, Refusal, VerifiedRoot};

pub use accept::VerifiedDeployment;
pub use memory::TRUST_BYTES_MAX;
use memory::{Confirmation, Memory};

/// Most by which a `seq` or a release counter may exceed the highest one remembered. The first of its kind is taken as
/// it is.
pub const JUMP_MAX: u64 = 1 << 20;
/// Most failed deployments and modules that are remembered; the oldest is forgotten first.
pub const DENIED_MAX: usize = 64;

/// What a gateway knows of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// Its id.
    pub gateway_id: String,
    /// The group that it is in.
    pub group_id: Option<String>,
    /// The version of its runtime.
    pub runtime_version: semver::Version,
    /// Unix seconds at which its runtime was built: it cannot be earlier.
    pub built: u64,
}

/// What a gateway knows of the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Now {
    /// Its clock is not disciplined by any source.
    Unsynchronised,
    /// Unix seconds of a clock that is.
    Synchronised(u64),
}

/// Whether a document's time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// It has none.
    Never,
    /// Not yet.
    Ahead,
    /// It is.
    Passed,
    /// Nobody here knows what time it is.
    Unknown,
}

/// When a gateway last learnt that nothing newer was kept from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// It has never learnt that in this epoch.
    Never,
    /// So long ago.
    Confirmed {
        /// Seconds. While there is no clock to be believed: at least so many.
        seconds_ago: u64,
        /// Whether these are more than the time document was good for.
        overdue: bool,
    },
}

impl std::fmt::Display for Freshness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Never => f.write_str("never confirmed"),
            Self::Confirmed { seconds_ago, .. } => write!(f, "last confirmed {seconds_ago} s ago"),
        }
    }
}

/// A time document that answers a question of this gateway.
#[derive(Debug, Clone)]
pub struct VerifiedTime {
    time: Time,
    confirms: bool,
}

impl VerifiedTime {
    /// The document.
    #[must_use]
    pub fn time(&self) -> &Time {
        &self.time
    }

    /// Whether it names the deployment and the root that this gateway has as the newest.
    #[must_use]
    pub fn confirms(&self) -> bool {
        self.confirms
    }
}

/// What a gateway remembers of its fleet.
#[derive(Debug, Clone)]
pub struct Trust {
    root: VerifiedRoot,
    memory: Memory,
}

impl Trust {
    /// Begins with the root that the operator trusts, and remembers nothing else.
    ///
    /// # Errors
    ///
    /// As [`VerifiedRoot::open`].
    pub fn begin(root: &[u8]) -> Result<Self, Error> {
        let verified = VerifiedRoot::open(root)?;
        let memory = Memory::begin(root)?;
        Ok(Self {
            root: verified,
            memory,
        })
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> &VerifiedRoot {
        &self.root
    }

    /// The highest number accepted of the root's epoch; zero if none.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.memory.seq
    }

    /// The highest counter accepted of a module's releases.
    #[must_use]
    pub fn counter(&self, module: &str) -> Option<u64> {
        self.memory.counters.get(module).copied()
    }

    /// Digest of the newest deployment accepted.
    #[must_use]
    pub fn accepted(&self) -> Option<Digest> {
        self.memory.accepted
    }

    /// Digest of the newest deployment that has proven itself.
    #[must_use]
    pub fn confirmed(&self) -> Option<Digest> {
        self.memory.confirmed
    }

    /// Takes the root that follows. A new epoch forgets the numbers and times of the old one, but no counter of a
    /// release.
    ///
    /// # Errors
    ///
    /// As [`VerifiedRoot::next`].
    pub fn accept_root(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let next = self.root.next(bytes)?;
        let same_epoch = next.root().epoch == self.root.root().epoch;
        self.memory = self.memory.under_root(bytes, same_epoch)?;
        self.root = next;
        Ok(())
    }

    /// Takes the answer to a question that this gateway asked with `nonce`, and does not ask with again.
    ///
    /// # Errors
    ///
    /// Any reason of the envelope, of its signatures under the time role or of the document's form; `wrong-fleet`,
    /// `wrong-gateway`, `wrong-nonce`.
    pub fn accept_time(
        &mut self,
        gateway: &Gateway,
        nonce: Nonce,
        bytes: &[u8],
    ) -> Result<VerifiedTime, Error> {
        let time = time::verify(bytes, &self.root)?;
        self.check_fleet(time::DOCUMENT, &time.fleet_id)?;
        check_gateway(time::DOCUMENT, gateway, &time.gateway_id)?;
        if time.nonce != nonce {
            return Err(Refusal::WrongNonce.into());
        }
        let root = self.root.root();
        let confirms = (time.root_version, time.epoch, time.seq)
            == (root.version, root.epoch, self.memory.seq);
        self.memory.trusted_time = self.memory.trusted_time.max(time.time);
        if confirms {
            self.memory.confirmation = Some(Confirmation {
                time: time.time,
                valid_for: time.valid_for,
            });
        }
        Ok(VerifiedTime { time, confirms })
    }

    /// Does not take a deployment, or a module that is deployed like this ([`crate::DeployedModule::digest`]), again: it
    /// has failed here.
    pub fn deny(&mut self, digest: Digest) {
        let denied = &mut self.memory.denied;
        if denied.contains(&digest) {
            return;
        }
        denied.push(digest);
        let surplus = denied.len().saturating_sub(DENIED_MAX);
        denied.drain(..surplus);
    }

    /// It cannot be earlier than this, in unix seconds, by all that was signed.
    #[must_use]
    pub fn time_floor(&self, gateway: &Gateway) -> u64 {
        let signed = self.memory.trusted_time.max(self.memory.newest_created);
        gateway.built.max(signed)
    }

    /// Whether a time that a document gives is over. A clock that is behind the floor is not believed.
    #[must_use]
    pub fn expiry(&self, gateway: &Gateway, now: Now, expires: Option<u64>) -> Expiry {
        let floor = self.time_floor(gateway);
        match (expires, now) {
            (None, _) => Expiry::Never,
            (Some(expires), _) if expires <= floor => Expiry::Passed,
            (Some(_), Now::Synchronised(now)) if now < floor => Expiry::Unknown,
            (Some(expires), Now::Synchronised(now)) if now < expires => Expiry::Ahead,
            (Some(_), Now::Synchronised(_)) => Expiry::Passed,
            (Some(_), Now::Unsynchronised) => Expiry::Unknown,
        }
    }

    /// When this gateway last learnt that nothing newer was kept from it.
    #[must_use]
    pub fn freshness(&self, gateway: &Gateway, now: Now) -> Freshness {
        let Some(confirmation) = self.memory.confirmation else {
            return Freshness::Never;
        };
        let floor = self.time_floor(gateway);
        let now = match now {
            Now::Synchronised(now) => now.max(floor),
            Now::Unsynchronised => floor,
        };
        self.freshness_after(now.saturating_sub(confirmation.time))
    }

    /// The same by another clock, which says that it was so many seconds ago.
    #[must_use]
    pub fn freshness_after(&self, seconds_ago: u64) -> Freshness {
        match self.memory.confirmation {
            None => Freshness::Never,
            Some(confirmation) => Freshness::Confirmed {
                seconds_ago,
                overdue: seconds_ago > confirmation.valid_for,
            },
        }
    }

    fn check_fleet(&self, document: &'static str, found: &str) -> Result<(), Refusal> {
        let expected = &self.root.root().fleet_id;
        if found == expected {
            return Ok(());
        }
        Err(Refusal::WrongFleet {
            document,
            expected: expected.clone(),
            found: found.to_owned(),
        })
    }
}

fn check_gateway(document: &'static str, gateway: &Gateway, found: &str) -> Result<(), Refusal> {
    if found == gateway.gateway_id {
        return Ok(());
    }
    Err(Refusal::WrongGateway {
        document,
        expected: gateway.gateway_id.clone(),
        found: found.to_owned(),
    })
}
