//! How far the centre is behind with each stream, and the alarm when that is more than the operator wants.
//!
//! The lag of a stream is the time since the commit of its oldest row that the centre lacks. Every two seconds each stream is
//! looked at: what waits is known in memory, and the row at its head is read once, when it has become the head. An objective
//! that is missed, and one that is met again, is a line in the log and a row of class alarm in the stream `tidegate-alarms`,
//! kept like a module's. Whether an alarm stands is kept in the same commit, so that a restart neither repeats nor forgets one.
//!
//! Nothing waits for this: when the buffer's queue is full, the alarm row is tried again two seconds later.

mod watched;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tidegate_buffer::{Buffer, BufferHandle, Error, StreamBacklog};
use tidegate_record::{
    Applied, Class, Clock, Content, Name, NamedValue, Row, Scalar, Stamp, StateChange,
};
use tidegate_wire::{Measured, STREAM_LAGS_MAX, StreamLag};
use tokio::sync::mpsc;

use crate::config::StreamSettings;
use watched::{Change, Watched};

/// Before a stream's name, the key under which a standing alarm is kept.
const STATE_PREFIX: &str = "lag/";
/// How often streams are looked at.
const INTERVAL: Duration = Duration::from_secs(2);

/// All streams under watch.
#[derive(Debug)]
pub(crate) struct Lags {
    buffer: BufferHandle,
    clock: Arc<dyn Clock>,
    streams: Mutex<BTreeMap<Name, Watched>>,
}

/// How one stream is.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) stream: Name,
    pub(crate) rows_waiting: u64,
    pub(crate) lag: Duration,
    pub(crate) measured: Measured,
    pub(crate) objective: Option<Duration>,
    pub(crate) missed: bool,
    pub(crate) misses: u64,
    /// The greatest lag of the last hour, and of the last day.
    pub(crate) worst: [Duration; 2],
    /// The greatest lag by minute, in seconds, the newest first.
    minutes: Vec<u32>,
}

/// Streams whose alarm stood when the gateway ended.
pub(crate) async fn standing(buffer: &mut Buffer) -> Result<BTreeSet<Name>, Error> {
    let restored = buffer.restore(&Name::host()).await?;
    let keys = restored.active.entries.keys();
    let names = keys.filter_map(|key| Name::new(key.strip_prefix(STATE_PREFIX)?).ok());
    Ok(names.collect())
}

impl Lags {
    /// Watches what `buffer` holds. `standing` are the streams whose alarm stands.
    pub(crate) fn new(
        buffer: BufferHandle,
        clock: Arc<dyn Clock>,
        settings: &[StreamSettings],
        standing: BTreeSet<Name>,
    ) -> Self {
        let mut streams: BTreeMap<Name, Watched> = BTreeMap::new();
        for stream in settings.iter().filter(|stream| stream.lag.is_some()) {
            streams.entry(stream.name.clone()).or_default().objective = stream.lag;
        }
        for name in standing {
            let stream = streams.entry(name).or_default();
            // It is missed until it was seen to be met.
            (stream.alarmed, stream.missed) = (true, stream.objective.is_some());
        }
        Self {
            buffer,
            clock,
            streams: Mutex::new(streams),
        }
    }

