//! Records to the modules' inboxes.
//!
//! An inbox that is full makes this task wait, and with it the field: the broker keeps what cannot be taken. A record
//! that no module asked for is acknowledged and counted.

use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_record::{Limits, Record};
use tidegate_router::Router;
use tokio::sync::mpsc;

/// What has been dispatched since the start.
#[derive(Debug, Default)]
pub(crate) struct DispatchCounters {
    /// Records from the field.
    pub(crate) records: AtomicU64,
    /// Records that no module asked for.
    pub(crate) unrouted: AtomicU64,
}

/// Dispatches until the field has gone.
pub(crate) async fn run(
    mut records: mpsc::Receiver<Record>,
    mut router: Router,
    inboxes: Vec<mpsc::Sender<Record>>,
    counters: &DispatchCounters,
) {
    let mut batch = Vec::new();
    while records
        .recv_many(&mut batch, Limits::DEFAULT.batch_records_max)
        .await
        > 0
    {
        for record in batch.drain(..) {
            counters.records.fetch_add(1, Ordering::Relaxed);
            let routes = router.route(&record.channel);
            let Some((last, others)) = routes.split_last() else {
                counters.unrouted.fetch_add(1, Ordering::Relaxed);
                record.ack.committed();
                continue;
            };
            for route in others {
                deliver(&inboxes, *route, record.clone()).await;
            }
            deliver(&inboxes, *last, record).await;
        }
    }
}

async fn deliver(inboxes: &[mpsc::Sender<Record>], route: usize, record: Record) {
    if let Some(inbox) = inboxes.get(route) {
        // A closed inbox is that of a module whose buffer has failed. The record's ack is withheld by its drop.
        let _delivered = inbox.send(record).await;
    }
}
