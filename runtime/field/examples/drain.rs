//! How much the field costs per message, beside a bare client of the library that it takes its packets from.
//!
//! Each contestant subscribes and goes away; the broker queues messages of 128 bytes for it; then it comes back and takes
//! them as fast as it can: `cargo run --release -p tidegate-field --example drain [COUNT] [CONTESTANT]`. Needs mosquitto.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a measurement: it prints, ends at the first fault, and times by the real clock"
)]

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rumqttc::{
    AckMode, AsyncClient, BrokerSessionResumePolicy, Event, Incoming, MqttOptions, NetworkOptions,
    PublishOptions, QoS, SessionMode,
};
use rustix::time::{ClockId, clock_gettime};
use tidegate_field::{Broker, BrokerConfig, ClientId, Phase, Surroundings};
use tidegate_record::{
    Ack, IdHasher, Limits, Name, Postbox, Publication, Record, SkipReason, SkipSink, SystemClock,
    TopicFilter,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

const WINDOW: u16 = 1000;

/// Who takes the messages, and how many acknowledgements go together.
#[derive(Clone, Copy)]
enum Contestant {
    /// The library's event loop; 0 leaves acknowledging to it.
    Bare(usize),
    Field(usize),
}

const CONTESTANTS: [(&str, Contestant); 5] = [
    ("bare client, acks by itself", Contestant::Bare(0)),
    (
        "bare client, acks up to 128 together",
        Contestant::Bare(128),
    ),
    ("field, acks at once", Contestant::Field(1)),
    ("field, acks in commits of 100", Contestant::Field(100)),
    ("field, acks in commits of 500", Contestant::Field(500)),
];

fn main() {
    let count: usize = std::env::args()
        .nth(1)
        .map_or(50_000, |text| text.parse().unwrap());
    let wanted = std::env::args().nth(2).unwrap_or_default();
    let mosquitto = Mosquitto::start();
    println!(
        "{:<40} {:>10} {:>12}",
        format!("{count} messages"),
        "msgs/s",
        "CPU us/msg"
    );
    for round in 0..3 {
        for (number, (what, contestant)) in CONTESTANTS.into_iter().enumerate() {
            if what.contains(&wanted) {
                let (seconds, cpu) = measure(
                    contestant,
                    count,
                    &mosquitto,
                    &format!("client-{round}-{number}"),
                );
                let count = count as f64;
                println!(
                    "{what:<40} {:>10.0} {:>12.2}",
                    count / seconds,
                    cpu * 1e6 / count
                );
            }
        }
    }
}

/// Queues `count` messages for `client`, then times how `contestant` takes them: seconds by the clock and of CPU.
fn measure(
    contestant: Contestant,
    count: usize,
    mosquitto: &Mosquitto,
    client: &str,
) -> (f64, f64) {
    let run = |count: usize| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            match contestant {
                Contestant::Bare(batch) => bare(mosquitto.port, client, count, batch).await,
                Contestant::Field(commit) => field(mosquitto.port, client, count, commit).await,
            }
        });
    };
    run(0);
    mosquitto.queue(count);
    let (cpu, since) = (cpu_seconds(), Instant::now());
    run(count);
    (since.elapsed().as_secs_f64(), cpu_seconds() - cpu)
}

/// The library's own event loop. A `count` of 0 only subscribes.
async fn bare(port: u16, client: &str, count: usize, request_batch: usize) {
    let mut options = MqttOptions::new(client, ("127.0.0.1", port));
    options
        .set_session_mode(SessionMode::Persistent)
        .set_broker_session_resume_policy(BrokerSessionResumePolicy::AllowBrokerOnly)
        .set_receive_maximum(Some(WINDOW))
        .set_max_request_batch(request_batch)
        .set_ack_mode(if request_batch == 0 {
            AckMode::Automatic
        } else {
            AckMode::Manual
        });
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    let (client, mut events) = AsyncClient::builder(options)
        .capacity(usize::from(WINDOW))
        .build();
    if count == 0 {
        client.try_subscribe("in/#", QoS::AtLeastOnce).unwrap();
        while !matches!(
            events.poll().await.unwrap(),
            Event::Incoming(Incoming::SubAck(_))
        ) {}
    }
    let mut taken = 0;
    while taken < count {
        if let Event::Incoming(Incoming::Publish(publish)) = events.poll().await.unwrap() {
            taken += 1;
            if request_batch > 0 {
                client
                    .try_manual_ack(client.prepare_ack(&publish).unwrap())
                    .unwrap();
            }
        }
    }
    // Our own message comes back when the broker has read every acknowledgement before it.
    client
        .try_publish("in/end", "", PublishOptions::new(QoS::AtMostOnce))
        .unwrap();
    let is_end = |event: &Event| matches!(event, Event::Incoming(Incoming::Publish(publish)) if publish.payload.is_empty());
    while !is_end(&events.poll().await.unwrap()) {}
    client.disconnect().await.unwrap();
    while events.poll().await.is_ok() {}
}

