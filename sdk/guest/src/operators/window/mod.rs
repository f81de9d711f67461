//! Tumbling windows by event time.
//!
//! **Invariant: every message is counted in exactly one window, or rejected with a reason.** The counts of all windows
//! add up to the number of messages that were not rejected.
//!
//! A series (one per key) has one open window. It closes when a message of the series lies beyond its end (the newest
//! event time is the watermark), or, if none comes, when as much boot time has passed as event time was left, and
//! `GRACE` more: so the last window of a quiet stream is not forgotten. Both depend on the messages alone, each with its
//! event time and its time of receipt, so that the cut between batches changes nothing; only a call without messages,
//! which says that none are waiting, looks at the host's clock.
//!
//! Everything is in the state, one entry per series, so that an instance can be dropped between any two calls.
//!
//! What clocks do: a message that was stamped before the gateway's clock was set counts in a series of its own, for this
//! boot only, because its time means nothing in another one. One that is more than `AHEAD_MAX` ahead of a known clock is
//! rejected, or it would close every window until then. Should a wrong clock have got that far all the same, the
//! series starts again as soon as the clock is known.

mod series;
#[cfg(test)]
mod tests;

use std::rc::Rc;
use std::time::Duration;

use series::{Arrival, Open, Series};

use crate::aggregate::Aggregate;
use crate::config;
use crate::message::{Batch, Channel, ClockQuality, Message};
use crate::operators::destination::Summary;
use crate::operators::{Destination, Input};
use crate::outcome::{Fault, Outcome, Values};
use crate::processor::Start;
use crate::state::Keyed;
use crate::template::Template;
use crate::time::{BootTime, Span, WallTime};

/// How much longer than its own length a window of a quiet stream waits for a message that is on its way.
const GRACE: Duration = Duration::from_secs(1);

/// How far ahead of the gateway's clock an event time may be.
const AHEAD_MAX: Duration = Duration::from_secs(3600);

/// Series beyond which a message of a new one is rejected, unless `window.keys` says otherwise.
const SERIES_MAX: usize = 1000;

/// A closed window, as the function gets it.
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
}

/// The operator behind [`window`](macro@crate::window). Its configuration beyond that of every operator:
///
/// | key | meaning |
/// |---|---|
/// | `window` | length such as `10s`, instead of the attribute's |
/// | `window.key` | key of the series; may have placeholders; default `{topic}` |
/// | `window.keys` | number of series that are kept; default 1000 |
#[derive(Debug)]
pub struct Tumbling<A> {
    input: Input,
    destination: Destination,
    length: Duration,
    key: Template,
    series: Keyed<Series<A>>,
    /// No window is due before.
    next_due: Option<BootTime>,
    /// The boot that all deadlines are in; none before the first call.
    boot: Option<u64>,
}

/// What stays the same during a call.
struct Call<'a, F> {
    batch: &'a Batch,
    function: F,
}

