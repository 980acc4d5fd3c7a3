//! Pushing: a lane's owner sends its changes to linked peers as they happen. A node between two that have no link passes
//! them on.
//!
//! Nothing is repeated here: a peer that missed a push finds out from the next one, or from a digest, and asks.

use std::time::Instant;

use super::beat::is_complete;
use super::slot::Slot;
use super::{Link, Node, Outgoing};
use crate::delta::{Delta, Frontier, SetId};
use crate::message::{Hello, Message};
use crate::replica::ReplicaId;

/// Who has no more links than this passes changes on without knowing whether somebody else does.
const FEW_LINKS: usize = 8;

/// A replica's lanes on their way to one peer.
#[derive(Debug)]
pub(super) struct Pushes {
    replica: ReplicaId,
    by_set: Vec<Push>,
}

/// One lane's way to one peer.
#[derive(Clone, Debug, Default)]
pub(super) struct Push {
    /// Pushed, or known to be there, up to here.
    sent: u64,
    in_flight: u32,
    last_sent: Option<Instant>,
    /// A push is in the outbox.
    queued: bool,
    /// There are changes to be collected until the time comes.
    collecting: bool,
    /// The peer asks for what it lacks, and will have this when it is done. Pushes would only double the work.
    suspended_until: Option<u64>,
}

impl Push {
    fn applied(&mut self, seq: u64) {
        if self.suspended_until.is_some_and(|version| seq >= version) {
            self.suspended_until = None;
            self.sent = seq;
        }
        if seq >= self.sent {
            self.sent = seq;
            self.in_flight = 0;
        } else {
            // An acknowledgement of an earlier push; the later ones are still on their way.
            self.in_flight = self.in_flight.min(1);
        }
    }
}

impl Link {
    /// What the peer is known to have applied of a lane.
    pub(super) fn has(&self, set: SetId, lane: Slot) -> u64 {
        self.applied.get(set, lane)
    }

    /// Whether changes of the lane are pushed to the peer, of which more may go now.
    pub(super) fn has_applied(&mut self, set: SetId, lane: Slot, seq: u64) -> bool {
        self.applied.raise(set, lane, seq);
        let push = self.push_mut(set, lane);
        push.map(|push| push.applied(seq)).is_some()
    }

    pub(super) fn suspend_push(&mut self, set: SetId, lane: Slot, until: u64) {
        if let Some(push) = self.push_mut(set, lane) {
            push.suspended_until = Some(until);
        }
    }

    /// A replica was dropped.
    pub(super) fn forget_lane(&mut self, lane: Slot) {
        self.pushes.remove(&lane);
        self.applied.forget(lane);
    }

    fn push_mut(&mut self, set: SetId, lane: Slot) -> Option<&mut Push> {
        self.pushes.get_mut(&lane)?.by_set.get_mut(usize::from(set.0))
    }

    /// The push of a lane, which begins where the peer is.
    fn push_or_begin(&mut self, set: SetId, replica: &ReplicaId, lane: Slot) -> Option<&mut Push> {
        let pushes = self.pushes.entry(lane).or_insert_with(|| {
            let begin = |set| Push { sent: self.applied.get(set, lane), ..Push::default() };
            Pushes { replica: replica.clone(), by_set: self.applied.sets().map(begin).collect() }
        });
        pushes.by_set.get_mut(usize::from(set.0))
    }
}

impl Node {
    /// This node's lane has a change.
    pub(super) fn offer_own(&mut self, set: SetId, now: Instant) {
        let me = self.me.clone();
        let seq = self.sets[usize::from(set.0)].head().seq;
        for (peer, link) in &mut self.links {
            let Some(push) = link.push_or_begin(set, &me, Slot::OWN) else { continue };
            if push.is_ready(seq, now, &self.config, &mut self.next_flush) {
                self.outbox.push_back((peer.clone(), Outgoing::Push(set, me.clone())));
            }
        }
    }

    /// A copy has a change: peers that have no link to its owner get it from here.
    ///
    /// A node that has no link to the owner itself mostly does not pass it on: among many each would send it to all others. There
    /// who is further than two links from the owner has to ask.
    pub(super) fn offer_copy(&mut self, set: SetId, replica: &ReplicaId, from: &ReplicaId, now: Instant) {
        let others = self.links.keys().filter(|peer| *peer != from && *peer != replica);
        let peers: Vec<ReplicaId> = if self.links.contains_key(replica) {
            let go_between = self.graph.go_between(replica, now);
            others.filter(|peer| go_between.passes_on_to(peer)).cloned().collect()
        } else if self.links.len() <= FEW_LINKS {
            others.filter(|peer| !self.graph.is_reported(peer, replica, now)).cloned().collect()
        } else {
            return;
        };
        let Some(lane) = self.slot(replica) else { return };
        for peer in peers {
            if let Some(link) = self.links.get_mut(&peer) {
                link.push_or_begin(set, replica, lane);
            }
            self.push_if_ready(&peer, set, replica, now);
        }
    }

