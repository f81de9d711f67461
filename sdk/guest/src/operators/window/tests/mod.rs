//! The promises of windows, on the test host.

mod clocks;
mod cuts;
mod hopping;
mod late;
mod sliding;
mod tumbling;

use std::time::Duration;

use crate::message::{ClockQuality, Message};
use crate::outcome::{Row, Scalar, Values};
use crate::testing::{Host, START};
use crate::time::WallTime;
use crate::{Content, Moments, Processor, Window};

#[crate::window(tumbling = "10s")]
fn moments(window: &Window<Moments>) -> Values {
    values(window)
}

mod hops {
    use super::*;

    #[crate::window(hopping = "30s", every = "10s")]
    pub(super) fn moments(window: &Window<Moments>) -> Values {
        values(window)
    }
}

mod slides {
    use super::*;

    #[crate::window(sliding = "30s", every = "10s")]
    pub(super) fn moments(window: &Window<Moments>) -> Values {
        values(window)
    }
}

fn values(window: &Window<Moments>) -> Values {
    Values::new()
        .with("count", window.aggregate.count())
        .with("mean", window.aggregate.mean().unwrap())
}

fn host<P: Processor>() -> Host<P> {
    Host::new().config("output.stream", "summaries")
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A message to which the device gave this time, received now.
fn device<P: Processor>(host: &Host<P>, time: WallTime) -> Message {
    let mut message = host.message("press-7", 1.0).at(time);
    message.clock = ClockQuality::Device;
    message
}

fn send_at<P: Processor>(host: &mut Host<P>, time: WallTime) -> Result<(), crate::Fault> {
    let message = device(host, time);
    host.send_batch(vec![message])
}

fn value<'a>(row: &'a Row, name: &str) -> Option<&'a Scalar> {
    let Content::Values(values) = &row.content else {
        panic!("no values")
    };
    let found = values.0.iter().find(|(found, _)| found == name);
    found.map(|(_, value)| value)
}

fn count(row: &Row) -> i64 {
    let Some(Scalar::Integer(count)) = value(row, "count") else {
        panic!("no count")
    };
    *count
}

fn is_correction(row: &Row) -> bool {
    value(row, "correction") == Some(&Scalar::Boolean(true))
}

fn counts<P: Processor>(host: &Host<P>) -> Vec<i64> {
    host.kept().into_iter().map(count).collect()
}

/// Seconds from the start of the test to the end of each window, and its count.
fn ends<P: Processor>(host: &Host<P>) -> Vec<(u64, i64)> {
    let end = |row: &Row| row.time.plus(row.duration).since(START).as_secs();
    let rows = host.kept();
    rows.into_iter().map(|row| (end(row), count(row))).collect()
}

fn reasons<P: Processor>(host: &Host<P>) -> Vec<&str> {
    let rejected = host.rejected().iter();
    rejected.map(|(_, reason)| reason.as_str()).collect()
}
