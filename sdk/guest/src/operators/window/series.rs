//! One series of windows, without the host: values in, windows out.
//!
//! Its watermark is the newest event time, less the allowance for lateness. A window closes when the watermark passes its end, or
//! when as much boot time has passed as event time was left and [`GRACE`] more: so the last window of a quiet stream is not
//! forgotten. A closed window can be corrected for as long as the configuration says; corrections wait for [`GRACE`], so that
//! a device that sends what it had stored corrects each window once and not with each message.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Arrival;
use super::clock::Bound;
use super::ids::no_room;
use super::panes::Panes;
use super::shape::{Shape, Timing};
use crate::aggregate::Aggregate;
use crate::time::{BootTime, Span, WallTime};

/// How much longer than its own length a window of a quiet stream waits for a message that is on its way.
const GRACE: Duration = Duration::from_secs(1);

/// One series, as it is kept in the state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Series<A> {
    /// That of its windows: a configured change holds from the next message on.
    shape: Shape,
    /// No window reaches back beyond it.
    since: WallTime,
    /// Windows that end here or earlier are closed; of windows that slide, forgotten.
    closed_until: WallTime,
    /// The newest event time.
    newest: WallTime,
    /// When the newest message was received, and in which boot.
    received: BootTime,
    boot: u64,
    /// The newest event time before the series started again.
    lived: WallTime,
    /// The newest step.
    open: Option<(WallTime, A)>,
    /// Steps of closed windows in which something was counted since, and when corrections are due.
    late: Vec<WallTime>,
    late_due: Option<BootTime>,
    /// When the next thing is due, if no message comes before.
    due: Option<BootTime>,
    /// See [`Bound::of`].
    pub(super) witnesses: Vec<i64>,
}

/// What was counted of one window.
#[derive(Clone, Debug)]
pub(super) struct Closed<A> {
    pub(super) start: WallTime,
    pub(super) end: WallTime,
    pub(super) aggregate: A,
    pub(super) correction: bool,
}

impl<A> Series<A> {
    /// When something is due, if no message comes before.
    pub(super) fn due(&self) -> Option<BootTime> {
        self.due
    }

    /// The boot that its times of receipt are in.
    pub(super) fn boot(&self) -> u64 {
        self.boot
    }
}

/// A series at work, with what surrounds it.
pub(super) struct Worker<'a, A> {
    pub(super) id: &'a str,
    pub(super) series: &'a mut Series<A>,
    pub(super) panes: &'a mut Panes<A>,
    pub(super) timing: &'a Timing,
    /// Whether the state has room for another step.
    pub(super) has_room: bool,
    /// Windows to be sent, in order.
    pub(super) closed: &'a mut Vec<Closed<A>>,
}

