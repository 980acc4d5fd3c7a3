//! Pushing: a lane's owner sends its changes to linked peers as they happen. A node between two that have no link passes
//! them on.
//!
//! Nothing is repeated here: a peer that missed a push finds out from the next one, or from a digest, and asks.

use std::time::Instant;

use crdts::{CmRDT, Dot};

use super::beat::is_complete;
use super::{Link, Node, Outgoing};
use crate::delta::{Delta, Frontier, SetId};
use crate::message::{Hello, Message};
use crate::replica::ReplicaId;

/// Who has no more links than this passes changes on without knowing whether somebody else does.
const FEW_LINKS: usize = 8;

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
    pub(super) fn has(&self, set: SetId, replica: &ReplicaId) -> u64 {
        self.clocks.get(usize::from(set.0)).map_or(0, |clock| clock.get(replica))
    }

    pub(super) fn applied(&mut self, set: SetId, replica: &ReplicaId, seq: u64) {
        let Some(clock) = self.clocks.get_mut(usize::from(set.0)) else { return };
        if clock.get(replica) < seq {
            clock.apply(Dot::new(replica.clone(), seq));
        }
        if let Some(push) = self.push_mut(set, replica) {
            push.applied(seq);
        }
    }

    pub(super) fn suspend_push(&mut self, set: SetId, replica: &ReplicaId, until: u64) {
        if let Some(push) = self.push_mut(set, replica) {
            push.suspended_until = Some(until);
        }
    }

    /// A replica was dropped.
    pub(super) fn forget_lane(&mut self, replica: &ReplicaId) {
        self.pushes.remove(replica);
        for clock in &mut self.clocks {
            clock.dots.remove(replica);
        }
    }

    fn push_mut(&mut self, set: SetId, replica: &ReplicaId) -> Option<&mut Push> {
        self.pushes.get_mut(replica)?.get_mut(usize::from(set.0))
    }

    /// The push of a lane, which begins where the peer is.
    fn push_or_begin(&mut self, set: SetId, replica: &ReplicaId) -> Option<&mut Push> {
        if !self.pushes.contains_key(replica) {
            let begin =
                |clock: &crdts::VClock<ReplicaId>| Push { sent: clock.get(replica), ..Push::default() };
            self.pushes.insert(replica.clone(), self.clocks.iter().map(begin).collect());
        }
        self.push_mut(set, replica)
    }
}

impl Node {
    /// This node's lane has a change.
    pub(super) fn offer_own(&mut self, set: SetId, now: Instant) {
        let me = self.me.clone();
        let seq = self.sets[usize::from(set.0)].head().seq;
        for (peer, link) in &mut self.links {
            let Some(push) = link.push_or_begin(set, &me) else { continue };
            if push.is_ready(seq, now, &self.config, &mut self.next_flush) {
                self.outbox.push_back((peer.clone(), Outgoing::Push(set, me.clone())));
            }
        }
    }

    /// A copy has a change: peers that have no link to its owner get it from here.
    pub(super) fn offer_copy(&mut self, set: SetId, replica: &ReplicaId, from: &ReplicaId, now: Instant) {
        let peers: Vec<ReplicaId> = self
            .links
            .keys()
            .filter(|peer| *peer != from && *peer != replica && self.passes_on(replica, peer, now))
            .cloned()
            .collect();
        for peer in peers {
            if let Some(link) = self.links.get_mut(&peer) {
                link.push_or_begin(set, replica);
            }
            self.push_if_ready(&peer, set, replica, now);
        }
    }

    /// Whether it falls to this node to pass `owner`'s changes on to `peer`. Where it cannot know, it does: a delta too
    /// many is cheap. Not so among many, of whom each would send it to all others: there who is further than two links from the
    /// owner has to ask.
    fn passes_on(&self, owner: &ReplicaId, peer: &ReplicaId, now: Instant) -> bool {
        match self.links.contains_key(owner) {
            true => {
                !self.graph.is_reported(peer, owner, now)
                    && self.graph.is_go_between(owner, peer, now).unwrap_or(true)
            }
            false => self.links.len() <= FEW_LINKS && !self.graph.is_reported(peer, owner, now),
        }
    }

    /// A new link: the peer gets the first piece of what it lacks without asking. One that does not say what it has, as in a
    /// large cluster, probably has all: it asks if it has not.
    pub(super) fn begin_pushes(&mut self, peer: &ReplicaId, hello: &Hello, now: Instant) {
        let me = self.me.clone();
        let says = is_complete(hello) || hello.applied.iter().any(|(replica, _)| *replica == me);
        for set in self.set_ids() {
            let seq = self.sets[usize::from(set.0)].head().seq;
            let Some(push) = self.links.get_mut(peer).and_then(|link| link.push_or_begin(set, &me)) else {
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
            for (replica, pushes) in &link.pushes {
                let sets = (0u8..).zip(pushes).filter(|(_, push)| push.collecting);
                collecting.extend(sets.map(|(set, _)| (peer.clone(), SetId(set), replica.clone())));
            }
        }
        for (peer, set, replica) in collecting {
            self.push_if_ready(&peer, set, &replica, now);
        }
    }

    pub(super) fn push_if_ready(&mut self, peer: &ReplicaId, set: SetId, replica: &ReplicaId, now: Instant) {
        let Some(seq) = self.lane(set, replica).map(|lane| lane.head().seq) else { return };
        let Some(push) = self.links.get_mut(peer).and_then(|link| link.push_mut(set, replica)) else {
            return;
        };
        if push.is_ready(seq, now, &self.config, &mut self.next_flush) {
            self.outbox.push_back((peer.clone(), Outgoing::Push(set, replica.clone())));
        }
    }

    pub(super) fn make_push(&mut self, peer: &ReplicaId, set: SetId, replica: ReplicaId) -> Option<Message> {
        let lane = self.sets.get(usize::from(set.0))?.lane(&replica)?;
        let push = self.links.get_mut(peer)?.push_mut(set, &replica)?;
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
