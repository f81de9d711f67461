//! Byte budgets of a metered link.
//!
//! Each is a sum over the last hour, day or month that rolls on. The last tenth of each is for streams with alarms; when
//! one is spent, nothing goes until its oldest bytes have passed. Counting does not depend on a right wall clock, and
//! survives restarts: the file is written after the first exchange, and then whenever a hundredth of the smallest budget
//! was spent (at least 4 KiB, at most 256 KiB). What a kill can make the gateway forget is that much and one exchange;
//! with an interface named only a power cut can, because the kernel goes on counting.
//!
//! # Layout
//! - [`window`]: one rolling sum. [`age`]: the time that it rolls by. [`ledger`]: all sums, what they allow, and their
//!   file. [`meter`]: what is counted: an interface, or our own connections.

mod age;
mod ledger;
mod meter;
mod window;

use std::time::Duration;

pub use meter::{Meter, Report};
pub use window::Span;

/// The smallest budget: less does not hold one request and the handshake before it.
pub const BUDGET_BYTES_MIN: u64 = 64 << 10;

/// Bytes that may be spent by span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    /// Within an hour.
    pub hour: Option<u64>,
    /// Within a day.
    pub day: Option<u64>,
    /// Within 31 days.
    pub month: Option<u64>,
}

impl Bounds {
    /// The budget of a span.
    pub const fn of(&self, span: Span) -> Option<u64> {
        match span {
            Span::Hour => self.hour,
            Span::Day => self.day,
            Span::Month => self.month,
        }
    }

    fn each(&self) -> impl Iterator<Item = (Span, u64)> {
        Span::ALL
            .into_iter()
            .filter_map(|span| Some((span, self.of(span)?)))
    }
}

/// A budget as its operator wants it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BudgetConfig {
    /// What may be spent.
    pub bounds: Bounds,
    /// The network interface on which everything counts; without it, only what the uplink's own connections carry.
    pub interface: Option<String>,
}

/// What may be spent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grant {
    /// So many bytes, and exchanges that carry little so far apart.
    All { bytes: u64, spacing: Duration },
    /// The same, but for streams with alarms only, and until when.
    Alarms {
        bytes: u64,
        spacing: Duration,
        relief: Duration,
    },
    /// Nothing, for so long.
    Spent { relief: Duration },
}

impl Grant {
    /// Of a link that is not metered.
    pub(crate) const UNMETERED: Self = Self::All {
        bytes: u64::MAX,
        spacing: Duration::ZERO,
    };
}
