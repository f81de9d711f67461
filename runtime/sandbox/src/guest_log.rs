//! Log lines of one module: bounded in number where the guest runs, in rate where they are printed, in length at both,
//! and harmless to a terminal.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tidegate_record::{BootTime, Limits, Name};
use tracing::Level;

use crate::guest::Bounds;

/// One second, in nanoseconds.
const SECOND_NS: u64 = 1_000_000_000;

/// What a guest says during a call.
#[derive(Debug)]
pub(crate) struct Lines {
    said: Mutex<Said>,
    lines_max: usize,
    line_bytes_max: usize,
}

/// What a guest said during a call.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) lines: Vec<(Level, String)>,
    /// Lines beyond the bound.
    pub(crate) dropped: u64,
}

impl Lines {
    pub(crate) fn new(bounds: &Bounds) -> Self {
        Self {
            said: Mutex::default(),
            lines_max: usize::try_from(bounds.log_lines_max).unwrap_or(usize::MAX),
            line_bytes_max: bounds.log_line_bytes_max,
        }
    }

    pub(crate) fn add(&self, level: Level, text: &str) {
        let mut said = self.locked();
        match said.lines.len() < self.lines_max {
            true => said
                .lines
                .push((level, harmless(text, self.line_bytes_max))),
            false => said.dropped += 1,
        }
    }

    /// What was said since it was last asked.
    pub(crate) fn take(&self) -> Said {
        std::mem::take(&mut *self.locked())
    }

    fn locked(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a module's log lines. Beyond the rate they are counted, and the count is logged with the next second's first.
#[derive(Debug)]
pub(crate) struct GuestLog {
    module: Name,
    lines_per_second: u32,
    line_bytes_max: usize,
    second: Second,
}

#[derive(Debug, Default)]
struct Second {
    started: u64,
    lines: u32,
    dropped: u64,
}

impl GuestLog {
    pub(crate) fn new(module: Name, limits: &Limits) -> Self {
        Self {
            module,
            lines_per_second: limits.log_lines_per_second,
            line_bytes_max: limits.log_line_bytes_max,
            second: Second::default(),
        }
    }

    /// Prints what the module said in a call at `now`.
    pub(crate) fn print(&mut self, now: BootTime, said: Said) {
        for (level, text) in &said.lines {
            self.line(now, *level, text);
        }
        self.second.dropped += said.dropped;
    }

    fn line(&mut self, now: BootTime, level: Level, text: &str) {
        let dropped = match self.admit(now) {
            Some(dropped) => dropped,
            None => return,
        };
        if dropped > 0 {
            tracing::warn!(module = %self.module, "dropped {dropped} log lines, limit is {} a second", self.lines_per_second);
        }
        let text = harmless(text, self.line_bytes_max);
        match level {
            Level::ERROR => tracing::error!(module = %self.module, "{text}"),
            Level::WARN => tracing::warn!(module = %self.module, "{text}"),
            Level::INFO => tracing::info!(module = %self.module, "{text}"),
            Level::DEBUG => tracing::debug!(module = %self.module, "{text}"),
            Level::TRACE => tracing::trace!(module = %self.module, "{text}"),
        }
    }

    /// None when the line is over the rate; else how many were dropped before it.
    fn admit(&mut self, now: BootTime) -> Option<u64> {
        let second = &mut self.second;
        if now.0.saturating_sub(second.started) >= SECOND_NS {
            let dropped = second.dropped;
            *second = Second {
                started: now.0,
                lines: 1,
                dropped: 0,
            };
            return Some(dropped);
        }
        if second.lines >= self.lines_per_second {
            second.dropped += 1;
            return None;
        }
        second.lines += 1;
        Some(0)
    }
}

/// One line without control characters (an escape sequence could rewrite the operator's terminal), cut at `bytes_max`.
fn harmless(text: &str, bytes_max: usize) -> String {
    let mut line = String::with_capacity(text.len().min(bytes_max));
    for character in text.chars() {
        if line.len() + character.len_utf8() > bytes_max {
            line.push('…');
            break;
        }
        match character.is_control() {
            true => line.extend(character.escape_default()),
            false => line.push(character),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_and_line_breaks_are_shown_not_obeyed() {
        assert_eq!(
            harmless("\u{1b}[2Jdone\nERROR fake", 100),
            "\\u{1b}[2Jdone\\nERROR fake"
        );
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        assert_eq!(harmless("aéé", 3), "aé…");
    }

    #[test]
    fn a_flood_is_dropped_and_counted() {
        let mut log = GuestLog::new(
            Name::new("m").unwrap(),
            &Limits {
                log_lines_per_second: 2,
                ..Limits::DEFAULT
            },
        );
        let admitted: Vec<_> = (0..5).map(|_| log.admit(BootTime(SECOND_NS))).collect();
        assert_eq!(admitted, [Some(0), Some(0), None, None, None]);
        assert_eq!(log.admit(BootTime(2 * SECOND_NS)), Some(3));
    }
}
