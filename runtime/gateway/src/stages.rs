//! The stages between the buffer and the uplink, started: field, router, modules.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_buffer::BufferHandle;
use tidegate_field::{Broker, BrokerHandle, Sensor, SensorHandle, Surroundings};
use tidegate_record::{Applied, Clock, Effects, Limits, Record};
use tidegate_router::Router;
use tidegate_sandbox::{ModuleCounters, Outlets, Report, Seat};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::config::{Settings, subscriptions};
use crate::effects::Outward;
use crate::error::Error;
use crate::install::{Installed, Loaded};
use crate::status;
use crate::updates::Seats;

/// Orders to a module that wait for the end of its call.
const ORDERS_MAX: usize = 8;
/// Reports of modules that wait for the driver: each order leads to one, and each trial to one more.
const REPORTS_MAX: usize = 256;

/// The started field.
pub(crate) struct Field {
    pub(crate) brokers: Vec<BrokerHandle>,
    pub(crate) sensors: Vec<SensorHandle>,
    pub(crate) tasks: JoinSet<()>,
}

impl Field {
    /// Nothing is subscribed for a module that does not run: its messages stay with the broker.
    pub(crate) fn start(
        settings: &Settings,
        installed: &[Installed],
        handle: &BufferHandle,
        surroundings: &Surroundings,
    ) -> Result<Self, Error> {
        let running = installed
            .iter()
            .filter_map(|module| module.loaded.as_ref().ok());
        let inputs: Vec<_> = running.flat_map(|loaded| loaded.active.inputs()).collect();
        let mut field = Self {
            brokers: Vec::new(),
            sensors: Vec::new(),
            tasks: JoinSet::new(),
        };
        for config in &settings.brokers {
            let filters = subscriptions(inputs.iter().copied(), &config.name);
            let postbox = Arc::new(handle.clone());
            let broker = Broker::new(config.clone())?;
            field
                .brokers
                .push(broker.spawn(filters, postbox, surroundings, &mut field.tasks));
        }
        for config in &settings.sensors {
            field
                .sensors
                .push(Sensor::new(config.clone())?.spawn(surroundings, &mut field.tasks));
        }
        Ok(field)
    }
}

/// What the modules' tasks need.
pub(crate) struct Path<'a> {
    pub(crate) limits: &'a Arc<Limits>,
    pub(crate) clock: &'a Arc<dyn Clock>,
    pub(crate) outward: &'a Arc<Outward>,
    pub(crate) buffer: &'a BufferHandle,
}

/// The started modules, and the way to them.
pub(crate) struct Running {
    pub(crate) stages: JoinSet<()>,
    pub(crate) inboxes: Vec<mpsc::Sender<Record>>,
    pub(crate) router: Router,
    pub(crate) modules: Vec<status::Module>,
    pub(crate) seats: Seats,
}

impl Path<'_> {
    pub(crate) fn start(
        &self,
        installed: Vec<Installed>,
        applied: &mpsc::Sender<Applied>,
    ) -> Running {
        let (mut stages, mut inboxes, mut table) = (JoinSet::new(), Vec::new(), Vec::new());
        let (mut modules, mut orders) = (Vec::new(), BTreeMap::new());
        let (reports, heard) = mpsc::channel(REPORTS_MAX);
        for Installed {
            name,
            version,
            loaded,
        } in installed
        {
            let running = loaded.map_err(|refusal| refusal.to_string()).map(|loaded| {
                let counters = Arc::<ModuleCounters>::default();
                let (way, arriving) = mpsc::channel(self.limits.inbox_records_max);
                table.push(loaded.active.inputs().to_vec());
                inboxes.push(way);
                let (seat, ordering) = seat(loaded, reports.clone());
                orders.insert(seat.active.name().clone(), ordering);
                let inbox = self.buffer.inbox(seat.active.name());
                let effects: Arc<dyn Effects> = self.outward.clone();
                let outlets = Outlets {
                    effects,
                    applied: applied.clone(),
                };
                let (limits, clock) = (self.limits.clone(), self.clock.clone());
                stages.spawn(tidegate_sandbox::run(
                    seat,
                    arriving,
                    inbox,
                    outlets,
                    counters.clone(),
                    limits,
                    clock,
                ));
                counters
            });
            modules.push(status::Module {
                name,
                version,
                running,
            });
        }
        Running {
            stages,
            inboxes,
            router: Router::new(table, self.limits.channels_max),
            modules,
            seats: Seats {
                orders,
                reports: heard,
            },
        }
    }
}

fn seat(
    loaded: Loaded,
    reports: mpsc::Sender<Report>,
) -> (Seat, mpsc::Sender<tidegate_sandbox::Order>) {
    let (ordering, orders) = mpsc::channel(ORDERS_MAX);
    let seat = Seat {
        active: loaded.active,
        standby: loaded.standby,
        orders,
        reports,
    };
    (seat, ordering)
}
