//! Driver `host`: this machine's processor, memory, disk, pressure and temperature, from procfs and sysfs.
//!
//! What the machine has is found out once, when the driver is opened: a part without sensors has no points. A point that
//! is there but cannot be read at a tick is reported as bad. Rates (processor use, disk traffic) are over the time since
//! the last tick, so the first tick comes one interval after opening.

mod counters;
mod gauges;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tidegate_record::{Body, Quality};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::{DriverError, Reading};
use counters::{DiskTraffic, ProcessorUse};
use gauges::Gauges;

/// Shortest interval: below it the readings cost more than they say.
const INTERVAL_MIN: Duration = Duration::from_millis(10);
/// Longest interval: a day.
const INTERVAL_MAX: Duration = Duration::from_secs(24 * 3600);

/// Settings of driver `host`.
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// Time between two ticks: 10 ms to a day; what is beyond counts as the nearest.
    pub interval: Duration,
    /// The file system whose space is read, by any path on it.
    pub disk: PathBuf,
    /// Where procfs is mounted.
    pub procfs: PathBuf,
    /// Where sysfs is mounted.
    pub sysfs: PathBuf,
}

impl HostConfig {
    /// This machine's own file systems, read every `interval`.
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            disk: "/".into(),
            procfs: "/proc".into(),
            sysfs: "/sys".into(),
        }
    }
}

/// The open driver.
#[derive(Debug)]
pub struct Host {
    interval: Duration,
    /// Made at the first wait: a driver can be opened, to see whether it can be, where nothing runs.
    ticks: Option<Interval>,
    last_tick: Instant,
    processor: ProcessorUse,
    traffic: DiskTraffic,
    gauges: Gauges,
}

impl Host {
    /// Finds out what this machine has, and takes the first values of its counters.
    ///
    /// # Errors
    /// When `/proc/stat` cannot be read: then there is no procfs here.
    pub fn open(config: &HostConfig) -> Result<Self, DriverError> {
        let stat = config.procfs.join("stat");
        std::fs::metadata(&stat).map_err(|source| DriverError::Read { path: stat, source })?;
        Ok(Self {
            interval: config.interval.clamp(INTERVAL_MIN, INTERVAL_MAX),
            ticks: None,
            last_tick: Instant::now(),
            processor: ProcessorUse::open(&config.procfs),
            traffic: DiskTraffic::open(&config.procfs, &config.sysfs),
            gauges: Gauges::open(config),
        })
    }

    /// Waits for the next tick and reads every point.
    pub(crate) async fn next(&mut self, readings: &mut Vec<Reading>) {
        let (first, interval) = (self.last_tick + self.interval, self.interval);
        let ticks = self.ticks.get_or_insert_with(|| {
            let mut ticks = interval_at(first, interval);
            // A machine too busy to read its sensors in time reads them later, not twice.
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            ticks
        });
        let tick = ticks.tick().await;
        let elapsed = tick.saturating_duration_since(self.last_tick);
        self.last_tick = tick;
        self.processor.read(readings);
        self.traffic.read(elapsed, readings);
        self.gauges.read(readings);
    }
}

/// A point of this driver: its name and unit, shared by all of its readings.
#[derive(Debug, Clone)]
struct Point {
    name: Arc<str>,
    unit: Arc<str>,
}

impl Point {
    fn new(name: &str, unit: &str) -> Self {
        Self {
            name: name.into(),
            unit: unit.into(),
        }
    }

    /// The reading `value`; bad where there is none or where it is no number.
    fn reading(&self, value: Option<f64>) -> Reading {
        let value = value.filter(|value| value.is_finite());
        Reading {
            point: self.name.clone(),
            unit: Some(self.unit.clone()),
            body: Body::Number(value.unwrap_or(f64::NAN)),
            quality: match value {
                Some(_) => Quality::Good,
                None => Quality::Bad,
            },
            time: None,
        }
    }
}

