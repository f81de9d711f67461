//! When the next request may go, and how large it may be: what the centre asks for, within bounds, and what the budget
//! leaves. Pure.
//!
//! Before its time a request carries alarms only: those wait for nothing but the shortest interval. A centre can neither
//! make the gateway spin, nor silence it for longer than `Limits::sync_poll_max`, nor hold its backlog below
//! `Limits::sync_pace_min`.

use std::time::Duration;

use tidegate_record::{BootTime, Class, Limits};
use tidegate_wire::SyncReply;

use crate::budget::Grant;

/// Over which time the centre's pace is kept: a request carries at most what may go in it.
const PACE_OVER: Duration = Duration::from_secs(1);

/// After a full request the uplink rests for so many times what it took, and for no longer than [`REST_MAX`]: reading,
/// packing and settling rows takes this machine's time and disk from live messages, and a backlog of weeks can wait an
/// hour. Over a slow link, where most of the time is the link's, this costs little.
const REST: u32 = 3;
/// See [`REST`].
const REST_MAX: Duration = Duration::from_millis(250);

/// Where the exchange with one centre stands.
#[derive(Debug)]
pub(crate) struct Course {
    rows_max: usize,
    interval_min: Duration,
    poll_max: Duration,
    pace_min: u32,
    /// Rows a second of a backlog, as the centre wants it.
    pace: Option<u32>,
    /// When the last request went.
    last: BootTime,
    /// Whether it carried as much as it could: then there may be more.
    full: bool,
    /// From then until rows that are no alarms may go, and until the centre wants to hear of us.
    rest: Duration,
    poll: Duration,
}

/// What may go now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) least: Class,
    pub(crate) rows_max: usize,
    pub(crate) bytes_max: u64,
    /// Whether a request goes even without rows.
    pub(crate) poll: bool,
}

impl Course {
    /// At the beginning everything may go.
    pub(crate) const fn new(limits: &Limits) -> Self {
        Self {
            rows_max: limits.sync_rows_max,
            interval_min: limits.sync_interval_min,
            poll_max: limits.sync_poll_max,
            pace_min: limits.sync_pace_min,
            pace: None,
            last: BootTime(0),
            full: true,
            rest: Duration::ZERO,
            poll: Duration::ZERO,
        }
    }

    /// What may go at `now`, while so many rows wait; none while the budget is spent. In a `hurry`, because the gateway
    /// stops, no pause is made.
    pub(crate) fn turn(
        &self,
        now: BootTime,
        grant: Grant,
        waiting: u64,
        hurry: bool,
    ) -> Option<Turn> {
        let (least, bytes_max, spacing) = match grant {
            Grant::All { bytes, spacing } => (Class::Raw, bytes, spacing),
            Grant::Alarms { bytes, spacing, .. } => (Class::Alarm, bytes, spacing),
            Grant::Spent { .. } => return None,
        };
        let passed = now.since(self.last);
        // A full request pays for itself: after and before one no budget asks for a pause.
        let backlog = usize::try_from(waiting).is_ok_and(|waiting| waiting >= self.rows_max);
        let rest = match self.full || backlog {
            true => self.rest,
            false => self.rest.max(spacing),
        };
        Some(Turn {
            least: match hurry || passed >= rest {
                true => least,
                false => Class::Alarm,
            },
            rows_max: self.rows_max(),
            bytes_max,
            poll: hurry || passed >= self.poll.max(spacing),
        })
    }

    /// A request that went at `begun`, with `sent` rows, as many as it could carry if `full`, was answered, and that is
    /// settled now.
    pub(crate) fn answered(
        &mut self,
        (begun, now): (BootTime, BootTime),
        sent: usize,
        full: bool,
        reply: &SyncReply,
    ) {
        self.pace = reply.pace.map(|pace| pace.max(self.pace_min));
        let poll = Duration::from_millis(reply.next_poll_ms.into());
        self.poll = poll.min(self.poll_max).max(self.interval_min);
        let paced = self.pace.map_or(Duration::ZERO, |pace| {
            let rows = u32::try_from(sent).unwrap_or(u32::MAX);
            Duration::from_secs_f64(f64::from(rows) / f64::from(pace))
        });
        self.last = begun;
        self.full = full;
        let took = now.since(begun);
        self.rest = match full {
            true if sent == 0 => paced,
            // From its beginning.
            true => paced.max(took.saturating_add((took * REST).min(REST_MAX))),
            false => paced.max(self.interval_min),
        };
    }

