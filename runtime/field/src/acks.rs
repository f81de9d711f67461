//! Which received messages may be acknowledged to the broker, and in which order.
//!
//! Every delivery gets a number that is never used again in this process. A connection's [`AckQueue`] begins where the
//! numbers were when it was made: a number from before is of an earlier connection, whose packet ids mean nothing here,
//! and is ignored. MQTT wants acknowledgements in the order of receipt (MQTT-4.6.0-2), so one leaves when all before it
//! have left.
//!
//! A delivery that a stage abandoned is never acknowledged, and blocks those after it. So the session ends when one is
//! at the front, and the broker delivers again on the next.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tidegate_record::AckSink;
use tokio::sync::Notify;

/// How a delivery ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settled {
    /// Everything that it led to is committed.
    Acknowledged,
    /// A stage gave it up.
    Abandoned,
}

/// The deliveries of one connection that are not acknowledged yet, in the order of receipt.
#[derive(Debug)]
pub(crate) struct AckQueue {
    /// Number of the delivery at the front.
    first: u64,
    deliveries: VecDeque<Delivery>,
    bytes: usize,
}

#[derive(Debug)]
struct Delivery {
    packet_id: u16,
    bytes: usize,
    settled: Option<Settled>,
}

impl AckQueue {
    /// An empty queue whose first delivery is `first`.
    pub(crate) fn new(first: u64) -> Self {
        Self {
            first,
            deliveries: VecDeque::new(),
            bytes: 0,
        }
    }

    /// Notes a delivery of `bytes` bytes and gives it its number.
    pub(crate) fn push(&mut self, packet_id: u16, bytes: usize) -> u64 {
        let number = self.next_number();
        self.deliveries.push_back(Delivery {
            packet_id,
            bytes,
            settled: None,
        });
        self.bytes = self.bytes.saturating_add(bytes);
        number
    }

    /// Notes how delivery `number` ended. Numbers of earlier connections are ignored.
    pub(crate) fn settle(&mut self, number: u64, settled: Settled) {
        let position = number
            .checked_sub(self.first)
            .and_then(|position| usize::try_from(position).ok());
        if let Some(delivery) = position.and_then(|position| self.deliveries.get_mut(position)) {
            delivery.settled.get_or_insert(settled);
        }
    }

    /// The next packet id to acknowledge, if all before it have been.
    pub(crate) fn pop(&mut self) -> Option<u16> {
        let delivery = self
            .deliveries
            .pop_front_if(|front| front.settled == Some(Settled::Acknowledged))?;
        self.first = self.first.saturating_add(1);
        self.bytes = self.bytes.saturating_sub(delivery.bytes);
        Some(delivery.packet_id)
    }

    /// Whether an abandoned delivery is at the front: nothing can be acknowledged any more.
    pub(crate) fn is_blocked(&self) -> bool {
        self.deliveries
            .front()
            .is_some_and(|front| front.settled == Some(Settled::Abandoned))
    }

    /// Deliveries that are not acknowledged yet.
    pub(crate) fn len(&self) -> usize {
        self.deliveries.len()
    }

    /// Bytes of them.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number of the next delivery, here or on the next connection.
    pub(crate) fn next_number(&self) -> u64 {
        self.first
            .saturating_add(u64::try_from(self.deliveries.len()).unwrap_or(u64::MAX))
    }
}

/// Where acks arrive from wherever records ended, until the session takes them. A commit fires many in a row and wakes
/// the session once. Bounded by the records that are alive.
#[derive(Debug, Default)]
pub(crate) struct AckDesk {
    settled: Mutex<Vec<(u64, Settled)>>,
    changed: Notify,
}

impl AckDesk {
    /// Moves what has arrived into `into`, which must be empty: the two lists swap, and neither is allocated again.
    pub(crate) fn take(&self, into: &mut Vec<(u64, Settled)>) {
        std::mem::swap(
            &mut *self.settled.lock().unwrap_or_else(PoisonError::into_inner),
            into,
        );
    }

    /// Resolves when something may have arrived.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn add(&self, number: u64, settled: Settled) {
        let was_empty = {
            let mut list = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
            list.push((number, settled));
            list.len() == 1
        };
        if was_empty {
            self.changed.notify_one();
        }
    }
}

impl AckSink for AckDesk {
    fn acknowledge(&self, token: u64) {
        self.add(token, Settled::Acknowledged);
    }

