//! The counters of the status for a monitoring system, as OpenMetrics text. Labels are names that the operator has given.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tidegate_field::{BrokerCounters, SensorCounters};
use tidegate_record::openmetrics::{Exposition, Kind};
use tidegate_sandbox::ModuleCounters;

use crate::lag::Report;
use crate::status::Status;

/// Name, help, and the counter itself.
type Counted<C> = (&'static str, &'static str, fn(&C) -> &AtomicU64);

const BROKER: [Counted<BrokerCounters>; 12] = [
    ("tidegate_broker_connections", "Connections made.", |c| {
        &c.connections
    }),
    (
        "tidegate_broker_received_messages",
        "Messages received.",
        |c| &c.received,
    ),
    (
        "tidegate_broker_received_bytes",
        "Bytes of messages received.",
        |c| &c.received_bytes,
    ),
    (
        "tidegate_broker_redelivered_messages",
        "Messages marked as repeated.",
        |c| &c.redelivered,
    ),
    (
        "tidegate_broker_malformed_messages",
        "Messages that cannot be.",
        |c| &c.malformed,
    ),
    (
        "tidegate_broker_oversized_messages",
        "Messages over the limit.",
        |c| &c.oversized,
    ),
    (
        "tidegate_broker_dropped_messages",
        "QoS 0 messages dropped.",
        |c| &c.dropped,
    ),
    (
        "tidegate_broker_acknowledged_messages",
        "Messages acknowledged.",
        |c| &c.acknowledged,
    ),
    (
        "tidegate_broker_abandoned_messages",
        "Messages left to be delivered again.",
        |c| &c.abandoned,
    ),
    ("tidegate_broker_publications", "Publications sent.", |c| {
        &c.published
    }),
    (
        "tidegate_broker_dropped_publications",
        "Publications at once that did not get out.",
        |c| &c.publish_dropped,
    ),
    (
        "tidegate_broker_refused_publications",
        "Publications that the broker refused.",
        |c| &c.publish_refused,
    ),
];

const SENSOR: [Counted<SensorCounters>; 3] = [
    ("tidegate_sensor_readings", "Readings taken.", |c| {
        &c.readings
    }),
    (
        "tidegate_sensor_bad_readings",
        "Readings marked as bad.",
        |c| &c.bad,
    ),
    (
        "tidegate_sensor_malformed_readings",
        "Readings that cannot be.",
        |c| &c.malformed,
    ),
];

const MODULE: [Counted<ModuleCounters>; 6] = [
    ("tidegate_module_messages", "Messages processed.", |c| {
        &c.messages
    }),
    ("tidegate_module_calls", "Calls.", |c| &c.calls),
    ("tidegate_module_rows", "Rows kept.", |c| &c.rows),
    (
        "tidegate_module_rejected_messages",
        "Messages set aside.",
        |c| &c.rejected,
    ),
    (
        "tidegate_module_duplicate_messages",
        "Messages that came again.",
        |c| &c.duplicates,
    ),
    ("tidegate_module_faults", "Calls that failed.", |c| {
        &c.faults
    }),
];

/// Everything.
pub(crate) fn openmetrics(status: &Status) -> String {
    let mut exposition = Exposition::default();
    gateway(&mut exposition, status);
    field(&mut exposition, status);
    modules(&mut exposition, status);
    buffer(&mut exposition, status);
    streams(&mut exposition, &status.lags.reports());
    uplink(&mut exposition, status);
    exposition.finish()
}

fn gateway(exposition: &mut Exposition, status: &Status) {
    let labels = [
        ("gateway", status.gateway.as_str()),
        ("version", env!("CARGO_PKG_VERSION")),
    ];
    let mut info = exposition.family("tidegate_gateway", Kind::Info, "The gateway.");
    info.sample(&labels, 1);
    let uptime = status.clock.boot_time().since(status.started);
    let help = "Time since the start.";
    exposition.single(
        "tidegate_uptime_seconds",
        Kind::Gauge,
        help,
        uptime.as_secs_f64(),
    );
    let outward = &status.outward;
    for (name, help, counter) in [
        (
            "tidegate_records",
            "Records from the field.",
            &status.dispatch.records,
        ),
        (
            "tidegate_unrouted_records",
            "Records that no module asked for.",
            &status.dispatch.unrouted,
        ),
        (
            "tidegate_dropped_outputs",
            "Publications and commands with nowhere to go.",
            &outward.dropped,
        ),
    ] {
        exposition.single(name, Kind::Counter, help, get(counter));
    }
}

fn field(exposition: &mut Exposition, status: &Status) {
    let help = "Whether the broker is connected.";
    let mut connected = exposition.family("tidegate_broker_connected", Kind::Gauge, help);
    for broker in &status.brokers {
        let flag = flag(&broker.counters().connected);
        connected.sample(&[("broker", broker.name().as_str())], flag);
    }
    for (name, help, counter) in BROKER {
        let mut family = exposition.family(name, Kind::Counter, help);
        for broker in &status.brokers {
            let count = get(counter(broker.counters()));
            family.sample(&[("broker", broker.name().as_str())], count);
        }
    }
    for (name, help, counter) in SENSOR {
        let mut family = exposition.family(name, Kind::Counter, help);
        for sensor in &status.sensors {
            let count = get(counter(sensor.counters()));
            family.sample(&[("sensor", sensor.name().as_str())], count);
        }
    }
}

