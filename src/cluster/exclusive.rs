//! Claims on exclusive subscriptions: a register for each filter, whose value is the client that has it.

use std::time::Instant;

use super::interest::EXCLUSIVE;
use super::{Cluster, wall_clock_ms};
use crate::topic::TopicFilter;

impl Cluster {
    /// Claims the filter for a client of this node. False, and nothing is done, if another client of a live node has it.
    pub fn claim_exclusive(&self, filter: &TopicFilter, client_id: &str, now: Instant) -> bool {
        let key = filter.as_str().as_bytes();
        self.with_replication(now, |replication| {
            let node = &mut replication.node;
            let holder = node.winner(EXCLUSIVE, key);
            let holder = holder.filter(|holder| node.is_visible(&holder.replica));
            match holder {
                Some(holder) if holder.entry.value() != Some(client_id.as_bytes()) => return false,
                // Its session was here before.
                Some(holder) if holder.replica == *node.me() => {}
                _ => drop(node.write(EXCLUSIVE, key, client_id.as_bytes(), wall_clock_ms(), now)),
            }
            true
        })
    }

    /// Takes over the claim of a client whose session has moved here. False if it has none.
    pub fn move_exclusive(&self, filter: &TopicFilter, client_id: &str, now: Instant) -> bool {
        let key = filter.as_str().as_bytes();
        self.with_replication(now, |replication| {
            let node = &mut replication.node;
            let holder = node.winner(EXCLUSIVE, key);
            let Some(holder) = holder.filter(|holder| holder.entry.value() == Some(client_id.as_bytes()))
            else {
                return false;
            };
            if holder.replica != *node.me() {
                node.write(EXCLUSIVE, key, client_id.as_bytes(), wall_clock_ms(), now);
            }
            true
        })
    }

    /// Gives up a claim of this node, unless somebody else has the filter by now.
    pub fn release_exclusive(&self, filter: &TopicFilter, now: Instant) {
        self.with_replication(now, |replication| {
            replication.node.retire(EXCLUSIVE, filter.as_str().as_bytes(), wall_clock_ms(), now);
        });
    }
}
