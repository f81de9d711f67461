//! Which of two centres gets the rows.
//!
//! The second stands in when the first has failed for a while. The first is asked on, with back-off, and gets the rows again
//! when it answers. One that answers but takes no rows is left at once, and then tried ever more seldom. An exchange of
//! one centre ends before one with rows of the other begins, so that no row goes to both on the way from one to the other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidegate_record::BootTime;
use tokio::sync::{self, watch};

/// The longest time for which a first centre that takes no rows is not tried.
const HOLD_MAX: Duration = Duration::from_secs(3600);

/// What an uplink is for.
#[derive(Debug, Clone)]
pub enum Role {
    /// It gets every row, whatever becomes of another one.
    Sole,
    /// It gets every row that it takes.
    First(Arc<Failover>),
    /// It gets what the first does not take.
    StandIn(Arc<Failover>),
}

/// The two centres, seen from each of them.
#[derive(Debug)]
pub struct Failover {
    switch: Mutex<Switch>,
    standing_in: watch::Sender<bool>,
    turn: sync::Mutex<()>,
}

/// What an uplink has to do.
#[derive(Debug)]
pub(crate) enum Duty<'r> {
    /// Send rows, and let the other one wait meanwhile.
    Rows(Option<sync::MutexGuard<'r, ()>>),
    /// Ask whether the centre answers.
    Probe,
    /// Nothing.
    Off,
}

impl Failover {
    /// The second centre stands in when the first has failed for `after`.
    pub fn new(after: Duration) -> Self {
        Self {
            switch: Mutex::new(Switch::new(after)),
            standing_in: watch::Sender::new(false),
            turn: sync::Mutex::default(),
        }
    }

    /// Whether the second one stands in.
    pub fn is_standing_in(&self) -> bool {
        *self.standing_in.borrow()
    }

    fn decide(&self, event: impl FnOnce(&mut MutexGuard<'_, Switch>)) {
        let mut switch = self.switch.lock().unwrap_or_else(PoisonError::into_inner);
        event(&mut switch);
        let now = switch.is_standing_in();
        let turned = self
            .standing_in
            .send_if_modified(|before| std::mem::replace(before, now) != now);
        match (turned, now) {
            (true, true) => {
                let seconds = switch.after.as_secs_f64();
                tracing::warn!(
                    "the first centre takes no rows for {seconds} s: the second stands in"
                );
            }
            (true, false) => tracing::info!("the first centre answers again: rows go to it"),
            (false, _) => {}
        }
    }
}

impl Role {
    pub(crate) async fn duty(&self) -> Duty<'_> {
        match self {
            Self::Sole => Duty::Rows(None),
            Self::First(failover) if failover.is_standing_in() => Duty::Probe,
            Self::First(failover) => Duty::Rows(Some(failover.turn.lock().await)),
            Self::StandIn(failover) => {
                if failover.is_standing_in() {
                    let turn = failover.turn.lock().await;
                    // The first may have come back while the turn was its.
                    if failover.is_standing_in() {
                        return Duty::Rows(Some(turn));
                    }
                }
                Duty::Off
            }
        }
    }

    /// Whether another one stands in for this one.
    pub(crate) fn is_probing(&self) -> bool {
        matches!(self, Self::First(failover) if failover.is_standing_in())
    }

    /// Resolves when the duty of a stand-in begins.
    pub(crate) async fn called(&self) {
        if let Self::StandIn(failover) = self {
            let mut standing_in = failover.standing_in.subscribe();
            if standing_in.wait_for(|now| *now).await.is_ok() {
                return;
            }
        }
        std::future::pending().await
    }

    /// The centre does not answer, or refuses.
    pub(crate) fn failed(&self, now: BootTime) {
        if let Self::First(failover) = self {
            failover.decide(|switch| switch.failed(now));
        }
    }

    /// The centre answers; whether it takes rows is not known.
    pub(crate) fn answered(&self, now: BootTime) {
        if let Self::First(failover) = self {
            failover.decide(|switch| switch.answered(now));
        }
    }

    /// The centre has taken rows, or none waits.
    pub(crate) fn progressed(&self) {
        if let Self::First(failover) = self {
            failover.decide(|switch| switch.progressed());
        }
    }
}

