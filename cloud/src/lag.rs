//! How far the centre is behind with each stream of a gateway, now and before; pure.
//!
//! A gateway says with each request how long its oldest row waits. From then on the centre counts by its own clock: while
//! nothing is heard, that row waits on, and of a stream that was up to date nobody knows but that nothing has come since.
//!
//! For the history one sample is enough to know the time before it: a row that has waited for an hour when it was told was
//! waiting through all of that hour, heard of or not. So only the largest lag of each minute and hour is kept, and none that
//! is shorter than [`NOTED`].

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_wire::{
    GatewayStatus, Measured, Name, STREAM_LAGS_MAX, StreamLag, SyncRequest, WallTime,
};

use crate::http::POLL_INTERVAL;
use crate::store::Gateway;

/// Rows wait for some seconds while all is well.
const NOTED: Duration = Duration::from_secs(10);
/// A gateway that speaks more seldom than this is silent, whatever it says: in seconds.
const SILENCE_MAX_S: u64 = 24 * 3600;
/// Longer than any row waits: what is told beyond is the fault of a clock.
const LAG_MAX: Duration = Duration::from_secs(100 * 365 * 86_400);

/// How a stream is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lag {
    /// Which stream.
    pub stream: Name,
    /// Rows that waited when the gateway was last heard of.
    pub rows_waiting: u64,
    /// Since the commit of the oldest row that the centre lacks; while the gateway is silent, at most.
    pub lag: Duration,
    /// How the gateway measured its part of it.
    pub measured: Measured,
    /// How long a row may wait.
    pub objective: Option<Duration>,
}

impl Lag {
    /// For how long the objective is missed, if it is.
    pub fn missed(&self) -> Option<Duration> {
        self.lag
            .checked_sub(self.objective?)
            .filter(|missed| !missed.is_zero())
    }
}

/// Whether a gateway is not heard of for longer than it wants to be silent.
pub fn is_silent(gateway: &Gateway, now: WallTime) -> bool {
    silence(gateway, now) > expected(&gateway.status) * 3
}

/// Within which time a gateway speaks: on a metered link more seldom than it is asked for.
pub fn expected(status: &GatewayStatus) -> Duration {
    let uplink = status.uplink.as_ref();
    let silence = uplink.map_or(0, |uplink| uplink.silence_s.min(SILENCE_MAX_S));
    POLL_INTERVAL.max(Duration::from_secs(silence))
}

fn silence(gateway: &Gateway, now: WallTime) -> Duration {
    Duration::from_nanos(now.0.saturating_sub(gateway.last_seen.0))
}

/// All streams of which the gateway has told, in order of name.
pub fn now(gateway: &Gateway, now: WallTime) -> Vec<Lag> {
    let (silent, silence) = (is_silent(gateway, now), silence(gateway, now));
    let lag = |told: &StreamLag| Lag {
        stream: told.stream.clone(),
        rows_waiting: told.rows_waiting,
        lag: match told.rows_waiting {
            0 if !silent => Duration::ZERO,
            0 => silence,
            _ => told_lag(told).saturating_add(silence),
        },
        measured: told.measured,
        objective: told.objective_ms.map(Duration::from_millis),
    };
    let streams: BTreeMap<_, _> = told(&gateway.status)
        .map(|told| (told.stream.clone(), lag(told)))
        .collect();
    streams.into_values().collect()
}

fn told(status: &GatewayStatus) -> impl Iterator<Item = &StreamLag> {
    status.streams.iter().take(STREAM_LAGS_MAX)
}

fn told_lag(told: &StreamLag) -> Duration {
    Duration::from_millis(told.lag_ms).min(LAG_MAX)
}

/// What a gateway says of itself once its request is taken: rows that came in it do not wait any more.
///
/// A hostile one may name any number of streams: those beyond the bound are dropped.
pub(crate) fn settled(request: &SyncRequest) -> GatewayStatus {
    let mut status = request.status.clone();
    status.streams.truncate(STREAM_LAGS_MAX);
    for told in &mut status.streams {
        let rows = request
            .rows
            .iter()
            .filter(|rows| rows.of.stream == told.stream);
        let rows = rows.flat_map(|rows| &rows.rows);
        let covered = rows.map(|row| row.seq.saturating_sub(row.first()).saturating_add(1));
        let came = covered.fold(0, u64::saturating_add);
        let came = came.min(told.rows_waiting);
        told.rows_waiting -= came;
        status.rows_waiting = status.rows_waiting.saturating_sub(came);
        if told.rows_waiting == 0 {
            told.lag_ms = 0;
        }
    }
    status
}