impl<A: Aggregate> Tumbling<A> {
    /// As configured, with what the state holds.
    ///
    /// # Errors
    /// The configuration is malformed, or another version wrote the state.
    pub fn from_config(length: Duration, start: &mut Start) -> Result<Self, Fault> {
        let windows = Self {
            input: Input::from_config()?,
            destination: Destination::from_config()?,
            length: config::get_or("window", length)?,
            key: config::get_or("window.key", Template::topic())?,
            series: Keyed::open("window/", config::get_or("window.keys", SERIES_MAX)?)?,
            next_due: None,
            boot: None,
        };
        // Only a call says which boot this is, so windows that wait ask for one at once.
        if windows
            .series
            .iter()
            .any(|(_, series)| series.due().is_some())
        {
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
        let first = messages
            .first()
            .map_or(batch.now_boot, |message| message.received);
        self.enter_boot(first, &call, &mut outcome)?;
        let mut ids = SeriesIds::default();
        for message in messages {
            self.close_due(message.received, &call, &mut outcome)?;
            let id = ids.of(message, &self.key, batch.boot);
            if let Err(reason) = self.count(message, id, &call, &mut outcome) {
                outcome.reject(message, reason);
            }
        }
        if batch.messages.is_empty() {
            self.close_due(batch.now_boot, &call, &mut outcome)?;
        }
        self.series.flush()?;
        outcome.wake_at = self.next_due;
        Ok(outcome)
    }

    /// Counts one message, or says why it cannot be counted.
    fn count<F: Fn(&Window<A>) -> Option<Values>>(
        &mut self,
        message: &Message,
        id: &str,
        call: &Call<'_, F>,
        outcome: &mut Outcome,
    ) -> Result<(), String> {
        let value = self.input.decode(message)?;
        let newest_allowed = newest_allowed(message, call.batch);
        if message.time > newest_allowed {
            let ahead = Span(message.time.since(newest_allowed).saturating_add(AHEAD_MAX));
            return Err(format!(
                "ahead of the gateway's clock by {ahead}, more than {}",
                Span(AHEAD_MAX)
            ));
        }
        let series = self.series.get_mut(id)?;
        if let Some(open) = series.advance(message.time, newest_allowed) {
            call.send(id, open, message.cause(), &self.destination, outcome);
        }
        let arrival = Arrival {
            time: message.time,
            received: message.received,
            boot: call.batch.boot,
        };
        let due = series.add(value, arrival, self.length)?;
        self.next_due = Some(self.next_due.map_or(due, |next| next.min(due)));
        Ok(())
    }

    /// Closes the windows that waited long enough, in the order in which they were due.
    fn close_due<F: Fn(&Window<A>) -> Option<Values>>(
        &mut self,
        clock: BootTime,
        call: &Call<'_, F>,
        outcome: &mut Outcome,
    ) -> Result<(), Fault> {
        if self.next_due.is_none_or(|next| next > clock) {
            return Ok(());
        }
        let waiting = self
            .series
            .iter()
            .filter_map(|(id, series)| Some((series.due()?.0, id)));
        let mut due: Vec<(BootTime, String)> = waiting
            .filter(|(due, _)| *due <= clock)
            .map(|(due, id)| (due, id.to_owned()))
            .collect();
        due.sort();
        for (_, id) in due {
            let closed = self.series.get_mut(&id).map_err(Fault::permanent)?.close();
            if let Some(open) = closed {
                call.send(&id, open, None, &self.destination, outcome);
            }
        }
        self.next_due = self
            .series
            .iter()
            .filter_map(|(_, series)| Some(series.due()?.0))
            .min();
        Ok(())
    }

    /// In the first call of an instance: deadlines of another boot start again, and what was counted by its unset clock
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
            let is = is_of_another_unset_clock(id, boot)
                || series.due().is_some_and(|(_, of)| of != boot);
            is.then(|| id.to_owned())
        };
        let ids: Vec<String> = self.series.iter().filter_map(of_another).collect();
        for id in ids {
            let series = self.series.get_mut(&id).map_err(Fault::permanent)?;
            if is_of_another_unset_clock(&id, boot) {
                if let Some(open) = series.close() {
                    call.send(&id, open, None, &self.destination, outcome);
                }
                self.series.remove(&id)?;
            } else {
                series.wait_again(clock, boot);
            }
        }
        self.next_due = self
            .series
            .iter()
            .filter_map(|(_, series)| Some(series.due()?.0))
            .min();
        Ok(())
    }
}

impl<F> Call<'_, F> {
    /// Sends what the function says of a closed window.
    fn send<A>(
        &self,
        id: &str,
        closed: Open<A>,
        cause: Option<u32>,
        destination: &Destination,
        outcome: &mut Outcome,
    ) where
        F: Fn(&Window<A>) -> Option<Values>,
    {
        let key = id.split_once('/').map_or(id, |(_, key)| key).to_owned();
        let window = Window {
            key,
            start: closed.start,
            end: closed.end,
            aggregate: closed.aggregate,
        };
        if let Some(values) = (self.function)(&window) {
            let summary = Summary {
                key: &window.key,
                start: window.start,
                end: window.end,
                values,
            };
            destination.send_summary(cause, summary, outcome);
        }
    }
}

/// The newest event time that a message may have. Follows from its receipt, not from the call, so that the cut between
/// batches changes nothing.
fn newest_allowed(message: &Message, batch: &Batch) -> WallTime {
    if batch.clock == ClockQuality::Unset {
        return WallTime(u64::MAX);
    }
    batch
        .now
        .minus(batch.now_boot.since(message.received))
        .plus(AHEAD_MAX)
}

/// Names series in the state: `w/` and the key, or `u`, the boot, `/` and the key for messages of an unset clock.
/// Remembers the last name, since messages of a channel come together.
#[derive(Default)]
struct SeriesIds(Option<(Rc<Channel>, bool, String)>);

impl SeriesIds {
    fn of(&mut self, message: &Message, key: &Template, boot: u64) -> &str {
        let unset = message.clock == ClockQuality::Unset;
        let is_last = |(channel, was_unset, _): &(Rc<Channel>, bool, String)| {
            Rc::ptr_eq(channel, &message.channel) && *was_unset == unset
        };
        let last = self.0.take().filter(is_last).unwrap_or_else(|| {
            let key = key.render(&message.channel);
            let id = if unset {
                format!("u{boot:x}/{key}")
            } else {
                format!("w/{key}")
            };
            (Rc::clone(&message.channel), unset, id)
        });
        &self.0.insert(last).2
    }
}

fn is_of_another_unset_clock(id: &str, boot: u64) -> bool {
    id.strip_prefix('u')
        .and_then(|id| id.split_once('/'))
        .is_some_and(|(of, _)| of != format!("{boot:x}"))
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
