//! A model of membership gossip: heartbeats that travel any path, a node that is not heard of for a time counts as dead, the
//! highest incarnation speaks for a name, and what a node says about itself arrives with its heartbeat.

use std::collections::BTreeMap;
use std::time::Duration;

use rumormq_gossip::{Head, Incarnation, NodeName, Observation, ReplicaId, SetId, Status};

/// Not heard of for so long is dead. With a round every 200 ms to three others this is 15 rounds.
pub const DEAD_AFTER: Duration = Duration::from_secs(3);

/// What travels.
pub type Table = BTreeMap<NodeName, State>;

#[derive(Clone, Debug)]
pub struct State {
    pub incarnation: Incarnation,
    pub heartbeat: u64,
    pub status: Status,
    pub heads: Vec<(SetId, Head)>,
}

/// One node's knowledge.
#[derive(Clone, Debug, Default)]
pub struct Membership {
    table: Table,
    heard: BTreeMap<NodeName, Duration>,
    superseded: Vec<ReplicaId>,
}

impl Membership {
    pub fn beat(&mut self, me: &ReplicaId, status: Status, heads: Vec<(SetId, Head)>) {
        let heartbeat = self.table.get(&me.name).map_or(0, |state| state.heartbeat) + 1;
        let state = State { incarnation: me.incarnation, heartbeat, status, heads };
        self.table.insert(me.name.clone(), state);
    }

    /// The node goes on under another incarnation.
    pub fn restart(&mut self, me: &ReplicaId) {
        self.table.remove(&me.name);
    }

    pub fn table(&self) -> &Table {
        &self.table
    }

    pub fn merge(&mut self, theirs: &Table, now: Duration) {
        for (name, state) in theirs {
            let newer = self
                .table
                .get(name)
                .is_none_or(|ours| (ours.incarnation, ours.heartbeat) < (state.incarnation, state.heartbeat));
            if !newer {
                continue;
            }
            self.heard.insert(name.clone(), now);
            if let Some(old) = self.table.insert(name.clone(), state.clone())
                && old.incarnation < state.incarnation
            {
                self.superseded.push(ReplicaId { name: name.clone(), incarnation: old.incarnation });
            }
        }
    }

    pub fn observations(&mut self, me: &ReplicaId, now: Duration) -> Vec<Observation> {
        let superseded = std::mem::take(&mut self.superseded).into_iter().map(|replica| Observation {
            replica,
            alive: false,
            status: Status::Running,
            heads: Vec::new(),
        });
        let others = self.table.iter().filter(|(name, _)| **name != me.name);
        let current = others.map(|(name, state)| Observation {
            replica: ReplicaId { name: name.clone(), incarnation: state.incarnation },
            alive: self.heard.get(name).is_some_and(|at| now - *at < DEAD_AFTER),
            status: state.status,
            heads: state.heads.clone(),
        });
        superseded.chain(current).collect()
    }
}
