//! How much of the time a module's calls take.

use std::time::Duration;

use tidegate_record::{BootTime, Limits};

/// Adds up the calls of a while.
#[derive(Debug)]
pub(crate) struct Busy {
    max: Duration,
    window: Duration,
    since: BootTime,
    spent: Duration,
}

impl Busy {
    pub(crate) const fn new(limits: &Limits) -> Self {
        Self {
            max: limits.busy_max,
            window: limits.busy_window,
            since: BootTime(0),
            spent: Duration::ZERO,
        }
    }

    /// A call ran from `begun` to `ended`. True when it and those before it took too much of the time.
    pub(crate) fn add(&mut self, begun: BootTime, ended: BootTime) -> bool {
        if begun.since(self.since) > self.window {
            self.since = begun;
            self.spent = Duration::ZERO;
        }
        self.spent += ended.since(begun);
        self.spent > self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls of so many milliseconds, one after the other with such pauses: after how many it is too much.
    fn calls_until_behind(call: u64, pause: u64) -> Option<u64> {
        let mut busy = Busy::new(&Limits::DEFAULT);
        let at = |ms: u64| BootTime(1_000_000_000 + ms * 1_000_000);
        (0..1000).find(|number| {
            let begun = number * (call + pause);
            busy.add(at(begun), at(begun + call))
        })
    }

    #[test]
    fn a_module_is_behind_when_its_calls_take_more_than_half_of_the_time() {
        assert_eq!(calls_until_behind(50, 0), Some(5));
        assert_eq!(calls_until_behind(20, 2), Some(12));
        assert_eq!(calls_until_behind(300, 0), Some(0));
    }

    #[test]
    fn neither_one_long_call_nor_many_with_pauses_make_it_so() {
        assert_eq!(calls_until_behind(200, 2000), None);
        assert_eq!(calls_until_behind(10, 15), None);
        assert_eq!(calls_until_behind(1, 2), None);
    }
}
