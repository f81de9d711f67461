//! The guest of a module: its instance, the state that it works on, and a call.
//!
//! It runs in the process of a worker, or in this one where a developer tries a module. What it answers is not looked at
//! here: [`crate::module`] does, which never shares a process with it on a gateway.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidegate_record::{BootId, BootTime, Clock, ClockQuality, Limits, Name, StateChange};
use wasmtime::{Store, UpdateDeadline};

use crate::bindings::exports::tidegate::module::entry::Start;
use crate::bindings::tidegate::module::types::{Content, Effect, Fault, Outcome, Row};
use crate::bindings::{Processor, ProcessorPre};
use crate::budget::Budget;
use crate::convert::BatchParts;
use crate::engine::{TICK, Ticker};
use crate::error::Failure;
use crate::guest_log::{Lines, Said};
use crate::host::{Host, State};
use crate::module::{Cost, Now};
use crate::stopwatch::Stopwatch;

/// Bytes that guest and host may pass each other in one call: a full batch and full outputs, encoded.
pub(crate) const CALL_BYTES_MAX: usize = 32 << 20;
/// Outputs, rejections and values of one call: more are not even looked at, whatever their size.
pub(crate) const ITEMS_MAX: usize = 1 << 17;
/// Handles of one instance in the component model's own tables.
const COMPONENT_HANDLES_MAX: usize = 256;
/// A call may wait in a host function (a sleep) for this many deadlines before it is given up.
pub(crate) const WAIT_DEADLINES: u32 = 20;

/// What a guest is given besides its code.
#[derive(Debug, Clone)]
pub(crate) struct GuestSpec {
    pub(crate) name: Name,
    /// Of its release.
    pub(crate) version: Arc<str>,
    pub(crate) config: Arc<BTreeMap<String, String>>,
    pub(crate) memory_bytes_max: usize,
    pub(crate) state_bytes_max: usize,
    pub(crate) bounds: Bounds,
}

/// What of the gateway's limits is kept where the guest runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) call_deadline: Duration,
    /// Beyond it an answer is not even passed on: reading it would hold up the gateway.
    pub(crate) outputs_max: usize,
    pub(crate) log_lines_max: u32,
    pub(crate) log_line_bytes_max: usize,
    pub(crate) metrics_max: usize,
}

impl Bounds {
    pub(crate) const fn of(limits: &Limits) -> Self {
        Self {
            call_deadline: limits.call_deadline,
            outputs_max: limits.outputs_per_call_max,
            log_lines_max: limits.log_lines_per_second,
            log_line_bytes_max: limits.log_line_bytes_max,
            metrics_max: limits.metrics_max,
        }
    }

    /// How long a call may take on the clock, waiting in host functions included.
    pub(crate) fn wait_max(&self) -> Duration {
        self.call_deadline * WAIT_DEADLINES
    }
}

/// One call.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) now: Now,
    /// How far to trust the wall clock now.
    pub(crate) clock: ClockQuality,
    pub(crate) boot: BootId,
    /// The module's state. A guest that has it already is not given it again.
    pub(crate) state: &'a BTreeMap<String, Bytes>,
    /// Version of the release that wrote the state last.
    pub(crate) state_written_by: Option<&'a str>,
    /// Whether the guest begins anew, with that state.
    pub(crate) renew: bool,
    /// None where it is only started.
    pub(crate) batch: Option<&'a BatchParts<'a>>,
}

/// What a call that ended well led to, unchecked.
#[derive(Debug)]
pub(crate) struct Answer {
    /// None where the guest was only started.
    pub(crate) outcome: Option<Outcome>,
    /// When it wants to be called next, at the latest.
    pub(crate) wake_at: Option<BootTime>,
    pub(crate) state: Vec<StateChange>,
    pub(crate) cost: Cost,
}

/// An answer or why there is none, and what the guest said meanwhile.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) result: Result<Answer, Failure>,
    pub(crate) said: Said,
}

/// A loaded guest. Not running between calls; its instance may be dropped at any time.
pub(crate) struct Guest {
    pre: ProcessorPre<Host>,
    spec: GuestSpec,
    live: Option<Live>,
    /// The state while no instance holds it.
    state: BTreeMap<String, Bytes>,
    state_written_by: Option<Arc<str>>,
    clock: Arc<dyn Clock>,
    ticker: Arc<Ticker>,
    lines: Arc<Lines>,
}

struct Live {
    store: Store<Host>,
    processor: Processor,
}

impl Guest {
    pub(crate) fn new(
        pre: ProcessorPre<Host>,
        spec: GuestSpec,
        clock: Arc<dyn Clock>,
        ticker: Arc<Ticker>,
    ) -> Self {
        Self {
            pre,
            live: None,
            state: BTreeMap::new(),
            state_written_by: None,
            lines: Arc::new(Lines::new(&spec.bounds)),
            spec,
            clock,
            ticker,
        }
    }

