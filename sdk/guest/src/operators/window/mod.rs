//! Windows by event time: tumbling, hopping and sliding.
//!
//! **Invariant: every message is counted in all windows of its time, or rejected with a reason.** The counts of windows that
//! tumble add up to the number of messages that were not rejected.
//!
//! What closes a window is said in [`series`], what a wrong clock can do in [`clock`]. Both depend on the messages alone, each
//! with its event time and its time of receipt, so that the cut between batches changes nothing; only a call without messages,
//! which says that none are waiting, looks at the host's clock.
//!
//! Everything is in the state, bounded in keys, in steps of each key and in bytes, so that an instance can be dropped between
//! any two calls.
//!
//! Messages that were stamped before the gateway's clock was set count in series of their own, for this boot only, because
//! their times mean nothing in another one.

mod clock;
mod ids;
mod panes;
mod series;
mod shape;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use clock::Bound;
use ids::{SeriesIds, is_of_another_unset_clock, key_of, no_room};
use panes::Panes;
use series::{Closed, Series, Worker};
pub use shape::Shape;
use shape::Timing;

use crate::aggregate::Aggregate;
use crate::config;
use crate::message::{Batch, ClockQuality, Message};
use crate::operators::destination::Summary;
use crate::operators::{Destination, Input};
use crate::outcome::{Fault, Outcome, Values};
use crate::processor::Start;
use crate::state::{KEYED_BYTES_MAX, Keyed};
use crate::template::Template;
use crate::time::{BootTime, WallTime};

/// Series beyond which a message of a new one is rejected, unless `window.keys` says otherwise.
const SERIES_MAX: usize = 1000;

/// State beyond which nothing is counted until windows close: what was counted still grows in the call that reaches it, and a
/// module whose state is over the host's limit of 256 KiB is parked.
const STATE_BYTES_MAX: usize = 224 << 10;

/// A window, as the function gets it.
#[derive(Clone, Debug, PartialEq)]
pub struct Window<A> {
    /// Its series: the topic, unless `window.key` says otherwise.
    pub key: String,
    /// Event time from which on it counted.
    pub start: WallTime,
    /// Event time up to which it counted.
    pub end: WallTime,
    /// What it counted.
    pub aggregate: A,
    /// Whether it had closed before, and late messages were counted since.
    pub correction: bool,
}

/// The operator behind [`window`](macro@crate::window). Its configuration beyond that of every operator:
///
/// | key | meaning |
/// |---|---|
/// | `window` | length such as `10s`, instead of the attribute's |
/// | `window.every` | step of windows that hop or slide, instead of the attribute's |
/// | `window.lateness` | how long after its end a window waits for late messages; default `0s` |
/// | `window.corrections` | for how long late messages correct a closed window; default `0s`: they are rejected |
/// | `window.ahead` | how far ahead of the gateway's clock an event time may be; default `1h` |
/// | `window.key` | key of the series; may have placeholders; default `{topic}` |
/// | `window.keys` | number of series that are kept; default 1000 |
#[derive(Debug)]
pub struct Windows<A> {
    input: Input,
    destination: Destination,
    timing: Timing,
    key: Template,
    series: Keyed<Series<A>>,
    panes: Panes<A>,
    /// Nothing is due before.
    next_due: Option<BootTime>,
    /// The boot that all deadlines are in; none before the first call.
    boot: Option<u64>,
}

/// When a message came and what time it gave.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    time: WallTime,
    /// Whether the time is that of its receipt by the gateway's clock, and not one that the device gave.
    by_gateway: bool,
    received: BootTime,
    boot: u64,
}

/// What stays the same during a call.
struct Call<'a, F> {
    batch: &'a Batch,
    function: F,
}

impl<A: Aggregate> Windows<A> {
    /// As configured, with what the state holds.
    ///
    /// # Errors
    /// The configuration is malformed, or another version wrote the state.
    pub fn from_config(shape: Shape, start: &mut Start) -> Result<Self, Fault> {
        let windows = Self {
            input: Input::from_config()?,
            destination: Destination::from_config()?,
            timing: Timing::from_config(shape)?,
            key: config::get_or("window.key", Template::topic())?,
            series: Keyed::open("series/", config::get_or("window.keys", SERIES_MAX)?)?,
            panes: Panes::open()?,
            next_due: None,
            boot: None,
        };
        // Only a call says which boot this is, so windows that wait ask for one at once.
        if windows.earliest_due().is_some() {
            start.wake_at = Some(BootTime(0));
        }
        Ok(windows)
    }

