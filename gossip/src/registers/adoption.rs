//! What a dropped replica has written stays readable, and one of the others takes it over.
//!
//! Each survivor computes the same order of survivors for a key, by hash. The first takes the entry over at once; where
//! it does not, for it may be gone or never had the entry, the others follow one by one. Two that take over the same
//! entry, for they saw different survivors, do no harm: both copies say the same, and the lower one is pruned.

use std::hash::Hasher;
use std::time::{Duration, Instant};

use siphasher::sip::SipHasher13;

use super::{MAX_AT_ONCE, ORPHAN, PAUSE, Place, Registers};
use crate::element::Element;
use crate::entry::Entry;
use crate::replica::{NodeName, ReplicaId};
use crate::set::ReplicatedSet;

/// An entry whose lane was dropped.
#[derive(Clone, Debug)]
pub(super) struct Orphan {
    pub element: Element,
    pub writer: ReplicaId,
    /// Whose lane it was in.
    pub lane: ReplicaId,
    pub since: Instant,
}

impl Registers {
    pub(super) fn orphan(&mut self, hash: u32, orphan: Orphan) {
        self.next_adoption.get_or_insert(orphan.since);
        self.orphans.insert(self.next_orphan, orphan);
        self.put(Place { hash, slot: ORPHAN, dot: self.next_orphan });
        self.next_orphan += 1;
    }

    /// Takes over some of the orphans that fall to this node, with the stamps that they have. `others` are the live
    /// members beside this one.
    pub fn adopt(
        &mut self,
        set: &mut ReplicatedSet,
        others: &[NodeName],
        patience: Duration,
        tombstone_ttl: Duration,
        now: Instant,
    ) {
        if self.next_adoption.is_none_or(|at| at > now) {
            return;
        }
        let me = set.me().name.clone();
        let falls_to_us = |orphan: &Orphan| {
            let own = score(&me, orphan.element.key());
            // A new start of the same node may not know what the one before has written.
            let ahead = others.iter().filter(|name| **name != orphan.lane.name);
            let ahead = ahead.filter(|name| score(name, orphan.element.key()) > own).count() as u32;
            now.saturating_duration_since(orphan.since) >= patience * ahead
        };
        let some: Vec<(u64, bool)> = self
            .orphans
            .range(self.adoption_cursor..)
            .take(MAX_AT_ONCE)
            .map(|(number, orphan)| (*number, falls_to_us(orphan)))
            .collect();
        self.adoption_cursor = some.last().map_or(0, |(last, _)| last + 1);
        for (number, _) in some.into_iter().filter(|(_, ours)| *ours) {
            let Some(orphan) = self.orphans.get(&number).cloned() else { continue };
            let Some(entry) = Entry::read(&orphan.element) else { continue };
            let (seq, _) = self.write(set, entry.adopted(&orphan.writer), now);
            if entry.value().is_none() {
                self.tombstones.cleared(seq, now + tombstone_ttl);
            }
        }
        self.next_adoption = (!self.orphans.is_empty()).then_some(now + PAUSE);
    }
}

/// Rendezvous hashing (Thaler and Ravishankar, 1998): the node of the highest score has the key.
fn score(name: &NodeName, key: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(&(name.as_str().len() as u64).to_le_bytes());
    hasher.write(name.as_str().as_bytes());
    hasher.write(key);
    hasher.finish()
}
