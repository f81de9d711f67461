//! Driver `replay`: a recording, played with its own timing.
//!
//! Two formats, told apart by the file's name:
//! - `.jsonl`: one message a line, as docs/formats/recording.md has it.
//! - `.csv`: a header line, then one row a line; see [`RowShape`] for what a row becomes.
//!
//! A line that cannot be read as such is counted, logged with its number and the reason, and skipped. Memory is bounded
//! by the longest line that is taken. A recording has no gaps of its own: the field waits where the inbox is full.

mod csv;
mod jsonl;
mod lines;
mod time;

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;
use tidegate_record::{Topic, WallTime};
use tokio::time::Instant;

use crate::{DriverError, Progress, Reading};
use csv::Table;
use lines::{Line, Lines};

/// Malformed lines that are logged one by one; further ones are only counted.
const LOGGED_MAX: u64 = 10;
/// Readings of one call where the recording is played without pauses.
const READINGS_MAX: usize = 256;

/// Settings of driver `replay`.
#[derive(Debug, Clone)]
pub struct ReplayConfig {
    /// The recording: `.csv` or `.jsonl`.
    pub file: PathBuf,
    /// How fast it is played.
    pub speed: Speed,
    /// What a row of a CSV file becomes.
    pub rows: RowShape,
    /// Longest line that is taken, in bytes.
    pub line_bytes_max: usize,
}

/// How fast a recording is played: 1 as recorded, 0 without pauses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speed(f64);

impl Speed {
    /// As recorded.
    pub const RECORDED: Self = Self(1.0);
    /// Without pauses.
    pub const NO_PAUSES: Self = Self(0.0);

    /// Checks `factor`.
    ///
    /// # Errors
    /// When it is negative or not a finite number.
    pub fn new(factor: f64) -> Result<Self, SpeedError> {
        match factor.is_finite() && factor >= 0.0 {
            true => Ok(Self(factor)),
            false => Err(SpeedError(factor)),
        }
    }

    /// How long after the start a message is due that was recorded `recorded` after the first one.
    fn due_after(self, recorded: Duration) -> Duration {
        if self == Self::NO_PAUSES {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64(recorded.as_secs_f64() / self.0).unwrap_or(Duration::MAX)
    }
}

/// A speed that makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
#[error("a speed is 0 or more, this is {0}")]
pub struct SpeedError(f64);

/// What a row of a CSV file becomes.
///
/// The header names the columns, separated by `,` or `;`. A column called `time`, `timestamp`, `datetime` or `date`
/// gives the time of the row; without one the rows have no pauses. A name such as `flow [L/min]` has a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowShape {
    /// One scalar for each numeric column, at a point called as the column.
    Points,
    /// One JSON object with every column, under one topic: several channels in one message.
    Objects(Topic),
}

/// The open driver.
#[derive(Debug)]
pub struct Replay {
    path: PathBuf,
    lines: Lines<BufReader<File>>,
    format: Format,
    speed: Speed,
    /// When playing began, and what time it was in the recording.
    start: Option<(Instant, WallTime)>,
    /// Read but not yet due.
    next: Option<(Instant, Vec<Reading>)>,
    malformed: u64,
}

#[derive(Debug)]
enum Format {
    Jsonl,
    Csv(Table),
}

impl Replay {
    /// Opens the recording and, of a CSV file, reads the header.
    ///
    /// # Errors
    /// When it cannot be read, or is of no known format.
    pub fn open(config: &ReplayConfig) -> Result<Self, DriverError> {
        let path = &config.file;
        let is_csv = match path.extension().and_then(|extension| extension.to_str()) {
            Some("csv") => true,
            Some("jsonl") => false,
            _ => return Err(DriverError::Format(path.clone())),
        };
        let file = File::open(path).map_err(|source| read_error(path, source))?;
        let mut lines = Lines::new(BufReader::new(file), config.line_bytes_max);
        let format = match is_csv {
            true => Format::Csv(read_header(path, &mut lines, config.rows.clone())?),
            false => Format::Jsonl,
        };
        let path = path.clone();
        Ok(Self {
            path,
            lines,
            format,
            speed: config.speed,
            start: None,
            next: None,
            malformed: 0,
        })
    }

