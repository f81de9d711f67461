//! A publisher of messages with QoS 1, which knows which of them the broker acknowledged.
//!
//! MQTT demands receipts in the order of the messages, so what is acknowledged is a number: the first so many. A
//! receipt out of order ends the publisher with an error. It spends little processor time, to leave it to what is tested.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::mqtt::{self, Frame, kind};
use crate::wait::pace;

/// Bytes collected before they are written, while the publisher runs as fast as it can.
const WRITE_BYTES: usize = 16 << 10;

/// How long the broker may leave everything unacknowledged.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection that publishes, with a bounded number of messages in flight.
#[derive(Debug)]
pub struct Publisher {
    stream: TcpStream,
    buffer: Vec<u8>,
    window: u64,
    published: u64,
    receipts: Arc<Receipts>,
    reader: Option<JoinHandle<()>>,
}

/// What the reading thread tells the publishing one.
#[derive(Debug, Default)]
struct Receipts {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    acknowledged: u64,
    ended: Option<String>,
}

impl Publisher {
    /// Connects with at most `window` messages in flight.
    ///
    /// # Errors
    /// When there is no broker at `port`, or it refuses.
    pub fn connect(port: u16, client_id: &str, window: u16) -> Result<Self> {
        let stream = mqtt::connect(port, client_id)?;
        let receipts = Arc::new(Receipts::default());
        let mut input = stream.try_clone()?;
        let shared = receipts.clone();
        let reader = std::thread::spawn(move || {
            let ended = read_receipts(&mut input, &shared)
                .err()
                .map_or_else(String::new, |error| format!("{error:#}"));
            let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.ended = Some(ended);
            shared.changed.notify_all();
        });
        Ok(Self {
            stream,
            buffer: Vec::new(),
            window: window.into(),
            published: 0,
            receipts,
            reader: Some(reader),
        })
    }

    /// Publishes one message; waits while too many are in flight.
    ///
    /// # Errors
    /// When the connection has ended, or the broker acknowledges nothing for long.
    pub fn publish(&mut self, topic: &str, payload: &[u8]) -> Result<()> {
        if self.published - self.acknowledged() >= self.window {
            self.flush()?;
            let least = self.published + 1 - self.window;
            self.wait_for(least)?;
        }
        mqtt::put_publish(&mut self.buffer, packet_id(self.published), topic, payload);
        self.published += 1;
        if self.buffer.len() >= WRITE_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes what was collected.
    ///
    /// # Errors
    /// When the connection has ended.
    pub fn flush(&mut self) -> Result<()> {
        self.stream
            .write_all(&self.buffer)
            .context("the broker closed the connection")?;
        self.buffer.clear();
        Ok(())
    }

    /// Waits until everything is acknowledged; gives the number of messages.
    ///
    /// # Errors
    /// As [`Publisher::publish`].
    pub fn finish(&mut self) -> Result<u64> {
        self.flush()?;
        self.wait_for(self.published)?;
        Ok(self.published)
    }

    /// Messages handed over so far.
    pub fn published(&self) -> u64 {
        self.published
    }

    /// The first so many messages are acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.receipts
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .acknowledged
    }

    fn wait_for(&self, acknowledged: u64) -> Result<()> {
        let mut state = self
            .receipts
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        while state.acknowledged < acknowledged {
            if let Some(ended) = &state.ended {
                bail!("the publisher's connection ended {ended}");
            }
            let (next, timeout) = self
                .receipts
                .changed
                .wait_timeout(state, PATIENCE)
                .unwrap_or_else(PoisonError::into_inner);
            ensure!(
                !timeout.timed_out(),
                "the broker acknowledged nothing for {} s",
                PATIENCE.as_secs()
            );
            state = next;
        }
        Ok(())
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let _already_closed = self.stream.shutdown(std::net::Shutdown::Both);
        if let Some(reader) = self.reader.take() {
            let _its_panic_was_printed = reader.join();
        }
    }
}

/// A publisher in its own thread, at a rate, until it is stopped.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    published: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result<Publisher>>>,
}

impl Load {
    /// Publishes `message(0)`, `message(1)`, … as topic and payload, `per_second` of them evenly spread.
    pub fn start(
        mut publisher: Publisher,
        per_second: f64,
        mut message: impl FnMut(u64) -> (String, Vec<u8>) + Send + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let published = Arc::new(AtomicU64::new(0));
        let (stopped, count) = (stop.clone(), published.clone());
        let interval = Duration::from_secs_f64(1.0 / per_second);
        let thread = std::thread::spawn(move || {
            let mut next = Instant::now();
            while !stopped.load(Ordering::Relaxed) {
                let number = count.load(Ordering::Relaxed);
                let (topic, payload) = message(number);
                publisher.publish(&topic, &payload)?;
                count.store(number + 1, Ordering::Relaxed);
                next += interval;
                if next > Instant::now() {
                    publisher.flush()?;
                    pace(next);
                }
            }
            Ok(publisher)
        });
        Self {
            stop,
            published,
            thread: Some(thread),
        }
    }

    /// Messages handed over so far.
    pub fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }

    /// Stops, waits until everything is acknowledged, and gives the publisher back.
    ///
    /// # Errors
    /// When a message could not be published.
    pub fn stop(mut self) -> Result<Publisher> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("the load was stopped before")?;
        let mut publisher = thread.join().map_err(|_| anyhow!("the load panicked"))??;
        publisher.finish()?;
        Ok(publisher)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _unused = thread.join();
        }
    }
}

/// Packet ids go round from 1 to 65535.
fn packet_id(number: u64) -> u16 {
    u16::try_from(number % 0xffff + 1).unwrap_or(1)
}

fn read_receipts(stream: &mut TcpStream, receipts: &Receipts) -> Result<()> {
    let mut buffer = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    let mut acknowledged = 0;
    loop {
        let length = stream.read(&mut chunk)?;
        if length == 0 {
            return Ok(());
        }
        buffer.extend_from_slice(chunk.get(..length).unwrap_or_default());
        let mut used = 0;
        while let Some(frame) = Frame::first(buffer.get(used..).unwrap_or_default())? {
            used += frame.length;
            if frame.kind() == kind::PUBACK {
                let id = mqtt::receipt_id(&frame);
                ensure!(
                    id == Some(packet_id(acknowledged)),
                    "receipt {id:?} for message {acknowledged}"
                );
                acknowledged += 1;
            }
        }
        buffer.drain(..used);
        receipts
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .acknowledged = acknowledged;
        receipts.changed.notify_all();
    }
}
