//! The site of the outage, its load and its samples.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;

use super::Outage;
use super::sum::{Bounds, Input};
use crate::binaries::repository;
use crate::bundles::Workshop;
use crate::cloud::Cloud;
use crate::faults::scene::rows_leave;
use crate::meter;
use crate::process::run_well;
use crate::publisher::{Load, Publisher};
use crate::random::Random;
use crate::site::{GATEWAY, Module, Plan, Site};
use crate::wait::{pace, wait_until};

/// When the outage begins, in milliseconds since 1970.
const BEGIN_MS: u64 = 1_767_225_600_000;

/// Records between two samples, and how many the gateway may be behind.
const CHUNK: u64 = 5_000;
const BEHIND_MAX: u64 = 20_000;

/// How long the gateway may take for anything.
const PATIENCE: Duration = Duration::from_secs(120);

/// Fewer rows than this are no backlog any more.
const DRAINED_ROWS: u64 = 200;

/// Where memory is a file system.
const MEMORY: &str = "/dev/shm";

/// The site. Records go to it past the tap, urgent messages through it.
pub(super) struct Rig {
    pub(super) site: Site,
    /// Urgent messages so far.
    pub(super) urgent: u64,
    _memory: Option<TempDir>,
}

/// What was seen while records came.
pub(super) struct Fed {
    pub(super) input: Input,
    pub(super) bytes_max: u64,
    /// Least and most, after the first tenth.
    pub(super) rss_kib: (u64, u64),
    pub(super) per_second: f64,
}

/// Milliseconds from a message's arrival to its acknowledgement.
pub(super) struct Times {
    pub(super) messages: usize,
    pub(super) p50: f64,
    pub(super) p99: f64,
}

/// What was seen while the backlog left.
pub(super) struct Drain {
    pub(super) rows_per_second: f64,
    pub(super) seconds: f64,
    pub(super) times: Times,
    /// Urgent messages that were published and not at the centre.
    pub(super) behind_max: u64,
    pub(super) rss_kib: u64,
}

impl Rig {
    /// Starts it all, with the link cut.
    pub(super) fn start(outage: &Outage<'_>) -> Result<Self> {
        let workshop = Workshop::open(outage.binaries, outage.directory)?;
        let module = Module {
            bundle: workshop.bundle(&repository().join("tests/guests/recorder"))?,
            settings: "inputs = [{ from = \"plant\", topic = \"live\" }, { from = \"records\", topic = \"week\" }]"
                .to_owned(),
        };
        let sections = format!(
            "[[broker]]\nname = \"records\"\nurl = \"mqtt://127.0.0.1:RECORDS_PORT\"\nclient-id = \"{GATEWAY}-records\"\n\n\
             [buffer]\nquota = \"{}MiB\"\n",
            outage.quota_mib
        );
        let memory = central_memory(&outage.directory.join("cloud"))?;
        let plan = Plan {
            directory: outage.directory,
            binaries: outage.binaries,
            program: None,
            modules: vec![module],
            broker: "",
            sections: &sections,
            tapped: true,
        };
        let mut site = Site::start(&plan, &workshop)?;
        let text = fs::read_to_string(site.gateway.configuration())?;
        let port = site.broker.port().to_string();
        site.gateway
            .configure(&text.replace("RECORDS_PORT", &port))?;
        // All of its threads: a priority of the process would be that of its first one.
        let cloud = site.cloud.id().to_string();
        let idle = ["--all-tasks", "--idle", "--pid", "0", &cloud];
        run_well(Path::new("chrt"), idle).context("cannot let the centre wait for the gateway")?;
        site.link.cut();
        site.gateway.start()?;
        site.broker.wait_for_subscriber(GATEWAY)?;
        site.broker
            .wait_for_subscriber(&format!("{GATEWAY}-records"))?;
        Ok(Self {
            site,
            urgent: 0,
            _memory: memory,
        })
    }