#[derive(Debug)]
struct NoSkips;

impl SkipSink for NoSkips {
    fn skipped(&self, _: &Name, _: SkipReason, _: u64, ack: Ack) {
        ack.committed();
    }
}

/// The field, with a reader that commits at once, at least `commit` records at a time.
async fn field(port: u16, client: &str, count: usize, commit: usize) {
    let limits = Arc::new(Limits::DEFAULT);
    let (records_in, mut records) = mpsc::channel(limits.inbox_records_max);
    let (phase, phase_out) = watch::channel(Phase::Running);
    let clock = Arc::new(SystemClock::new());
    let surroundings = Surroundings {
        records: records_in,
        phase: phase_out,
        clock,
        ids: IdHasher::new(1),
        skips: Arc::new(NoSkips),
        limits,
    };
    let url = format!("mqtt://127.0.0.1:{port}").parse().unwrap();
    let config = BrokerConfig::new(
        Name::new("plant").unwrap(),
        url,
        ClientId::new(client).unwrap(),
    );
    let mut tasks = JoinSet::new();
    let filter = TopicFilter::new("in/#").unwrap();
    let broker = Broker::new(config).unwrap().spawn(
        vec![filter],
        Arc::new(NoPost),
        &surroundings,
        &mut tasks,
    );
    let counters = broker.counters();
    let load =
        |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
    while !counters
        .connected
        .load(std::sync::atomic::Ordering::Relaxed)
    {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut batch: Vec<Record> = Vec::new();
    let mut taken = 0;
    while taken < count {
        records.recv_many(&mut batch, 1024).await;
        if batch.len() >= commit || taken + batch.len() == count {
            taken += batch.len();
            batch.drain(..).for_each(|record| record.ack.committed());
        }
    }
    phase.send(Phase::Ended).unwrap();
    while tasks.join_next().await.is_some() {}
    assert_eq!(load(&counters.acknowledged), u64::try_from(count).unwrap());
}

/// No durable publications.
struct NoPost;

impl Postbox for NoPost {
    type Error = std::io::Error;

    async fn next(&self, _: &Name, _: u64, _: usize) -> std::io::Result<Vec<(u64, Publication)>> {
        Ok(Vec::new())
    }

    async fn delivered(&self, _: &[u64]) -> std::io::Result<()> {
        Ok(())
    }

    async fn posted(&self) {
        std::future::pending().await
    }
}

struct Mosquitto {
    child: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Mosquitto {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let path = dir.path().join("mosquitto.conf");
        let config = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nmax_inflight_messages {WINDOW}\n\
             max_queued_messages 0\nset_tcp_nodelay true\nlog_type none\n"
        );
        std::fs::write(&path, config).unwrap();
        let child = Command::new("/usr/sbin/mosquitto")
            .arg("-c")
            .arg(&path)
            .spawn()
            .expect("mosquitto is installed");
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(Duration::from_millis(10));
        }
        Self {
            child,
            port,
            _dir: dir,
        }
    }

    fn queue(&self, count: usize) {
        let mut publisher = Command::new("mosquitto_pub")
            .args([
                "-p",
                &self.port.to_string(),
                "-V",
                "mqttv5",
                "-t",
                "in/machine-7/temperature",
                "-q",
                "1",
                "-l",
            ])
            .stdin(Stdio::piped())
            .spawn()
            .expect("mosquitto_pub is installed");
        let mut stdin = std::io::BufWriter::new(publisher.stdin.take().unwrap());
        for number in 0..count {
            writeln!(stdin, "{number:0128}").unwrap();
        }
        drop(stdin);
        assert!(publisher.wait().unwrap().success());
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.child.kill().ok();
    }
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
