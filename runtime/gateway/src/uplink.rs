//! The way to the centre: made, started, and what is told of it.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_buffer::{BufferHandle, Destination, Second};
use tidegate_record::{BootTime, Clock, Epoch, Limits, Name, RequestSigner};
use tidegate_uplink::budget::{Meter, Report};
use tidegate_uplink::fetch::Fetcher;
use tidegate_uplink::{Config, Endpoint, Failover, Role, Uplink, UplinkCounters};
use tidegate_wire::{GatewayStatus, UplinkStatus};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::Settings;
use crate::error::Error;
use crate::identity::Signer;
use crate::lag::length;
use crate::updates::Road;

/// The ways to the centres, not yet taken.
pub(crate) struct Way {
    first: Endpoint,
    second: Option<Endpoint>,
    told: Arc<Told>,
    /// Of the requests that were signed, whatever they are for.
    count: Arc<AtomicU64>,
}

/// What is told of them.
pub(crate) struct Told {
    first: Arc<UplinkCounters>,
    second: Option<Other>,
    meter: Option<Arc<Meter>>,
}

/// A second centre, and what it is for: without a failover, a mirror.
struct Other {
    counters: Arc<UplinkCounters>,
    failover: Option<Arc<Failover>>,
}

/// What they need to be taken.
#[derive(Clone)]
pub(crate) struct Provisions {
    pub(crate) gateway: Name,
    pub(crate) handle: BufferHandle,
    pub(crate) status: Arc<dyn Fn() -> GatewayStatus + Send + Sync>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) stopped: watch::Receiver<bool>,
}

impl Way {
    /// None for a gateway that only works on site.
    ///
    /// # Errors
    /// When a file that the configuration names cannot be used.
    pub(crate) fn new(
        settings: &Settings,
        limits: &Limits,
        clock: &Arc<dyn Clock>,
    ) -> Result<Option<Self>, Error> {
        let Some(uplink) = &settings.uplink else {
            return Ok(None);
        };
        let meter = uplink.budget.clone().map(|budget| {
            let file = settings.state.join("uplink.budget");
            Arc::new(Meter::open(budget, file, clock.clone()))
        });
        let traffic = meter.as_ref().map(|meter| meter.traffic());
        let traffic = traffic.unwrap_or_default();
        let count = Arc::<AtomicU64>::default();
        let endpoint = |config: &Config| {
            let signer = signer(settings, config, &count);
            Endpoint::new(config, &settings.name, limits, traffic.clone(), signer)
        };
        let first = endpoint(&uplink.first)?;
        let second = uplink.second.as_ref();
        let stand_in = second.map(|second| endpoint(&second.config)).transpose()?;
        let other = second.map(|second| Other {
            counters: Arc::default(),
            failover: match second.when {
                Second::Failover => Some(Arc::new(Failover::new(second.after))),
                Second::Mirror => None,
            },
        });
        let told = Told {
            first: Arc::default(),
            second: other,
            meter,
        };
        Ok(Some(Self {
            first,
            second: stand_in,
            told: Arc::new(told),
            count,
        }))
    }

    pub(crate) fn told(&self) -> Arc<Told> {
        self.told.clone()
    }

    /// The way to updates: from the first centre, and from one that stands in for it. None where rows go to brokers.
    ///
    /// # Errors
    /// As [`Way::new`].
    pub(crate) fn road(
        &self,
        settings: &Settings,
        limits: &Arc<Limits>,
        epoch: Epoch,
    ) -> Result<Option<Road>, Error> {
        let Some(uplink) = &settings.uplink else {
            return Ok(None);
        };
        let stand_in = uplink.second.as_ref();
        let stand_in = stand_in.filter(|second| second.when == Second::Failover);
        let configs = [Some(&uplink.first), stand_in.map(|second| &second.config)];
        let meter = &self.told.meter;
        let traffic = meter.as_ref().map(|meter| meter.traffic());
        let traffic = traffic.unwrap_or_default();
        let mut fetchers = Vec::new();
        for config in configs.into_iter().flatten() {
            if let Config::Centre(centre) = config {
                let fetcher = Fetcher::new(centre, limits, traffic.clone(), meter.clone());
                let signer = signer(settings, config, &self.count);
                fetchers.push(fetcher?.signed_by(signer, epoch));
            }
        }
        Ok((!fetchers.is_empty()).then(|| Road {
            fetchers,
            gateway: settings.name.clone(),
            interval: settings.updates_interval,
        }))
    }

