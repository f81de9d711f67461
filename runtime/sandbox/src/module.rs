//! One module: its instance, its state, and a call.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidegate_record::{
    Ack, Applied, BootTime, Clock, Command, Limits, MessageId, Name, Publication, Record, Seen,
    StateChange, TopicFilter, WallTime,
};
use wasmtime::{Store, UpdateDeadline};

use crate::bindings::exports::tidegate::module::entry::Start;
use crate::bindings::tidegate::module::types::{Fault, Outcome};
use crate::bindings::{Processor, ProcessorPre};
use crate::budget::Budget;
use crate::convert::{BatchParts, Rules};
use crate::engine::{TICK, Ticker};
use crate::error::Failure;
use crate::guest_log::GuestLog;
use crate::host::{Host, State};
use crate::spec::{Grants, ModuleSpec, StreamSpec};
use crate::stopwatch::Stopwatch;

/// Bytes that guest and host may pass each other in one call: a full batch and full outputs, encoded.
const CALL_BYTES_MAX: usize = 32 << 20;
/// Handles of one instance in the component model's own tables.
const COMPONENT_HANDLES_MAX: usize = 256;
/// A call may wait in a host function (a sleep) for this many deadlines before it is given up.
const WAIT_DEADLINES: u32 = 20;

/// A loaded module. Not running between calls; its instance may be dropped at any time.
pub struct Module {
    pre: ProcessorPre<Host>,
    live: Option<Live>,
    /// The state while no instance holds it.
    state: BTreeMap<String, Bytes>,
    state_bytes_max: usize,
    state_written_by: Option<Arc<str>>,
    memory_bytes_max: usize,
    name: Name,
    version: Arc<str>,
    generation: u64,
    config: Arc<BTreeMap<String, String>>,
    grants: Grants,
    streams: Vec<StreamSpec>,
    seen: Seen,
    limits: Arc<Limits>,
    clock: Arc<dyn Clock>,
    ticker: Arc<Ticker>,
    log: Arc<GuestLog>,
}

struct Live {
    store: Store<Host>,
    processor: Processor,
}

/// What a call led to, to be passed on in this order: effects that leave at once, then the commit.
#[derive(Debug)]
pub struct Called {
    /// To be sent right away.
    pub at_once: Vec<Publication>,
    /// Device writes, to be done right away.
    pub commands: Vec<Command>,
    /// To be committed.
    pub applied: Applied,
    /// When the module wants to be called next, at the latest; replaces its last wish.
    pub wake_at: Option<BootTime>,
    /// Messages that the module had seen already.
    pub repeated: usize,
    /// The messages that it was shown, without their acks.
    pub records: Vec<Record>,
    /// When it was called, by both clocks: what it saw as now.
    pub now: Now,
    /// What the call took.
    pub cost: Cost,
}

/// Wall time and time since boot.
pub type Now = (WallTime, BootTime);

/// What calls took: of this thread, and on the clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    /// Processor time.
    pub cpu: Duration,
    /// From the call to the answer.
    pub wall: Duration,
}

/// A call that failed: nothing of it is applied, and here are its records again.
#[derive(Debug)]
pub struct Failed {
    /// Why.
    pub failure: Failure,
    /// The records of the call, in their order.
    pub records: Vec<Record>,
}

impl Module {
    pub(crate) fn new(
        pre: ProcessorPre<Host>,
        spec: ModuleSpec,
        limits: Arc<Limits>,
        clock: Arc<dyn Clock>,
        ticker: Arc<Ticker>,
    ) -> Self {
        Self {
            pre,
            live: None,
            state: spec.state,
            state_bytes_max: spec.state_bytes_max,
            state_written_by: spec.state_written_by.map(Arc::from),
            memory_bytes_max: spec.memory_bytes_max,
            log: Arc::new(GuestLog::new(spec.name.clone(), &limits)),
            name: spec.name,
            version: spec.version.into(),
            generation: spec.generation,
            config: Arc::new(spec.config),
            grants: spec.grants,
            streams: spec.streams,
            seen: spec.seen,
            limits,
            clock,
            ticker,
        }
    }

