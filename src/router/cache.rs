//! A publisher's recent matches.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::matched::Match;
use super::{Router, Subscriber};
use crate::topic::Topic;

/// Matches of one publisher's topics with one router, bounded in bytes; the least recently used go first (by the clock
/// algorithm). A repeated topic costs a string comparison, another known one a hash, and each as many atomic loads as
/// the topic has levels, plus one.
///
/// A cached match holds its subscribers until it is looked up again, evicted or cleared.
pub struct MatchCache<S> {
    publisher: Option<S>,
    capacity_bytes: usize,
    bytes: usize,
    slots: Vec<Slot<S>>,
    /// From the topic's hash to the position in `slots`.
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// The position of the topic looked up last.
    last: usize,
    /// Where the clock's hand stands.
    hand: usize,
}

struct Slot<S> {
    topic: Box<str>,
    hash: u64,
    /// Looked up again since it was made, or since the hand passed: so topics seen once go before those in use.
    used: bool,
    matched: Arc<Match<S>>,
}

impl<S: Subscriber> MatchCache<S> {
    /// Room for some 2,500 topics with one subscriber each, in bytes.
    pub const DEFAULT_CAPACITY_BYTES: usize = 1024 * 1024;

    /// An empty cache, which takes no memory yet. `publisher` is the subscriber whose publishes are looked up, if it is one;
    /// its subscriptions with No Local are left out. A single match larger than the capacity is held alone.
    pub fn new(publisher: Option<S>, capacity_bytes: usize) -> Self {
        MatchCache {
            publisher,
            capacity_bytes,
            bytes: 0,
            slots: Vec::new(),
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            last: 0,
            hand: 0,
        }
    }

    /// Everyone who gets a publish to this topic as of now: all changes of the router that returned before are in it.
    pub fn look_up(&mut self, router: &Router<S>, topic: Topic<'_>) -> &Arc<Match<S>> {
        let position = match self.position(topic) {
            Some(position) => {
                if !router.is_current(&self.slots[position].matched) {
                    self.refresh(router, topic, position);
                }
                self.slots[position].used = true;
                position
            }
            None => self.insert(router, topic),
        };
        self.last = if self.bytes > self.capacity_bytes { self.shrink(position) } else { position };
        &self.slots[self.last].matched
    }

    /// Whether no match is cached.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Drops all matches and their memory, as for a connection that has gone idle.
    pub fn clear(&mut self) {
        self.slots = Vec::new();
        self.index = HashTable::new();
        self.bytes = 0;
    }

    fn position(&self, topic: Topic<'_>) -> Option<usize> {
        let topic = topic.as_str();
        if self.slots.get(self.last).is_some_and(|slot| *slot.topic == *topic) {
            return Some(self.last);
        }
        let is_it = |&position: &u32| *self.slots[position as usize].topic == *topic;
        self.index.find(self.hasher.hash_one(topic), is_it).map(|&position| position as usize)
    }

    fn refresh(&mut self, router: &Router<S>, topic: Topic<'_>, position: usize) {
        let slot = &mut self.slots[position];
        self.bytes -= slot.bytes();
        slot.matched = Arc::new(router.matches(topic, self.publisher.as_ref()));
        self.bytes += slot.bytes();
    }

    fn insert(&mut self, router: &Router<S>, topic: Topic<'_>) -> usize {
        let hash = self.hasher.hash_one(topic.as_str());
        let matched = Arc::new(router.matches(topic, self.publisher.as_ref()));
        let slot = Slot { topic: topic.as_str().into(), hash, used: false, matched };
        self.bytes += slot.bytes();
        self.slots.push(slot);
        let position = self.slots.len() - 1;
        self.index.insert_unique(hash, position as u32, |&position| self.slots[position as usize].hash);
        position
    }

    /// Evicts until the rest fits, or only the slot at `kept` is left. Returns where that one is then.
    fn shrink(&mut self, mut kept: usize) -> usize {
        while self.bytes > self.capacity_bytes && self.slots.len() > 1 {
            self.hand = if self.hand < self.slots.len() { self.hand } else { 0 };
            let used = std::mem::take(&mut self.slots[self.hand].used);
            if used || self.hand == kept {
                self.hand += 1;
            } else {
                let end = self.slots.len() - 1;
                self.evict(self.hand);
                kept = if kept == end { self.hand } else { kept };
            }
        }
        kept
    }

    /// Drops the slot; the one at the end takes its position.
    fn evict(&mut self, position: usize) {
        let end = self.slots.len() - 1;
        let hash = self.slots[end].hash;
        if let Ok(entry) =
            self.index.find_entry(self.slots[position].hash, |&other| other as usize == position)
        {
            entry.remove();
        }
        if let Some(moved) = self.index.find_mut(hash, |&other| other as usize == end) {
            *moved = position as u32;
        }
        let slot = self.slots.swap_remove(position);
        self.bytes -= slot.bytes();
    }
}

impl<S> Slot<S> {
    fn bytes(&self) -> usize {
        // A bucket of the index is 5 bytes; the allocations of topic and match have some overhead of their own.
        const OVERHEAD: usize = 64;
        size_of::<Self>() + self.topic.len() + self.matched.bytes() + OVERHEAD
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::tests::topic;

    fn topics(count: usize) -> Vec<String> {
        (0..count).map(|i| format!("a/{i}")).collect()
    }

    #[test]
    fn stays_within_its_capacity() {
        let router = Router::<u32>::new();
        let mut cache = MatchCache::new(None, 10_000);
        for text in topics(1000) {
            cache.look_up(&router, topic(&text));
            assert!(cache.bytes <= 10_000);
            assert_eq!(cache.bytes, cache.slots.iter().map(Slot::bytes).sum::<usize>());
            assert_eq!(cache.index.len(), cache.slots.len());
        }
        assert!(cache.slots.len() > 20);
        cache.clear();
        assert_eq!((cache.bytes, cache.slots.capacity(), cache.index.capacity()), (0, 0, 0));
    }

    #[test]
    fn a_match_larger_than_the_capacity_is_held_alone() {
        let router = Router::<u32>::new();
        let mut cache = MatchCache::new(None, 0);
        for text in topics(10) {
            let first = Arc::clone(cache.look_up(&router, topic(&text)));
            assert!(Arc::ptr_eq(&first, cache.look_up(&router, topic(&text))));
            assert_eq!(cache.slots.len(), 1);
        }
    }

    #[test]
    fn topics_in_use_outlive_topics_seen_once() {
        let router = Router::<u32>::new();
        let mut cache = MatchCache::new(None, 10_000);
        let hot = Arc::clone(cache.look_up(&router, topic("hot")));
        for text in topics(1000) {
            cache.look_up(&router, topic(&text));
            assert!(Arc::ptr_eq(&hot, cache.look_up(&router, topic("hot"))));
        }
    }
}
