//! What a local subscriber sees, and when.

use std::io::Read;
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::mqtt::{self, Frame};

/// Messages that wait to be looked at. A test that asks for none of them loses the newest, not memory.
const WAITING_MAX: usize = 100_000;

/// A message as it came.
#[derive(Debug, Clone)]
pub struct Heard {
    /// When.
    pub at: Instant,
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// A subscription, read by its own thread.
#[derive(Debug)]
pub struct Listener {
    stream: TcpStream,
    heard: Receiver<Heard>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// Subscribes to `filter`; what is published after this returns is heard.
    ///
    /// # Errors
    /// When there is no broker at `port`, or it refuses.
    pub fn subscribe(port: u16, client_id: &str, filter: &str) -> Result<Self> {
        let mut stream = mqtt::connect(port, client_id)?;
        mqtt::subscribe(&mut stream, filter)?;
        let mut input = stream.try_clone()?;
        let (sender, heard) = sync_channel(WAITING_MAX);
        let thread = std::thread::spawn(move || {
            let mut buffer = Vec::new();
            let mut chunk = vec![0; 64 << 10];
            while let Ok(length @ 1..) = input.read(&mut chunk) {
                let at = Instant::now();
                buffer.extend_from_slice(chunk.get(..length).unwrap_or_default());
                let mut used = 0;
                while let Ok(Some(frame)) = Frame::first(buffer.get(used..).unwrap_or_default()) {
                    used += frame.length;
                    if frame.kind() != mqtt::kind::PUBLISH {
                        continue;
                    }
                    if let Some((topic, payload)) = mqtt::message(&frame) {
                        let _full = sender.try_send(Heard {
                            at,
                            topic: topic.to_owned(),
                            payload: payload.to_vec(),
                        });
                    }
                }
                buffer.drain(..used);
            }
        });
        Ok(Self {
            stream,
            heard,
            thread: Some(thread),
        })
    }

    /// The next message.
    ///
    /// # Errors
    /// When none comes within `limit`.
    pub fn next(&self, limit: Duration) -> Result<Heard> {
        self.heard
            .recv_timeout(limit)
            .with_context(|| format!("heard nothing for {} s", limit.as_secs_f64()))
    }

    /// What still comes until the broker ends the connection.
    pub fn rest(mut self) -> Vec<Heard> {
        if let Some(thread) = self.thread.take() {
            let _its_panic_was_printed = thread.join();
        }
        self.waiting()
    }

    /// The messages that have come and were not asked for yet.
    pub fn waiting(&self) -> Vec<Heard> {
        self.heard.try_iter().collect()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _already_closed = self.stream.shutdown(std::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _its_panic_was_printed = thread.join();
        }
    }
}
