//! What a broker and a sensor did so far, for `tidegate status`. All numbers count since the start of the process.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tidegate_record::Pulse;

/// What happened with one broker.
#[derive(Debug, Default)]
pub struct BrokerCounters {
    /// Whether a connection is up.
    pub connected: AtomicBool,
    /// Whether the broker has answered the subscriptions of this connection. What it had queued may come before.
    pub subscribed: AtomicBool,
    /// Connections that came up.
    pub connections: AtomicU64,
    /// Messages that became records.
    pub received: AtomicU64,
    /// Bytes of their payloads.
    pub received_bytes: AtomicU64,
    /// Messages that the broker said it may have delivered before.
    pub redelivered: AtomicU64,
    /// Messages that were acknowledged and skipped because they are no MQTT messages.
    pub malformed: AtomicU64,
    /// Messages that were acknowledged and skipped because they are larger than `payload_bytes_max`, or their topic is
    /// longer than 4 KiB.
    pub oversized: AtomicU64,
    /// Bytes of their payloads and properties.
    pub oversized_bytes: AtomicU64,
    /// QoS 0 messages dropped because those before them are still in work, or the inbox is full.
    pub dropped: AtomicU64,
    /// Acknowledgements sent, after the commit.
    pub acknowledged: AtomicU64,
    /// Messages that will not be acknowledged because a stage gave them up; each makes us reconnect, so that the broker
    /// delivers again.
    pub abandoned: AtomicU64,
    /// Publications that the broker acknowledged.
    pub published: AtomicU64,
    /// `at-once` publications that did not reach the broker: the link was down, or the queue full.
    pub publish_dropped: AtomicU64,
    /// Publications that the broker refused, or is known not to take. They are not tried again.
    pub publish_refused: AtomicU64,
    /// Topic filters that the broker refused, or took at QoS 0 only.
    pub subscriptions_refused: AtomicU64,
    /// That of the loop that moves everything.
    pub pulse: Pulse,
    last_error: Mutex<Option<String>>,
}

impl BrokerCounters {
    /// Why the last connection failed or ended; none when none did.
    pub fn last_error(&self) -> Option<String> {
        self.last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn set_last_error(&self, error: String) {
        *self
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}

/// What happened with one sensor.
#[derive(Debug, Default)]
pub struct SensorCounters {
    /// Readings that became records.
    pub readings: AtomicU64,
    /// Of them, those without a usable value.
    pub bad: AtomicU64,
    /// Rows of a recording that were skipped because they could not be read.
    pub malformed: AtomicU64,
    /// Whether the driver has no more to say.
    pub ended: AtomicBool,
    /// That of its loop: it waits for the driver and for room.
    pub pulse: Pulse,
}

/// Adds to a counter. No counter orders anything.
pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

/// Counts one.
pub(crate) fn count(counter: &AtomicU64) {
    add(counter, 1);
}
