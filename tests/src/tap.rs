//! A wiretap between broker and gateway, which notes when each message with QoS 1 went in and when its PUBACK came out.
//!
//! Both times are bounds in the direction that the proof needs: a message is noted *before* it is passed to the gateway,
//! a PUBACK *after* it was read from it. A message that the broker repeats after a broken connection counts from its
//! first delivery: that may be on disk already, and then its repetition is acknowledged without another commit.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hasher};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};

use crate::mqtt::{self, Frame, kind};

/// A message and its receipt, in time since 1970: the clock that the kernel's trace uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passage {
    /// Packet id.
    pub id: u16,
    /// The message was about to be passed to the gateway, for the first time.
    pub message: Duration,
    /// The receipt had left the gateway.
    pub receipt: Duration,
}

/// The wiretap.
#[derive(Debug)]
pub struct Tap {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    broker: SocketAddr,
    closed: AtomicBool,
    deaf: AtomicBool,
    messages: AtomicU64,
    /// When each message was first delivered, by a hash of its topic and payload.
    first: Mutex<HashMap<u64, Duration>>,
    /// The hashes of messages that have a receipt.
    acknowledged: Mutex<HashSet<u64>>,
    /// Their numbers, where they have one.
    numbers: Mutex<BTreeSet<u64>>,
    passages: Mutex<Vec<Passage>>,
    broken: Mutex<Option<String>>,
    open: Mutex<Vec<Weak<TcpStream>>>,
}

/// Messages of one connection that have no receipt yet: by packet id. mosquitto 2.0 has more messages
/// of a backlog in flight than there are packet ids; receipts come in order, so the first is meant.
type Waiting = Arc<Mutex<HashMap<u16, VecDeque<InFlight>>>>;

/// A message without a receipt.
#[derive(Debug, Clone, Copy)]
struct InFlight {
    identity: u64,
    number: Option<u64>,
    since: Duration,
}

