//! The gateway's fsyncs, as the kernel saw them, and the proof that acks wait for them.
//!
//! A message may be acknowledged only after a commit that includes it, so between the moment before the message went in
//! and the moment after its PUBACK came out lies one whole fsync of the database's log. An ack that does not wait for its
//! commit has, sooner or later, no such fsync.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::tap::Passage;

/// One fsync, in time since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fsync {
    /// The call was entered.
    pub begin: Duration,
    /// The call returned.
    pub end: Duration,
}

/// The successful fsyncs of the files whose name ends with `suffix`, from a file that strace wrote with
/// `-f -y -ttt -T`.
///
/// # Errors
/// When the file cannot be read.
pub fn fsyncs(file: &Path, suffix: &str) -> Result<Vec<Fsync>> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut found = parse(&text, suffix);
    found.sort_unstable();
    Ok(found)
}

fn parse(text: &str, suffix: &str) -> Vec<Fsync> {
    let path_end = format!("{suffix}>");
    let mut unfinished: HashMap<&str, Duration> = HashMap::new();
    let mut found = Vec::new();
    for line in text.lines() {
        let mut fields = line.split_whitespace();
        let (Some(thread), Some(time)) = (fields.next(), fields.next()) else {
            continue;
        };
        let Some(time) = seconds(time) else { continue };
        let resumed = line.contains("resumed>");
        if !resumed && !line.contains(&path_end) {
            continue;
        }
        if line.contains("<unfinished") {
            unfinished.insert(thread, time);
            continue;
        }
        let begin = if resumed {
            unfinished.remove(thread)
        } else {
            Some(time)
        };
        let took = line
            .rsplit_once('<')
            .and_then(|(_, took)| seconds(took.trim_end_matches('>')));
        let succeeded = line.contains(" = 0 ");
        if let (Some(begin), Some(took), true) = (begin, took, succeeded) {
            found.push(Fsync {
                begin,
                end: begin + took,
            });
        }
    }
    found
}

fn seconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.parse().ok()?).ok()
}

/// What the trace says about the acks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Acknowledged messages.
    pub acknowledged: usize,
    /// Fsyncs.
    pub fsyncs: usize,
    /// Acknowledged messages without a whole fsync between message and receipt.
    pub too_early: usize,
}

impl Verdict {
    /// Whether every ack waited for a commit. A trace without acks or fsyncs proves nothing.
    pub fn holds(&self) -> bool {
        self.too_early == 0 && self.acknowledged > 0 && self.fsyncs > 0
    }
}

/// Looks for a whole fsync between each message and its receipt. `fsyncs` are sorted and do not overlap, because the
/// database has one writer.
pub fn judge(passages: &[Passage], fsyncs: &[Fsync]) -> Verdict {
    let covered = |passage: &Passage| {
        let after = fsyncs.partition_point(|fsync| fsync.begin < passage.message);
        fsyncs
            .get(after)
            .is_some_and(|fsync| fsync.end <= passage.receipt)
    };
    let too_early = passages.iter().filter(|passage| !covered(passage)).count();
    Verdict {
        acknowledged: passages.len(),
        fsyncs: fsyncs.len(),
        too_early,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "\
100 1000.000100 fdatasync(7</s/tidegate.db-wal>) = 0 <0.000050>
101 1000.000200 fsync(9</s/other>) = 0 <0.000010>
100 1000.000300 fdatasync(7</s/tidegate.db-wal> <unfinished ...>
101 1000.000310 fsync(9</s/other> <unfinished ...>
100 1000.000400 <... fdatasync resumed>) = 0 <0.000100>
101 1000.000410 <... fsync resumed>)       = 0 <0.000100>
100 1000.000500 fdatasync(7</s/tidegate.db-wal>) = -1 EIO (Input/output error) <0.000050>
100 1000.000600 fdatasync(7</s/tidegate.db-wal> <unfinished ...>
100 1000.000650 +++ killed by SIGKILL +++
";

    fn micros(from_1000_s: u64) -> Duration {
        Duration::from_secs(1000) + Duration::from_micros(from_1000_s)
    }

    fn passage(message: u64, receipt: u64) -> Passage {
        Passage {
            id: 1,
            message: micros(message),
            receipt: micros(receipt),
        }
    }

    fn rounded(fsync: &Fsync) -> (u128, u128) {
        let micros = |time: Duration| (time.as_nanos() + 500) / 1000 - 1_000_000_000;
        (micros(fsync.begin), micros(fsync.end))
    }

    #[test]
    fn only_whole_and_successful_fsyncs_of_the_file_count() {
        let found = parse(TRACE, "-wal");
        assert_eq!(
            found.iter().map(rounded).collect::<Vec<_>>(),
            [(100, 150), (300, 400)]
        );
    }

    #[test]
    fn an_ack_needs_a_whole_fsync_after_its_message() {
        let fsyncs: Vec<_> = [(100, 150), (300, 400)]
            .map(|(begin, end)| Fsync {
                begin: micros(begin),
                end: micros(end),
            })
            .into();
        for (message, receipt, holds) in [
            (90, 160, true),
            (110, 160, false),
            (110, 390, false),
            (110, 401, true),
            (350, 900, false),
            (90, 140, false),
        ] {
            assert_eq!(
                judge(&[passage(message, receipt)], &fsyncs).holds(),
                holds,
                "{message} to {receipt}"
            );
        }
    }

    #[test]
    fn an_empty_trace_proves_nothing() {
        assert!(!judge(&[], &[]).holds());
        assert!(!judge(&[passage(1, 2)], &[]).holds());
    }
}
