//! One module as the gateway knows it: what it may do, its state, and a call of its guest, whose answer is checked here.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidegate_record::{
    Ack, Applied, BootTime, Clock, Command, Limits, MessageId, Name, Publication, Record, Seen,
    StateChange, TopicFilter, WallTime,
};

use crate::convert::{BatchParts, Effects, Rules};
use crate::error::Failure;
use crate::guest::{Answer, Call};
use crate::guest_log::GuestLog;
use crate::home::Home;
use crate::spec::{Grants, ModuleSpec, StreamSpec};

/// A loaded module. Its guest may be gone between calls, and the process of its guest at any time.
pub struct Module {
    home: Home,
    /// As it is when all calls that ended well are committed. The guest has a copy.
    state: BTreeMap<String, Bytes>,
    /// Its keys and values.
    state_bytes: usize,
    state_bytes_max: usize,
    state_written_by: Option<Arc<str>>,
    /// Whether the guest's copy is not this state.
    renew: bool,
    name: Name,
    version: Arc<str>,
    generation: u64,
    grants: Grants,
    streams: Vec<StreamSpec>,
    seen: Seen,
    limits: Arc<Limits>,
    clock: Arc<dyn Clock>,
    log: GuestLog,
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
        home: Home,
        spec: ModuleSpec,
        limits: Arc<Limits>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            home,
            state_bytes: bytes_of(&spec.state),
            state: spec.state,
            state_bytes_max: spec.state_bytes_max,
            state_written_by: spec.state_written_by.map(Arc::from),
            renew: true,
            log: GuestLog::new(spec.name.clone(), &limits),
            name: spec.name,
            version: spec.version.into(),
            generation: spec.generation,
            grants: spec.grants,
            streams: spec.streams,
            seen: spec.seen,
            limits,
            clock,
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
        Ok(self.ask(None, now).await?.wake_at)
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
        let parts = BatchParts::new(records);
        let answer = self.ask(Some(&parts), now).await?;
        // From here on the guest is ahead of the state here, if its answer is refused.
        self.renew = true;
        let (wake_at, cost) = (answer.wake_at, answer.cost);
        let (effects, state) = self.checked(records, answer, now)?;
        self.renew = false;
        self.merge(&state);
        let applied = Applied {
            rows: effects.rows,
            publications: effects.durable,
            rejections: effects.rejections,
            state,
            ..self.nothing()
        };
        Ok(Called {
            at_once: effects.at_once,
            commands: effects.commands,
            applied,
            wake_at,
            repeated: 0,
            records: Vec::new(),
            now,
            cost,
        })
    }

    async fn ask(&mut self, batch: Option<&BatchParts<'_>>, now: Now) -> Result<Answer, Failure> {
        let reply = self
            .home
            .call(Call {
                now,
                clock: self.clock.quality(),
                boot: self.clock.boot(),
                state: &self.state,
                state_written_by: self.state_written_by.as_deref(),
                renew: self.renew,
                batch,
            })
            .await;
        // A guest that failed went back to the state that it was given.
        self.renew = false;
        self.log.print(now.1, reply.said);
        reply.result
    }

    fn checked(
        &self,
        records: &[Record],
        answer: Answer,
        now: Now,
    ) -> Result<(Effects, Vec<StateChange>), Failure> {
        let Some(outcome) = answer.outcome else {
            return Err(Failure::Trap("answered nothing".to_owned()));
        };
        let rules = Rules {
            grants: &self.grants,
            streams: &self.streams,
            limits: &self.limits,
            now_boot: now.1,
        };
        let effects = rules.effects(records, outcome)?;
        self.check_state(&answer.state)?;
        Ok((effects, answer.state))
    }

    /// The guest's side holds the limit as well, and gives changes in order: this is for one that has got out of it.
    fn check_state(&self, changes: &[StateChange]) -> Result<(), Failure> {
        if !changes.is_sorted_by(|one, next| one.key < next.key) {
            return Err(Failure::Refused("answered state without order".to_owned()));
        }
        let (mut less, mut more) = (0, 0);
        for StateChange { key, value } in changes {
            less += self.state.get(key).map_or(0, |old| key.len() + old.len());
            more += value.as_ref().map_or(0, |new| key.len() + new.len());
        }
        let (bytes, limit) = (self.state_bytes + more - less, self.state_bytes_max);
        match bytes > limit {
            true => Err(Failure::Refused(format!(
                "answered a state of {bytes} bytes, limit is {limit}"
            ))),
            false => Ok(()),
        }
    }

    fn merge(&mut self, changes: &[StateChange]) {
        for StateChange { key, value } in changes {
            let old = match value {
                Some(value) => {
                    self.state_bytes += key.len() + value.len();
                    self.state.insert(key.clone(), value.clone())
                }
                None => self.state.remove(key),
            };
            self.state_bytes -= old.map_or(0, |old| key.len() + old.len());
        }
        if !changes.is_empty() {
            self.state_written_by = Some(self.version.clone());
        }
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
        self.renew = true;
        self.state = other.state.clone();
        self.state_bytes = other.state_bytes;
        self.state_written_by = other.state_written_by.clone();
    }

    /// Takes over what was taken already from the generation before.
    pub(crate) fn succeed(&mut self, other: &mut Self) {
        std::mem::swap(&mut self.seen, &mut other.seen);
    }

    /// All of its state, and which release wrote it last.
    pub(crate) fn state(&self) -> (Vec<StateChange>, Option<Arc<str>>) {
        let change = |(key, value): (&String, &Bytes)| StateChange {
            key: key.clone(),
            value: Some(value.clone()),
        };
        let changes = self.state.iter().map(change).collect();
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
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module")
            .field("name", &self.name)
            .field("home", &self.home)
            .finish_non_exhaustive()
    }
}

/// Bytes of keys and values.
fn bytes_of(state: &BTreeMap<String, Bytes>) -> usize {
    let sizes = state.iter().map(|(key, value)| key.len() + value.len());
    sizes.sum()
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
