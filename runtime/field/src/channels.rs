//! One shared [`Channel`] per topic, so that a message costs no copy of its topic and records can be grouped by pointer.
//!
//! Topics come from outside, so their number is bounded: in two halves. A topic that is used moves to the young half;
//! when that is full it becomes the old half, and the old one is forgotten. A forgotten topic that comes again merely
//! gets a new channel.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use tidegate_record::{Channel, Name};

/// The channels of one broker.
#[derive(Debug)]
pub(crate) struct Channels {
    source: Name,
    half_max: usize,
    last: Option<(Bytes, Arc<Channel>)>,
    young: HashMap<Bytes, Arc<Channel>>,
    old: HashMap<Bytes, Arc<Channel>>,
}

impl Channels {
    /// Remembers at most `channels_max` topics of `source`.
    pub(crate) fn new(source: Name, channels_max: usize) -> Self {
        let half_max = (channels_max / 2).max(1);
        Self {
            source,
            half_max,
            last: None,
            young: HashMap::new(),
            old: HashMap::new(),
        }
    }

    /// The channel of `topic`; none when that is not UTF-8.
    pub(crate) fn get(&mut self, topic: &[u8]) -> Option<Arc<Channel>> {
        // Messages of a topic often come in a row.
        if let Some((last, channel)) = &self.last
            && last == topic
        {
            return Some(channel.clone());
        }
        let (key, channel) = match self.young.get_key_value(topic) {
            Some((key, channel)) => (key.clone(), channel.clone()),
            None => self.admit(topic)?,
        };
        self.last = Some((key, channel.clone()));
        Some(channel)
    }

    fn admit(&mut self, topic: &[u8]) -> Option<(Bytes, Arc<Channel>)> {
        let (key, channel) = match self.old.remove_entry(topic) {
            Some(known) => known,
            None => {
                let text = std::str::from_utf8(topic).ok()?;
                let channel = Channel {
                    source: self.source.clone(),
                    topic: text.into(),
                    unit: None,
                };
                // A copy: the topic came in a read buffer, which it would keep alive.
                (Bytes::copy_from_slice(topic), Arc::new(channel))
            }
        };
        if self.young.len() >= self.half_max {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key.clone(), channel.clone());
        Some((key, channel))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channels(max: usize) -> Channels {
        Channels::new(Name::new("plant").unwrap(), max)
    }

    #[test]
    fn a_topic_keeps_its_channel() {
        let mut channels = channels(4);
        let first = channels.get(b"a").unwrap();
        channels.get(b"b").unwrap();
        assert!(Arc::ptr_eq(&first, &channels.get(b"a").unwrap()));
        assert_eq!((first.source.as_str(), &*first.topic), ("plant", "a"));
    }

    #[test]
    fn random_topics_do_not_fill_memory_and_a_used_one_stays() {
        let mut channels = channels(8);
        let used = channels.get(b"used").unwrap();
        for number in 0..1000_u32 {
            channels.get(number.to_string().as_bytes()).unwrap();
            assert!(Arc::ptr_eq(&used, &channels.get(b"used").unwrap()));
            assert!(channels.young.len() + channels.old.len() <= 8);
        }
    }

    #[test]
    fn a_topic_that_is_not_utf_8_has_no_channel() {
        assert!(channels(4).get(b"\xff").is_none());
    }
}
