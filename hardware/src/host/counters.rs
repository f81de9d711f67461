//! Points that are the growth of a counter: processor use and disk traffic.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Point, float, read};
use crate::Reading;

/// Whole disks that are watched. More are ignored: a machine of this kind has a few.
const DISKS_MAX: usize = 16;
/// The unit in which the kernel counts disk traffic, whatever the disk's own sector size.
const SECTOR_BYTES: f64 = 512.0;

/// Share of processor time that was not idle, over all processors.
#[derive(Debug)]
pub(super) struct ProcessorUse {
    path: PathBuf,
    point: Point,
    last: Option<ProcessorTime>,
}

/// Processor time since boot, in ticks.
#[derive(Debug, Clone, Copy)]
struct ProcessorTime {
    idle: u64,
    total: u64,
}

impl ProcessorUse {
    pub(super) fn open(procfs: &Path) -> Self {
        let path = procfs.join("stat");
        let last = read(&path).as_deref().and_then(parse_stat);
        Self {
            path,
            point: Point::new("processor/use", "%"),
            last,
        }
    }

    pub(super) fn read(&mut self, readings: &mut Vec<Reading>) {
        let now = read(&self.path).as_deref().and_then(parse_stat);
        let used = match (self.last, now) {
            (Some(last), Some(now)) => share_used(last, now),
            _ => None,
        };
        self.last = now;
        readings.push(self.point.reading(used));
    }
}

/// Percent of the time between `last` and `now` that was not idle; none when no tick passed or a counter went back.
fn share_used(last: ProcessorTime, now: ProcessorTime) -> Option<f64> {
    let total = now
        .total
        .checked_sub(last.total)
        .filter(|ticks| *ticks > 0)?;
    let idle = now.idle.checked_sub(last.idle)?;
    Some(100.0 * float(total.checked_sub(idle)?) / float(total))
}

/// The first line: `cpu user nice system idle iowait irq softirq steal guest guest_nice`. Waiting for a disk is idle;
/// guest time is part of user time already.
fn parse_stat(text: &str) -> Option<ProcessorTime> {
    let mut fields = text
        .lines()
        .next()?
        .strip_prefix("cpu ")?
        .split_ascii_whitespace();
    let mut idle = 0_u64;
    let mut total = 0_u64;
    for position in 0..8 {
        let ticks: u64 = match fields.next() {
            Some(field) => field.parse().ok()?,
            // Kernels before 2.6.11 have fewer fields.
            None if position >= 4 => break,
            None => return None,
        };
        total = total.checked_add(ticks)?;
        if position == 3 || position == 4 {
            idle = idle.checked_add(ticks)?;
        }
    }
    Some(ProcessorTime { idle, total })
}

/// Bytes read and written per second, by disk.
#[derive(Debug)]
pub(super) struct DiskTraffic {
    path: PathBuf,
    disks: Vec<Disk>,
}

#[derive(Debug)]
struct Disk {
    name: String,
    read: Point,
    written: Point,
    last: Option<Sectors>,
}

/// Sectors since boot.
#[derive(Debug, Clone, Copy)]
struct Sectors {
    read: u64,
    written: u64,
}

impl DiskTraffic {
    /// Watches the whole disks that have been used; partitions, loops and RAM disks are left out.
    pub(super) fn open(procfs: &Path, sysfs: &Path) -> Self {
        let path = procfs.join("diskstats");
        let text = read(&path).unwrap_or_default();
        let disks = text
            .lines()
            .filter_map(parse_disk)
            .filter(|(name, sectors)| {
                is_whole_disk(sysfs, name) && sectors.read + sectors.written > 0
            })
            .take(DISKS_MAX)
            .map(|(name, sectors)| Disk {
                name: name.to_owned(),
                read: Point::new(&format!("disk/{name}/read"), "By/s"),
                written: Point::new(&format!("disk/{name}/written"), "By/s"),
                last: Some(sectors),
            })
            .collect();
        Self { path, disks }
    }

    pub(super) fn read(&mut self, elapsed: Duration, readings: &mut Vec<Reading>) {
        if self.disks.is_empty() {
            return;
        }
        let text = read(&self.path).unwrap_or_default();
        for disk in &mut self.disks {
            let mut found = text
                .lines()
                .filter_map(parse_disk)
                .filter(|(name, _)| *name == disk.name);
            let now = found.next().map(|(_, sectors)| sectors);
            let rate = |of: fn(Sectors) -> u64| {
                let grown = of(now?).checked_sub(of(disk.last?))?;
                Some(float(grown) * SECTOR_BYTES / elapsed.as_secs_f64())
            };
            readings.push(disk.read.reading(rate(|sectors| sectors.read)));
            readings.push(disk.written.reading(rate(|sectors| sectors.written)));
            disk.last = now;
        }
    }
}

/// A line: `major minor name reads merged sectors-read ms writes merged sectors-written …`.
fn parse_disk(line: &str) -> Option<(&str, Sectors)> {
    let mut fields = line.split_ascii_whitespace().skip(2);
    let name = fields.next()?;
    let read = fields.nth(2)?.parse().ok()?;
    let written = fields.nth(3)?.parse().ok()?;
    Some((name, Sectors { read, written }))
}

fn is_whole_disk(sysfs: &Path, name: &str) -> bool {
    let virtual_disk = ["loop", "ram", "zram"]
        .iter()
        .any(|kind| name.starts_with(kind));
    !virtual_disk && !name.contains('/') && sysfs.join("block").join(name).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_lines_have_no_value() {
        for bad in [
            "",
            "cpu",
            "cpu 1 2 3",
            "cpu  1 2 x 4",
            "cpu  18446744073709551615 1 1 1",
        ] {
            assert!(parse_stat(bad).is_none(), "{bad:?}");
        }
        for bad in ["", "8 0", "8 0 sda 1 2", "8 0 sda 1 2 x 4 5 6 7"] {
            assert!(parse_disk(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn no_time_between_two_readings_has_no_share() {
        let time = ProcessorTime { idle: 5, total: 9 };
        assert_eq!(share_used(time, time), None);
    }
}
