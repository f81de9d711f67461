//! One connection, from the subscription to its end.
//!
//! One loop moves everything: acknowledgements and publications out, messages in and on to the inbox. It waits for
//! nobody: when the inbox is full, records are held here while everything else goes on. What is held is bounded: no more
//! messages are taken than the window says before the first of them is acknowledged, and no more bytes than a few
//! batches. A broker that sends more (one of MQTT 3.1.1 is not told the window, mosquitto 2.0.11 does not heed it) finds
//! the socket unread until there is room. Messages without acknowledgement (QoS 0) have a bound of their own, beyond
//! which they are dropped and counted: they take nothing from the others.

mod publishing;

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tidegate_record::{Ack, Limits, Record, SkipReason, TopicFilter};
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until, timeout};

use crate::acks::{AckQueue, Settled};
use crate::broker::{Held, KEEP_ALIVE, Link};
use crate::counters::{add, count};
use crate::dial::LinkError;
use crate::inbound::Moment;
use crate::inflight::Inflight;
use crate::mqtt::connection::{Connection, ProtocolError, Reading};
use crate::mqtt::{Incoming, Message, Oversized, Unusable, Welcome};
use crate::surroundings::{now, reached};
use crate::{BrokerCounters, Phase};

/// Bytes that wait for their commit before the socket is left unread, in full batches: two in work, two on the way.
const UNCOMMITTED_BATCHES_MAX: usize = 4;
/// Longest topic that is taken. Brokers allow 64 KiB; a batch of such topics would be larger than a module's memory.
pub(crate) const TOPIC_BYTES_MAX: usize = 4 << 10;
/// How long the last packets may take to leave and to be read.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);

/// How a session ends.
#[derive(Debug)]
pub(crate) enum End {
    /// The run is over.
    Stopped,
    /// The connection is; another may follow.
    Lost(LinkError),
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Session {
    connection: Connection,
    welcome: Welcome,
    receive_maximum: usize,
    uncommitted_bytes_max: usize,
    acks: AckQueue,
    /// The first message for which the window had no room. While there is one, the socket is left unread.
    beyond_window: Option<Incoming>,
    /// Taken from the desk; kept to be used again.
    settled: Vec<(u64, Settled)>,
    inflight: Inflight,
    keep_alive: Interval,
    /// Whether something was read since the last tick of `keep_alive`.
    heard: bool,
    /// When draining must be over.
    deadline: Option<Instant>,
}

impl Session {
    pub(crate) fn new(
        connection: Connection,
        welcome: Welcome,
        receive_maximum: usize,
        link: &Link,
    ) -> Self {
        let wanted = welcome.keep_alive_seconds.filter(|seconds| *seconds > 0);
        let period = wanted.map_or(KEEP_ALIVE, |seconds| {
            KEEP_ALIVE.min(Duration::from_secs(seconds.into()))
        });
        let mut keep_alive = interval_at(Instant::now() + period, period);
        keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            connection,
            receive_maximum,
            uncommitted_bytes_max: uncommitted_bytes_max(&link.limits),
            acks: AckQueue::new(link.next_delivery),
            beyond_window: None,
            settled: Vec::new(),
            inflight: Inflight::new(welcome.receive_maximum, link.limits.publish_window),
            keep_alive,
            heard: true,
            deadline: None,
            welcome,
        }
    }

    /// Subscribes to `filters` and serves the connection to its end.
    pub(crate) async fn run(&mut self, link: &mut Link, filters: &[TopicFilter]) -> End {
        let subscribed = match filters.is_empty() {
            true => Ok(()),
            false => self.connection.write_subscribe(filters),
        };
        let served = match subscribed {
            Ok(()) => self.serve(link, filters).await,
            Err(error) => Err(LinkError::Encode(error)),
        };
        match served {
            Ok(()) => {
                self.acknowledge(link);
                self.publish_waiting(link);
                self.say_goodbye().await;
                End::Stopped
            }
            Err(error) => {
                if matches!(error, LinkError::Abandoned) {
                    // What was acknowledged before the abandoned one may not have left yet.
                    self.say_goodbye().await;
                }
                End::Lost(error)
            }
        }
    }

    /// Hands back what the next connection needs.
    pub(crate) fn close(self, link: &mut Link) {
        link.next_delivery = self.acks.next_number();
        // Forwarding what the broker delivers again would only double it.
        link.held.retain(|held| !held.comes_again);
        let (durable, at_once) = self.inflight.lost();
        for letter in durable.into_iter().rev() {
            link.to_send.push_front(letter);
        }
        add(&link.counters.publish_dropped, at_once);
    }

