//! Beginning: what the folder holds, and a first root where it holds nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegate_bundle::{Artifact, ArtifactKind, Gateway, Trust};
use tidegate_record::Clock;

use super::{Client, FrozenClient};
use crate::audit::{Audit, Head};
use crate::error::Error;
use crate::machine::Machine;
use crate::state::{Opened, State, StateFile};
use crate::store::Store;

/// What an update client knows of its machine.
#[derive(Debug, Clone)]
pub struct Site {
    /// The gateway, as documents name it.
    pub gateway: Gateway,
    /// Where state, store and log are kept.
    pub folder: PathBuf,
    /// What the store may take on disk, in bytes.
    pub store_bytes_max: u64,
    /// The target triple, and engine with its settings, for which a release may have code ready.
    pub code: (String, String),
}

/// What was found at the start.
#[derive(Debug)]
pub enum Found {
    /// Nothing: this gateway has no fleet yet.
    NotEnrolled,
    /// A gateway of a fleet.
    Enrolled(Box<Client>),
    /// A gateway whose state cannot be gone on from.
    Frozen(Box<FrozenClient>),
}

impl Site {
    /// Code for this machine.
    pub(super) fn is_precompiled(&self, artifact: &Artifact) -> bool {
        let (target, engine) = self.code.clone();
        artifact.kind == ArtifactKind::Precompiled { target, engine }
    }

    /// Whether an artifact is of use here.
    pub(super) fn wants(&self, artifact: &Artifact) -> bool {
        artifact.kind == ArtifactKind::Component || self.is_precompiled(artifact)
    }

    fn store(&self) -> Result<Store, Error> {
        Ok(Store::open(&self.folder, self.store_bytes_max)?)
    }
}

impl Client {
    /// Opens what is in the site's folder.
    ///
    /// # Errors
    /// When the disk fails or another process has it. A damaged state is [`Found::Frozen`].
    pub fn open(site: Site, clock: Arc<dyn Clock>) -> Result<Found, Error> {
        let opened = StateFile::open(&site.folder)?;
        match opened {
            Opened::NotEnrolled => Ok(Found::NotEnrolled),
            Opened::Frozen(frozen) => {
                let store = site.store()?;
                note_frozen(&site.folder, &*clock, &frozen.reason);
                let frozen = FrozenClient::new(site, store, frozen);
                Ok(Found::Frozen(Box::new(frozen)))
            }
            Opened::Enrolled(file, state) => {
                let client = Self {
                    store: site.store()?,
                    audit: Audit::open(&site.folder).map_err(Error::Audit)?,
                    site,
                    clock,
                    file,
                    written: state.heard,
                    state: *state,
                    refused: None,
                    judged: None,
                    newest: None,
                };
                Ok(Found::Enrolled(Box::new(client)))
            }
        }
    }

    /// Enrols a gateway that has no fleet: from now on this root and its successors say what runs.
    ///
    /// # Errors
    /// When the root is refused, or there is a state already, whatever it is.
    pub fn enrol(site: Site, clock: Arc<dyn Clock>, root: &[u8]) -> Result<Self, Error> {
        let trust = Trust::begin(root)?;
        let state = State {
            trust,
            machine: Machine::default(),
            audit: Head::none(),
            heard: None,
        };
        let file = StateFile::enrol(&site.folder, &state)?;
        let mut client = Self {
            store: site.store()?,
            audit: Audit::open(&site.folder).map_err(Error::Audit)?,
            site,
            clock,
            file,
            state,
            written: None,
            refused: None,
            judged: None,
            newest: None,
        };
        let root = client.state.trust.root();
        let text = format!("fleet {}, root {}", root.root().fleet_id, root.digest());
        client.note("enrolled", &text)?;
        Ok(client)
    }
}

/// That it cannot be noted changes nothing: the gateway is frozen all the same.
fn note_frozen(folder: &Path, clock: &dyn Clock, reason: &str) {
    let noted = Audit::open(folder).and_then(|mut audit| audit.note(clock, "frozen", reason));
    if let Err(error) = noted {
        tracing::warn!("cannot note that updates are frozen: {error}");
    }
}
