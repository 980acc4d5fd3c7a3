//! Copies of QoS 1 and 2 messages that other nodes have for a member of a group, until a member has them: should the member
//! or its node go, another is chosen.

use std::collections::BTreeMap;
use std::sync::Arc;

use rumormq_gossip::ReplicaId;

use crate::message::{Message, Settlement};
use crate::topic::SubscriptionFilter;

/// A message with the shared subscription that it is for.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The message.
    pub message: Arc<Message>,
    /// For which group.
    pub share: Arc<SubscriptionFilter>,
    /// What the strategies that hash go by.
    pub key: u64,
    /// Its place among those that wait, if it has waited.
    pub waits_as: Option<u64>,
}

/// All copies of this node, in the order of publishing, by the replica that has the message. Beyond its limit the oldest
/// copies are let go: their messages are then as safe as the nodes that have them.
#[derive(Debug)]
pub struct Unconsumed {
    held: BTreeMap<ReplicaId, BTreeMap<u64, Kept>>,
    /// Those that no node could be chosen for yet.
    waiting: BTreeMap<u64, Kept>,
    last_claim: u64,
    bytes: usize,
    max_bytes: usize,
}

impl Unconsumed {
    /// No copies.
    pub fn new(max_bytes: usize) -> Unconsumed {
        Unconsumed { held: BTreeMap::new(), waiting: BTreeMap::new(), last_claim: 0, bytes: 0, max_bytes }
    }

    /// Keeps a copy of what `holder` gets, or of what nobody gets yet. Returns the number that it is settled by, and how
    /// many copies were let go.
    pub fn keep(&mut self, kept: Kept, holder: Option<&ReplicaId>) -> (u64, u64) {
        self.last_claim += 1;
        self.bytes += kept.size();
        match holder {
            None => {
                let place = kept.waits_as.unwrap_or(self.last_claim);
                self.waiting.insert(place, Kept { waits_as: Some(place), ..kept });
            }
            Some(holder) => match self.held.get_mut(holder) {
                Some(held) => {
                    held.insert(self.last_claim, kept);
                }
                None => {
                    self.held.entry(holder.clone()).or_default().insert(self.last_claim, kept);
                }
            },
        }
        let mut let_go = 0;
        while self.bytes > self.max_bytes && self.drop_oldest() {
            let_go += 1;
        }
        (self.last_claim, let_go)
    }

    /// The holder says what became of a message. Returns the copy if another member is to be chosen.
    pub fn settle(&mut self, holder: &ReplicaId, claim: u64, settlement: Settlement) -> Option<Kept> {
        let held = self.held.get_mut(holder)?;
        let kept = held.remove(&claim)?;
        self.bytes -= kept.size();
        (settlement == Settlement::Returned).then_some(kept)
    }

    /// Takes what this holder will never have had.
    pub fn take_claims(&mut self, holder: &ReplicaId, claims: &[u64]) -> Vec<Kept> {
        claims.iter().filter_map(|claim| self.settle(holder, *claim, Settlement::Returned)).collect()
    }

    /// Whoever has messages.
    pub fn holders(&self) -> impl Iterator<Item = &ReplicaId> {
        self.held.keys()
    }

    /// Takes everything that this holder has, by claim.
    pub fn take_held(&mut self, holder: &ReplicaId) -> BTreeMap<u64, Kept> {
        let taken = self.held.remove(holder).unwrap_or_default();
        self.bytes -= taken.values().map(Kept::size).sum::<usize>();
        taken
    }

    /// Takes up to so many of those that wait, oldest first.
    pub fn take_waiting(&mut self, count: usize) -> Vec<Kept> {
        let mut taken = Vec::new();
        while taken.len() < count
            && let Some((_, kept)) = self.waiting.pop_first()
        {
            self.bytes -= kept.size();
            taken.push(kept);
        }
        taken
    }

    /// Copies kept.
    pub fn count(&self) -> usize {
        self.waiting.len() + self.held.values().map(BTreeMap::len).sum::<usize>()
    }

    /// One copy is always kept, however large.
    fn drop_oldest(&mut self) -> bool {
        let oldest_waiting = self.waiting.first_key_value().map(|(claim, _)| *claim);
        let oldest_held = self.held.values_mut().filter(|held| !held.is_empty());
        let oldest_held = oldest_held.min_by_key(|held| held.first_key_value().map(|(claim, _)| *claim));
        let table = match (oldest_waiting, oldest_held) {
            (Some(waiting), Some(held)) => {
                let first = held.first_key_value().map_or(u64::MAX, |(claim, _)| *claim);
                if first < waiting { held } else { &mut self.waiting }
            }
            (None, Some(held)) => held,
            (_, None) => &mut self.waiting,
        };
        match table.first_entry() {
            Some(oldest) if *oldest.key() < self.last_claim => {
                self.bytes -= oldest.remove().size();
                true
            }
            _ => false,
        }
    }
}

impl Kept {
    /// What it counts for: the message, which others may share, and its place.
    fn size(&self) -> usize {
        self.message.size() + size_of::<Kept>() + size_of::<u64>()
    }
}
