//! Records to the modules.
//!
//! The way to a module is short: one that cannot take its records in time is detached by its own task, and they go to
//! disk. Where the disk has no room for them this task waits, and with it the field: the broker keeps what cannot be
//! taken. A record that no module asked for is counted, and acknowledged with that count.

use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_record::{Body, Limits, Pulse, Record, SkipReason, SkipSink};
use tidegate_router::Router;
use tokio::sync::mpsc;

/// What has been dispatched since the start.
#[derive(Debug, Default)]
pub(crate) struct DispatchCounters {
    /// Records from the field.
    pub(crate) records: AtomicU64,
    /// Records that no module asked for.
    pub(crate) unrouted: AtomicU64,
    /// That of its loop: it waits for the field and for modules.
    pub(crate) pulse: Pulse,
}

/// Dispatches until the field has gone.
pub(crate) async fn run(
    mut records: mpsc::Receiver<Record>,
    mut router: Router,
    modules: Vec<mpsc::Sender<Record>>,
    skips: &dyn SkipSink,
    counters: &DispatchCounters,
) {
    let mut batch = Vec::new();
    let (pulse, most) = (&counters.pulse, Limits::DEFAULT.batch_records_max);
    while pulse.during(records.recv_many(&mut batch, most)).await > 0 {
        for record in batch.drain(..) {
            counters.records.fetch_add(1, Ordering::Relaxed);
            let routes = router.route(&record.channel);
            let Some((last, others)) = routes.split_last() else {
                counters.unrouted.fetch_add(1, Ordering::Relaxed);
                skip(record, skips);
                continue;
            };
            for route in others {
                pulse
                    .during(deliver(&modules, *route, record.clone()))
                    .await;
            }
            pulse.during(deliver(&modules, *last, record)).await;
        }
    }
    pulse.end();
}

async fn deliver(modules: &[mpsc::Sender<Record>], route: usize, record: Record) {
    if let Some(module) = modules.get(route) {
        // A closed way is that of a module whose buffer has failed. The record's ack is withheld by its drop.
        let _delivered = module.send(record).await;
    }
}

fn skip(record: Record, skips: &dyn SkipSink) {
    let bytes = match &record.body {
        Body::Payload(bytes) => u64::try_from(bytes.len()).unwrap_or(u64::MAX),
        Body::Boolean(_) | Body::Integer(_) | Body::Number(_) => 0,
    };
    let source = &record.channel.source;
    skips.skipped(source, SkipReason::Unrouted, bytes, record.ack);
}
