//! Publications on their way to the broker: sent, and not yet acknowledged.
//!
//! The broker says how many it takes at once. Durable ones get half of that at most, so that a burst of them never keeps
//! an actuation waiting.

use tidegate_record::Publication;

/// Publications in flight on one connection. A packet id is the position here, counted from 1.
#[derive(Debug)]
pub(crate) struct Inflight {
    slots: Vec<Option<Sent>>,
    free: Vec<u16>,
    durable: usize,
    durable_max: usize,
}

/// A publication that was sent.
#[derive(Debug)]
pub(crate) enum Sent {
    /// Gone if the link is.
    AtOnce,
    /// Sent again on the next connection.
    Durable(u64, Publication),
}

impl Inflight {
    /// Room for what the broker takes (`receive_maximum`), and `publish_window` of each kind.
    pub(crate) fn new(receive_maximum: u16, publish_window: u16) -> Self {
        let size = receive_maximum
            .min(publish_window.saturating_mul(2))
            .clamp(1, u16::MAX - 1);
        Self {
            slots: (0..size).map(|_| None).collect(),
            free: (1..=size).rev().collect(),
            durable: 0,
            durable_max: usize::from((size / 2).max(1)),
        }
    }

    /// Whether another publication may be sent.
    pub(crate) fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// Whether another durable publication may be sent.
    pub(crate) fn has_room_for_durable(&self) -> bool {
        self.has_room() && self.durable < self.durable_max
    }

    /// Takes a packet id for `sent`; none when there is no room.
    pub(crate) fn insert(&mut self, sent: Sent) -> Option<u16> {
        let packet_id = self.free.pop()?;
        self.durable += usize::from(matches!(sent, Sent::Durable(..)));
        *self.slots.get_mut(usize::from(packet_id) - 1)? = Some(sent);
        Some(packet_id)
    }

    /// The broker acknowledged `packet_id`; none when nothing is in flight under it.
    pub(crate) fn remove(&mut self, packet_id: u16) -> Option<Sent> {
        let position = usize::from(packet_id).checked_sub(1)?;
        let sent = self.slots.get_mut(position)?.take()?;
        self.free.push(packet_id);
        self.durable -= usize::from(matches!(sent, Sent::Durable(..)));
        Some(sent)
    }

    /// What was in flight when the connection ended: durable ones in order of id, and how many others.
    pub(crate) fn lost(self) -> (Vec<(u64, Publication)>, u64) {
        let mut durable = Vec::new();
        let mut at_once = 0;
        for sent in self.slots.into_iter().flatten() {
            match sent {
                Sent::AtOnce => at_once += 1,
                Sent::Durable(id, publication) => durable.push((id, publication)),
            }
        }
        durable.sort_by_key(|(id, _)| *id);
        (durable, at_once)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use tidegate_record::{Delivery, Name, Topic};

    fn durable(id: u64) -> Sent {
        let publication = Publication {
            broker: Name::new("plant").unwrap(),
            topic: Topic::new("a").unwrap(),
            payload: Bytes::new(),
            content_type: None,
            retain: false,
            delivery: Delivery::Durable,
        };
        Sent::Durable(id, publication)
    }

    #[test]
    fn the_broker_is_never_sent_more_than_it_takes_and_half_stays_for_actuations() {
        let mut inflight = Inflight::new(4, 100);
        let mut ids = Vec::new();
        while inflight.has_room_for_durable() {
            ids.push(inflight.insert(durable(0)));
        }
        assert_eq!(ids, [Some(1), Some(2)]);
        assert_eq!(
            (inflight.insert(Sent::AtOnce), inflight.insert(Sent::AtOnce)),
            (Some(3), Some(4))
        );
        assert!(!inflight.has_room());
        assert!(inflight.insert(Sent::AtOnce).is_none());
        assert!(matches!(inflight.remove(2), Some(Sent::Durable(0, _))));
        assert!(inflight.has_room_for_durable());
    }

    #[test]
    fn an_ack_that_nobody_waits_for_changes_nothing() {
        let mut inflight = Inflight::new(1, 100);
        for packet_id in [0, 1, 2, u16::MAX] {
            assert!(inflight.remove(packet_id).is_none());
        }
        assert_eq!(inflight.insert(durable(5)), Some(1));
    }

    #[test]
    fn what_was_in_flight_comes_back_in_order() {
        let mut inflight = Inflight::new(10, 10);
        for id in [5, 6, 7] {
            inflight.insert(durable(id));
        }
        inflight.remove(1);
        inflight.insert(Sent::AtOnce);
        inflight.insert(durable(8));
        let (durable, at_once) = inflight.lost();
        assert_eq!(
            durable.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
            [6, 7, 8]
        );
        assert_eq!(at_once, 1);
    }
}
