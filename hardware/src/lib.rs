//! Sensor drivers: what a gateway can read without a broker in between.
//!
//! A [`Driver`] yields [`Reading`]s when they are due. A driver without a reading says so by [`Quality::Bad`]; it never
//! makes a number up. Units are [UCUM](https://ucum.org) codes.
//!
//! # Layout
//! - [`driver`]: readings, and the closed set of drivers behind one `next`.
//! - [`host`]: this machine: processor, memory, disk, pressure, temperature.
//! - [`replay`]: a recording (CSV or JSON lines), with its own timing.
//!
//! [`Quality::Bad`]: tidegate_record::Quality::Bad

pub mod driver;
pub mod host;
pub mod replay;

pub use driver::{Driver, DriverConfig, DriverError, Progress, Reading};
pub use host::{Host, HostConfig};
pub use replay::{Replay, ReplayConfig, RowShape, Speed, SpeedError};
