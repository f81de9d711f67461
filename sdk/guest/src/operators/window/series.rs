//! One series of windows, without the host: values in, values out.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::GRACE;
use crate::aggregate::Aggregate;
use crate::time::{BootTime, Span, WallTime, nanoseconds};

/// One series, as it is kept in the state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Series<A> {
    /// What is older belongs to a window that is closed.
    closed_until: WallTime,
    open: Option<Open<A>>,
}

/// A window that still counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Open<A> {
    pub(super) start: WallTime,
    pub(super) end: WallTime,
    pub(super) aggregate: A,
    /// The watermark: the newest event time.
    newest: WallTime,
    /// Closes then if nothing newer comes.
    due: BootTime,
    /// The boot that `due` is in.
    boot: u64,
}

/// When a message came, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) time: WallTime,
    pub(super) received: BootTime,
    pub(super) boot: u64,
}

impl<A: Aggregate> Series<A> {
    /// When the open window closes by itself, and in which boot.
    pub(super) fn due(&self) -> Option<(BootTime, u64)> {
        self.open.as_ref().map(|open| (open.due, open.boot))
    }

    /// Closes the open window.
    pub(super) fn close(&mut self) -> Option<Open<A>> {
        let open = self.open.take()?;
        self.closed_until = open.end;
        Some(open)
    }

    /// Moves the watermark: closes the open window if `time` lies beyond it. A series that a wrong clock took beyond
    /// `newest_allowed` starts again.
    pub(super) fn advance(&mut self, time: WallTime, newest_allowed: WallTime) -> Option<Open<A>> {
        let is_wrong = |open: &Open<A>| open.newest > newest_allowed;
        let closed = match &self.open {
            Some(open) if time >= open.end || is_wrong(open) => self.close(),
            _ => None,
        };
        if self.closed_until > newest_allowed {
            self.closed_until = WallTime::default();
        }
        closed
    }

    /// Counts a value in the window that its time lies in, and answers when that one is due.
    pub(super) fn add(
        &mut self,
        value: A::Input,
        arrival: Arrival,
        length: Duration,
    ) -> Result<BootTime, String> {
        let Arrival {
            time,
            received,
            boot,
        } = arrival;
        if time < self.closed_until {
            let late = Span(self.closed_until.since(time));
            return Err(format!(
                "late by {late}: windows before {} are closed",
                self.closed_until
            ));
        }
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                let (start, end) = bounds(time, length)?;
                // After a change of the length a window starts where the last one ended.
                let start = start.max(self.closed_until);
                self.closed_until = start;
                let due = due(time, end, received);
                self.open.insert(Open {
                    start,
                    end,
                    aggregate: A::default(),
                    newest: time,
                    due,
                    boot,
                })
            }
        };
        open.aggregate.add(value);
        if time > open.newest {
            open.newest = time;
            open.due = due(time, open.end, received);
        }
        Ok(open.due)
    }

    /// After a boot: waits from `clock` on for what was left of the open window.
    pub(super) fn wait_again(&mut self, clock: BootTime, boot: u64) {
        if let Some(open) = &mut self.open {
            open.due = due(open.newest, open.end, clock);
            open.boot = boot;
        }
    }
}

/// The window of this length that the time lies in.
fn bounds(time: WallTime, length: Duration) -> Result<(WallTime, WallTime), String> {
    let length = nanoseconds(length).max(1);
    let start = time.0 - time.0 % length;
    let end = start
        .checked_add(length)
        .ok_or_else(|| format!("time {} ns is out of range", time.0))?;
    Ok((WallTime(start), WallTime(end)))
}

/// When to close a window whose newest message was received at `received`.
fn due(newest: WallTime, end: WallTime, received: BootTime) -> BootTime {
    received.plus(end.since(newest)).plus(GRACE)
}