    /// Nothing that may go was found.
    pub(crate) const fn quiet(&mut self) {
        self.full = false;
    }

    /// How long to wait for the next turn if rows wait, and if none does.
    pub(crate) fn pauses(&self, now: BootTime, grant: Grant) -> (Duration, Duration) {
        let spacing = match grant {
            Grant::All { spacing, .. } | Grant::Alarms { spacing, .. } => spacing,
            // Now and then the budget is looked at again.
            Grant::Spent { relief } => {
                return (relief.min(self.poll_max), relief.min(self.poll_max));
            }
        };
        let passed = now.since(self.last);
        let rest = match self.rest.saturating_sub(passed) {
            Duration::ZERO if !self.full => self.interval_min,
            // Until then alarms are looked for at the shortest interval.
            rest => rest.min(self.interval_min),
        };
        let poll = self.poll.max(spacing).saturating_sub(passed);
        (rest, poll.max(rest))
    }

    /// Within which time the centre hears of us, if all goes well.
    pub(crate) fn silence(&self, grant: Grant) -> Duration {
        match grant {
            Grant::All { spacing, .. } | Grant::Alarms { spacing, .. } => self.poll.max(spacing),
            Grant::Spent { relief } => relief.max(self.poll),
        }
    }

    fn rows_max(&self) -> usize {
        let paced = self.pace.map(|pace| {
            let rows = u64::from(pace) * PACE_OVER.as_secs();
            usize::try_from(rows).unwrap_or(usize::MAX)
        });
        paced.unwrap_or(usize::MAX).clamp(1, self.rows_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_record::WallTime;

    const FREE: Grant = Grant::All {
        bytes: u64::MAX,
        spacing: Duration::ZERO,
    };

    fn at(milliseconds: u64) -> BootTime {
        BootTime(milliseconds * 1_000_000)
    }

    fn reply(next_poll_ms: u32, pace: Option<u32>) -> SyncReply {
        SyncReply {
            version: tidegate_wire::VERSION,
            marks: Vec::new(),
            server_time: WallTime(0),
            next_poll_ms,
            pace,
        }
    }

    /// After a request at 100 s.
    fn after(sent: usize, full: bool, reply: &SyncReply) -> Course {
        let mut course = Course::new(&Limits::DEFAULT);
        course.answered((at(100_000), at(100_000)), sent, full, reply);
        course
    }

    fn least(course: &Course, milliseconds: u64, grant: Grant) -> Option<Class> {
        let turn = course.turn(at(100_000 + milliseconds), grant, 0, false);
        turn.map(|turn| turn.least)
    }

    #[test]
    fn a_backlog_goes_at_once_and_rows_that_trickle_share_a_request() {
        let backlog = after(5000, true, &reply(5000, None));
        assert_eq!(least(&backlog, 0, FREE), Some(Class::Raw));
        assert_eq!(backlog.pauses(at(100_000), FREE).0, Duration::ZERO);
        let trickle = after(5, false, &reply(5000, None));
        assert_eq!(least(&trickle, 999, FREE), Some(Class::Alarm));
        assert_eq!(least(&trickle, 1000, FREE), Some(Class::Raw));
        let (rows, poll) = trickle.pauses(at(100_000), FREE);
        assert_eq!((rows.as_millis(), poll.as_millis()), (1000, 5000));
    }

    #[test]
    fn a_backlog_leaves_the_machine_to_live_messages_most_of_the_time_and_a_slow_link_little() {
        let rest_of = |took: u64| {
            let mut course = Course::new(&Limits::DEFAULT);
            let times = (at(100_000), at(100_000 + took));
            course.answered(times, 5000, true, &reply(5000, None));
            let ready =
                (0..10_000).find(|after| least(&course, took + after, FREE) == Some(Class::Raw));
            ready.unwrap()
        };
        assert_eq!((rest_of(10), rest_of(50)), (30, 150));
        assert_eq!((rest_of(100), rest_of(5_000)), (250, 250));
        let mut course = Course::new(&Limits::DEFAULT);
        let times = (at(100_000), at(100_100));
        course.answered(times, 5000, true, &reply(5000, None));
        let urgent = course.turn(at(100_101), FREE, 0, false).unwrap();
        assert_eq!(urgent.least, Class::Alarm, "alarms do not wait for it");
    }

    #[test]
    fn a_backlog_keeps_the_centres_pace() {
        let course = after(5000, true, &reply(5000, Some(1000)));
        assert_eq!(
            course.turn(at(105_000), FREE, 0, false).unwrap().rows_max,
            1000
        );
        assert_eq!(least(&course, 4999, FREE), Some(Class::Alarm));
        assert_eq!(least(&course, 5000, FREE), Some(Class::Raw));
        // An hour at that pace.
        let (mut course, mut now, mut rows) = (Course::new(&Limits::DEFAULT), 0, 0);
        while now < 3_600_000 {
            if let Some(turn) = course.turn(at(now), FREE, 0, false)
                && turn.least == Class::Raw
            {
                rows += turn.rows_max;
                course.answered(
                    (at(now), at(now)),
                    turn.rows_max,
                    true,
                    &reply(5000, Some(1000)),
                );
            }
            let pause = course.pauses(at(now), FREE).0.as_millis();
            now += u64::try_from(pause).unwrap().max(1);
        }
        assert!((3_590_000..=3_610_000).contains(&rows), "{rows}");
    }

    #[test]
    fn a_hostile_centre_can_neither_silence_the_gateway_nor_make_it_spin() {
        for (next_poll_ms, pace) in [
            (0, Some(0)),
            (u32::MAX, Some(0)),
            (u32::MAX, Some(u32::MAX)),
        ] {
            for (sent, full) in [(0, false), (1, false), (5000, true), (usize::MAX, true)] {
                let course = after(sent, full, &reply(next_poll_ms, pace));
                let (rows, poll) = course.pauses(at(100_000), FREE);
                assert!(poll <= Limits::DEFAULT.sync_poll_max);
                assert!(poll >= Limits::DEFAULT.sync_interval_min || full);
                assert!(rows <= Limits::DEFAULT.sync_interval_min);
                let turn = course.turn(at(200_000), FREE, 0, false).unwrap();
                assert!((1..=5000).contains(&turn.rows_max));
                if sent <= 5000 {
                    assert_eq!(
                        turn.least,
                        Class::Raw,
                        "5000 rows are 50 s at the least pace"
                    );
                }
            }
        }
    }

    #[test]
    fn a_scarce_budget_spaces_requests_but_not_alarms_nor_a_backlog() {
        let spacing = Duration::from_secs(600);
        let scarce = Grant::All {
            bytes: 9000,
            spacing,
        };
        let trickle = after(5, false, &reply(5000, None));
        assert_eq!(least(&trickle, 599_999, scarce), Some(Class::Alarm));
        assert_eq!(least(&trickle, 600_000, scarce), Some(Class::Raw));
        assert!(!trickle.turn(at(699_999), scarce, 0, false).unwrap().poll);
        assert!(trickle.turn(at(700_000), scarce, 0, false).unwrap().poll);
        assert_eq!(trickle.silence(scarce), spacing);
        let backlog = after(5000, true, &reply(5000, None));
        assert_eq!(least(&backlog, 0, scarce), Some(Class::Raw));
        let gathered = trickle.turn(at(101_000), scarce, 5000, false).unwrap();
        assert_eq!(gathered.least, Class::Raw, "a full request has gathered");
    }

    #[test]
    fn nothing_goes_while_the_budget_is_spent_and_alarms_alone_from_its_reserve() {
        let course = after(0, false, &reply(5000, None));
        let relief = Duration::from_secs(90);
        assert_eq!(least(&course, 60_000, Grant::Spent { relief }), None);
        let pauses = course.pauses(at(160_000), Grant::Spent { relief });
        assert_eq!(pauses, (relief, relief));
        let alarms = Grant::Alarms {
            bytes: 100,
            spacing: Duration::ZERO,
            relief,
        };
        assert_eq!(least(&course, 60_000, alarms), Some(Class::Alarm));
    }

    #[test]
    fn what_found_nothing_to_send_does_not_spin() {
        let mut course = after(5000, true, &reply(5000, None));
        course.quiet();
        assert_eq!(
            course.pauses(at(900_000), FREE).0,
            Limits::DEFAULT.sync_interval_min
        );
    }
}