/// Length of a piece of the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Kept for a day.
    Minute,
    /// Kept for 31 days.
    Hour,
}

impl Step {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Minute, Self::Hour];

    /// How long it is.
    pub const fn length(self) -> Duration {
        match self {
            Self::Minute => Duration::from_secs(60),
            Self::Hour => Duration::from_secs(3600),
        }
    }

    /// How many are kept.
    pub const fn kept(self) -> u64 {
        match self {
            Self::Minute => 24 * 60,
            Self::Hour => 31 * 24,
        }
    }

    /// The number of the piece in which `time` is.
    pub const fn bucket(self, time: WallTime) -> u64 {
        time.0 / (self.length().as_secs() * 1_000_000_000)
    }

    /// When a piece begins.
    pub const fn begin(self, bucket: u64) -> WallTime {
        WallTime(bucket.saturating_mul(self.length().as_secs() * 1_000_000_000))
    }

    /// The oldest piece that is kept.
    pub const fn oldest(self, now: WallTime) -> u64 {
        self.bucket(now).saturating_sub(self.kept() - 1)
    }
}

/// What was told at some moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Of which stream.
    pub stream: Name,
    /// When, by the centre's clock.
    pub at: WallTime,
    /// How long its oldest row had waited.
    pub lag: Duration,
}

/// What of a status that came at `at` is worth keeping.
pub(crate) fn noted(status: &GatewayStatus, at: WallTime) -> impl Iterator<Item = Sample> {
    let sample = move |told: &StreamLag| Sample {
        stream: told.stream.clone(),
        at,
        lag: told_lag(told),
    };
    told(status)
        .filter(|told| told_lag(told) >= NOTED)
        .map(sample)
}