    /// Lines that were skipped because they could not be read as such.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Waits until the next line is due.
    pub(crate) async fn next(
        &mut self,
        readings: &mut Vec<Reading>,
    ) -> Result<Progress, DriverError> {
        let before = readings.len();
        while readings.len() - before < READINGS_MAX {
            if self.next.is_none() {
                self.next = self.read_message()?;
            }
            let Some((due, _)) = &self.next else {
                break;
            };
            if *due > Instant::now() {
                // What is due already goes first.
                if readings.len() > before {
                    return Ok(Progress::More);
                }
                tokio::time::sleep_until(*due).await;
            }
            readings.extend(
                self.next
                    .take()
                    .into_iter()
                    .flat_map(|(_, message)| message),
            );
        }
        match readings.len() == before {
            true => Ok(Progress::Ended),
            false => Ok(Progress::More),
        }
    }

    /// The next well-formed line's readings and when they are due; none at the end.
    fn read_message(&mut self) -> Result<Option<(Instant, Vec<Reading>)>, DriverError> {
        loop {
            let (number, result) = match self
                .lines
                .next()
                .map_err(|source| read_error(&self.path, source))?
            {
                None => return Ok(None),
                Some((number, Line::TooLong(bytes))) => {
                    (number, Err(format!("the line has more than {bytes} bytes")))
                }
                Some((_, Line::Text([]))) => continue,
                Some((number, Line::Text(text))) => (number, self.format.parse(text)),
            };
            match result {
                Ok(message) => {
                    let due = self.due(message.first().and_then(|reading| reading.time));
                    return Ok(Some((due, message)));
                }
                Err(reason) => self.skip(number, &reason),
            }
        }
    }

    /// When a message of recorded time `time` is due. One without a time, or from before the first, is due at once.
    fn due(&mut self, time: Option<WallTime>) -> Instant {
        let now = Instant::now();
        let Some(time) = time else {
            return now;
        };
        let (start, first) = *self.start.get_or_insert((now, time));
        let recorded = Duration::from_nanos(time.0.saturating_sub(first.0));
        start
            .checked_add(self.speed.due_after(recorded))
            .unwrap_or(start)
    }

    fn skip(&mut self, number: u64, reason: &str) {
        self.malformed = self.malformed.saturating_add(1);
        if self.malformed <= LOGGED_MAX {
            tracing::warn!(file = %self.path.display(), line = number, reason, "line skipped");
        }
    }
}

impl Format {
    fn parse(&mut self, line: &[u8]) -> Result<Vec<Reading>, String> {
        let text = std::str::from_utf8(line).map_err(|_| "the line is not UTF-8".to_owned())?;
        match self {
            Self::Jsonl => jsonl::parse(text).map(|reading| vec![reading]),
            Self::Csv(table) => table.parse(text),
        }
    }
}

fn read_header(
    path: &Path,
    lines: &mut Lines<BufReader<File>>,
    rows: RowShape,
) -> Result<Table, DriverError> {
    let header = match lines.next().map_err(|source| read_error(path, source))? {
        None => Err("the file is empty".to_owned()),
        Some((_, Line::TooLong(bytes))) => Err(format!("it has more than {bytes} bytes")),
        Some((_, Line::Text(text))) => match std::str::from_utf8(text) {
            Ok(text) => Table::new(text, rows),
            Err(_) => Err("it is not UTF-8".to_owned()),
        },
    };
    header.map_err(|reason| DriverError::Header {
        path: path.to_owned(),
        reason,
    })
}

fn read_error(path: &Path, source: std::io::Error) -> DriverError {
    DriverError::Read {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests;