impl<A: Aggregate> Worker<'_, A> {
    /// Counts a value, or says why it is too late for that. Closes what the message's time closes.
    pub(super) fn count(
        &mut self,
        value: A::Input,
        arrival: &Arrival,
        bound: Bound,
    ) -> Result<(), String> {
        self.start_again_if_needed(arrival, bound);
        let time = self.in_time(arrival)?;
        self.advance(time, arrival.received);
        let start = self.series.shape.step(time);
        let added = self.add(start, value);
        self.set_due();
        added?;
        if self.series.shape.is_sliding() {
            self.emit(self.end_of_step(), false);
        } else if start.plus(self.series.shape.every()) <= self.series.closed_until {
            if !self.series.late.contains(&start) {
                self.series.late.push(start);
            }
            let due = arrival.received.plus(GRACE);
            self.series.late_due.get_or_insert(due);
            self.set_due();
        }
        Ok(())
    }

    /// What is due by the boot clock: corrections, and the next window. To be called again while something is.
    pub(super) fn close_due(&mut self, clock: BootTime) {
        self.correct();
        let is_due = |end: &WallTime| self.due_of(*end) <= clock;
        if let Some(end) = self.next_end().filter(is_due) {
            self.close(end);
        }
        self.set_due();
    }

    /// Closes everything at once: no message can follow.
    pub(super) fn finish(&mut self) {
        self.correct();
        while let Some(end) = self.next_end() {
            self.close(end);
        }
        self.panes.drop_before(self.id, WallTime(u64::MAX));
        self.series.open = None;
        self.set_due();
    }

    /// After a boot: waits from `clock` on for what was left.
    pub(super) fn wait_again(&mut self, clock: BootTime, boot: u64) {
        self.series.received = clock;
        self.series.boot = boot;
        self.series.witnesses.clear();
        if self.series.late_due.is_some() {
            self.series.late_due = Some(clock.plus(GRACE));
        }
        self.set_due();
    }

    /// A series starts again when its shape was changed, when a wrong clock took it beyond what is believed, and when
    /// time comes back to where it was before such a clock. Its windows begin at the message then, so that none has the
    /// start and length of one that was sent before.
    fn start_again_if_needed(&mut self, arrival: &Arrival, bound: Bound) {
        let Arrival {
            time,
            received,
            boot,
            ..
        } = *arrival;
        let series = &mut self.series;
        if series.shape.is_none() {
            series.shape = self.timing.shape;
            (series.received, series.boot) = (received, boot);
        }
        let returns = series.newest < series.lived && series.lived <= time;
        if series.shape == self.timing.shape && series.newest <= bound.newest && !returns {
            return;
        }
        self.correct();
        // Windows that would go on beyond the newest step are given up: their messages were in others.
        while let Some(end) = self.next_end().filter(|end| *end <= self.end_of_step()) {
            self.close(end);
            if let Some(last) = self.closed.last_mut() {
                let clipped = last.start < time && time < last.end;
                last.end = if clipped { time } else { last.end };
            }
        }
        self.panes.drop_before(self.id, WallTime(u64::MAX));
        *self.series = Series {
            shape: self.timing.shape,
            since: time,
            closed_until: self.timing.shape.step(time),
            lived: self.series.newest,
            received,
            boot,
            witnesses: std::mem::take(&mut self.series.witnesses),
            ..Series::default()
        };
    }

    /// The time to count a message at, or why it comes too late.
    fn in_time(&self, arrival: &Arrival) -> Result<WallTime, String> {
        let Series {
            since,
            closed_until,
            newest,
            ..
        } = *self.series;
        if arrival.by_gateway {
            // Received after everything before it: a time that says otherwise is that of a clock that was set back.
            let back = arrival.time < closed_until.max(since);
            return Ok(if back {
                newest.max(closed_until).max(since)
            } else {
                arrival.time
            });
        }
        let limit = closed_until.minus(self.timing.corrections).max(since);
        if arrival.time < limit {
            let late = Span(limit.since(arrival.time));
            return Err(format!(
                "late: by {late}, windows before {limit} are closed"
            ));
        }
        Ok(arrival.time)
    }

    /// Moves the watermark, and closes what it passes.
    fn advance(&mut self, time: WallTime, received: BootTime) {
        if time <= self.series.newest {
            return;
        }
        self.series.newest = time;
        self.series.received = received;
        let shape = self.series.shape;
        let watermark = if shape.is_sliding() {
            shape.step(time).plus(shape.every()).minus(shape.length())
        } else {
            time.minus(self.timing.lateness)
        };
        if shape.step(watermark) <= self.series.closed_until {
            return;
        }
        self.correct();
        while let Some(end) = self.next_end().filter(|end| *end <= watermark) {
            self.close(end);
        }
        self.series.closed_until = shape.step(watermark);
        self.drop_old();
    }

    /// Counts a value in its step. Refuses to begin another one, as the reason of a rejection, when the state is full.
    fn add(&mut self, start: WallTime, value: A::Input) -> Result<(), String> {
        let open = &mut self.series.open;
        match open {
            Some((newest, aggregate)) if *newest == start => aggregate.add(value),
            Some((newest, _)) if start < *newest => match self.panes.get_mut(self.id, start) {
                Some(aggregate) => aggregate.add(value),
                None => {
                    self.room()?;
                    let mut aggregate = A::default();
                    aggregate.add(value);
                    self.panes.insert(self.id, start, aggregate);
                }
            },
            _ => {
                if open.is_some() {
                    self.room()?;
                }
                let mut aggregate = A::default();
                aggregate.add(value);
                if let Some((before, counted)) = self.series.open.replace((start, aggregate)) {
                    self.panes.insert(self.id, before, counted);
                }
            }
        }
        Ok(())
    }

    fn room(&self) -> Result<(), String> {
        if self.has_room {
            Ok(())
        } else {
            Err(no_room(self.id))
        }
    }

    /// End of the first window that is not closed and has counted something.
    fn next_end(&self) -> Option<WallTime> {
        let Series {
            shape,
            closed_until,
            ref open,
            ..
        } = *self.series;
        if shape.is_sliding() {
            return None;
        }
        let from = closed_until.minus(shape.overlap());
        let newest = open.as_ref().map(|(start, _)| *start);
        let first = self.panes.first_from(self.id, from);
        let first = first.or(newest.filter(|start| *start >= from))?;
        Some(first.max(closed_until).plus(shape.every()))
    }

    /// When a window closes by the boot clock.
    fn due_of(&self, end: WallTime) -> BootTime {
        let left = end.plus(self.timing.lateness).since(self.series.newest);
        self.series.received.plus(left).plus(GRACE)
    }

    fn end_of_step(&self) -> WallTime {
        let shape = self.series.shape;
        shape.step(self.series.newest).plus(shape.every())
    }

    fn close(&mut self, end: WallTime) {
        self.emit(end, false);
        self.series.closed_until = end;
        self.drop_old();
    }

    /// Sends closed windows again in which something was counted since.
    fn correct(&mut self) {
        self.series.late_due = None;
        let shape = self.series.shape;
        let mut ends = Vec::new();
        for start in std::mem::take(&mut self.series.late) {
            let last = start.plus(shape.length()).min(self.series.closed_until);
            let mut end = start.plus(shape.every());
            while end <= last {
                if let Err(position) = ends.binary_search(&end) {
                    ends.insert(position, end);
                }
                end = end.plus(shape.every());
            }
        }
        for end in ends {
            self.emit(end, true);
        }
    }

    /// Puts a window together of its steps.
    fn emit(&mut self, end: WallTime, correction: bool) {
        let start = end.minus(self.series.shape.length());
        let open = self.series.open.as_ref();
        let open = open.filter(|(step, _)| (start..end).contains(step));
        let older = self.panes.between(self.id, start, end);
        let mut steps = older.chain(open.map(|(_, aggregate)| aggregate));
        if let Some(first) = steps.next() {
            let mut aggregate = first.clone();
            steps.for_each(|later| aggregate.merge(later));
            self.closed.push(Closed {
                start: start.max(self.series.since),
                end,
                aggregate,
                correction,
            });
        }
    }

    /// Forgets the steps of windows that are closed for good.
    fn drop_old(&mut self) {
        let Series {
            shape,
            closed_until,
            ..
        } = *self.series;
        let from = if shape.is_sliding() {
            closed_until
        } else {
            closed_until.minus(self.timing.corrections + shape.overlap())
        };
        self.panes.drop_before(self.id, from);
        if matches!(self.series.open, Some((start, _)) if start < from) {
            self.series.open = None;
        }
    }

    fn set_due(&mut self) {
        let close = self.next_end().map(|end| self.due_of(end));
        let correct = self.series.late_due;
        self.series.due = close.into_iter().chain(correct).min();
    }
}