/// The largest lag of one stream in each of the `count` pieces up to `now`, the oldest first. The samples are those that are
/// kept of it, in any order, and what is known now.
pub fn history(
    step: Step,
    count: u64,
    now: WallTime,
    samples: impl IntoIterator<Item = (WallTime, Duration)>,
) -> Vec<Duration> {
    let last = step.bucket(now);
    let mut by_bucket: BTreeMap<u64, Vec<(WallTime, Duration)>> = BTreeMap::new();
    for (at, lag) in samples {
        by_bucket
            .entry(step.bucket(at))
            .or_default()
            .push((at, lag));
    }
    // What was told later, of rows that waited already.
    let mut earliest: Option<u64> = None;
    let first = last.saturating_sub(count.saturating_sub(1));
    let mut worst: Vec<_> = (first..=last)
        .rev()
        .map(|bucket| {
            let end = step.begin(bucket.saturating_add(1)).0;
            let waited = earliest.map_or(0, |since| end.saturating_sub(since));
            let mut worst = Duration::from_nanos(waited);
            for (at, lag) in by_bucket.get(&bucket).into_iter().flatten() {
                worst = worst.max(*lag);
                let nanoseconds = u64::try_from(lag.as_nanos()).unwrap_or(u64::MAX);
                let since = at.0.saturating_sub(nanoseconds);
                earliest = Some(earliest.map_or(since, |earliest| earliest.min(since)));
            }
            worst
        })
        .collect();
    worst.reverse();
    worst
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{START_NS, epoch, lag, name, request, rows, thinned};

    const SECOND: u64 = 1_000_000_000;

    fn at(seconds: u64) -> WallTime {
        WallTime(START_NS + seconds * SECOND)
    }

    /// Heard of at the start.
    fn gateway(streams: Vec<StreamLag>) -> Gateway {
        let mut status = request("gw-1", vec![]).status;
        status.streams = streams;
        Gateway {
            name: name("gw-1"),
            epoch: epoch(1),
            first_seen: at(0),
            last_seen: at(0),
            sent: WallTime(0),
            newest_row: None,
            conflicts: 0,
            identity: None,
            status,
        }
    }

    #[test]
    fn the_centre_counts_on_by_its_own_clock_while_a_gateway_is_silent() {
        let gateway = gateway(vec![lag("idle", 0, 0, None), lag("busy", 7, 30, None)]);
        let lags = |seconds| -> Vec<_> {
            let lags = now(&gateway, at(seconds));
            lags.iter().map(|lag| lag.lag.as_secs()).collect()
        };
        // In order of name: busy, idle. A gateway is asked to report every 5 s.
        assert_eq!(lags(0), [30, 0]);
        assert_eq!(lags(15), [45, 0]);
        assert_eq!(lags(16), [46, 16]);
        assert_eq!(lags(3600), [3630, 3600]);
        // The centre's clock was set back.
        let early = now(&gateway, WallTime(0));
        assert_eq!(early[0].lag.as_secs(), 30);
    }

    #[test]
    fn an_objective_is_missed_by_a_gateway_that_says_so_and_by_one_that_is_silent() {
        let told = vec![
            lag("a", 1, 30, Some(60)),
            lag("b", 0, 0, Some(60)),
            lag("c", 1, 30, None),
        ];
        let gateway = gateway(told);
        let missed = |seconds| -> Vec<_> {
            let lags = now(&gateway, at(seconds));
            lags.iter()
                .map(|lag| lag.missed().map(|missed| missed.as_secs()))
                .collect()
        };
        assert_eq!(missed(0), [None, None, None]);
        assert_eq!(missed(30), [None, None, None]);
        assert_eq!(missed(31), [Some(1), None, None]);
        assert_eq!(missed(100), [Some(70), Some(40), None]);
    }

    #[test]
    fn what_a_hostile_gateway_tells_is_bounded() {
        let mut told = vec![lag("a", u64::MAX, u64::MAX / 1000, Some(0)); 300];
        told[0].lag_ms = u64::MAX;
        let gateway = gateway(told);
        let lags = now(&gateway, WallTime(u64::MAX));
        assert_eq!(lags.len(), 1);
        assert!(lags[0].missed().is_some());
        assert_eq!(noted(&gateway.status, at(0)).count(), STREAM_LAGS_MAX);
        assert!(noted(&gateway.status, at(0)).all(|sample| sample.lag <= LAG_MAX));
    }

    #[test]
    fn rows_that_came_with_what_is_told_do_not_wait_any_more() {
        let mut sent = request(
            "gw-1",
            vec![rows("a", epoch(1), 1..=4), rows("b", epoch(1), 1..=4)],
        );
        sent.rows[0].rows.push(thinned(5, 10));
        sent.status.rows_waiting = 30;
        sent.status.streams = ["a", "b", "c"]
            .map(|stream| lag(stream, 10, 30, None))
            .to_vec();
        assert_eq!(settled(&sent).rows_waiting, 16);
        let told = settled(&sent).streams.into_iter();
        let told: Vec<_> = told.map(|told| (told.rows_waiting, told.lag_ms)).collect();
        assert_eq!(told, [(0, 0), (6, 30_000), (10, 30_000)]);
    }

    #[test]
    fn a_lag_of_seconds_is_not_worth_keeping() {
        let gateway = gateway(vec![lag("a", 1, 9, None), lag("b", 1, 10, None)]);
        let kept: Vec<_> = noted(&gateway.status, at(0))
            .map(|sample| sample.stream)
            .collect();
        assert_eq!(kept, [name("b")]);
    }

    #[test]
    fn one_sample_tells_of_all_the_time_that_the_row_has_waited() {
        // START_NS is the begin of a minute and half past an hour.
        let minutes = |samples: &[(u64, u64)]| -> Vec<_> {
            let samples = samples.iter();
            let samples = samples.map(|(time, lag)| (at(*time), Duration::from_secs(*lag)));
            let worst = history(Step::Minute, 6, at(330), samples);
            worst.iter().map(Duration::as_secs).collect()
        };
        assert_eq!(minutes(&[]), [0; 6]);
        assert_eq!(minutes(&[(330, 0)]), [0; 6]);
        // It waits since 60 s; nothing was heard until 270 s.
        assert_eq!(minutes(&[(270, 210)]), [0, 60, 120, 180, 210, 0]);
        // The backlog drains: an older row first, then a younger one.
        let drained = minutes(&[(200, 200), (250, 40), (290, 10)]);
        assert_eq!(drained, [60, 120, 180, 200, 40, 0]);
        // Two in one minute, and one from a clock that was ahead.
        assert_eq!(
            minutes(&[(10, 5), (20, 15), (9000, 3)]),
            [15, 0, 0, 0, 0, 0]
        );
        let ancient = minutes(&[(330, 1_000_000_000)]);
        assert_eq!(ancient[5], 1_000_000_000);
        assert!(ancient.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
