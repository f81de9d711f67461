//! What rows, summaries and ledger entries add up to, against what went in.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::cloud::Cloud;
use crate::site::GATEWAY;

/// The least and the greatest of some numbers, and how many there are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bounds {
    least: f64,
    greatest: f64,
    count: u64,
}

impl Bounds {
    pub(super) const NONE: Self = Self {
        least: f64::INFINITY,
        greatest: f64::NEG_INFINITY,
        count: 0,
    };

    pub(super) const fn add(&mut self, least: f64, greatest: f64, count: u64) {
        self.least = self.least.min(least);
        self.greatest = self.greatest.max(greatest);
        self.count += count;
    }
}

/// What went in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Input {
    pub(super) records: u64,
    pub(super) numbers: Bounds,
    pub(super) values: Bounds,
}

/// What came out.
#[derive(Debug)]
pub(super) struct Sum {
    pub(super) whole: u64,
    /// Records that summaries stand for, and how many summaries there are.
    pub(super) thinned: u64,
    pub(super) summaries: u64,
    /// Records that entries of the ledger stand for.
    pub(super) lost: u64,
    pub(super) numbers: Bounds,
    pub(super) values: Bounds,
    /// Numbers of an epoch that nothing covers.
    pub(super) gaps: u64,
}

impl Sum {
    /// Adds up everything that the centre has of a stream.
    pub(super) fn of(cloud: &Cloud, stream: &str) -> Result<Self> {
        let mut sum = Self {
            whole: 0,
            thinned: 0,
            summaries: 0,
            lost: 0,
            numbers: Bounds::NONE,
            values: Bounds::NONE,
            gaps: 0,
        };
        let mut last = (Value::Null, 0);
        cloud.rows(GATEWAY, stream, |row| {
            let number = |name| row.get(name).and_then(Value::as_u64);
            let seq = number("seq").with_context(|| format!("no seq in {row}"))?;
            let from = number("from").unwrap_or(seq);
            let epoch = row.get("epoch").cloned().unwrap_or_default();
            let before = if epoch == last.0 { last.1 } else { 0 };
            sum.gaps += from.saturating_sub(before + 1);
            last = (epoch, seq);
            sum.add(row)
        })?;
        Ok(sum)
    }

    pub(super) const fn records(&self) -> u64 {
        self.whole + self.thinned + self.lost
    }

    fn add(&mut self, row: &Value) -> Result<()> {
        let rows = |pointer| row.pointer(pointer).and_then(Value::as_u64);
        if let Some(rows) = rows("/thinned/rows") {
            self.thinned += rows;
            self.summaries += 1;
        } else if let Some(rows) = rows("/lost/rows") {
            self.lost += rows;
        } else {
            self.whole += 1;
        }
        for (name, bounds) in [("seq", &mut self.numbers), ("value", &mut self.values)] {
            let (least, greatest, count) =
                told(row, name).with_context(|| format!("no {name} in {row}"))?;
            bounds.add(least, greatest, count);
        }
        Ok(())
    }
}

/// What a row says of a value.
fn told(row: &Value, name: &str) -> Option<(f64, f64, u64)> {
    if let Some(value) = row.pointer(&format!("/values/{name}")) {
        return Some((value.as_f64()?, value.as_f64()?, 1));
    }
    let thinned = row.pointer(&format!("/thinned/values/{name}/numbers"));
    let bounds = thinned.or_else(|| row.pointer(&format!("/lost/values/{name}")))?;
    let number = |name| bounds.get(name).and_then(Value::as_f64);
    let count = bounds.get("count").and_then(Value::as_u64)?;
    Some((number("min")?, number("max")?, count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_a_summary_and_an_entry_say_the_same_of_a_value() {
        let rows = [
            (json!({"values": {"value": 2.5}}), (2.5, 2.5, 1)),
            (
                json!({"thinned": {"rows": 3, "values": {"value": {"count": 3, "numbers": {"count": 3, "min": 1.0, "max": 4.0}}}}}),
                (1.0, 4.0, 3),
            ),
            (
                json!({"lost": {"rows": 2, "values": {"value": {"count": 2, "min": 0.5, "max": 9.0}}}}),
                (0.5, 9.0, 2),
            ),
        ];
        for (row, expected) in rows {
            assert_eq!(told(&row, "value"), Some(expected), "{row}");
            assert_eq!(told(&row, "other"), None);
        }
    }
}
