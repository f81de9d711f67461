//! The window of message ids by which a second delivery is known.
//!
//! MQTT QoS 1 repeats a message whose acknowledgement was lost, and gives it no identity of its own. Where the sender
//! gives one (a user property or a payload field), a module that has seen the id skips the repetition, so that the
//! message counts once. The window is bounded: an id is forgotten after `capacity` newer ones.

use std::collections::{HashSet, VecDeque};
use std::hash::Hasher;

use siphasher::sip::SipHasher13;

/// A message's id, hashed with a key of this gateway so that nobody outside can make two ids collide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(pub u64);

/// Ids seen lately by one module.
#[derive(Debug)]
pub struct Seen {
    ids: HashSet<u64>,
    order: VecDeque<u64>,
    capacity: usize,
}

impl Seen {
    /// A window of the last `capacity` ids, filled with `ids`, oldest first. Memory grows with the ids, not before.
    pub fn new(capacity: usize, ids: impl IntoIterator<Item = MessageId>) -> Self {
        let mut seen = Self {
            ids: HashSet::new(),
            order: VecDeque::new(),
            capacity,
        };
        for id in ids {
            seen.insert(id);
        }
        seen
    }

    /// Whether `id` is in the window.
    pub fn contains(&self, id: MessageId) -> bool {
        self.ids.contains(&id.0)
    }

    /// Adds `id`; false when it was there already.
    pub fn insert(&mut self, id: MessageId) -> bool {
        if self.capacity == 0 || !self.ids.insert(id.0) {
            return self.capacity == 0;
        }
        self.order.push_back(id.0);
        if self.order.len() > self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}

/// Hashes ids. The key is kept with the database, so that ids outlive a restart.
#[derive(Debug, Clone, Copy)]
pub struct IdHasher {
    key: u64,
}

impl IdHasher {
    /// A hasher under `key`, random per database.
    pub const fn new(key: u64) -> Self {
        Self { key }
    }

    /// The id of a message of `source` on `topic` that its sender calls `id`. Machines number alike, each on topics of its
    /// own: the same id on another topic is another message.
    pub fn hash(&self, source: &str, topic: &str, id: &[u8]) -> MessageId {
        let mut hasher = SipHasher13::new_with_keys(self.key, 0x7469_6465_6761_7465);
        // Neither a name nor a topic has a NUL in it.
        hasher.write(source.as_bytes());
        hasher.write_u8(0);
        hasher.write(topic.as_bytes());
        hasher.write_u8(0);
        hasher.write(id);
        MessageId(hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_id_is_known_until_enough_newer_ones_came() {
        let mut seen = Seen::new(2, [MessageId(1), MessageId(2)]);
        assert!(!seen.insert(MessageId(1)));
        assert!(seen.insert(MessageId(3)));
        assert!(!seen.contains(MessageId(1)));
        assert!(seen.contains(MessageId(2)) && seen.contains(MessageId(3)));
    }

    #[test]
    fn the_same_id_from_another_source_or_on_another_topic_is_another_message() {
        let hasher = IdHasher::new(9);
        let id = hasher.hash("a", "t", b"1");
        assert_eq!(hasher.hash("a", "t", b"1"), id);
        for (source, topic, other) in [
            ("b", "t", "1"),
            ("a", "u", "1"),
            ("a", "t", "2"),
            ("at", "", "1"),
        ] {
            assert_ne!(hasher.hash(source, topic, other.as_bytes()), id);
        }
    }
}
