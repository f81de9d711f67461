//! Record to the modules that asked for it: pure filters in one immutable table, remembered per channel.
//!
//! A [`Router`] is made once, from what the modules are granted, and its table never changes; a new deployment makes a
//! new one. The same record always takes the same way.

use std::collections::HashMap;
use std::sync::Arc;

use tidegate_record::{Channel, Name, TopicFilter};

/// What one module asked for: sources and topics. A record that matches any of them is the module's.
pub type Inputs = Vec<(Name, TopicFilter)>;

/// Who gets what.
#[derive(Debug)]
pub struct Router {
    table: Vec<Inputs>,
    /// Answers already found, by source and topic.
    known: HashMap<Name, HashMap<Arc<str>, Arc<[usize]>>>,
    known_count: usize,
    known_max: usize,
}

impl Router {
    /// A router for modules with these inputs, which remembers the answers for `known_max` topics. Topics come from
    /// outside, so that memory of them is bounded.
    pub fn new(table: Vec<Inputs>, known_max: usize) -> Self {
        Self {
            table,
            known: HashMap::new(),
            known_count: 0,
            known_max,
        }
    }

    /// Positions of the modules that get records of `channel`, in the order of the table.
    pub fn route(&mut self, channel: &Channel) -> Arc<[usize]> {
        if let Some(found) = self
            .known
            .get(&channel.source)
            .and_then(|topics| topics.get(&channel.topic))
        {
            return found.clone();
        }
        let found: Arc<[usize]> = self.search(channel).collect();
        if self.known_count >= self.known_max {
            // Rare, and cheap to fill again: a plant has fewer topics than this.
            self.known.clear();
            self.known_count = 0;
        }
        self.known_count += 1;
        self.known
            .entry(channel.source.clone())
            .or_default()
            .insert(channel.topic.clone(), found.clone());
        found
    }

    fn search(&self, channel: &Channel) -> impl Iterator<Item = usize> {
        let takes = |inputs: &Inputs| {
            inputs
                .iter()
                .any(|(source, filter)| *source == channel.source && filter.matches(&channel.topic))
        };
        self.table
            .iter()
            .enumerate()
            .filter(move |(_, inputs)| takes(inputs))
            .map(|(position, _)| position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(source: &str, filter: &str) -> (Name, TopicFilter) {
        (
            Name::new(source).unwrap(),
            TopicFilter::new(filter).unwrap(),
        )
    }

    fn channel(source: &str, topic: &str) -> Channel {
        Channel {
            source: Name::new(source).unwrap(),
            topic: topic.into(),
            unit: None,
        }
    }

    fn router(known_max: usize) -> Router {
        let alarm = vec![input("plant", "machines/+/temperature")];
        let summary = vec![input("plant", "machines/#"), input("machine", "#")];
        Router::new(vec![alarm, summary], known_max)
    }

    #[test]
    fn a_record_goes_to_each_module_that_asked_and_to_no_other() {
        let mut router = router(10);
        for _ in 0..2 {
            assert_eq!(
                *router.route(&channel("plant", "machines/7/temperature")),
                [0, 1]
            );
            assert_eq!(*router.route(&channel("plant", "machines/7/speed")), [1]);
            assert_eq!(*router.route(&channel("machine", "cpu")), [1]);
            assert!(router.route(&channel("plant", "doors/1")).is_empty());
        }
    }

    #[test]
    fn the_same_topic_of_another_source_is_another_channel() {
        let mut router = router(10);
        assert_eq!(
            *router.route(&channel("machine", "machines/7/temperature")),
            [1]
        );
        assert!(
            router
                .route(&channel("other", "machines/7/temperature"))
                .is_empty()
        );
    }

    #[test]
    fn random_topics_do_not_fill_memory_nor_change_an_answer() {
        let mut router = router(3);
        for number in 0..100 {
            assert_eq!(
                *router.route(&channel("plant", &format!("machines/{number}/temperature"))),
                [0, 1]
            );
            assert!(router.known_count <= 3);
        }
    }
}