    /// The module's name on this gateway.
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// What it is fed.
    pub fn inputs(&self) -> &[(Name, TopicFilter)] {
        &self.grants.inputs
    }

    /// Starts an instance, unless one lives: configuration is checked and state migrated. Says when to wake the module.
    ///
    /// # Errors
    /// When the guest faults, traps or does not answer in time.
    pub async fn start(&mut self) -> Result<Option<BootTime>, Failure> {
        let now = (self.clock.wall_time(), self.clock.boot_time());
        self.start_at(now).await
    }

    pub(crate) async fn start_at(&mut self, now: Now) -> Result<Option<BootTime>, Failure> {
        if self.live.is_some() {
            return Ok(None);
        }
        let mut store = self.store();
        self.open_call(&mut store, now);
        let started = {
            let (pre, version) = (&self.pre, self.state_written_by.as_deref());
            let starting = async {
                let processor = pre.instantiate_async(&mut store).await?;
                let start = Start {
                    state_written_by: version,
                };
                let answer = processor
                    .tidegate_module_entry()
                    .call_init(&mut store, start)
                    .await?;
                Ok((processor, answer))
            };
            tokio::time::timeout(self.wait_max(), starting).await
        };
        match started {
            Ok(Ok((processor, Ok(wake_at)))) => {
                self.live = Some(Live { store, processor });
                Ok(wake_at.map(BootTime))
            }
            Ok(Ok((_, Err(fault)))) => Err(self.drop_instance(store, Some(said(fault)))),
            Ok(Err(error)) => Err(self.trapped(store, &error)),
            Err(_) => Err(self.drop_instance(store, None)),
        }
    }

    /// Gives the module a batch, or none when it is to be woken. Messages that it has seen are acknowledged with the
    /// others and not shown to it again.
    ///
    /// # Errors
    /// When the guest faults, traps, does not answer in time, or asks for an effect that is refused.
    pub async fn call(&mut self, records: Vec<Record>) -> Result<Called, Failed> {
        let now = (self.clock.wall_time(), self.clock.boot_time());
        self.call_at(records, now).await
    }

    /// The same, where it is another time: that at which another generation was called.
    pub(crate) async fn call_at(
        &mut self,
        records: Vec<Record>,
        now: Now,
    ) -> Result<Called, Failed> {
        let (mut new, repeated, ids) = self.apart(records);
        match self.process(&new, now).await {
            Err(failure) => Err(Failed {
                failure,
                records: together(new, repeated),
            }),
            Ok(mut called) => {
                for id in &ids {
                    self.seen.insert(*id);
                }
                called.repeated = repeated.len();
                called.applied.seen = ids;
                called.applied.received = new.first().map(|record| record.received);
                called.applied.acks = acks(&mut new, repeated);
                called.records = new;
                Ok(called)
            }
        }
    }

    /// An outcome that sets `records` aside without asking the module.
    pub(crate) fn reject(&mut self, records: Vec<Record>, reason: &str) -> Applied {
        let (mut new, repeated, ids) = self.apart(records);
        for id in &ids {
            self.seen.insert(*id);
        }
        let rejections = new
            .iter()
            .map(|record| crate::convert::rejection(record, reason.to_owned()))
            .collect();
        Applied {
            rejections,
            seen: ids,
            acks: acks(&mut new, repeated),
            ..self.nothing()
        }
    }

