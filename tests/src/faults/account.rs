//! What was acknowledged, held against what the centre has.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::cloud::Cloud;
use crate::site::GATEWAY;

/// The stream of the journal, which keeps a row for each message.
pub const STREAM: &str = "journal";

/// What was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Account {
    /// Messages that the gateway acknowledged.
    pub acknowledged: u64,
    /// Of these, those that the centre has no row of and that no entry of the loss ledger explains.
    pub lost: u64,
    /// Rows beyond one of a message.
    pub doubled: u64,
    /// Numbers of the stream that neither a row nor the loss ledger covers.
    pub gaps: u64,
    /// Rows of messages that were never sent: their content was changed.
    pub wrong: u64,
    /// Rows that the loss ledger says are gone.
    pub explained: u64,
}

impl Account {
    /// Asks the centre for everything that it has of the journal.
    ///
    /// # Errors
    /// When its API does not answer as documented.
    pub fn of(acknowledged: &BTreeSet<u64>, published: u64, cloud: &Cloud) -> Result<Self> {
        let mut rows = Rows::default();
        cloud.rows(GATEWAY, STREAM, |row| rows.add(row))?;
        Ok(rows.account(acknowledged, published))
    }

    /// Both as one.
    pub const fn and(self, other: Self) -> Self {
        Self {
            acknowledged: self.acknowledged + other.acknowledged,
            lost: self.lost + other.lost,
            doubled: self.doubled + other.doubled,
            gaps: self.gaps + other.gaps,
            wrong: self.wrong + other.wrong,
            explained: self.explained + other.explained,
        }
    }

    /// Whether nothing is lost, doubled, wrong or unexplained. An account without messages proves nothing.
    pub fn holds(&self) -> bool {
        self.acknowledged > 0 && self.lost + self.doubled + self.gaps + self.wrong == 0
    }
}

/// What the centre has.
#[derive(Debug, Default)]
struct Rows {
    /// How often each message has a row.
    times: BTreeMap<u64, u64>,
    /// What rows and ledger cover of each epoch.
    covered: BTreeMap<(u64, String), BTreeSet<u64>>,
    explained: u64,
}

impl Rows {
    fn add(&mut self, row: &Value) -> Result<()> {
        let number = |pointer| row.pointer(pointer).and_then(Value::as_u64);
        let seq = number("/seq").with_context(|| format!("no seq in {row}"))?;
        let ordinal = number("/epoch/ordinal").with_context(|| format!("no epoch in {row}"))?;
        let random = row.pointer("/epoch/random").and_then(Value::as_str);
        let epoch = (ordinal, random.unwrap_or_default().to_owned());
        let from = number("/from").unwrap_or(seq);
        self.covered.entry(epoch).or_default().extend(from..=seq);
        if let Some(lost) = row.pointer("/lost") {
            self.explained += lost.pointer("/rows").and_then(Value::as_u64).unwrap_or(0);
        } else {
            // A row without a number is as wrong as one with a number that was never sent.
            *self
                .times
                .entry(number("/values/seq").unwrap_or(u64::MAX))
                .or_default() += 1;
        }
        Ok(())
    }

    fn account(&self, acknowledged: &BTreeSet<u64>, published: u64) -> Account {
        let missing = acknowledged
            .iter()
            .filter(|number| !self.times.contains_key(number));
        let of_ours = self.times.iter().filter(|(number, _)| **number < published);
        let wrong = self
            .times
            .iter()
            .filter(|(number, _)| **number >= published);
        let gaps = self.covered.values().map(|seqs| {
            let last = seqs.last().copied().unwrap_or(0);
            last - count(seqs.len())
        });
        Account {
            acknowledged: count(acknowledged.len()),
            lost: count(missing.count()).saturating_sub(self.explained),
            doubled: of_ours.map(|(_, times)| times.saturating_sub(1)).sum(),
            gaps: gaps.sum(),
            wrong: wrong.map(|(_, times)| times).sum(),
            explained: self.explained,
        }
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(ordinal: u64, seq: u64, number: u64) -> Value {
        json!({"epoch": {"ordinal": ordinal, "random": "7"}, "seq": seq, "values": {"seq": number}})
    }

    fn account(rows: &[Value], acknowledged: &[u64], published: u64) -> Account {
        let mut all = Rows::default();
        rows.iter().for_each(|row| all.add(row).unwrap());
        all.account(&acknowledged.iter().copied().collect(), published)
    }

    #[test]
    fn each_kind_of_fault_is_told_apart() {
        let whole = [row(1, 1, 0), row(1, 2, 1), row(2, 1, 2)];
        let good = account(&whole, &[0, 1, 2], 3);
        assert!(good.holds() && good.acknowledged == 3);
        assert!(
            account(&whole, &[0], 3).holds(),
            "what was not acknowledged may be there"
        );
        assert_eq!(account(&whole, &[0, 1, 2, 3], 4).lost, 1);
        assert_eq!(account(&whole, &[0, 1], 2).wrong, 1);
        let doubled = [row(1, 1, 0), row(2, 1, 0)];
        assert_eq!(account(&doubled, &[0], 1).doubled, 1);
        let gap = [row(1, 1, 0), row(1, 3, 1)];
        assert_eq!(account(&gap, &[0, 1], 2).gaps, 1);
        assert!(!account(&[], &[], 0).holds());
    }

    #[test]
    fn the_ledger_explains_what_is_missing_and_no_more() {
        let entry = json!({"epoch": {"ordinal": 1, "random": "7"}, "from": 2, "seq": 3, "lost": {"rows": 2}});
        let rows = [row(1, 1, 0), entry, row(1, 4, 3)];
        assert!(account(&rows, &[0, 1, 2, 3], 4).holds());
        assert_eq!(account(&rows, &[0, 1, 2, 3, 4], 5).lost, 1);
    }
}
