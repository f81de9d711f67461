//! Alarms through a real buffer, with a clock that only the test turns.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_buffer::{Config, Opened, Policy, Profile, QUOTA_BYTES_MIN, Writer};
use tidegate_record::{BootId, BootTime, ClockQuality, Limits, Mark, Outbox, WallTime};
use tokio::task::JoinSet;

use super::*;

/// Seconds since boot.
#[derive(Debug)]
struct Turned(AtomicU64);

impl Clock for Turned {
    fn wall_time(&self) -> WallTime {
        WallTime(0)
    }
    fn quality(&self) -> ClockQuality {
        ClockQuality::Unset
    }
    fn boot_time(&self) -> BootTime {
        BootTime(self.0.load(Ordering::Relaxed) * 1_000_000_000)
    }
    fn boot(&self) -> BootId {
        BootId(7)
    }
}

/// A watched buffer: one run of a gateway.
struct Run {
    lags: Lags,
    handle: BufferHandle,
    applied: mpsc::Sender<Applied>,
    clock: Arc<Turned>,
    writer: JoinSet<()>,
}

fn readings() -> Name {
    Name::new("readings").unwrap()
}

async fn run(folder: &Path, seconds: u64, objective: Option<u64>) -> Run {
    let clock = Arc::new(Turned(AtomicU64::new(seconds)));
    let config = Config {
        path: folder.join("buffer.db"),
        profile: Profile::Latency,
        quota_bytes: QUOTA_BYTES_MIN,
        second: None,
        policies: std::collections::HashMap::new(),
    };
    let limits = Arc::new(Limits::DEFAULT);
    let mut buffer = Buffer::open(&config, limits, clock.clone()).await.unwrap();
    let standing = standing(&mut buffer).await.unwrap();
    let settings = [StreamSettings {
        name: readings(),
        lag: objective.map(Duration::from_secs),
        when_full: Policy::Degrade,
    }];
    let Opened {
        writer,
        applied,
        handle,
    } = buffer.start();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { Writer::run(writer).await.unwrap() });
    Run {
        lags: Lags::new(handle.clone(), clock.clone(), &settings, standing),
        handle,
        applied,
        clock,
        writer: tasks,
    }
}

impl Run {
    /// What the task does every two seconds, at this second.
    async fn at(&self, seconds: u64) -> Report {
        self.clock.0.store(seconds, Ordering::Relaxed);
        self.lags.look().await.unwrap();
        self.lags.judge();
        self.lags.raise(&self.applied);
        // The queue of rows is taken before the request is answered.
        self.handle.flushed().await.unwrap();
        let mut reports = self.lags.reports().into_iter();
        reports.find(|report| report.stream == readings()).unwrap()
    }

    async fn keep(&self) {
        let mut row = alarm(&readings(), &Watched::default(), &self.lags.now());
        row.rows[0].0.stream = readings();
        row.state.clear();
        self.applied.send(row).await.unwrap();
        self.handle.flushed().await.unwrap();
    }

    fn alarms(&self) -> u64 {
        let all = self.handle.stream_backlogs().into_iter();
        let mut alarms = all.filter(|backlog| backlog.stream == Name::host_alarms());
        alarms.next().map_or(0, |backlog| backlog.rows)
    }

    /// The centre takes the rows of `readings` up to this one.
    async fn take(&self, seq: u64) {
        let known = self.handle.known(false).into_iter();
        let of = known.filter(|of| of.stream == readings());
        let marks: Vec<_> = of.map(|of| Mark { of, seq }).collect();
        self.handle.acknowledged(&marks).await.unwrap();
    }

    async fn end(mut self) {
        drop((self.lags, self.handle, self.applied));
        while self.writer.join_next().await.is_some() {}
    }
}

#[tokio::test]
async fn an_objective_that_is_missed_raises_one_alarm_over_restarts_and_ends_it_when_it_is_met() {
    let folder = tempfile::tempdir().unwrap();
    let first = run(folder.path(), 100, Some(600)).await;
    first.keep().await;
    let report = first.at(110).await;
    assert_eq!((report.lag.as_secs(), report.rows_waiting), (10, 1));
    first.clock.0.store(300, Ordering::Relaxed);
    first.keep().await;
    assert!(!first.at(700).await.missed);
    let report = first.at(701).await;
    assert_eq!((report.lag.as_secs(), report.rows_waiting), (601, 2));
    assert_eq!((report.missed, report.misses, first.alarms()), (true, 1, 1));
    first.at(705).await;
    assert_eq!(first.alarms(), 1);
    first.end().await;

    let second = run(folder.path(), 710, Some(600)).await;
    let report = second.at(720).await;
    assert_eq!((report.lag.as_secs(), second.alarms()), (620, 1));
    assert!(report.missed);
    second.take(1).await;
    // It waits since second 300 now.
    let report = second.at(721).await;
    assert_eq!((report.lag.as_secs(), report.missed), (421, true));
    second.take(2).await;
    let report = second.at(722).await;
    assert_eq!((report.lag.as_secs(), report.missed), (0, false));
    assert_eq!(report.worst[0].as_secs(), 620);
    assert_eq!(second.alarms(), 2);
    second.end().await;

    let third = run(folder.path(), 730, Some(600)).await;
    third.at(740).await;
    assert_eq!(third.alarms(), 2);
    third.end().await;
}

#[tokio::test]
async fn without_an_objective_there_is_no_alarm_and_one_that_stood_ends() {
    let folder = tempfile::tempdir().unwrap();
    let first = run(folder.path(), 100, None).await;
    first.keep().await;
    let report = first.at(1_000_000).await;
    assert_eq!((report.missed, first.alarms()), (false, 0));
    first.end().await;
    // The control: with one, there is.
    let second = run(folder.path(), 1_000_000, Some(600)).await;
    assert!(second.at(1_000_000).await.missed);
    assert_eq!(second.alarms(), 1);
    second.end().await;
    let third = run(folder.path(), 1_000_010, None).await;
    assert!(!third.at(1_000_011).await.missed);
    assert_eq!(third.alarms(), 2);
    third.end().await;
}

#[test]
fn a_line_for_people_says_what_waits_and_what_was_promised() {
    let line = |json| text(&json);
    let calm = json!({"name": "a", "rows_waiting": 0, "lag_s": 0.0, "objective_s": null, "worst_s": {"day": 3}});
    assert_eq!(line(calm), "stream a: 0 rows wait; at most 3 s in 24 h");
    let missed = json!({"name": "a", "rows_waiting": 9, "lag_s": 720.5, "objective_s": 600.0, "missed": true, "worst_s": {"day": 7300}});
    assert_eq!(
        line(missed),
        "stream a: 9 rows wait, the oldest for 12 min; objective 10 min MISSED; at most 2 h in 24 h"
    );
    assert_eq!(line(json!("nonsense")), "stream -: 0 rows wait");
}
