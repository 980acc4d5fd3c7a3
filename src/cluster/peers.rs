//! All other nodes this one knows of, by name and by the small integers that stand for their replicas in the trie.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::RwLock;
use rumormq_gossip::{NodeName, ReplicaId};
use smallvec::SmallVec;

use super::forward::budget::ForwardBudget;
use super::forward::stream::ForwardLimits;
use super::peer::Peer;
use crate::router::{PeerIndex, PeerSet};

/// The table of peers. Its locks are held for look-ups only.
#[derive(Debug)]
pub struct Peers {
    limits: ForwardLimits,
    budget: Arc<ForwardBudget>,
    names: RwLock<BTreeMap<NodeName, Arc<Peer>>>,
    indexes: RwLock<Indexes>,
}

#[derive(Debug, Default)]
struct Indexes {
    peers: Vec<Option<(ReplicaId, Arc<Peer>)>>,
    by_replica: HashMap<ReplicaId, PeerIndex>,
}

impl Peers {
    /// No peers; each gets a forward buffer of these bounds, and all together may hold so many bytes.
    pub fn new(limits: ForwardLimits, total_bytes: usize) -> Peers {
        let budget = Arc::new(ForwardBudget::new(total_bytes));
        Peers { limits, budget, names: RwLock::default(), indexes: RwLock::default() }
    }

    /// What the forward buffers hold together.
    pub fn budget(&self) -> &ForwardBudget {
        &self.budget
    }

    /// The peer of this name, if it was heard of.
    pub fn find(&self, name: &NodeName) -> Option<Arc<Peer>> {
        self.names.read().get(name).cloned()
    }

    /// The peer of this name, made where it is new.
    pub fn find_or_insert(&self, name: &NodeName) -> Arc<Peer> {
        if let Some(peer) = self.find(name) {
            return peer;
        }
        let mut names = self.names.write();
        let new = || Arc::new(Peer::new(name.clone(), self.limits, self.budget.clone()));
        names.entry(name.clone()).or_insert_with(new).clone()
    }

    /// All of them, by name.
    pub fn all(&self) -> Vec<Arc<Peer>> {
        self.names.read().values().cloned().collect()
    }

    /// The peer left for good.
    pub fn remove(&self, name: &NodeName) -> Option<Arc<Peer>> {
        self.names.write().remove(name)
    }

    /// The integer that stands for `replica`; none where more than [`PeerIndex::LIMIT`] have routes.
    pub fn index_of(&self, replica: &ReplicaId) -> Option<PeerIndex> {
        if let Some(index) = self.indexes.read().by_replica.get(replica) {
            return Some(*index);
        }
        let peer = self.find_or_insert(&replica.name);
        let mut indexes = self.indexes.write();
        let free = indexes.peers.iter().position(Option::is_none).unwrap_or(indexes.peers.len());
        let index = PeerIndex::new(free)?;
        let entry = Some((replica.clone(), peer));
        match indexes.peers.get_mut(free) {
            Some(place) => *place = entry,
            None => indexes.peers.push(entry),
        }
        indexes.by_replica.insert(replica.clone(), index);
        Some(index)
    }

    /// `replica` has no routes any more. Its integer may stand for another from now on: no match that is current names
    /// it.
    pub fn release_index(&self, replica: &ReplicaId) {
        let mut indexes = self.indexes.write();
        if let Some(index) = indexes.by_replica.remove(replica)
            && let Some(place) = indexes.peers.get_mut(index.index())
        {
            *place = None;
        }
    }

    /// The replica that an integer stands for.
    pub fn replica(&self, index: PeerIndex) -> Option<ReplicaId> {
        self.indexes.read().peers.get(index.index())?.as_ref().map(|(replica, _)| replica.clone())
    }

    /// The replica that an integer stands for, with its node.
    pub fn entry(&self, index: PeerIndex) -> Option<(ReplicaId, Arc<Peer>)> {
        self.indexes.read().peers.get(index.index())?.clone()
    }

    /// Whether the replica can be reached now.
    pub fn reaches(&self, index: PeerIndex) -> bool {
        let indexes = self.indexes.read();
        let entry = indexes.peers.get(index.index()).and_then(Option::as_ref);
        entry.is_some_and(|(replica, peer)| peer.reaches(replica))
    }

    /// The nodes that a match names, each once, though several of its incarnations may have routes.
    pub fn destinations(&self, matched: &PeerSet) -> SmallVec<[Arc<Peer>; 4]> {
        let indexes = self.indexes.read();
        let mut destinations: SmallVec<[Arc<Peer>; 4]> = SmallVec::new();
        for index in matched.iter() {
            let Some(Some((_, peer))) = indexes.peers.get(index.index()) else { continue };
            if !destinations.iter().any(|other| Arc::ptr_eq(other, peer)) {
                destinations.push(peer.clone());
            }
        }
        destinations
    }
}
