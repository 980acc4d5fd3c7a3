//! Links for the sake of publishes. In a large cluster not everybody has a link to everybody ([`rumormq_gossip::mesh`]);
//! who sends to a node again and again gets one all the same, for as long as he does. Until it is there, and where there are too many of
//! them, publishes go through the nodes in between.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rumormq_gossip::NodeName;

use super::Cluster;
use super::peer::Peer;

/// A link that only publishes need is kept for so long after the last one.
const KEPT: Duration = Duration::from_secs(60);
/// Links that only publishes need, at a time.
const LINKS_MAX: usize = 64;

/// Which nodes publishes go to. Bounded by the number of peers.
#[derive(Debug, Default)]
pub struct Demand {
    uses: Mutex<BTreeMap<NodeName, Use>>,
}

#[derive(Debug)]
struct Use {
    /// Forwards to the node up to now, in any way.
    forwards: u64,
    /// When there was the last one, if there was one since this was first looked at.
    last: Option<Instant>,
}

impl Demand {
    /// Notes how many forwards to these nodes there have been.
    fn note(&self, forwards: impl Iterator<Item = (NodeName, u64)>, now: Instant) {
        let mut uses = self.uses.lock();
        let mut before = std::mem::take(&mut *uses);
        for (name, forwards) in forwards {
            let known = before.remove(&name);
            let last = known.and_then(|known| match known.forwards == forwards {
                true => known.last.filter(|last| now.saturating_duration_since(*last) < KEPT),
                false => Some(now),
            });
            uses.insert(name, Use { forwards, last });
        }
        let mut used: Vec<(Instant, NodeName)> =
            uses.iter().filter_map(|(name, known)| Some((known.last?, name.clone()))).collect();
        if used.len() > LINKS_MAX {
            used.sort_unstable();
            for (_, name) in &used[..used.len() - LINKS_MAX] {
                uses.entry(name.clone()).and_modify(|known| known.last = None);
            }
        }
    }

    /// Whether publishes go to this node.
    pub fn is_for(&self, name: &NodeName) -> bool {
        self.uses.lock().get(name).is_some_and(|known| known.last.is_some())
    }
}

impl Cluster {
    /// Finds out which links publishes need, and ends those that nobody does.
    pub(super) fn review_links(&self, now: Instant) {
        // What the grid wants a link for need not be counted.
        let others: Vec<Arc<Peer>> = {
            let mut replication = self.replication.lock();
            replication.node.review_links(now);
            if replication.node.is_full_mesh() {
                return;
            }
            self.peers.all().into_iter().filter(|peer| !replication.node.wants_link(peer.name())).collect()
        };
        self.demand.note(others.iter().map(|peer| (peer.name().clone(), peer.forwards())), now);
        let mut replication = self.replication.lock();
        for peer in others {
            let Some(link) = peer.link() else { continue };
            let in_use = self.demand.is_for(peer.name());
            replication.node.use_link(&link.replica, in_use);
            if !in_use && peer.is_drained() && replication.node.is_spare(&link.replica, now) {
                tracing::debug!(peer = %link.replica, "link not needed");
                link.closed.notify_one();
            }
        }
    }

    /// Whether there is to be a link to this node.
    pub(super) fn wants_link(&self, node: &rumormq_gossip::Node, name: &NodeName) -> bool {
        node.wants_link(name) || self.demand.is_for(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> NodeName {
        NodeName::parse(&format!("n{number}@host")).unwrap()
    }

    #[test]
    fn a_node_is_in_demand_for_a_while_after_a_forward() {
        let (demand, start) = (Demand::default(), Instant::now());
        let note = |forwards, secs| {
            demand.note([(name(1), forwards)].into_iter(), start + Duration::from_secs(secs));
            demand.is_for(&name(1))
        };
        assert!(!note(5, 0), "of those before nothing is known");
        assert!(note(6, 1));
        assert!(note(6, 60));
        assert!(!note(6, 61));
        assert!(note(7, 62));
        demand.note(std::iter::empty(), start + Duration::from_secs(62));
        assert!(!demand.is_for(&name(1)), "it is gone");
    }

    #[test]
    fn the_longest_unused_give_way() {
        let (demand, start) = (Demand::default(), Instant::now());
        let count =
            |moved: usize| (0..LINKS_MAX + 2).map(move |number| (name(number), u64::from(number < moved)));
        demand.note(count(0), start);
        demand.note(count(2), start + Duration::from_secs(1));
        assert!(demand.is_for(&name(0)) && demand.is_for(&name(1)));
        demand.note(count(LINKS_MAX + 2), start + Duration::from_secs(2));
        assert!(!demand.is_for(&name(0)) && !demand.is_for(&name(1)));
        assert!((2..LINKS_MAX + 2).all(|number| demand.is_for(&name(number))));
    }
}
