//! Log lines of one module: bounded in rate and length, and harmless to a terminal.

use std::sync::Mutex;

use tidegate_record::{BootTime, Limits, Name};
use tracing::Level;

/// One second, in nanoseconds.
const SECOND_NS: u64 = 1_000_000_000;

/// Takes a module's log lines. Beyond the rate they are counted, and the count is logged with the next second's first.
#[derive(Debug)]
pub(crate) struct GuestLog {
    module: Name,
    lines_per_second: u32,
    line_bytes_max: usize,
    second: Mutex<Second>,
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
            second: Mutex::default(),
        }
    }

    /// Logs `text` as the module's words.
    pub(crate) fn line(&self, now: BootTime, level: Level, text: &str) {
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
    fn admit(&self, now: BootTime) -> Option<u64> {
        let mut second = self
            .second
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
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
        let log = GuestLog::new(
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
