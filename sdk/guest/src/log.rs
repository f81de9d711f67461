//! Lines for the operator, in the gateway's log under the module's name. The host bounds their rate and length.

use crate::host;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Every step.
    Trace,
    /// For the module's author.
    Debug,
    /// A change that an operator may want to know.
    Info,
    /// Something is not as it should be, and the module goes on.
    Warn,
    /// The module could not do its work.
    Error,
    /// Someone must act now.
    Critical,
}

/// Writes a line. `context` is the part of the module that writes it, such as `module_path!()`.
pub fn log(level: Level, context: &str, message: &str) {
    host::log(level, context, message);
}

/// Writes a line at [`Level::Debug`], formatted like `format!`.
#[macro_export]
macro_rules! debug {
    ($($format:tt)+) => { $crate::log::log($crate::log::Level::Debug, module_path!(), &format!($($format)+)) };
}

/// Writes a line at [`Level::Info`], formatted like `format!`.
#[macro_export]
macro_rules! info {
    ($($format:tt)+) => { $crate::log::log($crate::log::Level::Info, module_path!(), &format!($($format)+)) };
}

/// Writes a line at [`Level::Warn`], formatted like `format!`.
#[macro_export]
macro_rules! warn {
    ($($format:tt)+) => { $crate::log::log($crate::log::Level::Warn, module_path!(), &format!($($format)+)) };
}

/// Writes a line at [`Level::Error`], formatted like `format!`.
#[macro_export]
macro_rules! error {
    ($($format:tt)+) => { $crate::log::log($crate::log::Level::Error, module_path!(), &format!($($format)+)) };
}
