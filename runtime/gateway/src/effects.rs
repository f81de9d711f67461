//! What leaves at once: publications to the brokers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_field::BrokerHandle;
use tidegate_record::{Command, Effects, Name, Publication};

/// The way to the brokers. Never waits: what cannot leave now is counted and dropped.
#[derive(Debug)]
pub(crate) struct Outward {
    brokers: HashMap<Name, BrokerHandle>,
    /// Publications and commands that had nowhere to go.
    pub(crate) dropped: AtomicU64,
}

impl Outward {
    pub(crate) fn new(brokers: &[BrokerHandle]) -> Self {
        let brokers = brokers
            .iter()
            .map(|broker| (broker.name().clone(), broker.clone()))
            .collect();
        Self {
            brokers,
            dropped: AtomicU64::new(0),
        }
    }
}

impl Effects for Outward {
    fn publish(&self, publication: Publication) {
        match self.brokers.get(&publication.broker) {
            Some(broker) => broker.publish(publication),
            None => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn actuate(&self, command: Command) {
        tracing::warn!("no driver has a point {} to write to", command.point);
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}