    pub(crate) fn start(self, with: &Provisions, tasks: &mut JoinSet<()>) {
        let Told {
            first,
            second,
            meter,
        } = &*self.told;
        let uplink = |endpoint, counters: &Arc<UplinkCounters>, role, destination| Uplink {
            endpoint,
            gateway: with.gateway.clone(),
            outbox: with.handle.outbox(destination),
            status: status(with, counters, destination),
            counters: counters.clone(),
            role,
            meter: meter.clone(),
            limits: with.limits.clone(),
            clock: with.clock.clone(),
        };
        let failover = second.as_ref().and_then(|second| second.failover.clone());
        let role = failover.clone().map_or(Role::Sole, Role::First);
        let first = uplink(self.first, first, role, Destination::First);
        tasks.spawn(first.run(with.stopped.clone()));
        if let Some((endpoint, other)) = self.second.zip(second.as_ref()) {
            let role = failover.map_or(Role::Sole, Role::StandIn);
            let second = uplink(endpoint, &other.counters, role, Destination::Second);
            tasks.spawn(second.run(with.stopped.clone()));
        }
    }
}

/// Holds the files that the way to the centre needs.
///
/// # Errors
/// As [`Way::new`].
pub(crate) fn check(settings: &Settings, limits: &Limits) -> Result<(), Error> {
    let uplink = settings.uplink.iter();
    let configs = uplink.flat_map(|uplink| {
        let second = uplink.second.iter().map(|second| &second.config);
        std::iter::once(&uplink.first).chain(second)
    });
    for config in configs {
        Endpoint::new(config, &settings.name, limits, Arc::default(), None)?;
    }
    Ok(())
}

/// What signs for a centre. A broker has credentials of its own.
fn signer(
    settings: &Settings,
    config: &Config,
    count: &Arc<AtomicU64>,
) -> Option<Arc<dyn RequestSigner>> {
    match config {
        Config::Centre(centre) => {
            let count = count.clone();
            let signer = Signer::new(&settings.state, &settings.name, centre.url(), count);
            Some(Arc::new(signer))
        }
        Config::Broker(_) => None,
    }
}

/// What is told to one centre: what waits for it, and how that becomes less.
fn status(
    with: &Provisions,
    counters: &Arc<UplinkCounters>,
    destination: Destination,
) -> Arc<dyn Fn() -> GatewayStatus + Send + Sync> {
    let (status, clock) = (with.status.clone(), with.clock.clone());
    let (counters, handle) = (counters.clone(), with.handle.outbox(destination));
    Arc::new(move || {
        let rows_waiting = handle.rows_waiting();
        let forecast = counters.forecast(clock.boot_time(), rows_waiting);
        GatewayStatus {
            rows_waiting,
            uplink: Some(UplinkStatus {
                rows_per_minute: forecast.rows_per_minute,
                drain_s: forecast.drain.map(|drain| drain.as_secs()),
                silence_s: counters.silence().as_secs(),
            }),
            ..status()
        }
    })
}

impl Told {
    /// Of the first centre.
    pub(crate) fn counters(&self) -> &UplinkCounters {
        &self.first
    }

    /// Those of the second, where there is one.
    pub(crate) fn second(&self) -> Option<&UplinkCounters> {
        self.second.as_ref().map(|second| &*second.counters)
    }

    /// For the operator.
    pub(crate) fn json(&self, now: BootTime, handle: &BufferHandle) -> Value {
        let mut json = centre(&self.first, now, handle.rows_waiting());
        if let Some(fields) = json.as_object_mut() {
            let budget = self.meter.as_ref().map(|meter| budget(&meter.report()));
            let second = self.second.as_ref().map(|other| other.json(now, handle));
            fields.insert("budget".to_owned(), budget.into());
            fields.insert("second".to_owned(), second.into());
        }
        json
    }
}

impl Other {
    fn json(&self, now: BootTime, handle: &BufferHandle) -> Value {
        let waiting = handle.outbox(Destination::Second).rows_waiting();
        let mut json = centre(&self.counters, now, waiting);
        if let Some(fields) = json.as_object_mut() {
            let standing_in = self
                .failover
                .as_ref()
                .map(|failover| failover.is_standing_in());
            fields.insert("standing_in".to_owned(), standing_in.into());
        }
        json
    }
}