    /// A new link: the peer gets the first piece of what it lacks without asking. One that does not say what it has, as in a
    /// large cluster, probably has all: it asks if it has not.
    pub(super) fn begin_pushes(&mut self, peer: &ReplicaId, hello: &Hello, now: Instant) {
        let me = self.me.clone();
        let says = is_complete(hello) || hello.applied.iter().any(|(replica, _)| *replica == me);
        for set in self.set_ids() {
            let seq = self.sets[usize::from(set.0)].head().seq;
            let link = self.links.get_mut(peer);
            let Some(push) = link.and_then(|link| link.push_or_begin(set, &me, Slot::OWN)) else {
                continue;
            };
            if says {
                self.push_if_ready(peer, set, &me, now);
            } else if seq > 0 {
                push.suspended_until = Some(seq);
            }
        }
    }

    /// The peer has told anew whom it is linked to. If it has just come, its lanes may have got here before anybody could know
    /// who is to pass them on.
    pub(super) fn offer_newcomer(&mut self, peer: &ReplicaId, now: Instant) {
        let is_new = self.members.get(peer).is_some_and(|member| member.is_new(now));
        if self.mesh.is_full() || !is_new {
            return;
        }
        for set in self.set_ids() {
            self.offer_copy(set, peer, peer, now);
        }
    }

    /// Sends collected changes to those whose time has come.
    pub(super) fn flush(&mut self, now: Instant) {
        self.next_flush = None;
        let mut collecting = Vec::new();
        for (peer, link) in &self.links {
            for pushes in link.pushes.values() {
                let sets = (0u8..).zip(&pushes.by_set).filter(|(_, push)| push.collecting);
                collecting.extend(sets.map(|(set, _)| (peer.clone(), SetId(set), pushes.replica.clone())));
            }
        }
        for (peer, set, replica) in collecting {
            self.push_if_ready(&peer, set, &replica, now);
        }
    }

    pub(super) fn push_if_ready(&mut self, peer: &ReplicaId, set: SetId, replica: &ReplicaId, now: Instant) {
        let Some(lane) = self.slot(replica) else { return };
        let Some(seq) = self.lane(set, replica).map(|lane| lane.head().seq) else { return };
        let Some(push) = self.links.get_mut(peer).and_then(|link| link.push_mut(set, lane)) else { return };
        if push.is_ready(seq, now, &self.config, &mut self.next_flush) {
            self.outbox.push_back((peer.clone(), Outgoing::Push(set, replica.clone())));
        }
    }

    pub(super) fn make_push(&mut self, peer: &ReplicaId, set: SetId, replica: ReplicaId) -> Option<Message> {
        let slot = self.slot(&replica)?;
        let lane = self.sets.get(usize::from(set.0))?.lane(&replica)?;
        let push = self.links.get_mut(peer)?.push_mut(set, slot)?;
        push.queued = false;
        let from = Frontier::complete(push.sent);
        let interval = lane.interval(from, push.sent, self.config.max_delta_bytes)?;
        push.sent = interval.to.version;
        push.in_flight += 1;
        if !interval.to.is_complete() {
            // The peer asks for the other pieces itself.
            push.suspended_until = Some(interval.to.version);
        }
        Some(Message::Delta(Delta { set, replica, interval }))
    }
}

impl Push {
    /// Whether changes up to `seq` may be put into the outbox now. If they must wait, notes until when.
    fn is_ready(
        &mut self,
        seq: u64,
        now: Instant,
        config: &crate::config::Config,
        next_flush: &mut Option<Instant>,
    ) -> bool {
        self.collecting = false;
        if self.queued || self.sent >= seq || self.suspended_until.is_some() {
            return false;
        }
        let may_send_at = self.last_sent.map_or(now, |at| at + config.coalesce);
        if self.in_flight > 0 && (may_send_at > now || self.in_flight >= config.max_in_flight) {
            if self.in_flight < config.max_in_flight {
                self.collecting = true;
                *next_flush = Some(next_flush.map_or(may_send_at, |at| at.min(may_send_at)));
            }
            return false;
        }
        self.queued = true;
        self.last_sent = Some(now);
        true
    }
}
