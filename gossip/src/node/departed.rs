//! Who is gone, and who of them is back.

use std::collections::{BTreeMap, VecDeque};

use crate::replica::{Incarnation, NodeName, ReplicaId};

/// Replicas that were dropped: the highest incarnation of each name.
#[derive(Debug)]
pub(super) struct Departed {
    by_name: BTreeMap<NodeName, (Incarnation, Departure)>,
    order: VecDeque<NodeName>,
    max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Departure {
    /// It left for good.
    Left,
    /// It was dead too long.
    Forgotten,
}

impl Departed {
    pub fn new(max: usize) -> Departed {
        Departed { by_name: BTreeMap::new(), order: VecDeque::new(), max }
    }

    pub fn insert(&mut self, replica: &ReplicaId, departure: Departure) {
        let entry = (replica.incarnation, departure);
        match self.by_name.get_mut(&replica.name) {
            Some(before) if before.0 > replica.incarnation => return,
            Some(before) => *before = entry,
            None => {
                self.by_name.insert(replica.name.clone(), entry);
                self.order.push_back(replica.name.clone());
            }
        }
        if self.order.len() > self.max
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_name.remove(&oldest);
        }
    }

    /// Whether the replica, or a later one of its name, is gone.
    pub fn contains(&self, replica: &ReplicaId) -> bool {
        self.by_name.get(&replica.name).is_some_and(|(incarnation, _)| *incarnation >= replica.incarnation)
    }

    /// The later incarnation of a replica's node that is gone.
    pub fn later_than(&self, replica: &ReplicaId) -> Option<Incarnation> {
        let (incarnation, _) = self.by_name.get(&replica.name)?;
        (*incarnation > replica.incarnation).then_some(*incarnation)
    }

    /// The replica that was dropped for being dead too long, if this is it or an earlier one of its node.
    pub fn forgotten(&self, replica: &ReplicaId) -> Option<ReplicaId> {
        let (incarnation, departure) = *self.by_name.get(&replica.name)?;
        let fits = departure == Departure::Forgotten && incarnation >= replica.incarnation;
        fits.then(|| ReplicaId { name: replica.name.clone(), incarnation })
    }

    /// Whether this very replica was dropped for being dead too long.
    pub fn is_forgotten(&self, replica: &ReplicaId) -> bool {
        self.by_name.get(&replica.name) == Some(&(replica.incarnation, Departure::Forgotten))
    }

    /// Whether the replica, or a later one of its name, has left for good.
    pub fn has_left(&self, replica: &ReplicaId) -> bool {
        let last = self.by_name.get(&replica.name);
        last.is_some_and(|(incarnation, departure)| {
            *departure == Departure::Left && *incarnation >= replica.incarnation
        })
    }

    /// Replicas that left, the latest first.
    pub fn left(&self) -> impl Iterator<Item = ReplicaId> {
        self.order.iter().rev().filter_map(|name| match self.by_name.get(name)? {
            (incarnation, Departure::Left) => {
                Some(ReplicaId { name: name.clone(), incarnation: *incarnation })
            }
            _ => None,
        })
    }
}

/// Nodes that are back after somebody has forgotten them: they must begin a new lane, and are told so through whoever reaches
/// them. Each with the incarnation up to which it was forgotten.
#[derive(Debug, Default)]
pub(super) struct Revoked {
    /// With whether heartbeats of it arrive here.
    replicas: BTreeMap<ReplicaId, bool>,
}

impl Revoked {
    pub fn insert(&mut self, forgotten: &ReplicaId) {
        self.replicas.entry(forgotten.clone()).or_default();
    }

    /// Heartbeats of a replica that was forgotten here arrive again.
    pub fn beats(&mut self, forgotten: ReplicaId) {
        self.replicas.insert(forgotten, true);
    }

    /// Those of this replica do not.
    pub fn silent(&mut self, replica: &ReplicaId) {
        if let Some(beats) = self.replicas.get_mut(replica) {
            *beats = false;
        }
    }

    pub fn remove_name(&mut self, name: &NodeName) {
        self.replicas.retain(|replica, _| replica.name != *name);
    }

    pub fn retain(&mut self, keep: impl Fn(&ReplicaId, bool) -> bool) {
        self.replicas.retain(|replica, beats| keep(replica, *beats));
    }

    pub fn iter(&self) -> impl Iterator<Item = &ReplicaId> {
        self.replicas.keys()
    }
}