/// The decision. Pure.
#[derive(Debug)]
struct Switch {
    after: Duration,
    state: State,
    /// How long the second stands in at least, after the first was tried in vain.
    hold: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Rows go to the first, which has failed since then, if it has.
    First(Option<BootTime>),
    /// Rows go to the first, which has to show that it takes them.
    Trial,
    /// Rows go to the second since then.
    Second(BootTime),
}

impl Switch {
    const fn new(after: Duration) -> Self {
        Self {
            after,
            state: State::First(None),
            hold: Duration::ZERO,
        }
    }

    const fn is_standing_in(&self) -> bool {
        matches!(self.state, State::Second(_))
    }

    fn failed(&mut self, now: BootTime) {
        self.state = match self.state {
            State::First(None) => State::First(Some(now)),
            State::First(Some(since)) if now.since(since) >= self.after => State::Second(now),
            State::Trial => {
                self.hold = (self.hold * 2).clamp(self.after, HOLD_MAX.max(self.after));
                State::Second(now)
            }
            other => other,
        };
    }

    fn answered(&mut self, now: BootTime) {
        if let State::Second(since) = self.state
            && now.since(since) >= self.hold
        {
            self.state = State::Trial;
        }
    }

    fn progressed(&mut self) {
        if !self.is_standing_in() {
            self.state = State::First(None);
            self.hold = Duration::ZERO;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> BootTime {
        BootTime(seconds * 1_000_000_000)
    }

    #[test]
    fn the_second_stands_in_when_the_first_has_failed_for_long_and_not_before() {
        let mut switch = Switch::new(MINUTE);
        for seconds in [10, 40, 69] {
            switch.failed(at(seconds));
            assert!(!switch.is_standing_in(), "{seconds} s");
        }
        switch.progressed();
        switch.failed(at(71));
        switch.failed(at(130));
        assert!(!switch.is_standing_in(), "it took rows in between");
        switch.failed(at(131));
        assert!(switch.is_standing_in());
        switch.failed(at(9999));
        assert!(switch.is_standing_in());
        switch.answered(at(10_000));
        assert!(!switch.is_standing_in());
    }

    #[test]
    fn to_answer_is_not_to_take_rows() {
        let mut switch = Switch::new(MINUTE);
        for seconds in (0..60).step_by(2) {
            switch.failed(at(seconds));
            switch.answered(at(seconds + 1));
            assert!(!switch.is_standing_in());
        }
        switch.failed(at(60));
        assert!(switch.is_standing_in());
    }

    /// An hour of a first centre that answers every question and takes no row: it may cost the second little of its time.
    #[test]
    fn a_first_that_answers_and_takes_nothing_is_tried_ever_more_seldom() {
        let mut switch = Switch::new(MINUTE);
        let (mut tried, mut without) = (0, 0);
        for seconds in 0..86_400 {
            if switch.is_standing_in() {
                switch.answered(at(seconds));
                tried += u32::from(!switch.is_standing_in());
            } else {
                without += 1;
                switch.failed(at(seconds));
            }
        }
        assert!((20..40).contains(&tried), "{tried}");
        assert!(without < 120, "{without} s");
        switch.answered(at(200_000));
        switch.progressed();
        assert_eq!(
            (switch.state, switch.hold),
            (State::First(None), Duration::ZERO)
        );
    }

    #[tokio::test]
    async fn rows_of_the_first_wait_for_the_end_of_an_exchange_of_the_second() {
        let failover = Arc::new(Failover::new(Duration::ZERO));
        let first = Role::First(failover.clone());
        let second = Role::StandIn(failover.clone());
        assert!(matches!(second.duty().await, Duty::Off));
        first.failed(at(1));
        first.failed(at(1));
        second.called().await;
        assert!(matches!(first.duty().await, Duty::Probe));
        let turn = second.duty().await;
        assert!(matches!(turn, Duty::Rows(_)));
        first.answered(at(2));
        let waiting = tokio::time::timeout(Duration::from_millis(20), first.duty()).await;
        assert!(waiting.is_err(), "both have the turn");
        drop(turn);
        assert!(matches!(first.duty().await, Duty::Rows(_)));
        assert!(matches!(second.duty().await, Duty::Off));
    }
}
