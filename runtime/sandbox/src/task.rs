//! The loop that feeds one module and passes its effects on: at-once effects first, then the outcome to the buffer.
//!
//! Ends when the field has gone; what was taken has then been passed on, or waits on disk. A failing module is told
//! apart from a failing message by halving the batch; one that keeps failing is parked, and its messages are set aside
//! so that neither the broker's window nor a neighbour waits for it.

mod succession;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate_record::{Applied, BootTime, Clock, Effects, Inbox, Limits, Pulse, Record};
use tokio::sync::mpsc;

use crate::busy::Busy;
use crate::companion::Companion;
use crate::error::Failure;
use crate::intake::Intake;
use crate::load::{Load, Place};
use crate::module::{Called, Failed, Module, Now};
use crate::order::{News, Order, Report};

/// A module that is behind rests for this part of the time that its calls take: while one runs, everything else on this
/// thread gets on by a step every few milliseconds only, and a commit is many steps.
const REST: u32 = 4;
/// Shorter rests are none.
const REST_MIN: Duration = Duration::from_millis(1);

/// Where a module's effects go.
#[derive(Clone)]
pub struct Outlets {
    /// What leaves before the commit.
    pub effects: Arc<dyn Effects>,
    /// What is committed. Closed means that the buffer has failed: the module stops.
    pub applied: mpsc::Sender<Applied>,
}

impl std::fmt::Debug for Outlets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outlets").finish_non_exhaustive()
    }
}

/// What a module has done since the start.
#[derive(Debug, Default)]
pub struct ModuleCounters {
    /// Messages given to it.
    pub messages: AtomicU64,
    /// Calls that ended well.
    pub calls: AtomicU64,
    /// Rows that it kept.
    pub rows: AtomicU64,
    /// Messages set aside.
    pub rejected: AtomicU64,
    /// Messages that it had seen already.
    pub duplicates: AtomicU64,
    /// Calls that failed.
    pub faults: AtomicU64,
    /// Whether its messages go by way of the disk, because it is behind.
    pub detached: AtomicBool,
    /// Whether there is no room on disk for what arrives meanwhile, so that the broker waits.
    pub held_up: AtomicBool,
    /// That of its task: it waits for messages, orders and the buffer, and calls the module.
    pub pulse: Pulse,
    standing: Mutex<Standing>,
}

/// How a module stands.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// Version of the release that is active.
    pub version: Arc<str>,
    /// Its generation.
    pub generation: u64,
    /// Whether it runs.
    pub state: ModuleState,
    /// Its last fault in words.
    pub last_fault: Option<String>,
}

impl ModuleCounters {
    /// How it stands now.
    pub fn standing(&self) -> Standing {
        self.locked().clone()
    }

    /// This generation runs from now on.
    fn runs(&self, module: &Module) {
        *self.locked() = Standing {
            version: module.version().clone(),
            generation: module.generation(),
            ..Standing::default()
        };
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Standing> {
        let standing = self.standing.lock();
        standing.unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Whether a module runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ModuleState {
    /// It is given messages.
    #[default]
    Running,
    /// It failed too often, or said that it cannot work: its messages are set aside until the gateway restarts.
    Parked,
}

impl ModuleState {
    /// The word for it in status and pages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Parked => "parked",
        }
    }
}

/// The generations of a module, and where its task hears of others.
#[derive(Debug)]
pub struct Seat {
    /// The one whose effects count.
    pub active: Module,
    /// The one before, if it stands by.
    pub standby: Option<Box<Module>>,
    /// What the update client asks.
    pub orders: mpsc::Receiver<Order>,
    /// What it hears.
    pub reports: mpsc::Sender<Report>,
}

impl Seat {
    /// A module that nobody updates.
    pub fn alone(active: Module) -> Self {
        let ((_, orders), (reports, _)) = (mpsc::channel(1), mpsc::channel(1));
        Self {
            active,
            standby: None,
            orders,
            reports,
        }
    }
}

/// Runs a module until `live` closes. What it cannot take in time waits in `inbox`.
pub async fn run<I: Inbox>(
    seat: Seat,
    live: mpsc::Receiver<Record>,
    inbox: I,
    outlets: Outlets,
    counters: Arc<ModuleCounters>,
    limits: Arc<Limits>,
    clock: Arc<dyn Clock>,
) {
    let blank = seat.active.blank();
    let applied = outlets.applied.clone();
    let intake = Intake::new(
        live,
        inbox,
        applied,
        blank,
        counters.clone(),
        limits.clone(),
    );
    let feeder = Feeder {
        module: seat.active,
        companion: seat.standby.map(Companion::standing_by),
        reports: seat.reports,
        outlets,
        counters,
        busy: Busy::new(&limits),
        limits,
        clock,
        wake_at: None,
        faults: VecDeque::new(),
    };
    let counters = feeder.counters.clone();
    feeder.run(intake, seat.orders).await;
    counters.pulse.end();
}

struct Feeder {
    module: Module,
    companion: Option<Companion>,
    reports: mpsc::Sender<Report>,
    outlets: Outlets,
    counters: Arc<ModuleCounters>,
    busy: Busy,
    limits: Arc<Limits>,
    clock: Arc<dyn Clock>,
    wake_at: Option<BootTime>,
    /// When the module failed lately.
    faults: VecDeque<BootTime>,
}

/// The buffer has gone; nothing more can be committed.
struct Closed;

/// What the loop does next.
enum Next {
    Order(Order),
    Load(Load),
    Wake,
    /// The field has gone.
    Ended,
}

impl Feeder {
    async fn run<I: Inbox>(mut self, mut intake: Intake<I>, mut orders: mpsc::Receiver<Order>) {
        self.counters.runs(&self.module);
        match self.module.start().await {
            Ok(wake_at) => self.wake_at = wake_at,
            Err(failure) => self.note(&failure),
        }
        let mut woken = BootTime::default();
        let counters = self.counters.clone();
        loop {
            let due = self.due(woken);
            let next = async {
                tokio::select! {
                    biased;
                    // Before the messages, of which there may always be some. Closed where nobody updates the module.
                    Some(order) = orders.recv() => Next::Order(order),
                    taken = intake.next() => taken.map_or(Next::Ended, Next::Load),
                    () = sleep(due) => Next::Wake,
                }
            };
            let done = match counters.pulse.during(next).await {
                Next::Ended => return,
                Next::Order(order) => self.obey(order, &mut intake).await,
                Next::Load(load) => self.feed(load, &mut intake).await,
                Next::Wake => {
                    woken = self.clock.boot_time();
                    self.wake(&mut intake).await
                }
            };
            if let Err(Closed) = done {
                return;
            }
        }
    }

