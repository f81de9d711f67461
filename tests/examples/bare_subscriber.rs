//! The baseline of the benches: subscribes with QoS 1 and acknowledges at once, and does nothing else. It is built on the
//! client library that the gateway uses, on one thread.
//!
//! `bare_subscriber PORT CLIENT FILTER MESSAGES` prints `ready`, then after so many messages one JSON line:
//! `{"first_at": when the first message came, "seconds": from then to the last, "cpu_seconds": …}`.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use rumqttc::{
    AsyncClient, BrokerSessionResumePolicy, Event, Incoming, MqttOptions, NetworkOptions,
    SessionMode, mqttbytes::QoS,
};
use tidegate_tests::meter;

#[tokio::main(flavor = "current_thread")]
#[allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program that measures and prints"
)]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, client_id, filter, messages] = arguments.as_slice() else {
        bail!("usage: bare_subscriber PORT CLIENT FILTER MESSAGES");
    };
    let messages: u64 = messages.parse()?;
    let mut options = MqttOptions::new(client_id, ("127.0.0.1", port.parse()?));
    options.set_session_mode(SessionMode::Persistent);
    // A new process has no state of its own: the broker's is all it wants.
    options.set_broker_session_resume_policy(BrokerSessionResumePolicy::AllowBrokerOnly);
    options.set_session_expiry_interval(Some(3600));
    options.set_receive_maximum(Some(1000));
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    let (client, mut events) = AsyncClient::builder(options).build();
    client.subscribe(filter.as_str(), QoS::AtLeastOnce).await?;
    let mut received = 0;
    let mut first = None;
    while received < messages {
        match events.poll().await.context("the broker is gone")? {
            Event::Incoming(Incoming::SubAck(_)) => println!("ready"),
            Event::Incoming(Incoming::Publish(_)) => {
                first.get_or_insert_with(|| (Instant::now(), SystemTime::now()));
                received += 1;
            }
            _ => {}
        }
    }
    let (first, first_at) = first.context("no message was asked for")?;
    let seconds = first.elapsed().as_secs_f64();
    let first_at = first_at.duration_since(UNIX_EPOCH)?.as_secs_f64();
    let cpu = meter::cpu_time(std::process::id())?.as_secs_f64();
    let result =
        serde_json::json!({ "first_at": first_at, "seconds": seconds, "cpu_seconds": cpu });
    println!("{result}");
    client.disconnect().await?;
    // Receipts that are still queued leave with the disconnect.
    while events.poll().await.is_ok() {}
    Ok(())
}