    fn abandon(&self, token: u64) {
        self.add(token, Settled::Abandoned);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn popped(queue: &mut AckQueue) -> Vec<u16> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn acks_leave_in_the_order_of_receipt_whatever_the_order_of_commits() {
        let mut queue = AckQueue::new(100);
        let numbers: Vec<_> = [7, 3, 9].map(|id| queue.push(id, 10)).into();
        queue.settle(numbers[2], Settled::Acknowledged);
        assert_eq!(popped(&mut queue), [0; 0]);
        queue.settle(numbers[0], Settled::Acknowledged);
        assert_eq!(popped(&mut queue), [7]);
        queue.settle(numbers[1], Settled::Acknowledged);
        assert_eq!(popped(&mut queue), [3, 9]);
        assert_eq!((queue.len(), queue.bytes()), (0, 0));
    }

    #[test]
    fn an_ack_of_an_earlier_connection_is_ignored() {
        let mut earlier = AckQueue::new(0);
        let stale = earlier.push(1, 0);
        let mut queue = AckQueue::new(earlier.next_number());
        queue.push(1, 0);
        queue.settle(stale, Settled::Acknowledged);
        queue.settle(stale, Settled::Abandoned);
        assert_eq!(queue.pop(), None);
        assert!(!queue.is_blocked());
    }

    #[test]
    fn an_abandoned_delivery_blocks_what_came_after_it_and_nothing_before() {
        let mut queue = AckQueue::new(0);
        let numbers: Vec<_> = [1, 2, 3].map(|id| queue.push(id, 1)).into();
        queue.settle(numbers[1], Settled::Abandoned);
        queue.settle(numbers[2], Settled::Acknowledged);
        assert!(!queue.is_blocked());
        queue.settle(numbers[0], Settled::Acknowledged);
        assert_eq!(popped(&mut queue), [1]);
        assert!(queue.is_blocked());
    }

    #[tokio::test]
    async fn a_desk_wakes_once_for_a_whole_commit() {
        let desk = AckDesk::default();
        for number in 0..3 {
            desk.acknowledge(number);
        }
        desk.changed().await;
        let mut list = Vec::new();
        desk.take(&mut list);
        assert_eq!(list.len(), 3);
        let mut again = Box::pin(desk.changed());
        let waker = std::task::Waker::noop();
        assert!(
            again
                .as_mut()
                .poll(&mut std::task::Context::from_waker(waker))
                .is_pending()
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        /// Connections come and go, packet ids begin again on each, commits arrive late and twice: on a connection leaves
        /// exactly what it delivered and what is committed, in order, up to the first that is not.
        #[test]
        fn no_schedule_makes_an_acknowledgement_leave_that_was_not_earned_on_this_connection(
            steps in prop::collection::vec((0..8_u8, any::<prop::sample::Index>()), 0..60),
        ) {
            let mut queue = AckQueue::new(0);
            // Every delivery so far, and whether it is committed; the connection's own begin at `first`.
            let mut deliveries: Vec<(u64, bool)> = Vec::new();
            let mut first = 0;
            let mut left = 0;
            for (step, index) in steps {
                match step {
                    0..4 => {
                        let packet_id = u16::try_from(deliveries.len() - first + 1).unwrap();
                        deliveries.push((queue.push(packet_id, 0), false));
                    }
                    4..7 if !deliveries.is_empty() => {
                        let (number, committed) = index.get_mut(&mut deliveries);
                        *committed = true;
                        queue.settle(*number, Settled::Acknowledged);
                    }
                    4..7 => {}
                    _ => {
                        queue = AckQueue::new(queue.next_number());
                        (first, left) = (deliveries.len(), 0);
                    }
                }
                for packet_id in popped(&mut queue) {
                    left += 1;
                    prop_assert_eq!(usize::from(packet_id), left);
                }
                let own = deliveries.get(first..).unwrap_or_default();
                let earned = own.iter().take_while(|(_, committed)| *committed).count();
                prop_assert_eq!(left, earned);
            }
        }
    }

    proptest! {
        /// Whatever is settled in whatever order, the ids that leave are those pushed, in order, up to the first that
        /// was not acknowledged.
        #[test]
        fn what_leaves_is_the_acknowledged_front(
            outcomes in prop::collection::vec(0..3_u8, 0..50),
            order in any::<u64>(),
            first in 0..1_000_000_u64,
        ) {
            let mut queue = AckQueue::new(first);
            let mut steps: Vec<(u64, u8)> = Vec::new();
            for (position, outcome) in outcomes.iter().enumerate() {
                let number = queue.push(u16::try_from(position).unwrap(), position);
                steps.push((number, *outcome));
            }
            steps.sort_by_key(|(number, _)| number.wrapping_add(order).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let mut left = Vec::new();
            for (number, outcome) in steps {
                match outcome {
                    0 => queue.settle(number, Settled::Acknowledged),
                    1 => queue.settle(number, Settled::Abandoned),
                    _ => {}
                }
                left.extend(std::iter::from_fn(|| queue.pop()));
            }
            let expected = outcomes.iter().take_while(|outcome| **outcome == 0).count();
            prop_assert_eq!(&left, &(0..u16::try_from(expected).unwrap()).collect::<Vec<_>>());
            prop_assert_eq!(queue.len(), outcomes.len() - expected);
            prop_assert_eq!(queue.bytes(), (expected..outcomes.len()).sum::<usize>());
            prop_assert_eq!(queue.is_blocked(), outcomes.get(expected) == Some(&1));
        }
    }
}
