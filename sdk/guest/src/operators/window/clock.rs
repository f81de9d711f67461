//! How far ahead an event time is believed, so that no wrong clock closes windows that are still to come.
//!
//! The bound is the gateway's clock when the message was received, and an hour. It follows from the receipt and not from the
//! call, so that the cut between batches changes nothing. Before that clock is set, it says nothing about the time that a
//! device gave: then the bound is the median of the last readings' times, each beside its receipt. So one device clock of
//! 2099 is outvoted by the reading before and the one after it.

use std::time::Duration;

use super::Arrival;
use crate::message::{Batch, ClockQuality};
use crate::time::{Span, WallTime};

/// Readings that are asked for the time while the gateway's clock is unset. Two of five may be wrong.
const WITNESSES: usize = 5;

/// The newest event time that is believed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    pub(super) newest: WallTime,
    ahead: Duration,
    by: &'static str,
}

impl Bound {
    /// For one message. `witnesses` are those of its series: event time less time of receipt, in nanoseconds.
    pub(super) fn of(
        arrival: &Arrival,
        batch: &Batch,
        ahead: Duration,
        witnesses: &mut Vec<i64>,
    ) -> Self {
        let (now, by) = if arrival.by_gateway || batch.clock != ClockQuality::Unset {
            witnesses.clear();
            let age = batch.now_boot.since(arrival.received);
            (batch.now.minus(age), "the gateway's clock")
        } else {
            let now = nanoseconds(arrival.received.0)
                .saturating_add(median(witnesses, arrival))
                .max(0);
            (WallTime(now.unsigned_abs()), "the readings before it")
        };
        // Beyond i64 no difference of times could be told, so nothing is believed there.
        let newest = now.plus(ahead).min(WallTime(i64::MAX.unsigned_abs()));
        Self { newest, ahead, by }
    }

    /// The clock that it goes by.
    pub(super) fn now(self) -> WallTime {
        self.newest.minus(self.ahead)
    }

    /// Why a message is rejected whose time lies beyond it.
    pub(super) fn refusal(self, time: WallTime) -> String {
        let by = Span(time.since(self.newest).saturating_add(self.ahead));
        let limit = Span(self.ahead);
        format!("ahead: {by} ahead of {}, the limit is {limit}", self.by)
    }
}

/// Hears one witness more. Of two times in the middle the earlier one: what is late can be corrected, a window that was closed
/// too early cannot.
fn median(witnesses: &mut Vec<i64>, arrival: &Arrival) -> i64 {
    if witnesses.len() >= WITNESSES {
        witnesses.remove(0);
    }
    let offset = nanoseconds(arrival.time.0).saturating_sub(nanoseconds(arrival.received.0));
    witnesses.push(offset);
    let half = witnesses.len().div_ceil(2);
    let is_median = |one: &i64| witnesses.iter().filter(|other| *other <= one).count() >= half;
    let median = witnesses.iter().copied().filter(is_median).min();
    median.unwrap_or(offset)
}

fn nanoseconds(time: u64) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}