    /// Gives it all records of the outage, and looks at it after every few thousand.
    pub(super) fn feed(&self, outage: &Outage<'_>, say: &mut dyn FnMut(&str)) -> Result<Fed> {
        let mut publisher = Publisher::connect(self.site.broker.port(), "records", 1000)?;
        let mut random = Random::new(outage.seed);
        let mut fed = Fed {
            input: Input {
                records: outage.records,
                numbers: Bounds::NONE,
                values: Bounds::NONE,
            },
            bytes_max: 0,
            rss_kib: (u64::MAX, 0),
            per_second: 0.0,
        };
        let span_ms = outage.days * 86_400_000;
        let (process, begin) = (self.site.gateway.id()?, Instant::now());
        for number in 0..outage.records {
            let at = BEGIN_MS + number * span_ms / outage.records;
            let (value, seq) = (hundredths(random.below(1_000_000)), whole(number));
            fed.input.numbers.add(seq, seq, 1);
            fed.input.values.add(value, value, 1);
            let text = format!("{{\"seq\":{number},\"at\":{at},\"value\":{value}}}");
            publisher.publish("week", text.as_bytes())?;
            let records = number + 1;
            if records % CHUNK != 0 && records != outage.records {
                continue;
            }
            publisher.finish()?;
            let enough = if records == outage.records {
                records
            } else {
                records.saturating_sub(BEHIND_MAX)
            };
            wait_until("the gateway to take the records", PATIENCE, || {
                Ok(self.acknowledged()? >= enough)
            })?;
            fed.bytes_max = fed.bytes_max.max(self.bytes()?);
            if records > outage.records / 10 {
                let rss = meter::rss_kib(process)?;
                fed.rss_kib = (fed.rss_kib.0.min(rss), fed.rss_kib.1.max(rss));
            }
            if records % (outage.records / 10).next_multiple_of(CHUNK) == 0 {
                let share = 100 * records / outage.records;
                let seconds = begin.elapsed().as_secs_f64();
                say(&format!(
                    "{share} % of the records after {seconds:.0} s, {} MiB on disk, RSS {} KiB",
                    self.bytes()? >> 20,
                    meter::rss_kib(process)?
                ));
            }
        }
        fed.per_second = whole(outage.records) / begin.elapsed().as_secs_f64();
        Ok(fed)
    }

    /// Starts it again after a stop and after a kill. Gives how long each took, and how many rows wait.
    pub(super) fn restart(&mut self) -> Result<(Duration, Duration, u64)> {
        let gateway = &mut self.site.gateway;
        gateway.stop()?;
        let stopped = gateway.start()?;
        gateway.kill9()?;
        let killed = gateway.start()?;
        Ok((stopped, killed, self.waiting()?))
    }

    /// Urgent messages for a while, without anything else.
    pub(super) fn live(&mut self, time: Duration) -> Result<Times> {
        let load = self.urgent_load(self.urgent)?;
        pace(Instant::now() + time);
        self.end(load)
    }

    /// Mends the link, and looks on until the backlog is gone, with urgent messages all the while.
    pub(super) fn drain(
        &mut self,
        outage: &Outage<'_>,
        say: &mut dyn FnMut(&str),
    ) -> Result<Drain> {
        let load = self.urgent_load(self.urgent)?;
        let process = self.site.gateway.id()?;
        let waiting = self.waiting()?;
        self.site.link.mend();
        // It was cut for long: the gateway tries again within a minute.
        wait_until("the link to be used", PATIENCE, || {
            Ok(self.waiting()? + DRAINED_ROWS < waiting)
        })?;
        let (before, begin) = (self.held()?, Instant::now());
        let (mut behind_max, mut rss_kib, mut last) = (0, 0, 0);
        let limit = Duration::from_secs(60 + outage.records / 1000);
        wait_until("the backlog to leave", limit, || {
            let left = self.waiting()?;
            let published = self.urgent + load.published();
            let there = self.site.cloud.count(GATEWAY, "live")?;
            behind_max = behind_max.max(published.saturating_sub(there));
            rss_kib = rss_kib.max(meter::rss_kib(process)?);
            let seconds = begin.elapsed().as_secs();
            if seconds >= last + 10 {
                last = seconds;
                say(&format!("{left} rows wait after {seconds} s"));
            }
            Ok(left < DRAINED_ROWS)
        })?;
        let seconds = begin.elapsed().as_secs_f64();
        Ok(Drain {
            rows_per_second: whole(self.held()? - before) / seconds,
            seconds,
            times: self.end(load)?,
            behind_max,
            rss_kib,
        })
    }