    /// Calls the guest, and starts it before that unless it is.
    pub(crate) async fn call(&mut self, call: Call<'_>) -> Reply {
        if call.renew {
            self.live = None;
            self.state = call.state.clone();
            self.state_written_by = call.state_written_by.map(Arc::from);
        }
        let result = match call.batch {
            Some(batch) => self.process(batch, &call).await,
            None => self.start(call.now).await.map(|wake_at| Answer {
                outcome: None,
                wake_at,
                state: Vec::new(),
                cost: Cost::default(),
            }),
        };
        Reply {
            result,
            said: self.lines.take(),
        }
    }

    async fn start(&mut self, now: Now) -> Result<Option<BootTime>, Failure> {
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
            tokio::time::timeout(self.spec.bounds.wait_max(), starting).await
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

    async fn process(
        &mut self,
        parts: &BatchParts<'_>,
        call: &Call<'_>,
    ) -> Result<Answer, Failure> {
        let mut wake_at = self.start(call.now).await?;
        let Some(mut live) = self.live.take() else {
            return Err(Failure::Trap("instance is gone".to_owned()));
        };
        self.open_call(&mut live.store, call.now);
        let spent = Stopwatch::start(&*self.clock);
        let batch = parts.batch(call);
        let answer = {
            let calling = live
                .processor
                .tidegate_module_entry()
                .call_process(&mut live.store, batch);
            tokio::time::timeout(self.spec.bounds.wait_max(), calling).await
        };
        let cost = spent.read(&*self.clock);
        let outcome = match answer {
            Ok(Ok(Ok(outcome))) => outcome,
            Ok(Ok(Err(fault))) => return Err(self.drop_instance(live.store, Some(said(fault)))),
            Ok(Err(error)) => return Err(self.trapped(live.store, &error)),
            Err(_) => return Err(self.drop_instance(live.store, None)),
        };
        if let Err(failure) = self.check_number(&outcome) {
            return Err(self.drop_instance(live.store, Some(failure)));
        }
        if outcome.wake_at.is_some() || !parts.is_empty() {
            wake_at = outcome.wake_at.map(BootTime);
        }
        let state = live.store.data_mut().state.merge();
        if !state.is_empty() {
            self.state_written_by = Some(self.spec.version.clone());
        }
        self.live = Some(live);
        Ok(Answer {
            outcome: Some(outcome),
            wake_at,
            state,
            cost,
        })
    }

    fn check_number(&self, outcome: &Outcome) -> Result<(), Failure> {
        let outputs = outcome.outputs.len() + outcome.rejected.len();
        let (items, most) = (outputs + values(outcome), self.spec.bounds.outputs_max);
        let reason = match (outputs > most, items > ITEMS_MAX) {
            (true, _) => format!("answered {outputs} outputs, limit is {most}"),
            (_, true) => format!("answered {items} outputs and values, limit is {ITEMS_MAX}"),
            _ => return Ok(()),
        };
        Err(Failure::Refused(reason))
    }

    fn store(&mut self) -> Store<Host> {
        let spec = &self.spec;
        let state = State::new(std::mem::take(&mut self.state), spec.state_bytes_max);
        let budget = Budget::new(spec.memory_bytes_max);
        let host = Host::new(
            spec.config.clone(),
            self.lines.clone(),
            budget,
            state,
            spec.bounds.metrics_max,
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
        let deadline = self.spec.bounds.call_deadline;
        let ticks = deadline.as_nanos().div_ceil(TICK.as_nanos());
        let host = store.data_mut();
        host.now.set(now.0, now.1);
        host.ticks_left = u64::try_from(ticks).unwrap_or(u64::MAX);
        store.set_epoch_deadline(1);
        self.ticker.call();
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
        let deadline = self.spec.bounds.call_deadline;
        failure.unwrap_or(Failure::Deadline(deadline.as_millis()))
    }
}

impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guest")
            .field("name", &self.spec.name)
            .field("live", &self.live.is_some())
            .finish_non_exhaustive()
    }
}

/// Values in all rows.
fn values(outcome: &Outcome) -> usize {
    let values = outcome.outputs.iter().map(|output| match &output.effect {
        Effect::Keep(Row {
            content: Content::Values(values),
            ..
        }) => values.len(),
        Effect::Keep(_) | Effect::Publish(_) | Effect::Actuate(_) => 0,
    });
    values.sum()
}

fn said(fault: Fault) -> Failure {
    match fault {
        Fault::Transient(reason) => Failure::Transient(reason),
        Fault::Permanent(reason) => Failure::Permanent(reason),
    }
}
