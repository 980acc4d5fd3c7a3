//! The replicated set: the union of all lanes. An element is in it while any replica has a live dot for it, so an add wins
//! over a concurrent remove by somebody else.
//!
//! It is an observed-remove set in the sense of Shapiro et al. (2011), kept per writer: whoever merges two copies of a
//! lane takes the newer one. That makes merging commutative, associative and idempotent.

use std::collections::BTreeMap;

use crdts::{CmRDT, CvRDT, VClock};
use hashbrown::HashTable;

use crate::delta::{Delta, SetId};
use crate::element::Element;
use crate::hash::LaneKey;
use crate::head::Head;
use crate::lane::{Lane, LaneLimits, Outcome};
use crate::replica::ReplicaId;

/// All lanes of one set, of which one is this replica's own and the others are copies.
#[derive(Clone, Debug)]
pub struct ReplicatedSet {
    id: SetId,
    name: &'static str,
    me: ReplicaId,
    limits: LaneLimits,
    lanes: BTreeMap<ReplicaId, Lane>,
    /// Absent where the application of this set has an index of its own.
    index: Option<KeyIndex>,
}

/// Two copies of one lane differ at the same sequence number: a fault of memory or program, or an incarnation
/// that was used twice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("copies of the lane of {replica} differ at sequence number {seq}")]
pub struct Diverged {
    /// Whose lane.
    pub replica: ReplicaId,
    /// The number that both copies are at.
    pub seq: u64,
}

/// A delta begins behind what this copy has; the interval in between must come first.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the lane of {replica} is known up to {known} here, the delta begins at {from}")]
pub struct Gap {
    /// Whose lane.
    pub replica: ReplicaId,
    /// What this copy has.
    pub known: u64,
    /// Where the delta begins.
    pub from: u64,
}

impl ReplicatedSet {
    /// The empty set called `name`, in which `me` writes.
    pub fn new(id: SetId, name: &'static str, me: ReplicaId, limits: LaneLimits) -> ReplicatedSet {
        let index = KeyIndex { key: LaneKey::new(&me, name), dots: HashTable::new() };
        ReplicatedSet { index: Some(index), ..ReplicatedSet::unindexed(id, name, me, limits) }
    }

    /// The same without an index of keys: the caller knows its dots.
    pub(crate) fn unindexed(
        id: SetId,
        name: &'static str,
        me: ReplicaId,
        limits: LaneLimits,
    ) -> ReplicatedSet {
        let own = Lane::new(LaneKey::new(&me, name), limits);
        ReplicatedSet { id, name, lanes: BTreeMap::from([(me.clone(), own)]), me, limits, index: None }
    }

    /// The name given at construction.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Adds to the own lane; a present element of the same key is superseded. Returns the sequence number, which is the
    /// element's dot.
    pub fn insert(&mut self, key: &[u8], value: &[u8]) -> u64 {
        let (Some(own), Some(index)) = (self.lanes.get_mut(&self.me), &mut self.index) else { return 0 };
        let superseded = index.remove(own, key);
        let dot = own.write_add(Element::new(key, value), superseded);
        index.insert(key, dot);
        dot
    }

    /// Adds to the own lane of a set without index, in place of `superseded`.
    pub(crate) fn write(&mut self, element: Element, superseded: Option<u64>) -> u64 {
        self.lanes.get_mut(&self.me).map_or(0, |own| own.write_add(element, superseded))
    }

    /// Removes a dot from the own lane of a set without index.
    pub(crate) fn erase(&mut self, dot: u64) -> u64 {
        self.lanes.get_mut(&self.me).map_or(0, |own| own.write_remove(dot))
    }

    /// Removes from the own lane. Returns the sequence number of the remove, or `None` if there is nothing to remove.
    pub fn remove(&mut self, key: &[u8]) -> Option<u64> {
        let own = self.lanes.get_mut(&self.me)?;
        let dot = self.index.as_mut()?.remove(own, key)?;
        Some(own.write_remove(dot))
    }

    /// The live dot of `key` in the own lane.
    pub fn dot(&self, key: &[u8]) -> Option<u64> {
        self.index.as_ref()?.find(self.own(), key)
    }

    /// Who writes the own lane.
    pub(crate) fn me(&self) -> &ReplicaId {
        &self.me
    }

    /// The own lane.
    pub fn own(&self) -> &Lane {
        &self.lanes[&self.me]
    }

    /// The head of the own lane.
    pub fn head(&self) -> Head {
        self.own().head()
    }

    /// A replica's lane.
    pub fn lane(&self, replica: &ReplicaId) -> Option<&Lane> {
        self.lanes.get(replica)
    }

    /// Others' lanes, to be changed by merging only.
    pub(crate) fn copy_mut(&mut self, replica: &ReplicaId) -> Option<&mut Lane> {
        if *replica == self.me {
            return None;
        }
        let (name, limits) = (self.name, self.limits);
        Some(
            self.lanes
                .entry(replica.clone())
                .or_insert_with(|| Lane::new(LaneKey::new(replica, name), limits)),
        )
    }

