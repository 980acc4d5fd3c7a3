//! What was found out about a connection's recent topics, bounded: a repeated topic costs one look-up.

use std::collections::HashMap;

use crate::topic::Topic;

/// What an entry takes beside its topic and what its value holds.
const OVERHEAD: usize = 96;

/// What is remembered may need memory beside its own size.
pub(super) trait Remembered: Clone {
    /// Bytes that it holds elsewhere.
    fn heap_size(&self) -> usize {
        0
    }
}

impl Remembered for bool {}

/// What was found of topics, by topic. When it would exceed `MAX_BYTES` it begins anew.
#[derive(Debug)]
pub(super) struct TopicMemo<V, const MAX_BYTES: usize> {
    known: HashMap<Box<str>, V>,
    /// Of the topics in `known`, and of what was found.
    bytes: usize,
}

impl<V, const MAX_BYTES: usize> Default for TopicMemo<V, MAX_BYTES> {
    fn default() -> Self {
        TopicMemo { known: HashMap::new(), bytes: 0 }
    }
}

impl<V: Remembered, const MAX_BYTES: usize> TopicMemo<V, MAX_BYTES> {
    /// What `find` says of the topic, or said the last time.
    pub fn look_up(&mut self, topic: Topic<'_>, find: impl FnOnce() -> V) -> V {
        if let Some(known) = self.known.get(topic.as_str()) {
            return known.clone();
        }
        let found = find();
        let size = entry_size(topic.as_str(), &found);
        if self.bytes + size > MAX_BYTES {
            self.clear();
        }
        if size <= MAX_BYTES {
            self.bytes += size;
            self.known.insert(topic.as_str().into(), found.clone());
        }
        found
    }

    /// Gives the memory back.
    pub fn clear(&mut self) {
        *self = TopicMemo::default();
    }
}

fn entry_size(topic: &str, found: &impl Remembered) -> usize {
    OVERHEAD + topic.len() + found.heap_size()
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Remembered for Box<str> {
        fn heap_size(&self) -> usize {
            self.len()
        }
    }

    const MAX_BYTES: usize = 128 << 10;

    #[test]
    fn what_was_found_is_remembered_within_bounds() {
        let mut memo = TopicMemo::<Box<str>, MAX_BYTES>::default();
        for (len, count) in [(1, 2000), (60_000, 20), (65_529, 3)] {
            for n in 0..count {
                let (name, found) = (format!("x/y/{n:0len$}"), format!("z/y/{n:0len$}"));
                let topic = Topic::new(&name).expect("a topic");
                assert_eq!(*memo.look_up(topic, || found.as_str().into()), *found);
                if len < 60_000 {
                    assert_eq!(*memo.look_up(topic, || panic!("it is known")), *found);
                }
                let bytes: usize = memo.known.iter().map(|(topic, found)| entry_size(topic, found)).sum();
                assert_eq!(memo.bytes, bytes);
                assert!(bytes <= MAX_BYTES);
            }
        }
        memo.clear();
        assert_eq!((memo.known.capacity(), memo.bytes), (0, 0));
    }
}