    /// Records that are new to the module, those that it has seen with their positions, and the new ones' ids.
    fn apart(&self, records: Vec<Record>) -> (Vec<Record>, Vec<(usize, Record)>, Vec<MessageId>) {
        if records.iter().all(|record| record.id.is_none()) {
            return (records, Vec::new(), Vec::new());
        }
        let (mut ids, mut in_batch) = (Vec::new(), HashSet::new());
        let (mut new, mut repeated) = (Vec::with_capacity(records.len()), Vec::new());
        for (position, record) in records.into_iter().enumerate() {
            match record.id {
                Some(id) if self.seen.contains(id) || !in_batch.insert(id) => {
                    repeated.push((position, record));
                    continue;
                }
                Some(id) => ids.push(id),
                None => {}
            }
            new.push(record);
        }
        (new, repeated, ids)
    }

    async fn process(&mut self, records: &[Record], now: Now) -> Result<Called, Failure> {
        let mut wake_at = self.start_at(now).await?;
        let Some(mut live) = self.live.take() else {
            return Err(Failure::Trap("instance is gone".to_owned()));
        };
        self.open_call(&mut live.store, now);
        let spent = Stopwatch::start(&*self.clock);
        let parts = BatchParts::new(records);
        let batch = parts.batch(self.clock.as_ref(), now);
        let answer = {
            let calling = live
                .processor
                .tidegate_module_entry()
                .call_process(&mut live.store, batch);
            tokio::time::timeout(self.wait_max(), calling).await
        };
        let cost = spent.read(&*self.clock);
        let outcome = match answer {
            Ok(Ok(Ok(outcome))) => outcome,
            Ok(Ok(Err(fault))) => return Err(self.drop_instance(live.store, Some(said(fault)))),
            Ok(Err(error)) => return Err(self.trapped(live.store, &error)),
            Err(_) => return Err(self.drop_instance(live.store, None)),
        };
        if outcome.wake_at.is_some() || !records.is_empty() {
            wake_at = outcome.wake_at.map(BootTime);
        }
        match self.apply(&mut live.store, records, outcome, now) {
            Ok(called) => {
                self.live = Some(live);
                if !called.applied.state.is_empty() {
                    self.state_written_by = Some(self.version.clone());
                }
                Ok(Called {
                    wake_at,
                    cost,
                    ..called
                })
            }
            Err(failure) => Err(self.drop_instance(live.store, Some(failure))),
        }
    }

    fn apply(
        &self,
        store: &mut Store<Host>,
        records: &[Record],
        outcome: Outcome,
        now: Now,
    ) -> Result<Called, Failure> {
        let rules = Rules {
            grants: &self.grants,
            streams: &self.streams,
            limits: &self.limits,
            now_boot: now.1,
        };
        let effects = rules.effects(records, outcome)?;
        let applied = Applied {
            rows: effects.rows,
            publications: effects.durable,
            rejections: effects.rejections,
            state: store.data_mut().state.merge(),
            ..self.nothing()
        };
        Ok(Called {
            at_once: effects.at_once,
            commands: effects.commands,
            applied,
            wake_at: None,
            repeated: 0,
            records: Vec::new(),
            now,
            cost: Cost::default(),
        })
    }

    /// Which activation of the module it is.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Version of its release.
    pub(crate) const fn version(&self) -> &Arc<str> {
        &self.version
    }

    /// Goes on from where another generation is: with a copy of its state.
    pub(crate) fn follow(&mut self, other: &Self) {
        self.live = None;
        self.state = match &other.live {
            Some(live) => live.store.data().state.values().clone(),
            None => other.state.clone(),
        };
        self.state_written_by = other.state_written_by.clone();
    }

    /// Takes over what was taken already from the generation before.
    pub(crate) fn succeed(&mut self, other: &mut Self) {
        std::mem::swap(&mut self.seen, &mut other.seen);
    }

    /// All of its state, and which release wrote it last.
    pub(crate) fn state(&self) -> (Vec<StateChange>, Option<Arc<str>>) {
        let entries = match &self.live {
            Some(live) => live.store.data().state.values(),
            None => &self.state,
        };
        let change = |(key, value): (&String, &Bytes)| StateChange {
            key: key.clone(),
            value: Some(value.clone()),
        };
        let changes = entries.iter().map(change).collect();
        (changes, self.state_written_by.clone())
    }