impl Tap {
    /// A tap on the way to the broker at `port`.
    ///
    /// # Errors
    /// When no port can be opened.
    pub fn on(port: u16) -> Result<Self> {
        let listener =
            TcpListener::bind("127.0.0.1:0").context("cannot open a port for the tap")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            broker: SocketAddr::from(([127, 0, 0, 1], port)),
            closed: AtomicBool::new(false),
            deaf: AtomicBool::new(false),
            messages: AtomicU64::new(0),
            first: Mutex::default(),
            acknowledged: Mutex::default(),
            numbers: Mutex::default(),
            passages: Mutex::default(),
            broken: Mutex::default(),
            open: Mutex::default(),
        });
        let for_acceptor = shared.clone();
        let acceptor = std::thread::spawn(move || accept(&listener, &for_acceptor));
        Ok(Self {
            address,
            shared,
            acceptor: Some(acceptor),
        })
    }

    /// The port for the gateway to connect to.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Lets nothing of what the gateway says reach the broker, and notes it all the same: on a connection that is to end.
    pub fn keep_from_broker(&self, deaf: bool) {
        self.shared.deaf.store(deaf, Ordering::SeqCst);
    }

    /// Messages with QoS 1 that were passed to the gateway, repeated ones included.
    pub fn messages(&self) -> u64 {
        self.shared.messages.load(Ordering::Relaxed)
    }

    /// Messages that have their receipt, so far.
    pub fn passed(&self) -> usize {
        self.shared
            .passages
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// Different messages that have a receipt, so far.
    pub fn acknowledged(&self) -> usize {
        self.shared
            .acknowledged
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// How many of the rig's numbered messages have a receipt, so far.
    pub fn numbered(&self) -> usize {
        self.shared
            .numbers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// The numbers of the rig's messages that have a receipt, so far.
    pub fn numbers(&self) -> BTreeSet<u64> {
        self.shared
            .numbers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Messages that have their receipt, since the last call.
    ///
    /// # Errors
    /// When the tap could not follow the conversation, so that it proves nothing.
    pub fn take(&self) -> Result<Vec<Passage>> {
        let broken = self
            .shared
            .broken
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        ensure!(
            broken.is_none(),
            "the tap lost track: {}",
            broken.as_deref().unwrap_or_default()
        );
        Ok(std::mem::take(
            &mut self
                .shared
                .passages
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        ))
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        for stream in self
            .shared
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
            .filter_map(|stream| stream.upgrade())
        {
            let _already_closed = stream.shutdown(Shutdown::Both);
        }
        let _wakes_the_acceptor = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _its_panic_was_printed = acceptor.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut pumps = Vec::new();
    while let Ok((gateway, _)) = listener.accept() {
        if shared.closed.load(Ordering::SeqCst) {
            break;
        }
        let Ok(broker) = TcpStream::connect(shared.broker) else {
            continue;
        };
        let (gateway, broker) = (shared.hold(gateway), shared.hold(broker));
        let (gateway_too, broker_too) = (gateway.clone(), broker.clone());
        let waiting = Waiting::default();
        let (down, up) = (shared.clone(), shared.clone());
        let for_up = waiting.clone();
        pumps.push(std::thread::spawn(move || {
            down.follow(&broker, &gateway, |frame| {
                down.message(&waiting, frame).map(|()| true)
            });
        }));
        pumps.push(std::thread::spawn(move || {
            up.follow(&gateway_too, &broker_too, |frame| {
                up.receipt(&for_up, frame)?;
                Ok(!up.deaf.load(Ordering::SeqCst))
            });
        }));
        pumps.retain(|pump| !pump.is_finished());
    }
    for pump in pumps {
        let _its_panic_was_printed = pump.join();
    }
}

impl Shared {
    /// A connection that ends with the tap.
    fn hold(&self, stream: TcpStream) -> Arc<TcpStream> {
        let _unsupported = stream.set_nodelay(true);
        let stream = Arc::new(stream);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|stream| stream.strong_count() > 0);
        open.push(Arc::downgrade(&stream));
        stream
    }

    /// Passes bytes on after each packet in them was looked at, unless `look` says of one of them that they are to stay.
    fn follow(
        &self,
        mut from: &TcpStream,
        mut to: &TcpStream,
        mut look: impl FnMut(&Frame<'_>) -> Result<bool>,
    ) {
        let mut buffer = Vec::new();
        let mut chunk = vec![0; 64 << 10];
        while let Ok(length @ 1..) = from.read(&mut chunk) {
            let bytes = chunk.get(..length).unwrap_or_default();
            buffer.extend_from_slice(bytes);
            let pass = look_through(&mut buffer, &mut look).unwrap_or_else(|error| {
                *self.broken.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(format!("{error:#}"));
                true
            });
            if pass && to.write_all(bytes).is_err() {
                break;
            }
        }
        let _already_closed = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }

    fn message(&self, waiting: &Waiting, frame: &Frame<'_>) -> Result<()> {
        let Some(id) = mqtt::publish_id(frame) else {
            return Ok(());
        };
        self.messages.fetch_add(1, Ordering::Relaxed);
        let (now, identity) = (now()?, identity(frame));
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        let first = *first.entry(identity).or_insert(now);
        let since = if frame.repeated() { first } else { now };
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.entry(id).or_default().push_back(InFlight {
            identity,
            number: number(frame),
            since,
        });
        Ok(())
    }

    fn receipt(&self, waiting: &Waiting, frame: &Frame<'_>) -> Result<()> {
        if frame.kind() != kind::PUBACK {
            return Ok(());
        }
        let receipt = now()?;
        let id = mqtt::receipt_id(frame).context("a PUBACK without a packet id")?;
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let message = waiting.get_mut(&id).and_then(VecDeque::pop_front);
        let message = message
            .with_context(|| format!("a PUBACK for packet id {id}, which is not in flight"))?;
        self.acknowledged
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(message.identity);
        self.numbers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(message.number);
        let passage = Passage {
            id,
            message: message.since,
            receipt,
        };
        self.passages
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(passage);
        Ok(())
    }
}

fn look_through(
    buffer: &mut Vec<u8>,
    look: &mut impl FnMut(&Frame<'_>) -> Result<bool>,
) -> Result<bool> {
    let (mut used, mut pass) = (0, true);
    let result = loop {
        match Frame::first(buffer.get(used..).unwrap_or_default()) {
            Ok(Some(frame)) => {
                used += frame.length;
                match look(&frame) {
                    Ok(passes) => pass &= passes,
                    Err(error) => break Err(error),
                }
            }
            Ok(None) => break Ok(pass),
            Err(error) => break Err(error),
        }
    };
    buffer.drain(..used);
    result
}

/// A hash of a message's topic and payload, without its packet id. Messages of the tests are numbered, so each is another.
fn identity(frame: &Frame<'_>) -> u64 {
    let topic = 2 + frame
        .body
        .first_chunk()
        .map_or(0, |length| usize::from(u16::from_be_bytes(*length)));
    let mut hasher = DefaultHasher::new();
    hasher.write(frame.body.get(..topic).unwrap_or_default());
    hasher.write(frame.body.get(topic + 2..).unwrap_or_default());
    hasher.finish()
}

/// The number in a message of the rig, which begins with `{"seq":`.
fn number(frame: &Frame<'_>) -> Option<u64> {
    const START: &[u8] = b"{\"seq\":";
    let start = frame
        .body
        .windows(START.len())
        .position(|part| part == START)?;
    let digits = frame.body.get(start + START.len()..)?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(digits.get(..end)?).ok()?.parse().ok()
}

/// Time since 1970.
fn now() -> Result<Duration> {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock is before 1970")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Broker;
    use crate::process::Process;
    use crate::publisher::Publisher;
    use crate::tools::{Tool, available};
    use crate::wait::wait_until;
    use std::process::Command;

    #[test]
    fn each_receipt_is_paired_with_its_message_in_either_version_of_mqtt() {
        if !available("tap", &[Tool::Mosquitto, Tool::MosquittoSub]).unwrap() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let broker = Broker::start(directory.path()).unwrap();
        for version in ["mqttv311", "mqttv5"] {
            let tap = Tap::on(broker.port()).unwrap();
            let mut subscriber = Command::new(Tool::MosquittoSub.path().unwrap());
            subscriber.args([
                "-p",
                &tap.port().to_string(),
                "-V",
                version,
                "-q",
                "1",
                "-i",
                version,
                "-t",
                "a",
            ]);
            let _subscriber = Process::start("sub", directory.path(), &mut subscriber).unwrap();
            broker.wait_for_subscriber(version).unwrap();
            let mut publisher = Publisher::connect(broker.port(), "publisher", 100).unwrap();
            for _ in 0..3000 {
                publisher.publish("a", &[b'x'; 200]).unwrap();
            }
            publisher.finish().unwrap();
            wait_until("all receipts", Duration::from_secs(30), || {
                Ok(tap.passed() == 3000)
            })
            .unwrap();
            let passages = tap.take().unwrap();
            assert!(
                passages
                    .iter()
                    .all(|passage| passage.message < passage.receipt)
            );
            assert_eq!(tap.messages(), 3000);
        }
    }
}
