//! What was spent in the last hour, day or month: a sum that rolls on, in steps of a twelfth to a thirty-first.
//!
//! It rolls so that no date is needed: in whatever calendar month a contract counts, not more than the budget is spent.
//! A step is given back only when it has passed whole, so that the sum errs by at most one step, to the safe side.

use std::collections::VecDeque;
use std::time::Duration;

use minicbor::{Decode, Encode};

/// Over what time a budget is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Span {
    /// 60 minutes, in steps of 5.
    Hour,
    /// 24 hours, in steps of one.
    Day,
    /// 31 days, in steps of one: the longest calendar month.
    Month,
}

impl Span {
    /// All of them, the shortest first.
    pub const ALL: [Self; 3] = [Self::Hour, Self::Day, Self::Month];

    /// The word for it in configuration and status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    const fn step(self) -> Duration {
        match self {
            Self::Hour => Duration::from_secs(5 * 60),
            Self::Day => Duration::from_secs(3600),
            Self::Month => Duration::from_secs(24 * 3600),
        }
    }

    const fn steps(self) -> u64 {
        match self {
            Self::Hour => 12,
            Self::Day => 24,
            Self::Month => 31,
        }
    }

    /// Its length.
    pub const fn length(self) -> Duration {
        Duration::from_secs(self.step().as_secs() * self.steps())
    }

    /// The step at `age`.
    const fn at(self, age: Duration) -> u64 {
        age.as_secs() / self.step().as_secs()
    }
}

/// Bytes by step, of those steps that count still. An age is the time for which the budget has been counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub(super) struct Window {
    #[n(0)]
    steps: VecDeque<(u64, u64)>,
}

impl Window {
    /// Counts `bytes` at `age`, and forgets the steps that have passed.
    pub(super) fn add(&mut self, span: Span, age: Duration, bytes: u64) {
        let now = span.at(age);
        while let Some((step, _)) = self.steps.front()
            && (step.saturating_add(span.steps()) < now || *step > now)
        {
            self.steps.pop_front();
        }
        if bytes == 0 {
            return;
        }
        match self.steps.back_mut() {
            Some((step, sum)) if *step == now => *sum = sum.saturating_add(bytes),
            _ => self.steps.push_back((now, bytes)),
        }
    }

    /// Bytes that count.
    pub(super) fn used(&self) -> u64 {
        let bytes = self.steps.iter().map(|(_, bytes)| *bytes);
        bytes.fold(0, u64::saturating_add)
    }

    /// How long from `age` until less than `max` bytes count, if nothing is added. At most one span and a step.
    pub(super) fn relief(&self, span: Span, age: Duration, max: u64) -> Duration {
        let mut used = self.used();
        for (step, bytes) in &self.steps {
            if used < max {
                break;
            }
            used = used.saturating_sub(*bytes);
            if used < max {
                let gone = step.saturating_add(span.steps()).saturating_add(1);
                let gone = Duration::from_secs(gone.saturating_mul(span.step().as_secs()));
                return gone.saturating_sub(age);
            }
        }
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn what_was_spent_comes_back_after_its_hour_and_not_before() {
        let mut window = Window::default();
        window.add(Span::Hour, MINUTE * 3, 100);
        window.add(Span::Hour, MINUTE * 4, 20);
        window.add(Span::Hour, MINUTE * 31, 7);
        assert_eq!(window.used(), 127);
        window.add(Span::Hour, MINUTE * 64, 0);
        assert_eq!(
            window.used(),
            127,
            "61 minutes later a step may still count"
        );
        window.add(Span::Hour, MINUTE * 65, 0);
        assert_eq!(window.used(), 7);
        window.add(Span::Hour, MINUTE * 95, 0);
        assert_eq!(window.used(), 0);
    }

    /// The promise of a rolling sum: in no stretch of that length is more than the budget spent.
    #[test]
    fn in_no_stretch_of_a_span_more_than_the_budget_is_spent() {
        const MAX: u64 = 1000;
        for span in Span::ALL {
            let (mut window, mut spent) = (Window::default(), Vec::new());
            for tick in 0..400_u32 {
                let age = span.length() / 60 * tick;
                window.add(span, age, 0);
                let bytes = MAX
                    .saturating_sub(window.used())
                    .min(u64::from(tick % 97) + 1);
                window.add(span, age, bytes);
                spent.push((age, bytes));
            }
            for (end, _) in &spent {
                let stretch = spent
                    .iter()
                    .filter(|(age, _)| age <= end && *age + span.length() > *end);
                assert!(stretch.map(|(_, bytes)| bytes).sum::<u64>() <= MAX);
            }
            let total: u64 = spent.iter().map(|(_, bytes)| bytes).sum();
            assert!(total > MAX * 4, "{span:?}: the budget comes back, {total}");
        }
    }

    #[test]
    fn the_relief_is_when_it_comes() {
        for span in Span::ALL {
            let mut window = Window::default();
            window.add(span, Duration::from_secs(10), 600);
            window.add(span, span.step() * 3, 500);
            let age = span.step() * 4;
            assert_eq!(window.relief(span, age, 1101), Duration::ZERO);
            for max in [1000, 500, 1] {
                let relief = window.relief(span, age, max);
                assert!(relief <= span.length() + span.step());
                let mut later = window.clone();
                later.add(span, age + relief - Duration::from_secs(1), 0);
                assert!(later.used() >= max, "{span:?} {max}");
                later.add(span, age + relief, 0);
                assert!(later.used() < max, "{span:?} {max}");
            }
        }
    }

    #[test]
    fn steps_of_the_future_are_none() {
        let mut window = Window::default();
        window.add(Span::Day, Duration::from_secs(u64::MAX / 2), 50);
        window.add(Span::Day, Duration::ZERO, 3);
        assert_eq!(window.used(), 3);
    }
}
