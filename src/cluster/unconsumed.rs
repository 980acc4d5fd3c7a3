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
        if settlement == Settlement::Moved {
            let kept = self.held.values_mut().find_map(|held| held.remove(&claim))?;
            self.held.entry(holder.clone()).or_default().insert(claim, kept);
            return None;
        }
        let held = self.held.get_mut(holder)?;
        let kept = held.remove(&claim)?;
        self.bytes -= kept.size();
        (settlement == Settlement::Returned).then_some(kept)
    }

    /// The message of this claim is on this node itself now, whoever had it.
    pub fn forget(&mut self, claim: u64) {
        let kept = self.held.values_mut().find_map(|held| held.remove(&claim));
        self.bytes -= kept.map_or(0, |kept| kept.size());
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

#[cfg(test)]
mod tests {
    use rumormq_gossip::{Incarnation, NodeName};

    use super::*;
    use crate::codec::packet::{PropertySet, QoS};
    use crate::message::Application;
    use crate::topic::Topic;

    fn replica(name: &str) -> ReplicaId {
        ReplicaId { name: NodeName::parse(name).expect("a name"), incarnation: Incarnation(1) }
    }

    fn kept(payload: &str) -> Kept {
        let application = Application {
            topic: Topic::new("t").expect("a topic"),
            payload: payload.as_bytes(),
            backing: None,
            qos: QoS::AtLeastOnce,
            retain: false,
            properties: &PropertySet::EMPTY,
            expires_at: None,
        };
        Kept {
            message: Arc::new(application.to_message()),
            share: Arc::new(SubscriptionFilter::parse("$share/g/t").expect("a filter")),
            key: 0,
            waits_as: None,
        }
    }

    fn payload(kept: &Kept) -> &str {
        std::str::from_utf8(kept.message.payload()).expect("text")
    }

    #[test]
    fn a_copy_is_kept_until_its_holder_settles_it() {
        let (a, b) = (replica("a@h"), replica("b@h"));
        let mut unconsumed = Unconsumed::new(1 << 20);
        let claims = ["1", "2", "3", "4"].map(|text| unconsumed.keep(kept(text), Some(&a)).0);
        assert!(unconsumed.settle(&a, claims[0], Settlement::Consumed).is_none());
        assert!(unconsumed.settle(&b, claims[1], Settlement::Returned).is_none(), "not its to say");
        let returned = unconsumed.settle(&a, claims[1], Settlement::Returned).expect("the copy");
        assert_eq!(payload(&returned), "2");
        assert!(unconsumed.settle(&a, claims[1], Settlement::Returned).is_none(), "once");
        assert!(unconsumed.settle(&b, claims[2], Settlement::Moved).is_none());
        assert_eq!(
            unconsumed.take_held(&a).into_values().map(|kept| payload(&kept).to_owned()).collect::<Vec<_>>(),
            ["4"]
        );
        assert_eq!(unconsumed.count(), 1);
        unconsumed.forget(claims[2]);
        assert_eq!((unconsumed.count(), unconsumed.bytes), (0, 0));
    }

    #[test]
    fn what_waits_keeps_its_place() {
        let mut unconsumed = Unconsumed::new(1 << 20);
        for text in ["1", "2", "3"] {
            unconsumed.keep(kept(text), None);
        }
        let first = unconsumed.take_waiting(1).remove(0);
        unconsumed.keep(first, None);
        let texts: Vec<String> =
            unconsumed.take_waiting(9).iter().map(|kept| payload(kept).to_owned()).collect();
        assert_eq!(texts, ["1", "2", "3"]);
        assert_eq!(unconsumed.bytes, 0);
    }

    #[test]
    fn beyond_the_limit_the_oldest_go_wherever_they_are() {
        let (a, b) = (replica("a@h"), replica("b@h"));
        let size = kept("1").size();
        let mut unconsumed = Unconsumed::new(3 * size);
        let first = unconsumed.keep(kept("1"), Some(&b)).0;
        unconsumed.keep(kept("2"), None);
        let third = unconsumed.keep(kept("3"), Some(&a)).0;
        assert_eq!(unconsumed.keep(kept("4"), Some(&b)).1, 1);
        assert!(unconsumed.settle(&b, first, Settlement::Returned).is_none(), "the oldest is gone");
        assert_eq!(unconsumed.keep(kept("5"), Some(&a)).1, 1);
        assert!(unconsumed.take_waiting(1).is_empty(), "then the one that waited");
        assert_eq!(unconsumed.keep(kept("6"), Some(&a)).1, 1);
        assert!(unconsumed.settle(&a, third, Settlement::Returned).is_none());
        let mut small = Unconsumed::new(1);
        let only = small.keep(kept("1"), Some(&a)).0;
        assert!(small.settle(&a, only, Settlement::Returned).is_some(), "one is always kept");
    }
}
