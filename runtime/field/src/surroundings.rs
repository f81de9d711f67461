//! What every task of the field gets, and the phases of a run.

use std::sync::Arc;

use tidegate_record::{Clock, IdHasher, Limits, Record, SkipSink};
use tokio::sync::{mpsc, watch};

/// Where a run is between its start and its end. Only ever goes forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Everything flows.
    Running,
    /// No more records are taken, and the field has dropped its senders. Acknowledgements and publications still flow,
    /// for [`Limits::shutdown_grace`] at most.
    Draining,
    /// What is left to send is sent, and the tasks end.
    Ended,
}

/// What every task of the field gets. Clone it for each; drop it when all are spawned, because it holds a sender.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Where records go. Bounded by [`Limits::inbox_records_max`].
    pub records: mpsc::Sender<Record>,
    /// The phase of the run. When its sender is gone, that is the end as well.
    pub phase: watch::Receiver<Phase>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Hashes the ids that senders give to messages.
    pub ids: IdHasher,
    /// Where messages that lead to nothing are counted.
    pub skips: Arc<dyn SkipSink>,
    /// The bound of everything.
    pub limits: Arc<Limits>,
}

/// Resolves when `phase` has reached at least `wanted`.
pub(crate) async fn reached(phase: &mut watch::Receiver<Phase>, wanted: Phase) {
    // An error means that the sender is gone: there is nobody left to run for.
    phase.wait_for(|phase| *phase >= wanted).await.ok();
}

/// The phase now.
pub(crate) fn now(phase: &watch::Receiver<Phase>) -> Phase {
    match phase.has_changed() {
        Ok(_) => *phase.borrow(),
        Err(_) => Phase::Ended,
    }
}