    /// All lanes, by replica.
    pub fn lanes(&self) -> impl Iterator<Item = (&ReplicaId, &Lane)> {
        self.lanes.iter()
    }

    /// Goes on as another replica: a new lane with all elements of the own one, which is dropped. Returns their former and
    /// their new dots, ascending.
    pub(crate) fn restart(&mut self, me: ReplicaId) -> Vec<(u64, u64)> {
        let key = LaneKey::new(&me, self.name);
        let mut index = self.index.is_some().then(|| KeyIndex { key, dots: HashTable::new() });
        let old = self.lanes.remove(&self.me).map(Lane::into_elements).unwrap_or_default();
        let mut own = Lane::new(key, self.limits);
        let mut renumbered = Vec::with_capacity(old.len());
        for (former, element) in old {
            if let Some(index) = &mut index {
                index.insert(element.key(), own.head().seq + 1);
            }
            renumbered.push((former, own.write_add(element, None)));
        }
        self.lanes.insert(me.clone(), own);
        self.index = index;
        self.me = me;
        renumbered
    }

    /// Takes out a copy of another replica's lane.
    pub(crate) fn drop_lane(&mut self, replica: &ReplicaId) -> Option<Lane> {
        if *replica == self.me { None } else { self.lanes.remove(replica) }
    }

    /// What has been applied of each lane.
    pub fn clock(&self) -> VClock<ReplicaId> {
        let known = self.lanes.iter().filter(|(_, lane)| lane.head().seq > 0);
        VClock { dots: known.map(|(replica, lane)| (replica.clone(), lane.head().seq)).collect() }
    }

    /// Applies a delta of another replica's lane.
    pub fn merge_delta(&mut self, delta: &Delta) -> Outcome {
        match self.copy_mut(&delta.replica) {
            Some(lane) => lane.apply(&delta.interval),
            None => Outcome::Duplicate,
        }
    }
}

impl CmRDT for ReplicatedSet {
    type Op = Delta;
    type Validation = Gap;

    fn validate_op(&self, delta: &Delta) -> Result<(), Gap> {
        let known = self.lanes.get(&delta.replica).map_or(0, |lane| lane.wanted_from().0.version);
        let from = delta.interval.from.version;
        if from <= known { Ok(()) } else { Err(Gap { replica: delta.replica.clone(), known, from }) }
    }

    fn apply(&mut self, delta: Delta) {
        if delta.set == self.id && delta.interval.is_well_formed() {
            self.merge_delta(&delta);
        }
    }
}

impl CvRDT for ReplicatedSet {
    type Validation = Diverged;

    fn validate_merge(&self, other: &ReplicatedSet) -> Result<(), Diverged> {
        let diverged = self.lanes.iter().find(|(replica, lane)| {
            other.lanes.get(*replica).is_some_and(|other| {
                let (ours, theirs) = (lane.head(), other.head());
                ours.seq == theirs.seq && ours.hash != theirs.hash
            })
        });
        match diverged {
            None => Ok(()),
            Some((replica, lane)) => Err(Diverged { replica: replica.clone(), seq: lane.head().seq }),
        }
    }

    /// Of each lane the newer copy is taken. Nobody's copy of the own lane is newer than itself.
    fn merge(&mut self, other: ReplicatedSet) {
        for (replica, theirs) in other.lanes {
            if let Some(ours) = self.copy_mut(&replica)
                && ours.head().seq < theirs.head().seq
            {
                *ours = theirs;
            }
        }
    }
}

/// Finds the own lane's live dot of a key. Holds no keys: those are in the lane.
#[derive(Clone, Debug)]
struct KeyIndex {
    key: LaneKey,
    /// (hash of the key, dot). The hash is kept so that growing the table touches no element.
    dots: HashTable<(u64, u64)>,
}

impl KeyIndex {
    fn find(&self, lane: &Lane, key: &[u8]) -> Option<u64> {
        let hash = self.key.key_hash(key);
        self.dots.find(hash, |entry| is_dot_of(lane, *entry, hash, key)).map(|(_, dot)| *dot)
    }

    fn insert(&mut self, key: &[u8], dot: u64) {
        let hash = self.key.key_hash(key);
        self.dots.insert_unique(hash, (hash, dot), |(hash, _)| *hash);
    }

    fn remove(&mut self, lane: &Lane, key: &[u8]) -> Option<u64> {
        let hash = self.key.key_hash(key);
        let found = self.dots.find_entry(hash, |entry| is_dot_of(lane, *entry, hash, key)).ok()?;
        let ((_, dot), _) = found.remove();
        Some(dot)
    }
}

fn is_dot_of(lane: &Lane, (entry_hash, dot): (u64, u64), hash: u64, key: &[u8]) -> bool {
    entry_hash == hash && lane.element(dot).is_some_and(|element| element.key() == key)
}
