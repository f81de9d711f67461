//! A gateway whose state cannot be gone on from: it runs what it ran, takes nothing, and says so.
//!
//! There is no way back from here but a person: whoever enrols the gateway again, after a look at its history, takes the
//! folder away first.

use tidegate_bundle::{Gateway, InstalledModule};

use super::{Generation, Site, code, report};
use crate::error::Error;
use crate::state::{Frozen, State};
use crate::store::Store;

/// A frozen gateway. It has no way to take anything.
#[derive(Debug)]
pub struct FrozenClient {
    site: Site,
    store: Store,
    frozen: Frozen,
}

impl FrozenClient {
    pub(super) fn new(site: Site, store: Store, frozen: Frozen) -> Self {
        Self {
            site,
            store,
            frozen,
        }
    }

    /// What is wrong.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.frozen.reason
    }

    /// The gateway, as documents name it.
    #[must_use]
    pub fn gateway(&self) -> &Gateway {
        &self.site.gateway
    }

    /// The newest state that can still be read: to report it, and for nothing else.
    #[must_use]
    pub fn last(&self) -> Option<&State> {
        self.frozen.copies.first()
    }

    /// The modules of that state, and how far each had come.
    #[must_use]
    pub fn installed(&self) -> Vec<InstalledModule> {
        let last = self.last();
        last.map(|last| report::installed(&self.store, &last.trust, &last.machine))
            .unwrap_or_default()
    }

    /// What ran last, as far as that can still be read: the newest complete set that any copy of the state names.
    ///
    /// # Errors
    /// When no copy names a set that can be loaded: then there is nothing to run.
    pub fn active(&self) -> Result<Vec<Generation>, Error> {
        let mut why = Error::Nothing("left to run");
        for copy in &self.frozen.copies {
            let sets = [copy.machine.active(), copy.machine.confirmed()];
            for set in sets.into_iter().flatten() {
                match code::load(&self.store, &copy.trust, &self.site, set) {
                    Ok(generations) => return Ok(generations),
                    Err(error) => why = error,
                }
            }
        }
        Err(why)
    }
}
