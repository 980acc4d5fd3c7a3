//! Retained messages that a forward has brought before the replicated set did.
//!
//! A forward may overtake the set: changes of that are collected. Who subscribes in between is not sent the forward, and
//! would be sent the message that it replaces, so what a forward brings counts at once.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use rumormq_gossip::{Entry, Stamp};

/// What is shown and not in the set yet: stamps by topic.
#[derive(Debug, Default)]
pub struct Ahead {
    stamps: BTreeMap<Box<[u8]>, Stamp>,
    /// When they came, the oldest first. Some may be in the set by now.
    since: VecDeque<(Instant, Box<[u8]>)>,
}

/// For so long a message may be ahead of the set. After that its publisher is gone, with its entry.
const PATIENCE: Duration = Duration::from_secs(5);
/// Messages that may be ahead of the set; more wait for it.
const MAX: usize = 100_000;

impl Ahead {
    /// A message is shown that came by a forward. False if there are too many.
    pub fn insert(&mut self, entry: &Entry, now: Instant) -> bool {
        if self.since.len() >= MAX
            || self.stamps.get(entry.key()).is_some_and(|stamp| *stamp >= entry.stamp())
        {
            return false;
        }
        self.stamps.insert(entry.key().into(), entry.stamp());
        self.since.push_back((now, entry.key().into()));
        true
    }

    /// The set says that what counts has this stamp, or none. False if that is older than what is shown.
    pub fn supersede(&mut self, key: &[u8], stamp: Option<Stamp>) -> bool {
        if self.stamps.is_empty() {
            return true;
        }
        let superseded = self.stamps.get(key).is_none_or(|ahead| stamp.is_none_or(|stamp| stamp >= *ahead));
        if superseded {
            self.stamps.remove(key);
        }
        superseded
    }

    /// The stamp of what is ahead of the set for a topic.
    pub fn stamp(&self, key: &[u8]) -> Option<Stamp> {
        self.stamps.get(key).copied()
    }

    /// Whether there is anything to take.
    pub fn is_overdue(&self, now: Instant) -> bool {
        self.since.front().is_some_and(|(since, _)| now.saturating_duration_since(*since) >= PATIENCE)
    }

    /// Topics of which the set has heard nothing for too long.
    pub fn take_overdue(&mut self, now: Instant) -> Vec<Box<[u8]>> {
        let mut overdue = Vec::new();
        while self.is_overdue(now)
            && let Some((_, key)) = self.since.pop_front()
        {
            if self.stamps.remove(&key).is_some() {
                overdue.push(key);
            }
        }
        overdue
    }
}
