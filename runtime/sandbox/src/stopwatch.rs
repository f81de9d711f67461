//! What a call takes.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tidegate_record::{BootTime, Clock};

use crate::module::Cost;

/// Runs from [`Stopwatch::start`].
#[derive(Debug)]
pub(crate) struct Stopwatch {
    cpu: Duration,
    wall: BootTime,
}

impl Stopwatch {
    pub(crate) fn start(clock: &dyn Clock) -> Self {
        Self {
            cpu: thread_time(),
            wall: clock.boot_time(),
        }
    }

    /// So far. Other tasks of the thread go on between two ticks of a call: of one that takes longer than a tick, their
    /// time is in it.
    pub(crate) fn read(&self, clock: &dyn Clock) -> Cost {
        Cost {
            cpu: thread_time().saturating_sub(self.cpu),
            wall: clock.boot_time().since(self.wall),
        }
    }
}

/// Processor time of this thread.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
