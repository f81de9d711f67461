//! What a gateway reports of its updates: signed by its device key, counted within the epoch of its database.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use tidegate_bundle::{
    ClockQuality, Digest, Facts, Gateway, RefusedDocument, Status, StoreEpoch, VerifiedRoot, text,
};
use tidegate_record::{Clock, Epoch, Name};
use tidegate_sandbox::Sandbox;
use tidegate_update::state::State;
use tidegate_update::{Client, FrozenClient};

use crate::config::Settings;
use crate::error::chain;
use crate::{device, install};

/// Refused documents that are reported, the newest.
const REFUSED_MAX: usize = 16;

/// Makes reports.
#[derive(Debug)]
pub(crate) struct Reporter {
    state: PathBuf,
    /// The operator's root document.
    root: PathBuf,
    clock: Arc<dyn Clock>,
    epoch: StoreEpoch,
    counter: u64,
    facts: Facts,
    refused: VecDeque<RefusedDocument>,
}

impl Reporter {
    /// For one run of the gateway.
    pub(crate) fn new(
        settings: &Settings,
        sandbox: &Sandbox,
        clock: Arc<dyn Clock>,
        epoch: Epoch,
    ) -> Self {
        let brokers = settings.brokers.iter().map(|broker| &broker.name);
        let sensors = settings.sensors.iter().map(|sensor| &sensor.name);
        Self {
            state: settings.state.clone(),
            root: settings.root.clone(),
            clock,
            epoch: StoreEpoch {
                ordinal: epoch.ordinal,
                random: epoch.random,
            },
            counter: 0,
            facts: facts(
                sandbox.engine_name(),
                brokers.chain(sensors).map(Name::to_string).collect(),
            ),
            refused: VecDeque::new(),
        }
    }

    /// Remembers that a document was refused, and why in one sentence. True if that is news.
    pub(super) fn refuse(&mut self, document: &[u8], reason: &str, why: &str) -> bool {
        let refused = RefusedDocument {
            sha256: Digest::of(document),
            reason: reason.to_owned(),
            why: Some(text::sentence(why)),
        };
        if self.refused.back() == Some(&refused) {
            return false;
        }
        self.take_back(document);
        while self.refused.len() >= REFUSED_MAX {
            self.refused.pop_front();
        }
        self.refused.push_back(refused);
        true
    }

    /// The document is not refused any more.
    pub(super) fn take_back(&mut self, document: &[u8]) {
        let digest = Digest::of(document);
        self.refused.retain(|refused| refused.sha256 != digest);
    }

    /// What the gateway's clock is worth.
    pub(super) fn clock(&self) -> ClockQuality {
        quality(&*self.clock)
    }

    /// The next report of a gateway that takes what comes.
    pub(super) fn report(&mut self, client: &Client) -> Result<Vec<u8>, String> {
        let trust = client.trust();
        let status = Status {
            seq: trust.seq(),
            modules: client.installed(),
            refused: self.refused.iter().cloned().collect(),
            confirmed: client.machine().confirmed().map(|set| set.deployment),
            ..self.begun(trust.root(), client.gateway())
        };
        self.sign(status)
    }

    /// What a gateway that takes nothing says in each report. Where nothing of its memory can be read, it is of the fleet of
    /// its operator's root.
    pub(super) fn frozen(&self, frozen: &FrozenClient) -> Result<Status, String> {
        let gateway = frozen.gateway();
        let status = match frozen.last() {
            Some(State { trust, machine, .. }) => Status {
                seq: trust.seq(),
                modules: frozen.installed(),
                confirmed: machine.confirmed().map(|set| set.deployment),
                ..self.begun(trust.root(), gateway)
            },
            None => {
                let root = install::read_root(&self.root).map_err(|error| chain(&error))?;
                self.begun(&root, gateway)
            }
        };
        Ok(Status {
            frozen: Some(text::sentence(frozen.reason())),
            ..status
        })
    }

    /// Signs the next report. The key is read each time: it may have been changed.
    pub(super) fn sign(&mut self, status: Status) -> Result<Vec<u8>, String> {
        let key = device::load_or_make(&self.state).map_err(|error| chain(&error))?;
        self.counter = self.counter.saturating_add(1);
        let status = Status {
            counter: self.counter,
            clock: self.clock(),
            ..status
        };
        status.sign(&key).map_err(|error| chain(&error))
    }

    /// A report of a gateway that has taken nothing yet.
    fn begun(&self, root: &VerifiedRoot, gateway: &Gateway) -> Status {
        let root = root.root();
        Status {
            fleet_id: root.fleet_id.clone(),
            gateway_id: gateway.gateway_id.clone(),
            store_epoch: self.epoch,
            counter: self.counter,
            root_version: root.version,
            epoch: root.epoch,
            seq: 0,
            modules: Vec::new(),
            refused: Vec::new(),
            clock: self.clock(),
            missing_protection: Vec::new(),
            confirmed: None,
            facts: Some(self.facts.clone()),
            frozen: None,
        }
    }
}

/// What this machine is.
fn facts(engine: String, mut field: Vec<String>) -> Facts {
    field.sort();
    field.dedup();
    let libc = if cfg!(target_env = "musl") {
        "musl"
    } else {
        "gnu"
    };
    Facts {
        target: format!("{}-unknown-linux-{libc}", std::env::consts::ARCH),
        engine,
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
