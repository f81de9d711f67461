//! Bytes written to the block device for a record of 200 bytes, at 100 records a second, in both profiles of the buffer,
//! against the record itself.
//!
//! The gateway's state is on an ext4 file system of its own, on a loop device, and the kernel's count of that device says
//! what reached it: log, checkpoints, the file system's journal and metadata, and what the gateway writes beside the
//! database. (A process's own count has neither journal nor metadata, and that of the machine's disk has other programs'
//! writes.) The quota is small and full, so that old rows are deleted as new ones come, as in the long run; and the
//! centre takes them, so that marks move. The log has grown to its size before. Nothing is compressed in time: commits are
//! those of 100 records a second.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tidegate_tests::process::run_well;
use tidegate_tests::publisher::{Load, Publisher};
use tidegate_tests::site::{GATEWAY, Site};
use tidegate_tests::tools::Tool;
use tidegate_tests::wait::{pace, wait_until};

use super::rigged::{Rig, TOPIC, acknowledged, float, reads_load};
use super::table::{Line, Target};

/// Bytes of a record: the row's key, times, values and trace, as the database holds them.
const RECORD_BYTES: f64 = 200.0;
/// Of these, a text.
const NOTE: &str = "as seen at station 7 by the camera above the second bel";
const PER_SECOND: f64 = 100.0;
/// Some times as long as the log takes to go into the database.
const TIME: Duration = Duration::from_secs(180);
/// Records that fill the quota.
const FILL: u64 = 60_000;
const DISK_MIB: u64 = 256;
const SECTOR_BYTES: u64 = 512;

pub(super) fn run(rig: &Rig) -> Result<Vec<Line>> {
    let line = |profile, target| -> Result<Line> {
        Ok(Line::new(
            format!("flash wear, profile {profile}"),
            bytes_per_record(rig, profile)?,
            RECORD_BYTES,
            "bytes",
            target,
        ))
    };
    Ok(vec![
        line("flash", Target::AtMost(1500.0))?,
        line("latency", Target::Told)?,
    ])
}

fn bytes_per_record(rig: &Rig, profile: &str) -> Result<f64> {
    let (folder, mut site) = rig.site(&[("tests/guests/recorder", reads_load())], false)?;
    let disk = Disk::mount(folder.path())?;
    std::os::unix::fs::symlink(disk.folder.join("state"), site.gateway.state())?;
    fs::create_dir_all(disk.folder.join("state"))?;
    let text = fs::read_to_string(site.gateway.configuration())?;
    site.gateway.configure(&format!(
        "{text}\n[buffer]\nprofile = \"{profile}\"\nquota = \"16MiB\"\n"
    ))?;
    site.gateway.start()?;
    site.broker.wait_for_subscriber(GATEWAY)?;
    fill(&site, rig.messages(FILL))?;
    let filled = acknowledged(&site)?;
    let before = disk.bytes_written()?;
    let publisher = Publisher::connect(site.broker.port(), "load", 1000)?;
    let load = Load::start(publisher, PER_SECOND, |number| {
        (TOPIC.to_owned(), payload(FILL + number))
    });
    pace(Instant::now() + if rig.is_quick() { TIME / 12 } else { TIME });
    let records = load.stop()?.published();
    wait_until("all acks", Duration::from_secs(30), || {
        Ok(acknowledged(&site)? >= filled + records)
    })?;
    let bytes = disk.bytes_written()? - before;
    drop(site);
    Ok(float(bytes) / float(records))
}

/// Fills the quota, and waits until the centre has it all.
fn fill(site: &Site, records: u64) -> Result<()> {
    let mut publisher = Publisher::connect(site.broker.port(), "fill", 1000)?;
    for number in 0..records {
        publisher.publish(TOPIC, &payload(number))?;
    }
    publisher.finish()?;
    wait_until(
        "the centre to have it all",
        Duration::from_secs(300),
        || {
            let status = site.gateway.status()?;
            let waiting = status.pointer("/buffer/rows_waiting");
            Ok(acknowledged(site)? >= records && waiting.and_then(Value::as_u64) == Some(0))
        },
    )
}

fn payload(number: u64) -> Vec<u8> {
    let at = 1_767_225_600_000 + number * 10;
    let value = 60 + number % 40;
    format!("{{\"seq\":{number},\"at\":{at},\"value\":{value}.5,\"note\":\"{NOTE}\"}}").into_bytes()
}

/// A file system on a loop device. It is unmounted when this is dropped.
struct Disk {
    folder: PathBuf,
    /// Name of the device, such as `loop0`.
    device: String,
}

impl Disk {
    fn mount(directory: &Path) -> Result<Self> {
        let (image, folder) = (directory.join("disk.img"), directory.join("disk"));
        fs::create_dir_all(&folder)?;
        let (image, path) = (image.display().to_string(), folder.display().to_string());
        let size = format!("{DISK_MIB}M");
        run_well(&Tool::MakeExt4.path()?, ["-q", "-t", "ext4", &image, &size])?;
        run_well(Path::new("mount"), ["-o", "loop", &image, &path])
            .context("this bench needs root and a loop device")?;
        let mounts = fs::read_to_string("/proc/mounts")?;
        let line = mounts
            .lines()
            .find(|line| line.split(' ').nth(1) == Some(&path));
        let device = line
            .and_then(|line| line.split(' ').next()?.strip_prefix("/dev/"))
            .map(str::to_owned);
        let device = device.with_context(|| format!("{path} is not mounted"))?;
        let disk = Self { folder, device };
        ensure!(
            disk.device.starts_with("loop"),
            "{} is no loop device",
            disk.device
        );
        Ok(disk)
    }

    /// Bytes that have reached the device, once all that was written to its files has.
    fn bytes_written(&self) -> Result<u64> {
        let path = self.folder.display().to_string();
        run_well(Path::new("sync"), ["-f", &path])?;
        let path = format!("/sys/block/{}/stat", self.device);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let sectors: u64 = text
            .split_whitespace()
            .nth(6)
            .and_then(|field| field.parse().ok())
            .with_context(|| format!("malformed {path}"))?;
        Ok(sectors * SECTOR_BYTES)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Where it is still in use, it goes when that ends.
        let _unmounted = run_well(
            Path::new("umount"),
            ["-l".as_ref(), self.folder.as_os_str()],
        );
    }
}