    /// Counts the messages, and sends what the function says of each window that closes.
    ///
    /// # Errors
    /// The state could not be written.
    pub fn process<R: WindowResult>(
        &mut self,
        batch: &Batch,
        function: impl Fn(&Window<A>) -> R,
    ) -> Result<Outcome, Fault> {
        let call = Call {
            batch,
            function: |window: &Window<A>| function(window).into_values(),
        };
        let mut outcome = Outcome::default();
        // In order of receipt over all channels, whichever way the host groups them.
        let mut messages: Vec<&Message> = batch.messages.iter().collect();
        if !messages.is_sorted_by_key(|message| message.received) {
            messages.sort_by_key(|message| message.received);
        }
        let first = messages.first().map(|message| message.received);
        self.enter_boot(first.unwrap_or(batch.now_boot), &call, &mut outcome)?;
        let mut ids = SeriesIds::default();
        for message in messages {
            self.close_due(message.received, &call, &mut outcome)?;
            if let Err(reason) = self.count(message, &mut ids, &call, &mut outcome) {
                outcome.reject(message, reason);
            }
        }
        if batch.messages.is_empty() {
            self.close_due(batch.now_boot, &call, &mut outcome)?;
        }
        self.series.flush()?;
        self.panes.flush()?;
        outcome.wake_at = self.next_due;
        Ok(outcome)
    }

    /// Counts one message, or says why it cannot be counted.
    fn count<F: Fn(&Window<A>) -> Option<Values>>(
        &mut self,
        message: &Message,
        ids: &mut SeriesIds,
        call: &Call<'_, F>,
        outcome: &mut Outcome,
    ) -> Result<(), String> {
        let value = self.input.decode(message)?;
        let stamped = self.input.stamp(message)?;
        let mut arrival = Arrival {
            time: stamped.time,
            by_gateway: stamped.clock != ClockQuality::Device,
            received: stamped.received,
            boot: call.batch.boot,
        };
        let id = ids.of(&stamped, &self.key, call.batch.boot);
        let known = self.series.get(id);
        let bytes = self.series.bytes() + self.panes.bytes();
        let has_room = bytes < KEYED_BYTES_MAX;
        if bytes >= STATE_BYTES_MAX || (known.is_none() && !has_room) {
            return Err(no_room(id));
        }
        let mut witnesses = known.map_or_else(Vec::new, |series| series.witnesses.clone());
        let bound = Bound::of(&arrival, call.batch, self.timing.ahead, &mut witnesses);
        let is_absurd = arrival.time > bound.newest;
        if is_absurd && !arrival.by_gateway && known.is_none() {
            return Err(bound.refusal(arrival.time));
        }
        let series = self.series.get_mut(id)?;
        series.witnesses = witnesses;
        if is_absurd && !arrival.by_gateway {
            return Err(bound.refusal(arrival.time));
        }
        if is_absurd {
            // Our own clock was set back since it stamped the message.
            arrival.time = bound.now();
        }
        let mut closed = Vec::new();
        let mut worker = Worker {
            id,
            series,
            panes: &mut self.panes,
            timing: &self.timing,
            has_room,
            closed: &mut closed,
        };
        let counted = worker.count(value, &arrival, bound);
        self.next_due = self.next_due.into_iter().chain(worker.series.due()).min();
        call.send(id, closed, message.cause(), &self.destination, outcome);
        counted
    }

