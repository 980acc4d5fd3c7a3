//! What comes most often, in bounded memory: the Space-Saving algorithm of Metwally, Agrawal and El Abbadi, "Efficient
//! Computation of Frequent and Top-k Elements in Data Streams" (ICDT 2005), with weights.
//!
//! With `m` counters and a total weight of `N`: no count is too low, none is too high by more than `N / m`, each says by how much
//! it may be at most, and whatever weighs more than `N / m` is among them.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

/// The heaviest of all texts that came, with their weights.
#[derive(Debug)]
pub struct HeavyHitters {
    capacity: usize,
    counters: Vec<Counter>,
    /// The counters as a binary heap, the lightest first, by their place in `counters`.
    heap: Vec<usize>,
    /// The counters by the hash of their text.
    table: HashTable<usize>,
    hasher: RandomState,
    total: u64,
}

#[derive(Debug)]
struct Counter {
    text: Box<str>,
    hash: u64,
    weight: u64,
    error: u64,
    /// Its place in the heap.
    at: usize,
}

/// A text and what it weighs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hitter {
    /// The text.
    pub text: Box<str>,
    /// Its weight, or more.
    pub weight: u64,
    /// How much more, at most.
    pub error: u64,
}

impl HeavyHitters {
    /// Nothing yet, with so many counters; at least one.
    pub fn new(capacity: usize) -> HeavyHitters {
        HeavyHitters {
            capacity: capacity.max(1),
            counters: Vec::new(),
            heap: Vec::new(),
            table: HashTable::new(),
            hasher: RandomState::new(),
            total: 0,
        }
    }

    /// The text has come, with this weight. The time that it takes grows with the logarithm of the number of counters.
    pub fn add(&mut self, text: &str, weight: u64) {
        self.total = self.total.saturating_add(weight);
        let hash = self.hasher.hash_one(text);
        let found = self.table.find(hash, |&at| *self.counters[at].text == *text).copied();
        let at = match found {
            Some(at) => at,
            None if self.counters.len() < self.capacity => self.enter(text, hash),
            None => self.replace_lightest(text, hash),
        };
        let counter = &mut self.counters[at];
        counter.weight = counter.weight.saturating_add(weight);
        self.sink(self.counters[at].at);
    }

    /// The weight of all that came.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// What any text weighs at most that is not among the heavy ones.
    pub fn unlisted_max(&self) -> u64 {
        match self.counters.len() < self.capacity {
            true => 0,
            false => self.heap.first().map_or(0, |&at| self.counters[at].weight),
        }
    }

    /// All that are counted, the heaviest first.
    pub fn into_hitters(self) -> Vec<Hitter> {
        let hitter =
            |counter: Counter| Hitter { text: counter.text, weight: counter.weight, error: counter.error };
        let mut hitters: Vec<Hitter> = self.counters.into_iter().map(hitter).collect();
        hitters.sort_unstable_by(|a, b| (b.weight, &a.text).cmp(&(a.weight, &b.text)));
        hitters
    }

    fn enter(&mut self, text: &str, hash: u64) -> usize {
        let at = self.counters.len();
        self.counters.push(Counter { text: text.into(), hash, weight: 0, error: 0, at });
        self.heap.push(at);
        let hash_of = |&at: &usize| self.counters[at].hash;
        self.table.insert_unique(hash, at, hash_of);
        self.rise(at);
        at
    }

    /// The lightest gives its counter away, with what it has counted.
    fn replace_lightest(&mut self, text: &str, hash: u64) -> usize {
        let at = self.heap[0];
        if let Ok(entry) = self.table.find_entry(self.counters[at].hash, |&other| other == at) {
            entry.remove();
        }
        let counter = &mut self.counters[at];
        (counter.text, counter.hash, counter.error) = (text.into(), hash, counter.weight);
        let hash_of = |&at: &usize| self.counters[at].hash;
        self.table.insert_unique(hash, at, hash_of);
        at
    }

    fn weight_at(&self, place: usize) -> u64 {
        self.counters[self.heap[place]].weight
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.heap.swap(one, other);
        self.counters[self.heap[one]].at = one;
        self.counters[self.heap[other]].at = other;
    }

    fn rise(&mut self, mut place: usize) {
        while place > 0 && self.weight_at(place) < self.weight_at((place - 1) / 2) {
            self.swap(place, (place - 1) / 2);
            place = (place - 1) / 2;
        }
    }

    fn sink(&mut self, mut place: usize) {
        loop {
            let children =
                [2 * place + 1, 2 * place + 2].into_iter().filter(|child| *child < self.heap.len());
            let Some(lightest) = children.min_by_key(|child| self.weight_at(*child)) else { return };
            if self.weight_at(place) <= self.weight_at(lightest) {
                return;
            }
            self.swap(place, lightest);
            place = lightest;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What the paper promises, against exact counts.
        #[test]
        fn what_is_heavy_is_found_and_errors_are_bounded(
            stream in prop::collection::vec((0_u32..60, 0_u64..50), 0..600),
            capacity in 1_usize..40,
        ) {
            let (mut heavy, mut exact) = (HeavyHitters::new(capacity), HashMap::new());
            for (text, weight) in stream {
                // Some come far more often than others.
                let text = (text * text / 60).to_string();
                heavy.add(&text, weight);
                *exact.entry(text).or_insert(0) += weight;
            }
            let (total, unlisted_max) = (heavy.total(), heavy.unlisted_max());
            prop_assert_eq!(total, exact.values().sum::<u64>());
            let bound = total / capacity as u64;
            let hitters = heavy.into_hitters();
            prop_assert!(hitters.len() <= capacity);
            prop_assert!(hitters.is_sorted_by(|a, b| a.weight >= b.weight));
            for hitter in &hitters {
                let weight = exact[&*hitter.text];
                prop_assert!(hitter.weight >= weight && hitter.weight - hitter.error <= weight);
                prop_assert!(hitter.error <= bound);
            }
            for (text, weight) in exact {
                let listed = hitters.iter().any(|hitter| *hitter.text == *text);
                prop_assert!(listed || weight <= unlisted_max.min(bound), "{} {}", text, weight);
            }
        }
    }

    #[test]
    fn few_are_counted_exactly() {
        let mut heavy = HeavyHitters::new(3);
        [("a", 1), ("b", 5), ("a", 2), ("c", 5)]
            .into_iter()
            .for_each(|(text, weight)| heavy.add(text, weight));
        assert_eq!((heavy.total(), heavy.unlisted_max()), (13, 3));
        let hitters: Vec<_> = heavy
            .into_hitters()
            .into_iter()
            .map(|hitter| (hitter.text, hitter.weight, hitter.error))
            .collect();
        assert_eq!(hitters, [("b".into(), 5, 0), ("c".into(), 5, 0), ("a".into(), 3, 0)]);
    }
}