    /// How long until the module is to be woken.
    fn due(&self, woken: BootTime) -> Option<Duration> {
        let now = self.clock.boot_time();
        let rest = self
            .limits
            .wake_interval_min
            .saturating_sub(now.since(woken));
        let beside = self.companion.as_ref().and_then(Companion::wake_at);
        let first = self.wake_at.into_iter().chain(beside).min();
        first.map(|at| at.since(now).max(rest))
    }

    /// Works through a load, in calls that keep the bound on bytes, halving what fails, in order.
    async fn feed<I: Inbox>(&mut self, load: Load, intake: &mut Intake<I>) -> Result<(), Closed> {
        let (messages, from_disk) = (load.records.len(), load.place.is_some());
        let (mut spent, mut retries) = (Duration::ZERO, 0);
        let mut todo = load.cut(self.limits.batch_bytes_max);
        while let Some(Load { records, place }) = todo.pop() {
            self.counters.pulse.beat();
            if records.is_empty() || self.counters.standing().state == ModuleState::Parked {
                self.set_aside(records, place, "module is parked").await?;
                continue;
            }
            let begun = self.clock.boot_time();
            match intake.beside(self.module.call(records)).await {
                Ok(called) => self.pass_on(called, place).await?,
                Err(Failed { failure, records }) => {
                    let load = Load { records, place };
                    match failure {
                        Failure::Transient(_) if retries < self.limits.transient_retries_max => {
                            retries += 1;
                            let wait = self.limits.backoff_min * 2_u32.saturating_pow(retries);
                            intake.beside(tokio::time::sleep(wait)).await;
                            todo.push(load);
                        }
                        failure => self.failed(&failure, load, &mut todo, intake).await?,
                    }
                }
            }
            let now = self.clock.boot_time();
            spent += now.since(begun);
            if self.busy.add(begun, now) {
                intake.detach(&mut todo);
            }
            if from_disk && intake.is_closing() {
                // The rest stays on disk.
                return Ok(());
            }
            let rest = now.since(begun) / REST;
            if from_disk && rest >= REST_MIN {
                intake.beside(tokio::time::sleep(rest)).await;
            }
        }
        if from_disk {
            intake.worked(messages, spent);
        }
        Ok(())
    }

    /// A failing message is found by halving.
    async fn failed<I: Inbox>(
        &mut self,
        failure: &Failure,
        mut load: Load,
        todo: &mut Vec<Load>,
        intake: &mut Intake<I>,
    ) -> Result<(), Closed> {
        if load.records.len() > 1 && !matches!(failure, Failure::Permanent(_)) {
            let second = load.split_off(load.records.len() / 2);
            todo.push(second);
            todo.push(load);
            return Ok(());
        }
        let Some(load) = self.fall_back(failure, load, intake).await? else {
            return Ok(());
        };
        self.note(failure);
        match failure {
            Failure::Permanent(_) => todo.push(load),
            _ => {
                self.set_aside(load.records, load.place, &failure.to_string())
                    .await?;
            }
        }
        Ok(())
    }