    /// Makes outcomes without effects.
    pub(crate) fn blank(&self) -> Box<dyn Fn() -> Applied + Send> {
        let (name, generation, version) =
            (self.name.clone(), self.generation, self.version.clone());
        Box::new(move || Applied::new(name.clone(), generation, version.clone()))
    }

    pub(crate) fn nothing(&self) -> Applied {
        Applied::new(self.name.clone(), self.generation, self.version.clone())
    }

    fn store(&mut self) -> Store<Host> {
        let state = State::new(std::mem::take(&mut self.state), self.state_bytes_max);
        let budget = Budget::new(self.memory_bytes_max);
        let host = Host::new(
            self.config.clone(),
            self.log.clone(),
            budget,
            state,
            &self.limits,
        );
        let mut store = Store::new(self.pre.engine(), host);
        store.limiter(|host| &mut host.budget);
        store.set_hostcall_fuel(CALL_BYTES_MAX);
        store.set_max_component_handles(COMPONENT_HANDLES_MAX);
        store.epoch_deadline_callback(|mut context| {
            let ticks_left = &mut context.data_mut().ticks_left;
            match ticks_left.checked_sub(1) {
                None => Ok(UpdateDeadline::Interrupt),
                Some(left) => {
                    *ticks_left = left;
                    // The other tasks of this thread go on between two ticks of a slow guest.
                    Ok(UpdateDeadline::Yield(1))
                }
            }
        });
        store
    }

    /// Sets the time and the deadline of the call that begins.
    fn open_call(&self, store: &mut Store<Host>, now: Now) {
        let ticks = self
            .limits
            .call_deadline
            .as_nanos()
            .div_ceil(TICK.as_nanos());
        let host = store.data_mut();
        host.now.set(now.0, now.1);
        host.ticks_left = u64::try_from(ticks).unwrap_or(u64::MAX);
        store.set_epoch_deadline(1);
        self.ticker.call();
    }

    fn wait_max(&self) -> Duration {
        self.limits.call_deadline * WAIT_DEADLINES
    }

    fn trapped(&mut self, store: Store<Host>, error: &wasmtime::Error) -> Failure {
        let host = store.data();
        let failure = if host.ticks_left == 0 {
            None
        } else if let Some(wanted) = host.budget.refused_bytes {
            let limit = host.budget.memory_bytes_max();
            Some(Failure::Memory {
                wanted_mib: wanted.div_ceil(1 << 20),
                limit_mib: limit >> 20,
            })
        } else {
            Some(Failure::Trap(error.root_cause().to_string()))
        };
        self.drop_instance(store, failure)
    }

    /// Takes the state back out of the instance. Without a failure of its own, the call was stopped for its time.
    fn drop_instance(&mut self, store: Store<Host>, failure: Option<Failure>) -> Failure {
        self.state = store.into_data().state.discard();
        failure.unwrap_or(Failure::Deadline(self.limits.call_deadline.as_millis()))
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module")
            .field("name", &self.name)
            .field("live", &self.live.is_some())
            .finish_non_exhaustive()
    }
}

fn said(fault: Fault) -> Failure {
    match fault {
        Fault::Transient(reason) => Failure::Transient(reason),
        Fault::Permanent(reason) => Failure::Permanent(reason),
    }
}

/// Takes the acks out of all of them.
fn acks(new: &mut [Record], repeated: Vec<(usize, Record)>) -> Vec<Ack> {
    let new = new
        .iter_mut()
        .map(|record| std::mem::replace(&mut record.ack, Ack::none()));
    let repeated = repeated.into_iter().map(|(_, record)| record.ack);
    new.chain(repeated).collect()
}

/// The reverse of [`Module::apart`].
fn together(mut new: Vec<Record>, repeated: Vec<(usize, Record)>) -> Vec<Record> {
    for (position, record) in repeated {
        new.insert(position.min(new.len()), record);
    }
    new
}
