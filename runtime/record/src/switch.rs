//! From one generation of a module to another, committed with what led to it.

use std::sync::Arc;

use crate::StateChange;

/// Which generation of a module is active from this commit on, and which stands by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Switch {
    /// The generation of the outcome becomes active. The one before stands by, with the state that it has.
    Forward {
        /// All of the state with which the new one goes on; none to go on with a copy of the other's.
        state: Option<Vec<StateChange>>,
        /// Version of the release that wrote it last.
        written_by: Option<Arc<str>>,
    },
    /// The one that stands by becomes active again, with its own state. The state of the other is gone.
    Back,
    /// Nothing stands by any more.
    Settle,
}

/// What the generation that stands by changed in its own state, with the messages that the active one was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandBy {
    /// Version of its release.
    pub version: Arc<str>,
    /// Its writes, last one per key.
    pub state: Vec<StateChange>,
}