    /// Waits until everything is at the centre.
    pub(super) fn settle(&mut self) -> Result<&Cloud> {
        if let Some(problem) = rows_leave(&mut self.site, PATIENCE)? {
            anyhow::bail!(problem);
        }
        self.site.gateway.stop()?;
        Ok(&self.site.cloud)
    }

    /// Urgent messages at the true rate: 50 a second, whatever that of the records is, so that there is something to time.
    fn urgent_load(&self, first: u64) -> Result<Load> {
        let publisher = Publisher::connect(self.site.broker.port(), "urgent", 100)?;
        self.site.tap.as_ref().context("no tap")?.take()?;
        Ok(Load::start(publisher, 50.0, move |number| {
            let seq = first + number;
            let at = BEGIN_MS + seq;
            let text = format!("{{\"seq\":{seq},\"at\":{at},\"value\":1.5,\"urgent\":true}}");
            ("live".to_owned(), text.into_bytes())
        }))
    }

    fn end(&mut self, load: Load) -> Result<Times> {
        let published = load.stop()?.published();
        self.urgent += published;
        let tap = self.site.tap.as_ref().context("no tap")?;
        wait_until("all acknowledgements", PATIENCE, || {
            Ok(u64::try_from(tap.passed())? >= published)
        })?;
        let passages = tap.take()?;
        let times = passages
            .iter()
            .map(|passage| (passage.receipt - passage.message).as_secs_f64() * 1e3);
        let mut times: Vec<f64> = times.collect();
        times.sort_by(f64::total_cmp);
        let quantile = |hundredths: usize| {
            let position = times.len().saturating_sub(1) * hundredths / 100;
            times.get(position).copied().unwrap_or(f64::NAN)
        };
        Ok(Times {
            messages: times.len(),
            p50: quantile(50),
            p99: quantile(99),
        })
    }

    /// Records that the gateway has acknowledged.
    fn acknowledged(&self) -> Result<u64> {
        let status = self.site.gateway.status()?;
        let sources = status.get("field").and_then(Value::as_array);
        let mut sources = sources.into_iter().flatten();
        let records = sources.find(|source| source["name"] == "records");
        records
            .and_then(|records| records.get("acknowledged")?.as_u64())
            .with_context(|| format!("nothing of the records in {status}"))
    }

    /// Rows of records that the centre holds.
    fn held(&self) -> Result<u64> {
        self.site.cloud.count(GATEWAY, "readings")
    }

    fn waiting(&self) -> Result<u64> {
        let status = self.site.gateway.status()?;
        let waiting = status.pointer("/buffer/rows_waiting");
        waiting.and_then(Value::as_u64).context("no rows_waiting")
    }

    /// Bytes of everything that the buffer has on disk.
    fn bytes(&self) -> Result<u64> {
        let mut bytes = 0;
        for entry in fs::read_dir(self.site.gateway.state())? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("buffer.") {
                // SQLite removes the log when it likes.
                bytes += entry.metadata().map_or(0, |file| file.len());
            }
        }
        Ok(bytes)
    }
}

/// Puts the centre's folder into memory, where there is room for that.
fn central_memory(folder: &Path) -> Result<Option<TempDir>> {
    if !Path::new(MEMORY).is_dir() {
        return Ok(None);
    }
    let memory = tempfile::tempdir_in(MEMORY)?;
    std::os::unix::fs::symlink(memory.path(), folder)?;
    Ok(Some(memory))
}

fn hundredths(number: u64) -> f64 {
    whole(number) / 100.0
}

fn whole(number: u64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    let float = number as f64;
    float
}