fn centre(counters: &UplinkCounters, now: BootTime, waiting: u64) -> Value {
    let forecast = counters.forecast(now, waiting);
    json!({
        "connected": counters.connected.load(Ordering::Relaxed),
        "syncs": counters.syncs.load(Ordering::Relaxed),
        "rows_sent": counters.rows_sent.load(Ordering::Relaxed),
        "bytes_up": counters.bytes_up.load(Ordering::Relaxed),
        "rows_waiting": waiting,
        "rows_per_minute": forecast.rows_per_minute,
        "drain_s": forecast.drain.map(|drain| drain.as_secs()),
        "error": counters.error(),
    })
}

fn budget(report: &Report) -> Value {
    let spans = report.spans.iter().map(|(span, used, max)| {
        let span = span.as_str();
        json!({"span": span, "bytes_used": used, "bytes_max": max})
    });
    json!({
        "state": report.state,
        "relief_s": report.relief.map(|relief| relief.as_secs()),
        "spans": spans.collect::<Value>(),
    })
}

/// The uplink of a status, for people.
pub(crate) fn text(uplink: &Value) -> String {
    let mut text = centre_text("uplink", uplink);
    let some = |key: &str| uplink.get(key).filter(|value| value.is_object());
    if let Some(second) = some("second") {
        text.push_str(&match second.get("standing_in") {
            Some(Value::Bool(false)) => "second uplink: not needed\n".to_owned(),
            Some(Value::Bool(true)) => centre_text("second uplink: stands in", second),
            _ => centre_text("second uplink: mirrors", second),
        });
    }
    if let Some(budget) = some("budget") {
        text.push_str(&budget_text(budget));
    }
    text
}

fn centre_text(name: &str, uplink: &Value) -> String {
    let number = |key: &str| uplink.get(key).and_then(Value::as_u64);
    let state = match uplink.get("connected") {
        Some(Value::Bool(true)) => "connected",
        _ => "not connected",
    };
    let separator = if name.contains(':') { "," } else { ":" };
    let (rows, bytes) = (number("rows_sent"), number("bytes_up"));
    let (rows, bytes) = (rows.unwrap_or(0), bytes.unwrap_or(0));
    let mut text = format!("{name}{separator} {state}, {rows} rows and {bytes} bytes sent");
    // Writing to a string cannot fail.
    if let Some(seconds @ 1..) = number("drain_s") {
        let _written = write!(
            text,
            ", drained in {}",
            length(Duration::from_secs(seconds))
        );
    }
    if let Some(error) = uplink.get("error").and_then(Value::as_str) {
        let _written = write!(text, " ({error})");
    }
    text.push('\n');
    text
}

fn budget_text(budget: &Value) -> String {
    let mut text = "budget: ".to_owned();
    let spans = budget.get("spans").and_then(Value::as_array);
    for span in spans.into_iter().flatten() {
        let kibibytes = |key: &str| span.get(key).and_then(Value::as_u64).unwrap_or(0) >> 10;
        let name = span.get("span").and_then(Value::as_str).unwrap_or_default();
        let (used, max) = (kibibytes("bytes_used"), kibibytes("bytes_max"));
        let _written = write!(text, "{used} of {max} KiB in the last {name}, ");
    }
    let relief = budget.get("relief_s").and_then(Value::as_u64);
    let relief = length(Duration::from_secs(relief.unwrap_or(0)));
    match budget.get("state").and_then(Value::as_str) {
        Some("spent") => {
            let _written = write!(text, "spent: all rows wait for another {relief}");
        }
        Some("alarms only") => {
            let _written = write!(text, "alarms only for another {relief}");
        }
        _ => text.push_str("all rows may go"),
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_reads_what_a_budget_means_and_when_the_backlog_is_gone() {
        let uplink = json!({
            "connected": true, "rows_sent": 7, "bytes_up": 99, "drain_s": 7_300, "error": null,
            "budget": {"state": "spent", "relief_s": 1_900, "spans": [
                {"span": "hour", "bytes_used": 5 << 20, "bytes_max": 5 << 20},
                {"span": "month", "bytes_used": 2048, "bytes_max": 1 << 30},
            ]},
        });
        assert_eq!(
            text(&uplink),
            "uplink: connected, 7 rows and 99 bytes sent, drained in 2 h\n\
             budget: 5120 of 5120 KiB in the last hour, 2 of 1048576 KiB in the last month, \
             spent: all rows wait for another 31 min\n"
        );
        let plain =
            json!({"connected": false, "error": "no route", "drain_s": null, "budget": null});
        assert_eq!(
            text(&plain),
            "uplink: not connected, 0 rows and 0 bytes sent (no route)\n"
        );
    }
}
