//! Peers are introduced to each other where gossip does not do that: a firewall may let connections through and no datagrams.
//! Whoever is linked to both tells each where the other is reached. Where heartbeats arrive, nothing is said.

use std::sync::Arc;

use rumormq_gossip::ReplicaId;
use serde::{Deserialize, Serialize};

use super::forward::wire;
use super::link::hello::Addresses;
use super::link::kind;
use super::{Cluster, Peer};

/// Members in one message, at most; more than a cluster may have.
const INTRODUCED_MAX: usize = 1000;

/// A member that the sender is linked to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Introduction {
    /// Who.
    pub replica: ReplicaId,
    /// Where it is reached.
    pub addresses: Addresses,
}

impl Cluster {
    /// Introduces linked members whose heartbeats do not arrive here to all others, and all others to them.
    pub(super) fn introduce(&self) {
        let links =
            self.peers.all().into_iter().filter_map(|peer| Some((peer.link()?.replica.clone(), peer)));
        let linked: Vec<(ReplicaId, Arc<Peer>)> = links.collect();
        let known = self.members.look_up(linked.iter().map(|(replica, _)| replica));
        if known.iter().flatten().all(|(_, alive)| *alive) {
            return;
        }
        let is_silent = |place: usize| known[place].as_ref().is_none_or(|(_, alive)| !alive);
        for (to, (replica, peer)) in linked.iter().enumerate() {
            let others = linked.iter().enumerate().filter(|(place, _)| *place != to);
            let introductions: Vec<Introduction> = others
                .filter(|(place, _)| is_silent(to) || is_silent(*place))
                .filter_map(|(place, (replica, _))| {
                    let (addresses, _) = known[place].clone()?;
                    Some(Introduction { replica: replica.clone(), addresses })
                })
                .collect();
            if !introductions.is_empty() {
                peer.send(replica, |out| wire::append_skippable(out, kind::INTRODUCTIONS, &introductions));
            }
        }
    }

    /// A peer is linked to these. Those that the sets have admitted get an address; who they are is not the peer's to say.
    pub(crate) fn handle_introductions(&self, introductions: Vec<Introduction>) {
        let replication = self.replication.lock();
        for introduction in introductions.into_iter().take(INTRODUCED_MAX) {
            if replication.node.is_member(&introduction.replica) {
                self.members.note_introduction(introduction.replica, introduction.addresses);
            }
        }
    }
}