    /// The loop; ends without an error when the run has ended.
    async fn serve(&mut self, link: &mut Link, filters: &[TopicFilter]) -> Result<(), LinkError> {
        let counters = link.counters.clone();
        loop {
            // First what makes room, then what fills it: what has arrived and is left for want of room would otherwise
            // wait for an event that need not come.
            self.acknowledge(link);
            self.receive(link, filters)?;
            self.publish_waiting(link);
            forward(link);
            match now(&link.phase) {
                Phase::Ended => return Ok(()),
                Phase::Draining => self.start_draining(link),
                Phase::Running if self.acks.is_blocked() => return Err(LinkError::Abandoned),
                Phase::Running => {}
            }
            if counters.pulse.during(self.wait(link)).await?.is_break() {
                return Ok(());
            }
        }
    }

    /// Waits until there is something to do; breaks when draining takes too long.
    async fn wait(&mut self, link: &mut Link) -> Result<ControlFlow<()>, LinkError> {
        let next_phase = if self.deadline.is_some() {
            Phase::Ended
        } else {
            Phase::Draining
        };
        let reading = match self.beyond_window {
            Some(_) => Reading::Paused,
            None => Reading::Yes,
        };
        let holding = !link.held.is_empty();
        let room = self.inflight.has_room() && self.connection.has_room();
        let room_for_durable = self.inflight.has_room_for_durable() && self.connection.has_room();
        tokio::select! {
            biased;
            () = reached(&mut link.phase, next_phase) => {}
            () = until(self.deadline) => return Ok(ControlFlow::Break(())),
            _ = self.keep_alive.tick() => self.ping(reading)?,
            () = link.desk.changed() => {}
            permit = room_in_inbox(link.records.as_ref(), holding) => {
                if let Some(held) = link.held.pop_front() {
                    permit.send(held.record);
                }
            }
            Some(publication) = link.at_once.recv(), if room => self.publish(publication, link),
            Some(letter) = link.letters.recv(), if room_for_durable => link.to_send.push_back(letter),
            result = self.connection.exchange(reading) => {
                result.map_err(LinkError::Broken)?;
                self.heard = true;
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Takes every packet that has arrived, up to the first message for which the window has no room.
    fn receive(&mut self, link: &mut Link, filters: &[TopicFilter]) -> Result<(), LinkError> {
        let mut received = None;
        while let Some(incoming) = self.next()? {
            if incoming.wants_ack() && !self.window_has_room() && link.records.is_some() {
                self.beyond_window = Some(incoming);
                return Ok(());
            }
            match incoming {
                // Draining: the broker keeps what wants an acknowledgement.
                Incoming::Message(_) | Incoming::Unusable(..) if link.records.is_none() => {}
                Incoming::Message(message) => {
                    let received = *received.get_or_insert_with(|| link.inbound.now());
                    self.take(message, received, link);
                }
                Incoming::Unusable(packet_id, reason) => {
                    self.skip(packet_id, reason, link);
                }
                Incoming::Published(packet_id, refused) => self.published(packet_id, refused, link),
                Incoming::Subscribed(refused) => {
                    for (position, reason) in refused {
                        let filter = filters.get(position).map(TopicFilter::as_str);
                        tracing::error!(broker = %link.name, filter, reason, "subscription not taken as asked");
                        count(&link.counters.subscriptions_refused);
                    }
                    link.counters.subscribed.store(true, Ordering::Relaxed);
                }
                Incoming::Pong => {}
                Incoming::Disconnected(reason) => return Err(LinkError::Closed(reason)),
                Incoming::Welcome(_) | Incoming::Refused(_) => {
                    return Err(ProtocolError::Unexpected("a second CONNACK").into());
                }
            }
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Option<Incoming>, ProtocolError> {
        match self.beyond_window.take() {
            None => self.connection.next(),
            waiting => Ok(waiting),
        }
    }

    /// Whether another message may be taken before one of those taken is acknowledged.
    fn window_has_room(&self) -> bool {
        self.acks.len() < self.receive_maximum && self.acks.bytes() < self.uncommitted_bytes_max
    }

    /// Makes a record of `message` and holds it for the inbox.
    fn take(&mut self, message: Message, received: Moment, link: &mut Link) {
        let (payload_bytes, bytes) = (message.payload.len(), message.bytes());
        if bytes > link.limits.payload_bytes_max || message.topic.len() > TOPIC_BYTES_MAX {
            let topic = message.topic;
            let reason = Unusable::TooLarge(Oversized { topic, bytes });
            self.skip(message.packet_id, reason, link);
            return;
        }
        let bytes = bytes + message.topic.len();
        let ack = match message.packet_id {
            Some(packet_id) => Ack::new(link.desk.clone(), self.acks.push(packet_id, bytes)),
            None => {
                let held_too_many = link.held.len() >= self.receive_maximum;
                let room = link.budget.take(bytes).filter(|_| !held_too_many);
                let Some(ack) = room else {
                    count(&link.counters.dropped);
                    let bytes = as_count(payload_bytes);
                    link.skips
                        .skipped(&link.name, SkipReason::Overflow, bytes, Ack::none());
                    return;
                };
                ack
            }
        };
        let comes_again = message.packet_id.is_some();
        add(&link.counters.redelivered, u64::from(message.redelivered));
        if let Some(record) = link.inbound.record(message, received, ack) {
            count(&link.counters.received);
            add(&link.counters.received_bytes, as_count(payload_bytes));
            link.held.push_back(Held {
                record,
                comes_again,
            });
        }
    }

    /// Counts a message that cannot be taken. It is acknowledged in its turn when the count is on disk: else the broker
    /// would deliver it for ever.
    fn skip(&mut self, packet_id: Option<u16>, reason: Unusable, link: &Link) {
        let (reason, bytes) = match reason {
            Unusable::Malformed => {
                count(&link.counters.malformed);
                (SkipReason::Malformed, 0)
            }
            Unusable::TooLarge(Oversized { topic, bytes }) => {
                count(&link.counters.oversized);
                add(&link.counters.oversized_bytes, as_count(bytes));
                let topic = topic.get(..TOPIC_BYTES_MAX).unwrap_or(&topic);
                let topic = String::from_utf8_lossy(topic);
                tracing::debug!(broker = %link.name, %topic, bytes, "message skipped: too large");
                (SkipReason::Oversized, as_count(bytes))
            }
        };
        let ack = packet_id.map_or_else(Ack::none, |packet_id| {
            Ack::new(link.desk.clone(), self.acks.push(packet_id, 0))
        });
        link.skips.skipped(&link.name, reason, bytes, ack);
    }

    /// Acknowledges what was committed, as far as the order allows.
    fn acknowledge(&mut self, link: &Link) {
        link.desk.take(&mut self.settled);
        let mut abandoned = 0;
        for (number, settled) in self.settled.drain(..) {
            abandoned += u64::from(settled == Settled::Abandoned);
            self.acks.settle(number, settled);
        }
        add(&link.counters.abandoned, abandoned);
        self.release(&link.counters);
    }

    /// Sends the acknowledgements whose turn it is.
    fn release(&mut self, counters: &BrokerCounters) {
        let mut acknowledged = 0;
        while let Some(packet_id) = self.acks.pop() {
            self.connection.write_ack(packet_id);
            acknowledged += 1;
        }
        add(&counters.acknowledged, acknowledged);
    }

    /// Keeps the connection alive, and notices when it is dead. While the socket is left unread nothing can be heard.
    fn ping(&mut self, reading: Reading) -> Result<(), LinkError> {
        if !std::mem::take(&mut self.heard) && reading == Reading::Yes {
            return Err(LinkError::Silent);
        }
        self.heard = reading == Reading::Paused;
        self.connection.write_ping();
        Ok(())
    }

    /// Takes no more records; what is held goes back to the broker's queue, or is lost with QoS 0.
    fn start_draining(&mut self, link: &mut Link) {
        if self.deadline.is_none() {
            self.deadline = Some(Instant::now() + link.limits.shutdown_grace);
            let lost = link.held.drain(..).filter(|held| !held.comes_again);
            for Held { record, .. } in lost {
                count(&link.counters.dropped);
                let bytes = as_count(record.body.to_bytes().len());
                link.skips
                    .skipped(&link.name, SkipReason::Overflow, bytes, record.ack);
            }
            // Last: what is counted after this may not get onto disk any more.
            link.records = None;
        }
    }

    /// Says that we go, after everything else that is to be sent, and waits until the broker has read it: brokers read a
    /// packet at a time, and one that we come back to before it has read our last acknowledgements forgets them.
    async fn say_goodbye(&mut self) {
        self.connection.write_disconnect();
        // A broker that does not answer finds out by itself that we are gone.
        timeout(GOODBYE_TIMEOUT, self.connection.close()).await.ok();
    }
}

/// Bytes of one broker's messages that may wait for their commit, of each kind.
pub(crate) fn uncommitted_bytes_max(limits: &Limits) -> usize {
    limits
        .batch_bytes_max
        .saturating_mul(UNCOMMITTED_BATCHES_MAX)
}

fn as_count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Moves held records to the inbox, as many as there is room for.
fn forward(link: &mut Link) {
    let Some(records) = &link.records else {
        return;
    };
    while !link.held.is_empty() {
        let room = records.capacity().min(link.held.len());
        match records.try_reserve_many(room) {
            Ok(permits) if room > 0 => {
                for (permit, held) in permits.zip(link.held.drain(..room)) {
                    permit.send(held.record);
                }
            }
            _ => return,
        }
    }
}

/// Resolves when one record can be forwarded; never when nothing is held. The permit must be used: given back, it would
/// go to another that waits, who gives it back to us, and so for ever.
async fn room_in_inbox(
    records: Option<&mpsc::Sender<Record>>,
    holding: bool,
) -> mpsc::Permit<'_, Record> {
    if let Some(records) = records.filter(|_| holding)
        && let Ok(permit) = records.reserve().await
    {
        return permit;
    }
    // Nothing to forward; or the inbox is gone, and the end of the run is on its way.
    std::future::pending().await
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
