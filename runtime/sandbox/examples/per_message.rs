//! What a message costs in the sandbox: `per_message unit-convert.wasm` calls the example module with batches of 256
//! messages of 128 bytes, and does the same work natively beside it. Prints one line of JSON, nanoseconds per message.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tidegate_record::{
    Ack, Body, Channel, Class, Clock, ClockQuality, DeliveryFlags, Limits, Name, Quality, Record,
    Seen, SystemClock,
};
use tidegate_sandbox::{Grants, Module, ModuleSpec, Sandbox, StreamSpec};

const BATCH: u64 = 256;
const ROUNDS: u64 = 400;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let path = std::env::args()
        .nth(1)
        .ok_or("usage: per_message COMPONENT")?;
    let component = Bytes::from(std::fs::read(path)?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let channel = Arc::new(Channel {
        source: Name::new("plant")?,
        topic: "machines/7".into(),
        unit: None,
    });
    let payloads: Vec<Bytes> = (0..BATCH).map(payload).collect();
    let mut module = load(component, &clock)?;
    let (mut guest, mut native) = (u64::MAX, u64::MAX);
    // The least of several rounds: what the work costs when nothing else runs.
    for _ in 0..ROUNDS {
        let records = payloads
            .iter()
            .map(|payload| record(&channel, payload.clone(), clock.as_ref()))
            .collect();
        let start = clock.boot_time();
        let called = runtime
            .block_on(module.call(records))
            .map_err(|failed| failed.failure)?;
        guest = guest.min(nanoseconds(clock.as_ref(), start));
        assert_eq!(
            called.applied.rows.len() + called.applied.rejections.len(),
            payloads.len(),
            "one row a message"
        );
        let start = clock.boot_time();
        for payload in &payloads {
            std::hint::black_box(convert(payload)?);
        }
        native = native.min(nanoseconds(clock.as_ref(), start));
    }
    #[allow(clippy::print_stdout, reason = "its result")]
    {
        println!(
            "{{\"guest_ns\":{},\"native_ns\":{}}}",
            guest / BATCH,
            native / BATCH
        );
    }
    Ok(())
}

fn load(component: Bytes, clock: &Arc<dyn Clock>) -> Result<Module, Failure> {
    let sandbox = Sandbox::new(Arc::new(Limits::DEFAULT), clock.clone(), None)?;
    Ok(sandbox.load(ModuleSpec {
        name: Name::new("unit-convert")?,
        version: "0.1.0".into(),
        generation: 1,
        component,
        config: BTreeMap::from([("output.stream".to_owned(), "readings".to_owned())]),
        grants: Grants::default(),
        streams: vec![StreamSpec {
            name: Name::new("readings")?,
            class: Class::Raw,
        }],
        memory_bytes_max: 16 << 20,
        state_bytes_max: 16 << 10,
        state: BTreeMap::new(),
        state_written_by: None,
        seen: Seen::new(0, []),
    })?)
}

fn payload(seq: u64) -> Bytes {
    let mut text = format!(
        "{{\"seq\":{seq},\"celsius\":21.5,\"machine\":\"press-7\",\"line\":\"north\",\"state\":\"running\""
    );
    let padding = 128_usize.saturating_sub(text.len() + 9);
    text.push_str(&format!(",\"pad\":\"{}\"}}", "x".repeat(padding)));
    Bytes::from(text)
}

fn record(channel: &Arc<Channel>, payload: Bytes, clock: &dyn Clock) -> Record {
    Record {
        channel: channel.clone(),
        body: Body::Payload(payload),
        time: clock.wall_time(),
        clock: ClockQuality::Synced,
        quality: Quality::Good,
        delivery: DeliveryFlags::default(),
        received: clock.boot_time(),
        properties: Vec::new(),
        id: None,
        ack: Ack::none(),
    }
}

/// What the module does: the message as an object, one field converted, every value of it kept.
fn convert(payload: &[u8]) -> Result<Vec<(String, serde_json::Value)>, Failure> {
    let mut object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(payload)?;
    if let Some(celsius) = object.remove("celsius").and_then(|value| value.as_f64()) {
        object.insert("fahrenheit".into(), (celsius * 1.8 + 32.0).into());
    }
    Ok(object.into_iter().collect())
}

fn nanoseconds(clock: &dyn Clock, start: tidegate_record::BootTime) -> u64 {
    clock.boot_time().0.saturating_sub(start.0)
}
