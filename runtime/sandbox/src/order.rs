//! What the update client asks of a module's task, and what it hears of it.

use tidegate_record::Name;

use crate::module::Module;
use crate::trial::Terms;

/// Done between two calls of the module. What can be said of it comes as a [`Report`].
#[derive(Debug)]
pub enum Order {
    /// Run this generation beside the active one, from a copy of its state, without effect. A trial under way ends.
    Try(Box<Module>, Terms),
    /// End the trial.
    EndTrial,
    /// Make this generation the active one. It is the one on trial, or else is given here and begins with a copy of the state.
    Activate(u64, Option<Box<Module>>),
    /// Make the one that stands by the active one again.
    Return,
    /// End the one that stands by.
    Settle,
}

/// What has become of a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The module.
    pub module: Name,
    /// Its generation.
    pub generation: u64,
    /// What has become of it.
    pub news: News,
}

/// What has become of a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// It has done well on trial.
    Passed,
    /// It has answered otherwise on trial, or taken too much. In words.
    Rejected(String),
    /// It trapped, hung, or refused what the one before took. In words. If it was active, the one before is again.
    Faulted(String),
    /// It is active, and that is on disk.
    Activated,
    /// It cannot become active here: nothing is on trial, or stands by.
    Missing,
}
