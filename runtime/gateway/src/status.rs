//! What the gateway says of itself: to its operator on the control socket, and in short to the centre.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};
use tidegate_buffer::{BufferHandle, Tally};
use tidegate_field::{BrokerHandle, SensorHandle};
use tidegate_record::{Backlog, BootTime, Clock, Name, Pulse};
use tidegate_sandbox::{Layer, ModuleCounters};
use tidegate_wire::{BufferStatus, GatewayStatus, ModuleStatus};

use crate::dispatch::DispatchCounters;
use crate::effects::Outward;
use crate::lag::{self, Lags, Report};
use crate::updates::Told as UpdatesTold;
use crate::updates::commands::told_json;
use crate::updates::fresh;
use crate::uplink::{self, Told};

/// Everything that counts, shared by the stages that count and the socket that tells.
pub(crate) struct Status {
    pub(crate) gateway: Name,
    pub(crate) started: BootTime,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) brokers: Vec<BrokerHandle>,
    pub(crate) sensors: Vec<SensorHandle>,
    pub(crate) modules: Vec<Module>,
    pub(crate) dispatch: DispatchCounters,
    pub(crate) outward: Arc<Outward>,
    pub(crate) buffer: BufferHandle,
    pub(crate) quota_bytes: u64,
    pub(crate) uplink: Option<Arc<Told>>,
    pub(crate) lags: Arc<Lags>,
    pub(crate) updates: UpdatesTold,
    /// The wall around the modules' workers.
    pub(crate) wall: Vec<Layer>,
}

/// A module, or why there is none.
pub(crate) struct Module {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) running: Result<Arc<ModuleCounters>, String>,
}

impl Module {
    fn state(&self) -> (String, Option<String>) {
        match &self.running {
            Ok(counters) => {
                let standing = counters.standing();
                (standing.state.as_str().to_owned(), standing.last_fault)
            }
            Err(reason) => ("refused".to_owned(), Some(reason.clone())),
        }
    }

    /// The version that is active, and its generation.
    pub(crate) fn version(&self) -> (String, u64) {
        match &self.running {
            Ok(counters) => {
                let standing = counters.standing();
                (standing.version.to_string(), standing.generation)
            }
            Err(_) => (self.version.clone(), 0),
        }
    }

    /// Whether it takes messages.
    pub(crate) fn runs(&self) -> bool {
        self.state().0 == "running"
    }

    fn json(&self, inboxes: &[(Name, Backlog)]) -> Value {
        let (state, last_fault) = self.state();
        let (version, generation) = self.version();
        let mut json = json!({
            "name": self.name,
            "version": version,
            "generation": generation,
            "state": state,
            "last_fault": last_fault,
        });
        if let (Ok(counters), Some(json)) = (&self.running, json.as_object_mut()) {
            for (name, counter) in [
                ("messages", &counters.messages),
                ("calls", &counters.calls),
                ("rows", &counters.rows),
                ("rejected", &counters.rejected),
                ("duplicates", &counters.duplicates),
                ("faults", &counters.faults),
            ] {
                json.insert(name.to_owned(), get(counter).into());
            }
            for (name, flag) in [
                ("detached", &counters.detached),
                ("held_up", &counters.held_up),
            ] {
                json.insert(name.to_owned(), self::flag(flag).into());
            }
            let inbox = inboxes
                .iter()
                .find(|(module, _)| module.as_str() == self.name);
            let waiting = inbox.map(|(_, backlog)| *backlog).unwrap_or_default();
            json.insert("messages_on_disk".to_owned(), waiting.messages.into());
            json.insert("bytes_on_disk".to_owned(), waiting.bytes.into());
        }
        json
    }
}

impl Status {
    /// Every stage that runs, in the order of the data.
    pub(crate) fn stages(&self) -> Vec<(String, &Pulse)> {
        let brokers = self.brokers.iter();
        let brokers = brokers.map(|broker| (broker.name(), "broker", &broker.counters().pulse));
        let sensors = self.sensors.iter();
        let sensors = sensors.map(|sensor| (sensor.name(), "sensor", &sensor.counters().pulse));
        let field = brokers.chain(sensors);
        let field = field.map(|(name, kind, pulse)| (format!("{kind} {name}"), pulse));
        let modules = self.modules.iter().filter_map(|module| {
            let counters = module.running.as_ref().ok()?;
            Some((format!("module {}", module.name), &counters.pulse))
        });
        let uplink = self.uplink.iter().flat_map(|told| {
            let second = told.second().map(|second| ("second uplink", second));
            let both = std::iter::once(("uplink", told.counters())).chain(second);
            both.map(|(name, counters)| (name.to_owned(), &counters.pulse))
        });
        let router = ("router".to_owned(), &self.dispatch.pulse);
        let buffer = ("buffer".to_owned(), &self.buffer.counters().pulse);
        let inside = std::iter::once(router).chain(modules);
        let outside = std::iter::once(buffer).chain(uplink);
        field.chain(inside).chain(outside).collect()
    }

