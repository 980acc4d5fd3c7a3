//! Messages of shared subscriptions between nodes: to whom they went, who has them, and what is to go to someone else.

use std::sync::Arc;
use std::time::Instant;

use rumormq_gossip::{MemberState, ReplicaId};
use smallvec::SmallVec;

use super::Cluster;
use super::forward::settlements::Settled;
use super::forward::wire::{Share, Shares};
use super::peer::{Peer, PeerOrigin};
use super::unconsumed::Kept;
use crate::message::{Origin, PortableTicket, Settlement, Ticket};
use crate::router::{Choice, PeerIndex, PeerSet};

/// Waiting messages that are tried again in one round.
const RETRIES: usize = 1000;

/// Peers with what each is to do with a publish.
pub type Destinations = SmallVec<[(Arc<Peer>, Option<Box<Shares>>); 4]>;

impl Cluster {
    /// Stands for this node's name, as [`PeerMembers::identity`](crate::router::PeerMembers::identity) does for others.
    pub fn identity(&self) -> u64 {
        self.identity
    }

    /// The replica that an index in a match stands for, if it can be reached now.
    pub fn reached(&self, index: PeerIndex) -> Option<(ReplicaId, Arc<Peer>)> {
        self.peers.entry(index).filter(|(replica, peer)| peer.reaches(replica))
    }

    /// Whether [`Cluster::reached`] would find it.
    pub fn reaches(&self, index: PeerIndex) -> bool {
        self.peers.reaches(index)
    }

    /// Keeps a copy of what `holder` gets for one of its members, or of what waits for a node that has one. Returns the
    /// claim, and how many older copies had to go for want of room.
    pub fn keep(&self, kept: Kept, holder: Option<&ReplicaId>) -> (u64, u64) {
        self.unconsumed.lock().keep(kept, holder)
    }

    /// A ticket that has come with its message from another node. Its origin hears that the message is here now.
    pub fn accept_ticket(&self, portable: PortableTicket) -> Ticket {
        let share = Arc::new(portable.share);
        let Some((replica, claim)) = portable.claim else { return Ticket::local(share) };
        if replica == self.me() {
            // The session that has come is all that is needed.
            self.unconsumed.lock().forget(claim);
            return Ticket::local(share);
        }
        match self.peers.find(&replica.name) {
            Some(peer) => {
                let origin = PeerOrigin { peer, replica };
                origin.settle(claim, Settlement::Moved);
                Ticket::claimed(share, Arc::new(origin), claim)
            }
            None => Ticket::local(share),
        }
    }

    /// The nodes that a match names, with the groups for which each chooses a member.
    pub fn destinations_of(&self, matched: &PeerSet, shares: Vec<(Arc<Peer>, Share)>) -> Destinations {
        let plain = self.destinations(matched);
        let mut destinations: Destinations = plain.into_iter().map(|peer| (peer, None)).collect();
        for (peer, share) in shares {
            let found = destinations.iter().position(|(other, _)| Arc::ptr_eq(other, &peer));
            let at = found.unwrap_or_else(|| {
                destinations.push((peer, Some(Box::new(Shares { only: true, ..Shares::default() }))));
                destinations.len() - 1
            });
            destinations[at].1.get_or_insert_default().list.push(share);
        }
        destinations
    }

    /// Messages of shared subscriptions that no member has yet, as far as this node keeps copies of them.
    pub fn unconsumed(&self) -> usize {
        self.unconsumed.lock().count()
    }

    /// A node says what became of messages that it got for its members.
    pub(crate) fn handle_settled(&self, from: &ReplicaId, settled: &Settled, now: Instant) {
        let mut returned = Vec::new();
        let mut unconsumed = self.unconsumed.lock();
        for &(claim, settlement) in &settled.claims {
            returned.extend(unconsumed.settle(from, claim, settlement));
        }
        drop(unconsumed);
        if !returned.is_empty() {
            self.host.share_again(returned, Some(from), now);
        }
    }

    /// What nodes have that are gone goes to others; so does what waits, if it can.
    pub(super) fn share_again(&self, now: Instant) {
        let (holders, waiting) = {
            let mut unconsumed = self.unconsumed.lock();
            let holders: Vec<ReplicaId> = unconsumed.holders().cloned().collect();
            (holders, unconsumed.take_waiting(RETRIES))
        };
        for holder in holders {
            let kept = match self.is_gone(&holder, now) {
                true => {
                    let held = self.unconsumed.lock().take_held(&holder);
                    if let Some(peer) = self.peers.find(&holder.name) {
                        peer.revoke(|claim| held.contains_key(&claim));
                    }
                    held.into_values().collect()
                }
                false => match self.peers.find(&holder.name).map(|peer| peer.take_lost()) {
                    Some(lost) if !lost.is_empty() => self.unconsumed.lock().take_claims(&holder, &lost),
                    _ => continue,
                },
            };
            if !kept.is_empty() {
                tracing::info!(%holder, messages = kept.len(), "shared messages go to other members");
                self.host.share_again(kept, Some(&holder), now);
            }
        }
        if !waiting.is_empty() {
            self.host.share_again(waiting, None, now);
        }
    }

    /// Whether nothing is to be expected of a replica any more: it counts as dead, stopped or left, or was started anew.
    fn is_gone(&self, holder: &ReplicaId, now: Instant) -> bool {
        let link = self.peers.find(&holder.name).and_then(|peer| peer.link());
        if link.is_some_and(|link| link.replica != *holder) {
            return true;
        }
        let members = self.replication.lock().node.members(now);
        let member = members.iter().find(|member| member.replica == *holder);
        !member.is_some_and(|member| member.state.is_some_and(MemberState::is_live))
    }
}

/// What stands for a node's name in [`Choice`]s.
pub fn identity_of(name: &str) -> u64 {
    Choice::key_of(name)
}
