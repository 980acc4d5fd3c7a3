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

    /// Whether this very replica was dropped for being dead too long.
    pub fn is_forgotten(&self, replica: &ReplicaId) -> bool {
        self.by_name.get(&replica.name) == Some(&(replica.incarnation, Departure::Forgotten))
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

/// Replicas that are back after somebody has forgotten them: they must begin a new lane, and are told so through whoever
/// reaches them.
#[derive(Debug, Default)]
pub(super) struct Revoked {
    /// With whether its heartbeats arrive here.
    replicas: BTreeMap<ReplicaId, bool>,
}

impl Revoked {
    pub fn insert(&mut self, replica: &ReplicaId) {
        self.replicas.entry(replica.clone()).or_default();
    }

    /// Heartbeats of a replica arrive again although it was forgotten here, or they do not.
    pub fn observed(&mut self, replica: &ReplicaId, back: bool) {
        if back {
            self.replicas.insert(replica.clone(), true);
        } else if let Some(beats) = self.replicas.get_mut(replica) {
            *beats = false;
        }
    }

    pub fn remove(&mut self, replica: &ReplicaId) {
        self.replicas.remove(replica);
    }

    pub fn retain(&mut self, keep: impl Fn(&ReplicaId, bool) -> bool) {
        self.replicas.retain(|replica, beats| keep(replica, *beats));
    }

    pub fn iter(&self) -> impl Iterator<Item = &ReplicaId> {
        self.replicas.keys()
    }
}
