//! What a gateway reports of its updates: signed by its device key, counted within the epoch of its database.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use tidegate_bundle::{ClockQuality, Digest, Facts, RefusedDocument, Status, StoreEpoch};
use tidegate_record::{Clock, Epoch, Name};
use tidegate_update::Client;

use crate::config::Settings;
use crate::device;
use crate::error::chain;

/// Refused documents that are reported, the newest.
const REFUSED_MAX: usize = 16;
/// What is said where there is nothing to name: code that comes ready is not taken here.
const NO_ENGINE: &str = "none";

/// Makes reports.
#[derive(Debug)]
pub(crate) struct Reporter {
    state: PathBuf,
    clock: Arc<dyn Clock>,
    epoch: StoreEpoch,
    counter: u64,
    facts: Facts,
    refused: VecDeque<RefusedDocument>,
}

impl Reporter {
    /// For one run of the gateway.
    pub(crate) fn new(settings: &Settings, clock: Arc<dyn Clock>, epoch: Epoch) -> Self {
        let brokers = settings.brokers.iter().map(|broker| &broker.name);
        let sensors = settings.sensors.iter().map(|sensor| &sensor.name);
        Self {
            state: settings.state.clone(),
            clock,
            epoch: StoreEpoch {
                ordinal: epoch.ordinal,
                random: epoch.random,
            },
            counter: 0,
            facts: facts(brokers.chain(sensors).map(Name::to_string).collect()),
            refused: VecDeque::new(),
        }
    }

    /// Remembers that a document was refused. True if that is news.
    pub(super) fn refuse(&mut self, document: &[u8], reason: &str) -> bool {
        let refused = RefusedDocument {
            sha256: Digest::of(document),
            reason: reason.to_owned(),
            why: None,
        };
        if self.refused.back() == Some(&refused) {
            return false;
        }
        self.refused.retain(|other| other.sha256 != refused.sha256);
        while self.refused.len() >= REFUSED_MAX {
            self.refused.pop_front();
        }
        self.refused.push_back(refused);
        true
    }

    /// What the gateway's clock is worth.
    pub(super) fn clock(&self) -> ClockQuality {
        quality(&*self.clock)
    }

    /// The next report. The key is read each time: it may have been changed.
    pub(super) fn sign(&mut self, client: &Client) -> Result<Vec<u8>, String> {
        let key = device::load_or_make(&self.state).map_err(|error| chain(&error))?;
        let trust = client.trust();
        let root = trust.root().root();
        self.counter = self.counter.saturating_add(1);
        let status = Status {
            fleet_id: root.fleet_id.clone(),
            gateway_id: client.gateway().gateway_id.clone(),
            store_epoch: self.epoch,
            counter: self.counter,
            root_version: root.version,
            epoch: root.epoch,
            seq: trust.seq(),
            modules: client.installed(),
            refused: self.refused.iter().cloned().collect(),
            clock: self.clock(),
            missing_protection: Vec::new(),
            confirmed: client.machine().confirmed().map(|set| set.deployment),
            facts: Some(self.facts.clone()),
            frozen: None,
        };
        status.sign(&key).map_err(|error| chain(&error))
    }
}

/// What this machine is.
fn facts(mut field: Vec<String>) -> Facts {
    field.sort();
    field.dedup();
    let libc = if cfg!(target_env = "musl") {
        "musl"
    } else {
        "gnu"
    };
    Facts {
        target: format!("{}-unknown-linux-{libc}", std::env::consts::ARCH),
        engine: NO_ENGINE.to_owned(),
        compiler: true,
        memory_bytes: memory_bytes(),
        field,
    }
}

/// Memory of this machine, in bytes.
fn memory_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    #[allow(
        clippy::useless_conversion,
        reason = "it is as wide as a register of the machine"
    )]
    let total = u64::from(info.totalram);
    total.saturating_mul(u64::from(info.mem_unit)).max(1)
}

fn quality(clock: &dyn Clock) -> ClockQuality {
    use tidegate_record::ClockQuality as Quality;
    match clock.quality() {
        Quality::Unset => ClockQuality::Unset,
        Quality::Synced => ClockQuality::Synced,
        // The others are of readings, and no clock's.
        Quality::HeldOver | Quality::Device | Quality::Restamped => ClockQuality::HeldOver,
    }
}