    /// Watches until it is dropped.
    pub(crate) async fn run(self: Arc<Self>, applied: mpsc::Sender<Applied>) {
        let mut failing = false;
        loop {
            let looked = self.look().await;
            match &looked {
                Ok(()) => {
                    self.judge();
                    self.raise(&applied);
                }
                Err(error) if !failing => {
                    let error = crate::error::chain(error);
                    tracing::warn!("cannot see how long rows wait: {error}");
                }
                Err(_) => {}
            }
            failing = looked.is_err();
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Reads when each stream's oldest row was committed, if it is another one than before.
    async fn look(&self) -> Result<(), Error> {
        for StreamBacklog { stream, oldest, .. } in self.buffer.stream_backlogs() {
            let known = self.streams().entry(stream.clone()).or_default().oldest;
            if known.map(|(known, _)| known) == oldest {
                continue;
            }
            let found = match oldest {
                // Of one whose time nobody knows it is known that it waits now.
                Some(oldest) => {
                    let committed = self.buffer.committed(oldest).await?;
                    Some((oldest, committed.unwrap_or_else(|| self.now())))
                }
                None => None,
            };
            self.streams().entry(stream).or_default().oldest = found;
        }
        Ok(())
    }

    fn judge(&self) {
        let now = self.now();
        for (name, stream) in self.streams().iter_mut() {
            let Some(change) = stream.judge(&now) else {
                continue;
            };
            let lag = length(stream.lag(&now).0);
            let objective = length(stream.objective.unwrap_or_default());
            match change {
                Change::Missed => tracing::warn!(
                    "the centre is {lag} behind with stream {name}, the objective is {objective}"
                ),
                Change::Met => tracing::warn!(
                    "the centre is {lag} behind with stream {name}, the objective of {objective} is met again"
                ),
            }
        }
    }

    /// Keeps an alarm row for each stream whose last one says otherwise.
    fn raise(&self, applied: &mpsc::Sender<Applied>) {
        let now = self.now();
        for (name, stream) in self.streams().iter_mut() {
            if stream.missed == stream.alarmed {
                continue;
            }
            // A queue that is full, or that of a buffer that has failed, is tried again.
            if applied.try_send(alarm(name, stream, &now)).is_ok() {
                stream.alarmed = stream.missed;
            }
        }
    }

    /// How each stream is, in order of name. What the centre has taken since it was last looked at does not wait any more.
    pub(crate) fn reports(&self) -> Vec<Report> {
        let now = self.now();
        let rows: BTreeMap<_, _> = self
            .buffer
            .stream_backlogs()
            .into_iter()
            .map(|backlog| (backlog.stream, backlog.rows))
            .collect();
        let mut streams = self.streams();
        for name in rows.keys() {
            streams.entry(name.clone()).or_default();
        }
        let report = |(name, stream): (&Name, &Watched)| {
            let rows_waiting = rows.get(name).copied().unwrap_or(0);
            let (lag, measured) = match rows_waiting {
                0 => (Duration::ZERO, Measured::BootTime),
                _ => stream.lag(&now),
            };
            Report {
                stream: name.clone(),
                rows_waiting,
                lag,
                measured,
                objective: stream.objective,
                missed: stream.missed,
                misses: stream.misses,
                worst: [60, 24 * 60].map(|minutes| stream.history.worst(minutes)),
                minutes: stream.history.minutes(),
            }
        };
        streams.iter().map(report).collect()
    }

    /// For the centre.
    pub(crate) fn wire(&self) -> Vec<StreamLag> {
        let mut reports = self.reports();
        reports.sort_by_key(|report| (report.objective.is_none(), std::cmp::Reverse(report.lag)));
        reports.truncate(STREAM_LAGS_MAX);
        let lag = |report: Report| StreamLag {
            stream: report.stream,
            rows_waiting: report.rows_waiting,
            lag_ms: milliseconds(report.lag),
            measured: report.measured,
            objective_ms: report.objective.map(milliseconds),
        };
        reports.into_iter().map(lag).collect()
    }

    fn now(&self) -> Stamp {
        Stamp {
            boot: self.clock.boot(),
            boot_time: self.clock.boot_time(),
            wall_time: self.clock.wall_time(),
            clock: self.clock.quality(),
        }
    }

    fn streams(&self) -> MutexGuard<'_, BTreeMap<Name, Watched>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Report {
    /// For the operator's programs.
    pub(crate) fn json(&self) -> Value {
        let [hour, day] = self.worst.map(|worst| worst.as_secs());
        json!({
            "name": self.stream.as_str(),
            "rows_waiting": self.rows_waiting,
            "lag_s": self.lag.as_secs_f64(),
            "measured": self.measured.as_str(),
            "objective_s": self.objective.map(|objective| objective.as_secs_f64()),
            "missed": self.missed,
            "misses": self.misses,
            "worst_s": {"hour": hour, "day": day},
            "worst_by_minute_s": self.minutes,
        })
    }
}

/// A line for people, from what [`Report::json`] says.
pub(crate) fn text(stream: &Value) -> String {
    let seconds = |pointer: &str| {
        let seconds = stream.pointer(pointer).and_then(Value::as_f64);
        seconds.map(|seconds| length(Duration::try_from_secs_f64(seconds).unwrap_or_default()))
    };
    let name = stream.get("name").and_then(Value::as_str).unwrap_or("-");
    let rows = stream.get("rows_waiting").and_then(Value::as_u64);
    let rows = rows.unwrap_or(0);
    let mut text = format!("stream {name}: {rows} rows wait");
    if rows > 0 {
        text.push_str(", the oldest for ");
        text.push_str(&seconds("/lag_s").unwrap_or_default());
    }
    if let Some(objective) = seconds("/objective_s") {
        let missed = stream.get("missed") == Some(&Value::Bool(true));
        let word = if missed { "MISSED" } else { "met" };
        text.push_str(&format!("; objective {objective} {word}"));
    }
    if let Some(worst) = seconds("/worst_s/day") {
        text.push_str(&format!("; at most {worst} in 24 h"));
    }
    text
}

/// What one call of a module would have kept: the row, and that the alarm stands or does not.
fn alarm(name: &Name, stream: &Watched, now: &Stamp) -> Applied {
    let (lag, measured) = stream.lag(now);
    let value = |name: &str, value| NamedValue {
        name: name.to_owned(),
        value,
    };
    let mut values = vec![
        value("active", Scalar::Boolean(stream.missed)),
        value("lag_s", Scalar::Number(lag.as_secs_f64())),
        value("measured", Scalar::Text(measured.as_str().to_owned())),
    ];
    if let Some(objective) = stream.objective {
        values.push(value(
            "objective_s",
            Scalar::Number(objective.as_secs_f64()),
        ));
    }
    let row = Row {
        stream: Name::host_alarms(),
        class: Class::Alarm,
        key: name.shared(),
        time: now.wall_time,
        duration_ns: 0,
        content: Content::Values(values),
    };
    let state = StateChange {
        key: format!("{STATE_PREFIX}{name}"),
        value: stream.missed.then(|| Bytes::from_static(b"missed")),
    };
    Applied {
        rows: vec![(row, None)],
        state: vec![state],
        ..Applied::new(Name::host(), 0, env!("CARGO_PKG_VERSION").into())
    }
}

fn milliseconds(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

/// In its largest fitting unit.
pub(crate) fn length(length: Duration) -> String {
    match length.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests;