/// The text of a small file of the kernel's; none when it cannot be read.
fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// An exact count as a floating-point value. Above 2^53 it is rounded, which no sensor value notices.
#[allow(
    clippy::cast_precision_loss,
    reason = "rounding above 2^53 does not matter for a sensor value"
)]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A machine made of files.
    fn machine() -> (tempfile::TempDir, HostConfig) {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "proc/stat",
            "cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 1 2 3 4\n",
        );
        write("proc/loadavg", "0.50 0.25 0.10 1/200 4242\n");
        write(
            "proc/meminfo",
            "MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:  400 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n",
        );
        write("proc/uptime", "12.50 20.00\n");
        write(
            "proc/diskstats",
            "8 0 sda 1 0 100 0 1 0 10 0 0 0 0\n8 1 sda1 1 0 9 0 1 0 9 0 0 0 0\n",
        );
        write(
            "proc/pressure/cpu",
            "some avg10=1.50 avg60=0.00 avg300=0.00 total=1\n",
        );
        write("sys/block/sda/size", "1\n");
        write("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n");
        write("sys/class/thermal/thermal_zone0/temp", "48312\n");
        let mut config = HostConfig::new(Duration::from_secs(1));
        config.procfs = dir.path().join("proc");
        config.sysfs = dir.path().join("sys");
        config.disk = dir.path().to_owned();
        (dir, config)
    }

    async fn tick(host: &mut Host) -> Vec<Reading> {
        let mut readings = Vec::new();
        host.next(&mut readings).await;
        readings
    }

    fn value(readings: &[Reading], point: &str) -> (f64, String, Quality) {
        let reading = readings
            .iter()
            .find(|r| &*r.point == point)
            .unwrap_or_else(|| panic!("no {point}"));
        let Body::Number(value) = reading.body else {
            panic!("{point} is no number")
        };
        (
            value,
            reading.unit.as_deref().unwrap_or_default().to_owned(),
            reading.quality,
        )
    }

    #[tokio::test(start_paused = true)]
    async fn every_point_has_the_kernels_value_and_a_ucum_unit() {
        let (dir, config) = machine();
        let mut host = Host::open(&config).unwrap();
        fs::write(
            dir.path().join("proc/stat"),
            "cpu  150 0 150 1000 0 0 0 0 0 0\n",
        )
        .unwrap();
        fs::write(
            dir.path().join("proc/diskstats"),
            "8 0 sda 1 0 300 0 1 0 14 0 0 0 0\n",
        )
        .unwrap();
        let readings = tick(&mut host).await;
        let good = |value: f64, unit: &str| (value, unit.to_owned(), Quality::Good);
        // 100 of 300 ticks were not idle.
        let (used, unit, quality) = value(&readings, "processor/use");
        assert!((used - 100.0 / 3.0).abs() < 1e-9);
        assert_eq!((unit.as_str(), quality), ("%", Quality::Good));
        assert_eq!(value(&readings, "processor/load-1m"), good(0.5, "1"));
        assert_eq!(value(&readings, "memory/total"), good(1_024_000.0, "By"));
        assert_eq!(value(&readings, "memory/available"), good(409_600.0, "By"));
        assert_eq!(value(&readings, "uptime"), good(12.5, "s"));
        // 200 and 4 sectors of 512 bytes in one second; the partition is not counted again.
        assert_eq!(value(&readings, "disk/sda/read"), good(102_400.0, "By/s"));
        assert_eq!(value(&readings, "disk/sda/written"), good(2048.0, "By/s"));
        assert!(!readings.iter().any(|r| r.point.contains("sda1")));
        assert_eq!(value(&readings, "pressure/cpu/some"), good(1.5, "%"));
        assert_eq!(
            value(&readings, "temperature/cpu-thermal"),
            good(48.312, "Cel")
        );
        assert!(value(&readings, "disk/space-available").0 > 0.0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_read_is_bad_and_not_a_number() {
        let (dir, config) = machine();
        let mut host = Host::open(&config).unwrap();
        fs::write(dir.path().join("proc/stat"), "nonsense").unwrap();
        fs::write(dir.path().join("proc/loadavg"), "a b").unwrap();
        fs::remove_file(dir.path().join("sys/class/thermal/thermal_zone0/temp")).unwrap();
        fs::write(dir.path().join("proc/meminfo"), "MemTotal: x kB").unwrap();
        let readings = tick(&mut host).await;
        for point in [
            "processor/use",
            "processor/load-1m",
            "temperature/cpu-thermal",
            "memory/total",
        ] {
            let (value, _, quality) = value(&readings, point);
            assert!(value.is_nan(), "{point}");
            assert_eq!(quality, Quality::Bad, "{point}");
        }
        assert_eq!(
            value(&readings, "pressure/cpu/some").2,
            Quality::Good,
            "the others go on"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_counter_that_went_back_is_bad_once() {
        let (dir, config) = machine();
        let mut host = Host::open(&config).unwrap();
        fs::write(
            dir.path().join("proc/diskstats"),
            "8 0 sda 1 0 5 0 1 0 5 0 0 0 0\n",
        )
        .unwrap();
        assert_eq!(
            value(&tick(&mut host).await, "disk/sda/read").2,
            Quality::Bad
        );
        fs::write(
            dir.path().join("proc/diskstats"),
            "8 0 sda 1 0 7 0 1 0 5 0 0 0 0\n",
        )
        .unwrap();
        assert_eq!(
            value(&tick(&mut host).await, "disk/sda/read"),
            (1024.0, "By/s".into(), Quality::Good)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_without_sensors_has_no_points() {
        let (dir, config) = machine();
        fs::remove_dir_all(dir.path().join("sys/class")).unwrap();
        fs::remove_dir_all(dir.path().join("proc/pressure")).unwrap();
        let readings = tick(&mut Host::open(&config).unwrap()).await;
        assert!(
            !readings
                .iter()
                .any(|r| r.point.starts_with("temperature") || r.point.starts_with("pressure"))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn this_machine_gives_plausible_readings() {
        let mut host = Host::open(&HostConfig::new(Duration::from_millis(100))).unwrap();
        let readings = tick(&mut host).await;
        let (total, _, quality) = value(&readings, "memory/total");
        assert!(total > 1e6 && quality == Quality::Good);
        assert!(value(&readings, "memory/available").0 <= total);
    }

    #[test]
    fn a_driver_can_be_opened_where_nothing_runs() {
        let (_dir, config) = machine();
        assert!(Host::open(&config).is_ok());
    }

    #[test]
    fn no_procfs_is_a_clear_error() {
        let mut config = HostConfig::new(Duration::from_secs(1));
        config.procfs = "/nowhere".into();
        let error = Host::open(&config).unwrap_err();
        assert_eq!(error.to_string(), "cannot read /nowhere/stat");
    }
}
