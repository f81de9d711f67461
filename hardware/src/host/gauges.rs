//! Points that are read as they are: load, memory, disk space, pressure, temperature, uptime.

use std::path::PathBuf;

use super::{HostConfig, Point, float, read};
use crate::Reading;

/// Thermal zones that are read. More are ignored: boards have a few, and each costs a file.
const ZONES_MAX: usize = 16;

/// Every gauge that this machine has.
#[derive(Debug)]
pub(super) struct Gauges {
    load: (PathBuf, [Point; 3]),
    memory: (PathBuf, [(&'static str, Point); 4]),
    uptime: (PathBuf, Point),
    disk: (PathBuf, Point, Point),
    pressure: Vec<(PathBuf, &'static str, Point)>,
    temperature: Vec<(PathBuf, Point)>,
}

impl Gauges {
    pub(super) fn open(config: &HostConfig) -> Self {
        let load = [
            "processor/load-1m",
            "processor/load-5m",
            "processor/load-15m",
        ];
        let memory = [
            ("MemTotal:", Point::new("memory/total", "By")),
            ("MemAvailable:", Point::new("memory/available", "By")),
            ("SwapTotal:", Point::new("memory/swap-total", "By")),
            ("SwapFree:", Point::new("memory/swap-free", "By")),
        ];
        Self {
            load: (
                config.procfs.join("loadavg"),
                load.map(|name| Point::new(name, "1")),
            ),
            memory: (config.procfs.join("meminfo"), memory),
            uptime: (config.procfs.join("uptime"), Point::new("uptime", "s")),
            disk: (
                config.disk.clone(),
                Point::new("disk/space-total", "By"),
                Point::new("disk/space-available", "By"),
            ),
            pressure: pressure_points(config),
            temperature: temperature_points(config),
        }
    }

    pub(super) fn read(&self, readings: &mut Vec<Reading>) {
        let (path, points) = &self.load;
        let text = read(path).unwrap_or_default();
        for (point, field) in points.iter().zip(
            text.split_ascii_whitespace()
                .map(Some)
                .chain(std::iter::repeat(None)),
        ) {
            readings.push(point.reading(field.and_then(|value| value.parse().ok())));
        }
        let (path, points) = &self.memory;
        let text = read(path).unwrap_or_default();
        for (key, point) in points {
            readings.push(point.reading(memory_bytes(&text, key)));
        }
        let (path, point) = &self.uptime;
        readings
            .push(point.reading(read(path).and_then(|text| text.split(' ').next()?.parse().ok())));
        let (path, total, available) = &self.disk;
        let space = rustix::fs::statvfs(path).ok();
        readings.push(
            total.reading(
                space
                    .as_ref()
                    .map(|s| float(s.f_blocks) * float(s.f_frsize)),
            ),
        );
        readings.push(
            available.reading(
                space
                    .as_ref()
                    .map(|s| float(s.f_bavail) * float(s.f_frsize)),
            ),
        );
        for (path, line, point) in &self.pressure {
            readings.push(point.reading(read(path).and_then(|text| stalled_percent(&text, line))));
        }
        for (path, point) in &self.temperature {
            readings.push(point.reading(read(path).and_then(|text| celsius(&text))));
        }
    }
}

/// `some` and, where the kernel has it, `full` stall of each resource.
fn pressure_points(config: &HostConfig) -> Vec<(PathBuf, &'static str, Point)> {
    let mut points = Vec::new();
    for resource in ["cpu", "memory", "io"] {
        let path = config.procfs.join("pressure").join(resource);
        let text = read(&path).unwrap_or_default();
        for line in ["some", "full"] {
            // For the processor as a whole "full" is always 0.
            if stalled_percent(&text, line).is_some() && (resource, line) != ("cpu", "full") {
                points.push((
                    path.clone(),
                    line,
                    Point::new(&format!("pressure/{resource}/{line}"), "%"),
                ));
            }
        }
    }
    points
}

/// Each thermal zone by its type; a second zone of one type also by its number.
fn temperature_points(config: &HostConfig) -> Vec<(PathBuf, Point)> {
    let mut points: Vec<(PathBuf, Point)> = Vec::new();
    for number in 0..ZONES_MAX {
        let zone = config
            .sysfs
            .join(format!("class/thermal/thermal_zone{number}"));
        let Some(kind) = read(&zone.join("type")) else {
            continue;
        };
        // The type becomes a level of a topic.
        let kind = kind.trim().replace(['/', '+', '#', '\0'], "-");
        let mut name = format!("temperature/{kind}");
        if points.iter().any(|(_, point)| *point.name == *name) {
            name = format!("{name}-{number}");
        }
        points.push((zone.join("temp"), Point::new(&name, "Cel")));
    }
    points
}

/// The value of `key` in `/proc/meminfo`, which counts in KiB.
fn memory_bytes(text: &str, key: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(float(kibibytes) * 1024.0)
}

/// Percent of the last 10 s in which tasks waited: `some avg10=0.00 avg60=…`.
fn stalled_percent(text: &str, line: &str) -> Option<f64> {
    let rest = text
        .lines()
        .find_map(|candidate| candidate.strip_prefix(line))?;
    rest.trim()
        .strip_prefix("avg10=")?
        .split(' ')
        .next()?
        .parse()
        .ok()
}

/// The kernel counts in thousandths of a degree.
fn celsius(text: &str) -> Option<f64> {
    let thousandths: i32 = text.trim().parse().ok()?;
    Some(f64::from(thousandths) / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_texts_have_no_value() {
        for bad in ["", "MemTotal:", "MemTotal: 5 MB", "MemTotal: -5 kB"] {
            assert_eq!(memory_bytes(bad, "MemTotal:"), None, "{bad:?}");
        }
        for bad in ["", "some", "some avg60=1", "some avg10=x"] {
            assert_eq!(stalled_percent(bad, "some"), None, "{bad:?}");
        }
        for bad in ["", "hot", "99999999999"] {
            assert_eq!(celsius(bad), None, "{bad:?}");
        }
        assert_eq!(celsius("-5000\n"), Some(-5.0));
    }
}