    /// For the service manager.
    pub(crate) fn line(&self) -> String {
        let running = self.modules.iter().filter(|module| module.runs()).count();
        let connected = |broker: &&BrokerHandle| flag(&broker.counters().connected);
        format!(
            "{running} of {} modules run, {} of {} brokers connected, {} rows wait",
            self.modules.len(),
            self.brokers.iter().filter(connected).count(),
            self.brokers.len(),
            self.buffer.rows_waiting()
        )
    }

    /// For the operator.
    pub(crate) async fn json(&self) -> Value {
        let updates = told_json(&self.updates).await;
        let epoch = self.buffer.epoch();
        let inboxes = self.buffer.inboxes();
        let brokers = self.brokers.iter().map(broker);
        let sensors = self.sensors.iter().map(sensor);
        json!({
            "gateway": self.gateway.as_str(),
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_s": self.clock.boot_time().since(self.started).as_secs_f64(),
            "epoch": {"ordinal": epoch.ordinal, "random": format!("{:016x}", epoch.random)},
            "field": brokers.chain(sensors).collect::<Value>(),
            "records": get(&self.dispatch.records),
            "unrouted": get(&self.dispatch.unrouted),
            "dropped_outputs": get(&self.outward.dropped),
            "modules": self.modules.iter().map(|module| module.json(&inboxes)).collect::<Value>(),
            "wall": self.wall.iter().map(layer).collect::<Value>(),
            "updates": updates,
            "buffer": self.buffer_json(),
            "streams": self.lags.reports().iter().map(Report::json).collect::<Value>(),
            "uplink": self.uplink.as_ref().map(|uplink| {
                uplink.json(self.clock.boot_time(), &self.buffer)
            }),
        })
    }

    fn buffer_json(&self) -> Value {
        let counters = self.buffer.counters();
        let milliseconds = |quantile| {
            counters
                .in_to_durable
                .quantile(quantile)
                .map(|time| time.as_secs_f64() * 1e3)
        };
        json!({
            "rows_waiting": self.buffer.rows_waiting(),
            "rows_committed": get(&counters.rows),
            "commits": get(&counters.commits),
            "dead_letters": get(&counters.dead_letters),
            "bytes_used": get(&counters.bytes_used),
            "bytes_max": self.quota_bytes,
            "full": get(&counters.full),
            "inboxes": self.buffer.inboxes().iter().map(inbox).collect::<Value>(),
            "inbox_bytes_max": self.buffer.inbox_bytes_max(),
            "tallies": self.buffer.tallies().iter().map(tally).collect::<Value>(),
            "in_to_durable_ms": {"p50": milliseconds(0.5), "p99": milliseconds(0.99)},
        })
    }

    fn buffer_status(&self) -> BufferStatus {
        let tally = |tally: Tally| tidegate_wire::Tally {
            of: tally.of,
            reason: tally.reason,
            messages: tally.messages,
            bytes: tally.bytes,
            last: tally.last,
        };
        BufferStatus {
            bytes_used: get(&self.buffer.counters().bytes_used),
            bytes_max: self.quota_bytes,
            database: self.buffer.database(),
            tallies: self.buffer.tallies().into_iter().map(tally).collect(),
        }
    }

    /// For the centre.
    pub(crate) fn wire(&self) -> GatewayStatus {
        let module = |module: &Module| {
            let faults = module
                .running
                .as_ref()
                .map_or(0, |counters| get(&counters.faults));
            let name = Name::new(&module.name).ok()?;
            Some(ModuleStatus {
                name,
                version: module.version().0,
                state: module.state().0,
                faults,
            })
        };
        GatewayStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            rows_waiting: self.buffer.rows_waiting(),
            records_in: get(&self.dispatch.records),
            rejected: get(&self.buffer.counters().dead_letters),
            modules: self.modules.iter().filter_map(module).collect(),
            buffer: Some(self.buffer_status()),
            streams: self.lags.wire(),
            uplink: None, // Each centre is told of its own.
        }
    }
}

fn inbox((module, backlog): &(Name, Backlog)) -> Value {
    json!({"module": module.as_str(), "messages": backlog.messages, "bytes": backlog.bytes})
}

fn layer(layer: &Layer) -> Value {
    json!({"layer": layer.name, "missing": layer.missing})
}

fn tally(tally: &Tally) -> Value {
    json!({"of": tally.of.as_str(), "reason": tally.reason, "messages": tally.messages, "bytes": tally.bytes})
}

impl std::fmt::Debug for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Status")
            .field("gateway", &self.gateway)
            .finish_non_exhaustive()
    }
}

