//! What the user sees: each step with the seconds since the start.

use std::io::{IsTerminal, Write, stdout};
use std::time::Instant;

/// A clock that speaks.
#[derive(Debug)]
pub(crate) struct Steps {
    start: Instant,
    live: bool,
}

impl Steps {
    /// Starts the clock.
    pub(crate) fn start() -> Self {
        Self {
            start: Instant::now(),
            live: stdout().is_terminal(),
        }
    }

    /// Prints a step.
    pub(crate) fn say(&self, text: &str) {
        let clear = if self.live { "\r\x1b[2K" } else { "" };
        println!(
            "{clear}[{:>6.1} s] {text}",
            self.start.elapsed().as_secs_f64()
        );
    }

    /// Shows a passing state in the last line; nothing where the output is a file.
    pub(crate) fn show(&self, text: &str) {
        if self.live {
            print!(
                "\r\x1b[2K[{:>6.1} s] {text}",
                self.start.elapsed().as_secs_f64()
            );
            let _shown_later = stdout().flush();
        }
    }

    /// Time since the start, for people.
    pub(crate) fn elapsed(&self) -> String {
        let seconds = self.start.elapsed().as_secs();
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    }
}
