//! What a message costs in the sandbox: `per_message sum.wasm` calls the module `tests/guests/sum` with batches of 256
//! messages of 128 bytes, and does the same work natively beside it. Prints one line of JSON, nanoseconds per message.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tidegate_record::{
    Ack, Body, Channel, Class, Clock, ClockQuality, Content, DeliveryFlags, Limits, Name,
    NamedValue, Quality, Record, Scalar, Seen, SystemClock,
};
use tidegate_sandbox::{Grants, Guests, Module, ModuleSpec, Sandbox, StreamSpec};

const BATCH: u64 = 256;
const MESSAGE_BYTES: usize = 128;
const ROUNDS: u64 = 1000;

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
    let channel = Channel {
        source: Name::new("plant")?,
        topic: "machines/7".into(),
        unit: None,
    };
    let channel = Arc::new(channel);
    let payloads: Vec<Bytes> = (0..BATCH)
        .map(|_| Bytes::from(vec![b'7'; MESSAGE_BYTES]))
        .collect();
    let mut module = load(component, &clock)?;
    // The least of many rounds: what the work costs when nothing else runs.
    let (mut guest, mut native) = (u64::MAX, u64::MAX);
    for _ in 0..ROUNDS {
        let records = payloads
            .iter()
            .map(|payload| record(&channel, payload.clone(), clock.as_ref()));
        let records = records.collect();
        let start = clock.boot_time();
        let called = runtime
            .block_on(module.call(records))
            .map_err(|failed| failed.failure)?;
        guest = guest.min(clock.boot_time().0 - start.0);
        let start = clock.boot_time();
        let sum = sum(&payloads);
        native = native.min(clock.boot_time().0 - start.0);
        check(
            &called
                .applied
                .rows
                .first()
                .ok_or("the module kept no row")?
                .0
                .content,
            sum,
        )?;
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

/// What the module does, on payloads of its own as the module's are.
fn sum(payloads: &[Bytes]) -> i64 {
    let own: Vec<Vec<u8>> = payloads.iter().map(|payload| payload.to_vec()).collect();
    std::hint::black_box(own)
        .iter()
        .flatten()
        .map(|byte| i64::from(*byte))
        .sum()
}

fn check(content: &Content, sum: i64) -> Result<(), Failure> {
    let right = NamedValue {
        name: "sum".to_owned(),
        value: Scalar::Integer(sum),
    };
    match content {
        Content::Values(values) if values.first() == Some(&right) => Ok(()),
        other => Err(format!("the module kept {other:?}, right is {sum}").into()),
    }
}

fn load(component: Bytes, clock: &Arc<dyn Clock>) -> Result<Module, Failure> {
    let sandbox = Sandbox::new(Arc::new(Limits::DEFAULT), clock.clone(), None, Guests::Here)?;
    Ok(sandbox.load(ModuleSpec {
        name: Name::new("sum")?,
        version: "0.1.0".into(),
        generation: 1,
        component,
        config: BTreeMap::new(),
        grants: Grants::default(),
        streams: vec![StreamSpec {
            name: Name::new("sums")?,
            class: Class::Raw,
        }],
        memory_bytes_max: 16 << 20,
        state_bytes_max: 16 << 10,
        state: BTreeMap::new(),
        state_written_by: None,
        seen: Seen::new(0, []),
    })?)
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