    /// Calls the module without messages, because it asked for it.
    async fn wake<I: Inbox>(&mut self, intake: &mut Intake<I>) -> Result<(), Closed> {
        self.wake_at = None;
        // Else one that fails, or waits beside a parked module, would be due again at once, and for ever.
        if let Some(companion) = &mut self.companion {
            companion.woken();
        }
        if self.counters.standing().state == ModuleState::Parked {
            return Ok(());
        }
        match intake.beside(self.module.call(Vec::new())).await {
            Ok(called) => self.pass_on(called, None).await,
            Err(Failed { failure, .. }) => {
                let nothing = Load::live(Vec::new());
                if self.fall_back(&failure, nothing, intake).await?.is_none() {
                    return Ok(());
                }
                self.note(&failure);
                // A new instance says again when it wants to be woken.
                self.wake_at = self.module.start().await.ok().flatten();
                Ok(())
            }
        }
    }

    /// What leaves at once leaves first; what stands by belongs to the commit; what is on trial makes nobody wait.
    async fn pass_on(&mut self, mut called: Called, place: Option<Place>) -> Result<(), Closed> {
        let mut shown = None;
        if let Some(companion) = &self.companion {
            shown = companion.shown(&mut called);
        }
        for publication in std::mem::take(&mut called.at_once) {
            self.outlets.effects.publish(publication);
        }
        for command in std::mem::take(&mut called.commands) {
            self.outlets.effects.actuate(command);
        }
        self.wake_at = called.wake_at;
        count(&self.counters.calls, 1);
        count(&self.counters.duplicates, called.repeated);
        if let Some(place) = place {
            place.leave(&mut called.applied);
        }
        if let Some(companion) = &mut self.companion {
            called.applied.standby = companion.follow(&mut called).await;
        }
        self.commit(called.applied).await?;
        if let (Some(companion), Some(shown)) = (&mut self.companion, shown) {
            let generation = companion.module.generation();
            if let Some(news) = companion.compare(shown).await {
                if news != News::Passed {
                    self.companion = None;
                }
                self.report(generation, news).await;
            }
        }
        Ok(())
    }

    async fn set_aside(
        &mut self,
        records: Vec<Record>,
        place: Option<Place>,
        reason: &str,
    ) -> Result<(), Closed> {
        let now = self.now();
        if let Some(companion) = &mut self.companion {
            companion.pass_over(&records, now).await;
        }
        let mut applied = self.module.reject(records, reason);
        if let Some(place) = place {
            place.leave(&mut applied);
        }
        self.commit(applied).await
    }

    async fn commit(&mut self, applied: Applied) -> Result<(), Closed> {
        count(&self.counters.messages, applied.acks.len());
        count(&self.counters.rows, applied.rows.len());
        count(&self.counters.rejected, applied.rejections.len());
        self.send(applied).await
    }

    /// To the buffer, which may keep a module waiting for as long as it has no room.
    async fn send(&mut self, applied: Applied) -> Result<(), Closed> {
        let sending = self.outlets.applied.send(applied);
        self.counters
            .pulse
            .during(sending)
            .await
            .map_err(|_| Closed)
    }

    fn now(&self) -> Now {
        (self.clock.wall_time(), self.clock.boot_time())
    }

    /// Counts a fault, and parks the module after too many, or when it says that it cannot work.
    fn note(&mut self, failure: &Failure) {
        let (now, name) = (self.clock.boot_time(), self.module.name());
        tracing::warn!(module = %name, "module {name} {failure}");
        count(&self.counters.faults, 1);
        self.faults.push_back(now);
        self.faults
            .retain(|at| now.since(*at) < self.limits.fault_window);
        let limit = usize::try_from(self.limits.faults_before_parking).unwrap_or(usize::MAX);
        let park = self.faults.len() >= limit || matches!(failure, Failure::Permanent(_));
        if park {
            tracing::error!(module = %name, "module {name} is parked: its messages are set aside until the next start");
        }
        let mut standing = self.counters.locked();
        standing.last_fault = Some(failure.to_string());
        if park {
            standing.state = ModuleState::Parked;
        }
    }
}

async fn sleep(due: Option<Duration>) {
    match due {
        Some(due) => tokio::time::sleep(due).await,
        None => std::future::pending().await,
    }
}

fn count(counter: &AtomicU64, more: usize) {
    counter.fetch_add(u64::try_from(more).unwrap_or(u64::MAX), Ordering::Relaxed);
}
