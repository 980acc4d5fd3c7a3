//! Ways around: where two nodes cannot reach each other and a third reaches both, what they have to say to each other goes
//! through that one.
//!
//! ```text
//! A  RELAY {to C, frames}  B  RELAYED {from A, frames}  C
//! ```
//! B copies frames from one link into the queue of the other and does not read them; what it has no room for it drops.
//! Order, acknowledgement and repetition are between A and C: a stream of forwards is the same one whichever way it goes, so
//! nothing is delivered twice. Answers go back the way the question came by. [`way`] decides which way to take, and when.

mod relayed;
pub mod way;
pub mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use rumormq_gossip::{MemberState, NodeName, ReplicaId};

use super::Cluster;
use super::host::confirm_all;
use super::link::driver::LinkError;
use super::link::kind;
use super::peer::Link;
use super::replication::Replication;
pub use relayed::Relayed;

/// A peer to which more than this waits is not loaded with what is for others, unless there is nobody else.
const CONGESTED: usize = 4 << 20;

/// Through whom live members can be reached, best first.
type Ways = BTreeMap<ReplicaId, Vec<NodeName>>;

impl Cluster {
    /// Looks for ways to the live members that need one.
    pub(super) fn review_ways(&self, now: Instant) {
        let ways = self.ways(&self.replication.lock(), now);
        if !ways.is_empty() {
            self.take_ways(&ways, now);
        }
    }

    /// A link is gone: what it carried needs another way.
    pub(super) fn handle_carrier_down(&self, link: &Link, now: Instant) {
        let carried = link.carried.peers();
        for peer in &carried {
            peer.handle_relay_down(link.id);
        }
        self.review_ways(now);
        let mut done = Vec::new();
        for peer in carried {
            peer.release_unreachable(now, &mut done);
        }
        confirm_all(done, now);
    }

    /// Passes on what a linked peer sends for another.
    pub(super) fn pass_on(&self, from: &ReplicaId, body: &[u8]) -> Result<(), LinkError> {
        let (head, frames) = wire::read(body).ok_or(LinkError::MalformedFrame(kind::RELAY))?;
        match self.peers.find(&head.other.name) {
            Some(peer) => peer.pass_on(from, &head, frames),
            None => self.counters.relay_unroutable.inc(),
        }
        Ok(())
    }

    /// Of several incarnations of a name the newest counts.
    fn ways(&self, replication: &Replication, now: Instant) -> Ways {
        let node = &replication.node;
        let mut ways = Ways::new();
        let mut members = node.members_in(MemberState::is_live).peekable();
        while let Some(member) = members.next() {
            let is_newest = members.peek().is_none_or(|next| next.name != member.name);
            if is_newest && self.peers.find(&member.name).is_none_or(|peer| peer.needs_review(now)) {
                ways.insert(member.clone(), Vec::new());
            }
        }
        if !ways.is_empty() {
            for (member, through) in node.link_graph().relays(|member| ways.contains_key(member), now) {
                ways.insert(member, through);
            }
        }
        ways
    }

    fn take_ways(&self, ways: &Ways, now: Instant) {
        let mut links: BTreeMap<&NodeName, Option<(Arc<Link>, bool)>> = BTreeMap::new();
        let mut done = Vec::new();
        for (replica, through) in ways {
            let peer = match through.is_empty() {
                true => self.peers.find(&replica.name),
                false => Some(self.peers.find_or_insert(&replica.name)),
            };
            let Some(peer) = peer else { continue };
            let mut carriers: Vec<(Arc<Link>, bool)> = Vec::new();
            for via in through {
                let link = links.entry(via).or_insert_with(|| {
                    let peer = self.peers.find(via)?;
                    let link = peer.link().filter(|link| link.relays())?;
                    Some((link, peer.queue_len() > CONGESTED))
                });
                carriers.extend(link.clone());
            }
            carriers.sort_by_key(|(_, congested)| *congested);
            let carriers: Vec<Arc<Link>> = carriers.into_iter().map(|(link, _)| link).collect();
            peer.review_way(replica, &carriers, now, &mut done);
        }
        confirm_all(done, now);
    }
}