fn broker(handle: &BrokerHandle) -> Value {
    let counters = handle.counters();
    json!({
        "name": handle.name().as_str(),
        "kind": "broker",
        "connected": counters.connected.load(Ordering::Relaxed),
        "subscribed": counters.subscribed.load(Ordering::Relaxed),
        "subscriptions_refused": get(&counters.subscriptions_refused),
        "connections": get(&counters.connections),
        "received": get(&counters.received),
        "bytes": get(&counters.received_bytes),
        "redelivered": get(&counters.redelivered),
        "malformed": get(&counters.malformed),
        "oversized": get(&counters.oversized),
        "oversized_bytes": get(&counters.oversized_bytes),
        "dropped": get(&counters.dropped),
        "acknowledged": get(&counters.acknowledged),
        "abandoned": get(&counters.abandoned),
        "published": get(&counters.published),
        "publish_dropped": get(&counters.publish_dropped),
        "publish_refused": get(&counters.publish_refused),
        "error": counters.last_error(),
    })
}

fn sensor(handle: &SensorHandle) -> Value {
    let counters = handle.counters();
    json!({
        "name": handle.name().as_str(),
        "kind": "sensor",
        "received": get(&counters.readings),
        "bad": get(&counters.bad),
        "malformed": get(&counters.malformed),
        "ended": flag(&counters.ended),
    })
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn flag(flag: &AtomicBool) -> bool {
    flag.load(Ordering::Relaxed)
}

/// The status for people.
pub(crate) fn text(status: &Value) -> String {
    let mut text = String::new();
    let seconds = status
        .get("uptime_s")
        .and_then(Value::as_f64)
        .unwrap_or(0.0);
    line(
        &mut text,
        format_args!(
            "gateway {} {}, up {seconds:.0} s",
            field(status, "gateway"),
            field(status, "version")
        ),
    );
    for source in list(status, "field") {
        let state = match (source.get("connected"), source.get("ended")) {
            (Some(Value::Bool(true)), _) => "connected",
            (Some(Value::Bool(false)), _) => "not connected",
            (_, Some(Value::Bool(true))) => "at its end",
            _ => "running",
        };
        let (kind, name, received) = (
            field(source, "kind"),
            field(source, "name"),
            field(source, "received"),
        );
        line(
            &mut text,
            format_args!(
                "{kind} {name}: {state}, {received} received{}",
                because(source, "error")
            ),
        );
    }
    for module in list(status, "modules") {
        let counts = ["messages", "rows", "rejected", "faults"]
            .map(|key| format!("{} {key}", field(module, key)));
        let (name, version, state) = (
            field(module, "name"),
            field(module, "version"),
            field(module, "state"),
        );
        let because = because(module, "last_fault");
        let detached = detached(module);
        line(
            &mut text,
            format_args!(
                "module {name} {version}: {state}{detached}, {}{because}",
                counts.join(", ")
            ),
        );
    }
    if let Some(buffer) = status.get("buffer") {
        let (waiting, committed) = (
            field(buffer, "rows_waiting"),
            field(buffer, "rows_committed"),
        );
        let dead = field(buffer, "dead_letters");
        let mebibytes = |key: &str| buffer.get(key).and_then(Value::as_u64).unwrap_or(0) >> 20;
        let (used, quota) = (mebibytes("bytes_used"), mebibytes("bytes_max"));
        line(
            &mut text,
            format_args!(
                "buffer: {waiting} rows wait, {committed} committed, {dead} messages set aside, {used} of {quota} MiB used"
            ),
        );
    }
    for stream in list(status, "streams") {
        line(&mut text, format_args!("{}", lag::text(stream)));
    }
    if let Some(fresh) = status.get("updates").and_then(fresh::text) {
        line(&mut text, format_args!("updates: {fresh}"));
    }
    match status.get("uplink") {
        Some(Value::Null) | None => line(&mut text, format_args!("uplink: none")),
        Some(told) => text.push_str(&uplink::text(told)),
    }
    text
}

fn detached(module: &Value) -> String {
    let is = |key: &str| module.get(key) == Some(&Value::Bool(true));
    let waiting = field(module, "messages_on_disk");
    match (is("detached"), is("held_up")) {
        (_, true) => {
            format!(", behind with {waiting} messages on disk, where there is no room for more")
        }
        (true, false) => format!(", behind with {waiting} messages on disk"),
        (false, false) => String::new(),
    }
}

fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _written = writeln!(text, "{words}");
}

fn field(value: &Value, key: &str) -> String {
    match value.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => "-".to_owned(),
        Some(other) => other.to_string(),
    }
}

fn because(value: &Value, key: &str) -> String {
    value
        .get(key)
        .and_then(Value::as_str)
        .map(|reason| format!(" ({reason})"))
        .unwrap_or_default()
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value
        .get(key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}