    /// Does what is due by the boot clock, in the order in which it was due.
    fn close_due<F: Fn(&Window<A>) -> Option<Values>>(
        &mut self,
        clock: BootTime,
        call: &Call<'_, F>,
        outcome: &mut Outcome,
    ) -> Result<(), Fault> {
        if self.next_due.is_none_or(|next| next > clock) {
            return Ok(());
        }
        let waiting = self.series.iter();
        let due = waiting.filter_map(|(id, series)| Some((series.due()?, id.to_owned())));
        let due = due.filter(|(due, _)| *due <= clock).map(Reverse);
        let mut due: BinaryHeap<Reverse<(BootTime, String)>> = due.collect();
        while let Some(Reverse((now, id))) = due.pop() {
            let next = self.work(&id, call, outcome, |worker| worker.close_due(now))?;
            if let Some(next) = next.filter(|next| *next <= clock) {
                due.push(Reverse((next, id)));
            }
        }
        self.next_due = self.earliest_due();
        Ok(())
    }

    /// In the first call of an instance: what waits since another boot waits again, and what was counted by its unset clock
    /// is closed, since no message can follow.
    fn enter_boot<F: Fn(&Window<A>) -> Option<Values>>(
        &mut self,
        clock: BootTime,
        call: &Call<'_, F>,
        outcome: &mut Outcome,
    ) -> Result<(), Fault> {
        let boot = call.batch.boot;
        if self.boot.replace(boot) == Some(boot) {
            return Ok(());
        }
        let of_another = |(id, series): (&str, &Series<A>)| {
            let is = series.boot() != boot || is_of_another_unset_clock(id, boot);
            is.then(|| id.to_owned())
        };
        let ids: Vec<String> = self.series.iter().filter_map(of_another).collect();
        for id in ids {
            if is_of_another_unset_clock(&id, boot) {
                self.work(&id, call, outcome, |worker| worker.finish())?;
                self.series.remove(&id)?;
            } else {
                self.work(&id, call, outcome, |worker| worker.wait_again(clock, boot))?;
            }
        }
        self.next_due = self.earliest_due();
        Ok(())
    }

    /// Has something done with one series, sends what it closed, and answers when it is due next.
    fn work<F: Fn(&Window<A>) -> Option<Values>>(
        &mut self,
        id: &str,
        call: &Call<'_, F>,
        outcome: &mut Outcome,
        what: impl FnOnce(&mut Worker<'_, A>),
    ) -> Result<Option<BootTime>, Fault> {
        let mut closed = Vec::new();
        let mut worker = Worker {
            id,
            series: self.series.get_mut(id).map_err(Fault::permanent)?,
            panes: &mut self.panes,
            timing: &self.timing,
            has_room: true,
            closed: &mut closed,
        };
        what(&mut worker);
        let due = worker.series.due();
        call.send(id, closed, None, &self.destination, outcome);
        Ok(due)
    }

    fn earliest_due(&self) -> Option<BootTime> {
        self.series.iter().filter_map(|(_, one)| one.due()).min()
    }
}

impl<F> Call<'_, F> {
    /// Sends what the function says of windows.
    fn send<A>(
        &self,
        id: &str,
        closed: Vec<Closed<A>>,
        cause: Option<u32>,
        destination: &Destination,
        outcome: &mut Outcome,
    ) where
        F: Fn(&Window<A>) -> Option<Values>,
    {
        for closed in closed {
            let window = Window {
                key: key_of(id).to_owned(),
                start: closed.start,
                end: closed.end,
                aggregate: closed.aggregate,
                correction: closed.correction,
            };
            if let Some(values) = (self.function)(&window) {
                let summary = Summary {
                    key: &window.key,
                    start: window.start,
                    end: window.end,
                    values,
                    correction: window.correction,
                };
                destination.send_summary(cause, summary, outcome);
            }
        }
    }
}

/// What a window function may answer: the values to keep, or an `Option` of them.
pub trait WindowResult {
    /// The values to keep, if any.
    fn into_values(self) -> Option<Values>;
}

impl WindowResult for Values {
    fn into_values(self) -> Option<Values> {
        Some(self)
    }
}

impl WindowResult for Option<Values> {
    fn into_values(self) -> Option<Values> {
        self
    }
}

/// Names the aggregate of a window's type, for the attribute.
pub trait WindowType {
    /// The aggregate.
    type Aggregate: Aggregate;
}

impl<A: Aggregate> WindowType for Window<A> {
    type Aggregate = A;
}
