//! The fault drills: the product is hurt on purpose, many times, and counted from outside.
//!
//! Every drill has the same three parts. A broker gives numbered messages to a gateway that keeps one row for each; a tap
//! between them, outside of the gateway, notes which were *acknowledged*. Then something goes wrong, at moments that a
//! seed decides. In the end the centre's table is asked: an acknowledged message without a row is *lost*, a message with
//! two is *doubled*, a number of a stream that neither a row nor the loss ledger covers is an *unexplained gap*.
//!
//! Every drill is also run with a *negative control*, in which the promise is broken on purpose. It must find fault with
//! that, or it proves nothing.
//!
//! # Layout
//! - [`scene`]: broker, tap, gateway, link and centre, under load. [`source`]: the load. [`account`]: what is counted.
//! - [`preload`]: faults of the machine under an unchanged gateway.
//! - [`kills`]: killed at any time, under load and in a backlog. [`points`]: killed at named points of a commit. [`store`]: killed with
//!   much on disk.
//! - [`power`]: the power cut, in a guest of User-Mode Linux (`src/bin/power_guest.rs` is what runs there).
//! - [`updates`]: deployments that go wrong, and kills in the middle of them. [`update_points`]: killed, or with a bad disk, at
//!   every step of one. [`update_power`]: the power cut during one.
//! - [`links`], [`disk`], [`broker`], [`clock`], [`corrupt`]: the other drills.

pub mod account;
pub mod broker;
pub mod clock;
pub mod corrupt;
pub mod disk;
pub mod kills;
pub mod links;
pub mod points;
pub mod power;
pub mod preload;
pub mod scene;
pub mod source;
pub mod store;
pub mod update_points;
pub mod update_power;
pub mod updates;

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::binaries::Binaries;
use account::Account;

/// How a drill is to be run.
pub struct Run<'a> {
    /// How often something goes wrong.
    pub count: u32,
    /// MiB in the store of the drill for which its size matters.
    pub store_mib: u64,
    /// Decides what and when.
    pub seed: u64,
    /// Whether this is the negative control.
    pub control: bool,
    /// The product.
    pub binaries: &'a Binaries,
    /// Folder for everything; it exists.
    pub directory: &'a Path,
    /// Is told of each fault.
    pub say: &'a mut dyn FnMut(&str),
}

impl std::fmt::Debug for Run<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run")
            .field("count", &self.count)
            .field("seed", &self.seed)
            .field("control", &self.control)
            .finish_non_exhaustive()
    }
}

impl Run<'_> {
    /// A part of it, in a folder of its own.
    fn part<'p>(&'p mut self, count: u32, seed: u64, directory: &'p Path) -> Run<'p> {
        Run {
            count,
            store_mib: self.store_mib,
            seed,
            control: self.control,
            binaries: self.binaries,
            directory,
            say: self.say,
        }
    }
}

/// A drill. Its errors are its own; what it finds is in the report.
pub type Drill = fn(&mut Run<'_>) -> Result<Report>;

/// All drills, by name and what the table calls them.
pub const DRILLS: [(&str, Drill); 12] = [
    ("kills", kills::drill),
    ("kill points", points::drill),
    ("kills, large store", store::drill),
    ("links", links::drill),
    ("disk", disk::drill),
    ("broker", broker::drill),
    ("clock", clock::drill),
    ("corrupt", corrupt::drill),
    ("power cuts", power::drill),
    ("updates", updates::drill),
    ("update points", update_points::drill),
    ("update power cuts", update_power::drill),
];

/// What a drill found: a line of the table.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// How often something went wrong.
    pub tried: u32,
    /// What was counted.
    pub account: Account,
    /// Acknowledgements that left before their fsync, where that was traced.
    pub early: usize,
    /// Gateways that came back with neither the old set nor the new one whole, or gave up an update that they had taken.
    pub stranded: u32,
    /// The longest time from the start of a hurt gateway to its first acknowledgement or to being ready.
    pub recovery: Duration,
    /// What else was wrong, in a sentence each.
    pub problems: Vec<String>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
}

impl Report {
    /// Whether nothing was lost or doubled or left unexplained. A drill in which nothing happened proves nothing.
    pub fn holds(&self) -> bool {
        let unharmed = self.early == 0 && self.stranded == 0 && self.problems.is_empty();
        self.account.holds() && unharmed && self.tried > 0
    }

    /// Whether a drill that must find fault has found messages lost or doubled, or acknowledged too early: those a kill
    /// would have lost at another moment. Or gateways that were left without what they are to run.
    pub const fn caught(&self) -> bool {
        self.account.lost + self.account.doubled + self.account.gaps > 0
            || self.early > 0
            || self.stranded > 0
    }

    /// Both as one.
    pub fn and(mut self, other: Self) -> Self {
        self.tried += other.tried;
        self.account = self.account.and(other.account);
        self.early += other.early;
        self.stranded += other.stranded;
        self.recovery = self.recovery.max(other.recovery);
        self.problems.extend(other.problems);
        self.notes.extend(other.notes);
        self
    }

    /// The columns of the table, after the first.
    pub fn columns(&self) -> [String; 6] {
        let Account {
            acknowledged,
            lost,
            doubled,
            gaps,
            ..
        } = self.account;
        let seconds = format!("{:.2} s", self.recovery.as_secs_f64());
        [
            self.tried.to_string(),
            acknowledged.to_string(),
            lost.to_string(),
            doubled.to_string(),
            gaps.to_string(),
            if self.recovery.is_zero() {
                "-".to_owned()
            } else {
                seconds
            },
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drill_in_which_nothing_happened_proves_nothing() {
        assert!(!Report::default().holds() && !Report::default().caught());
        let account = Account {
            acknowledged: 10,
            ..Account::default()
        };
        let mut report = Report {
            tried: 1,
            account,
            ..Report::default()
        };
        assert!(report.holds() && !report.caught());
        report.problems.push("it did not start".to_owned());
        assert!(!report.holds());
        report.problems.clear();
        report.account.doubled = 1;
        assert!(!report.holds() && report.caught());
    }
}
