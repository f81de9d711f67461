//! What a driver yields, and the closed set of drivers.

use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;
use tidegate_record::{Body, Quality, WallTime};

use crate::{Host, HostConfig, Replay, ReplayConfig};

/// One value or message of a driver.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The point that was read, such as `memory/available`; the topic of a recorded message.
    pub point: Arc<str>,
    /// UCUM code of a scalar; none where the payload says it.
    pub unit: Option<Arc<str>>,
    /// What was read. A bad reading is `Number(NaN)`.
    pub body: Body,
    /// How far to trust it.
    pub quality: Quality,
    /// When the device took it; none means now.
    pub time: Option<WallTime>,
}

/// Which driver, with its settings.
#[derive(Debug, Clone)]
pub enum DriverConfig {
    /// This machine.
    Host(HostConfig),
    /// A recording.
    Replay(ReplayConfig),
}

/// Whether a driver has more to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// More readings may come.
    More,
    /// The recording is at its end.
    Ended,
}

/// An open driver.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "a gateway has a few drivers, each in a task of its own"
)]
pub enum Driver {
    /// This machine.
    Host(Host),
    /// A recording.
    Replay(Replay),
}

impl Driver {
    /// Opens the driver that `config` asks for.
    ///
    /// # Errors
    /// When its files cannot be read or are not what they should be.
    pub fn open(config: &DriverConfig) -> Result<Self, DriverError> {
        match config {
            DriverConfig::Host(config) => Host::open(config).map(Self::Host),
            DriverConfig::Replay(config) => Replay::open(config).map(Self::Replay),
        }
    }

    /// Waits until readings are due and appends them to `readings`. May be dropped while it waits: nothing is lost.
    ///
    /// # Errors
    /// When the source failed for good; a single bad reading or row is not an error.
    pub async fn next(&mut self, readings: &mut Vec<Reading>) -> Result<Progress, DriverError> {
        match self {
            Self::Host(host) => {
                host.next(readings).await;
                Ok(Progress::More)
            }
            Self::Replay(replay) => replay.next(readings).await,
        }
    }

    /// Rows of a recording that were skipped because they could not be read as such.
    pub fn malformed(&self) -> u64 {
        match self {
            Self::Host(_) => 0,
            Self::Replay(replay) => replay.malformed(),
        }
    }
}

/// Why a driver cannot be opened or go on.
#[derive(Debug, Error)]
pub enum DriverError {
    /// A file cannot be opened or read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A recording's name says no known format.
    #[error("{0} is no recording: its name must end in .csv or .jsonl")]
    Format(PathBuf),
    /// The first line of a CSV file is no header.
    #[error("{path} has no usable header line: {reason}")]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}
