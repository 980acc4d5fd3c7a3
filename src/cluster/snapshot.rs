//! What operators ask a node about its cluster.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::{Duration, Instant};

use rumormq_gossip::{
    Counters, Head, LinkState, MemberState, MemberStatus, NodeName, ReplicaId, SetHash, SetId,
};

use super::interest::{ROUTES, member_count};
use super::{Cluster, wall_clock_ms};
use crate::router::PeerIndex;

/// The cluster as this node sees it, at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// This incarnation of this node.
    pub me: ReplicaId,
    /// The heads of its own lanes.
    pub heads: Vec<(SetId, Head)>,
    /// The others, by name and incarnation.
    pub members: Vec<MemberStatus>,
    /// Names that more than one live node has.
    pub name_conflicts: usize,
    /// Whether this node has applied what it knows of.
    pub converged: bool,
    /// For how long it has, to within a tenth of a second.
    pub converged_for: Duration,
    /// How far clocks that run ahead have pushed the stamps of writes ahead of this node's clock, in milliseconds.
    pub stamps_ahead_ms: u64,
    /// What the replicated sets have counted.
    pub counters: Counters,
}

impl Snapshot {
    /// The hash of all routes that count here: nodes with the same one have the same routes.
    pub fn routes_hash(&self) -> SetHash {
        let own = self.heads.iter().filter(|(set, _)| *set == ROUTES).map(|(_, head)| head.hash.0);
        let visible = self.members.iter().filter(|member| member.visible);
        let lanes = visible.flat_map(|member| &member.lanes).filter(|lane| lane.set == ROUTES);
        SetHash(own.chain(lanes.map(|lane| lane.applied.hash.0)).fold(0, u128::wrapping_add))
    }
}

impl Cluster {
    /// The members and how far they are followed.
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        let mut replication = self.replication.lock();
        let converged_since = replication.note_convergence(now);
        let node = &replication.node;
        let mut members = node.members(now);
        for member in &mut members {
            let relay = self.peers.find(&member.replica.name).and_then(|peer| peer.relay());
            if let Some((replica, via)) = relay
                && replica == member.replica
            {
                member.link = LinkState::Relayed(via);
            }
            // The socket to somebody who is dead stays open for a while, and is no link to anybody.
            if !member.state.is_some_and(MemberState::is_live) {
                (member.link, member.rtt) = (LinkState::None, None);
            }
        }
        Snapshot {
            me: node.me().clone(),
            heads: node.heads(),
            members,
            name_conflicts: node.name_conflicts(),
            converged: converged_since.is_some(),
            converged_for: converged_since
                .map_or(Duration::ZERO, |since| now.saturating_duration_since(since)),
            stamps_ahead_ms: node.stamps_ahead_ms(wall_clock_ms()),
            counters: *node.counters(),
        }
    }

    /// Where members that have not left are reached over HTTP, this one included, by name; that of the newest start of each.
    pub fn http_addresses(&self) -> Vec<(NodeName, String)> {
        let replication = self.replication.lock();
        let me = replication.node.me().clone();
        let not_left = |state| state != MemberState::Left;
        let others: Vec<ReplicaId> = replication.node.members_in(not_left).cloned().collect();
        drop(replication);
        let known = self.members.look_up(others.iter());
        let others = others.into_iter().zip(known);
        let addresses = others.filter_map(|(replica, known)| Some((replica.name, known?.0.http?)));
        let own = self.config.advertise.http.clone().map(|address| (me.name, address));
        addresses.chain(own).collect::<BTreeMap<_, _>>().into_iter().collect()
    }

    /// Calls `visit` with every route of a node that is not dead, this one included, in no order; and with the number of
    /// members if it is a group's. Replication waits for
    /// it, so `visit` should compare before it copies.
    pub fn for_each_route(&self, mut visit: impl FnMut(&str, &NodeName, Option<u32>)) {
        let replication = self.replication.lock();
        for (replica, element) in replication.node.elements(ROUTES, false) {
            if let Ok(filter) = std::str::from_utf8(element.key()) {
                visit(filter, &replica.name, member_count(filter, element.value()));
            }
        }
    }

    /// The replicas that indices in matches stand for, without those that are dead.
    pub fn visible_replicas(
        &self,
        indices: impl IntoIterator<Item = PeerIndex>,
    ) -> BTreeMap<PeerIndex, ReplicaId> {
        let mut replicas: BTreeMap<PeerIndex, ReplicaId> = BTreeMap::new();
        for index in indices {
            if let Entry::Vacant(place) = replicas.entry(index)
                && let Some(replica) = self.peers.replica(index)
            {
                place.insert(replica);
            }
        }
        let replication = self.replication.lock();
        replicas.retain(|_, replica| replication.node.is_visible(replica));
        replicas
    }
}