fn modules(exposition: &mut Exposition, status: &Status) {
    let help = "Whether the module runs.";
    let mut running = exposition.family("tidegate_module_running", Kind::Gauge, help);
    // One that is refused may have the name of one that runs.
    let mut runs: BTreeMap<&str, bool> = BTreeMap::new();
    for module in &status.modules {
        *runs.entry(&module.name).or_default() |= module.runs();
    }
    for (module, runs) in runs {
        running.sample(&[("module", module)], u8::from(runs));
    }
    for (name, help, counter) in MODULE {
        let mut family = exposition.family(name, Kind::Counter, help);
        for module in &status.modules {
            if let Ok(counters) = &module.running {
                family.sample(&[("module", &module.name)], get(counter(counters)));
            }
        }
    }
}

fn buffer(exposition: &mut Exposition, status: &Status) {
    let counters = status.buffer.counters();
    for (name, help, value) in [
        (
            "tidegate_buffer_rows_waiting",
            "Rows that the centre lacks.",
            status.buffer.rows_waiting(),
        ),
        (
            "tidegate_buffer_used_bytes",
            "On disk: database, log and ballast.",
            get(&counters.bytes_used),
        ),
        (
            "tidegate_buffer_quota_bytes",
            "What it may use.",
            status.quota_bytes,
        ),
    ] {
        exposition.single(name, Kind::Gauge, help, value);
    }
    for (name, help, counter) in [
        ("tidegate_buffer_rows", "Rows committed.", &counters.rows),
        (
            "tidegate_buffer_commits",
            "Transactions.",
            &counters.commits,
        ),
        (
            "tidegate_buffer_dead_letters",
            "Messages set aside.",
            &counters.dead_letters,
        ),
        (
            "tidegate_buffer_full_commits",
            "Commits that found no room.",
            &counters.full,
        ),
    ] {
        exposition.single(name, Kind::Counter, help, get(counter));
    }
    let help = "Messages that were taken and led to nothing, since the database began.";
    let mut lost = exposition.family("tidegate_tallied_messages", Kind::Counter, help);
    for tally in status.buffer.tallies() {
        let labels = [("of", tally.of.as_str()), ("reason", &tally.reason)];
        lost.sample(&labels, tally.messages);
    }
    let help = "From the receipt of a message to the return of its commit.";
    let mut durable = exposition.family("tidegate_in_to_durable_seconds", Kind::Summary, help);
    for (label, quantile) in [("0.5", 0.5), ("0.99", 0.99)] {
        if let Some(time) = counters.in_to_durable.quantile(quantile) {
            durable.sample(&[("quantile", label)], time.as_secs_f64());
        }
    }
}

fn streams(exposition: &mut Exposition, reports: &[Report]) {
    let mut each = |name, kind, help, value: &dyn Fn(&Report) -> Option<f64>| {
        let mut family = exposition.family(name, kind, help);
        for report in reports {
            if let Some(value) = value(report) {
                family.sample(&[("stream", report.stream.as_str())], value);
            }
        }
    };
    let help = "Rows that the centre lacks.";
    #[allow(
        clippy::cast_precision_loss,
        reason = "a sample is a float to whoever reads it"
    )]
    each(
        "tidegate_stream_rows_waiting",
        Kind::Gauge,
        help,
        &|report| Some(report.rows_waiting as f64),
    );
    let help = "Time since the commit of the oldest row that the centre lacks.";
    each(
        "tidegate_stream_lag_seconds",
        Kind::Gauge,
        help,
        &|report| Some(report.lag.as_secs_f64()),
    );
    let help = "How long a row may wait.";
    each(
        "tidegate_stream_lag_objective_seconds",
        Kind::Gauge,
        help,
        &|report| Some(report.objective?.as_secs_f64()),
    );
    let help = "Whether the objective is missed.";
    each(
        "tidegate_stream_lag_objective_missed",
        Kind::Gauge,
        help,
        &|report| report.objective.map(|_| f64::from(u8::from(report.missed))),
    );
    let help = "Times that the objective was missed.";
    #[allow(
        clippy::cast_precision_loss,
        reason = "a sample is a float to whoever reads it"
    )]
    each(
        "tidegate_stream_lag_objective_misses",
        Kind::Counter,
        help,
        &|report| report.objective.map(|_| report.misses as f64),
    );
}

fn uplink(exposition: &mut Exposition, status: &Status) {
    let Some(counters) = status.uplink.as_ref().map(|told| told.counters()) else {
        return;
    };
    let help = "Whether the last exchange with the centre succeeded.";
    exposition.single(
        "tidegate_uplink_connected",
        Kind::Gauge,
        help,
        flag(&counters.connected),
    );
    for (name, help, counter) in [
        (
            "tidegate_uplink_syncs",
            "Exchanges that succeeded.",
            &counters.syncs,
        ),
        (
            "tidegate_uplink_rows",
            "Rows sent, those sent again included.",
            &counters.rows_sent,
        ),
        (
            "tidegate_uplink_sent_bytes",
            "Bytes sent to the centre.",
            &counters.bytes_up,
        ),
    ] {
        exposition.single(name, Kind::Counter, help, get(counter));
    }
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn flag(flag: &AtomicBool) -> u8 {
    flag.load(Ordering::Relaxed).into()
}
