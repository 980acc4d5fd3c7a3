//! Hashes of topic levels and of prefixes of levels, seeded, for peers choose the text.

use std::hash::BuildHasher;

use hashbrown::DefaultHashBuilder;

use crate::topic::{Topic, TopicFilter};

/// Hashes single levels. One seed for all shards, so that a topic's levels are hashed alike everywhere.
#[derive(Default, Clone)]
pub(super) struct LevelHasher(DefaultHashBuilder);

impl LevelHasher {
    pub(super) fn level(&self, level: &str) -> u64 {
        self.0.hash_one(level)
    }
}

/// Folds the full product, so that every bit of both reaches every bit of the result.
pub(super) fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// Longer prefixes count as their first levels: so many are told apart. With the empty prefix they fill a cache line.
const MAX_LEVELS: usize = 7;

/// The hashes of the first levels of a topic, or of a filter up to its first wildcard: none of them, the first one, the
/// first two, and so on.
pub(super) struct Prefixes {
    hashes: [u64; MAX_LEVELS + 1],
    levels: usize,
}

impl Prefixes {
    pub(super) const MAX: usize = MAX_LEVELS + 1;

    pub(super) fn of_topic(hasher: &LevelHasher, topic: Topic<'_>) -> Self {
        Self::of_levels(hasher, topic.levels())
    }

    pub(super) fn of_filter(hasher: &LevelHasher, filter: &TopicFilter) -> Self {
        Self::of_levels(hasher, filter.literal_prefix())
    }

    fn of_levels<'a>(hasher: &LevelHasher, levels: impl Iterator<Item = &'a str>) -> Self {
        let mut prefixes = Prefixes { hashes: [0; Self::MAX], levels: 0 };
        for level in levels.take(MAX_LEVELS) {
            let shorter = prefixes.hashes[prefixes.levels];
            prefixes.levels += 1;
            prefixes.hashes[prefixes.levels] = mix(shorter ^ hasher.level(level), 0x9E37_79B9_7F4A_7C15);
        }
        prefixes
    }

    /// How many levels the longest prefix has.
    pub(super) fn levels(&self) -> usize {
        self.levels
    }

    /// From the empty prefix to the longest.
    pub(super) fn hashes(&self) -> &[u64] {
        &self.hashes[..=self.levels]
    }

    pub(super) fn longest(&self) -> u64 {
        self.hashes[self.levels]
    }
}
