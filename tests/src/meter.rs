//! Memory and processor time of a process, from `/proc`.

use std::time::Duration;

use anyhow::{Context, Result};

/// Memory of a process in KiB, with its share of what it shares (PSS).
///
/// # Errors
/// When there is no such process, or the kernel does not say.
pub fn pss_kib(process: u32) -> Result<u64> {
    memory_kib(process, "Pss:")
}

/// Memory of a process in KiB, with all of what it shares (RSS).
///
/// # Errors
/// When there is no such process, or the kernel does not say.
pub fn rss_kib(process: u32) -> Result<u64> {
    memory_kib(process, "Rss:")
}

fn memory_kib(process: u32, kind: &str) -> Result<u64> {
    let path = format!("/proc/{process}/smaps_rollup");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(kind))
        .with_context(|| format!("no {kind} in {path}"))?;
    line.trim()
        .trim_end_matches(" kB")
        .parse()
        .with_context(|| format!("malformed {kind} in {path}"))
}

/// Processor time that a process has used, in steps of 10 ms.
///
/// # Errors
/// When there is no such process.
pub fn cpu_time(process: u32) -> Result<Duration> {
    let path = format!("/proc/{process}/stat");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    // The second field is the program's name in brackets, which may contain anything; state is the field after it.
    let (_, after) = text
        .rsplit_once(')')
        .with_context(|| format!("malformed {path}"))?;
    let ticks: u64 = after
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Ok(Duration::from_millis(
        ticks * 1000 / rustix::param::clock_ticks_per_second(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_busy_process_uses_about_as_much_as_it_was_busy() {
        let me = std::process::id();
        let before = cpu_time(me).unwrap();
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(300) {
            std::hint::black_box(0);
        }
        assert!(cpu_time(me).unwrap() - before >= Duration::from_millis(50));
    }

    #[test]
    fn memory_that_is_written_shows() {
        let me = std::process::id();
        let before = pss_kib(me).unwrap();
        let block = vec![1_u8; 64 << 20];
        assert!(pss_kib(me).unwrap() >= before + (48 << 10));
        std::hint::black_box(block);
    }
}
