//! Deltas, requests and acknowledgements as they arrive, and what they set in motion.

use std::collections::BTreeSet;
use std::time::Instant;

use super::registers::tell;
use super::{Node, Outgoing};
use crate::delta::{Delta, SetId};
use crate::event::{Event, RestartReason};
use crate::lane::{Change, Outcome};
use crate::message::{Ack, Message, MessageError, Pull};
use crate::replica::ReplicaId;

impl Node {
    pub(super) fn handle_delta(
        &mut self,
        from: &ReplicaId,
        delta: Delta,
        now: Instant,
    ) -> Result<(), MessageError> {
        self.counters.delta_received += 1;
        if !delta.interval.is_well_formed() {
            return Err(MessageError::MalformedDelta(from.clone()));
        }
        if usize::from(delta.set.0) >= self.sets.len() {
            self.counters.unknown_set += 1;
            return Ok(());
        }
        if delta.replica == self.me || !self.admit(&delta.replica, now) {
            self.counters.delta_duplicate += 1;
            return Ok(());
        }
        let (set, replica) = (delta.set, delta.replica.clone());
        let applied = self.lane(set, &replica).map_or(0, |lane| lane.head().seq);
        if let Some(member) = self.members.get_mut(&replica) {
            member.heard(set, delta.interval.to.version, applied, now);
        }
        self.note_answer(set, &replica, from, &delta.interval);
        self.merge_delta(from, delta, now);
        while let Some((from, delta)) = self.next_waiting(set, &replica) {
            self.merge_delta(&from, delta, now);
        }
        Ok(())
    }

    fn merge_delta(&mut self, from: &ReplicaId, delta: Delta, now: Instant) {
        let outcome = self.sets[usize::from(delta.set.0)].merge_delta(&delta);
        let Delta { set, replica, .. } = &delta;
        match outcome {
            Outcome::Applied(change) => {
                self.counters.delta_applied += 1;
                self.moved(*set, replica, change, now);
                self.acknowledge(*set, replica, from, now);
                self.offer_copy(*set, replica, from, now);
                self.finish_repair(*set, replica, from, now);
            }
            Outcome::Staged => {
                self.counters.delta_staged += 1;
                self.continue_repair(*set, replica, from, now);
            }
            Outcome::Duplicate => {
                self.counters.delta_duplicate += 1;
                // The sender may have missed the acknowledgement.
                self.acknowledge(*set, replica, from, now);
            }
            Outcome::Gap => {
                self.counters.delta_gap += 1;
                let due = now + self.config.gap_wait;
                self.want(*set, replica, due);
                if !self.waiting.hold(from.clone(), delta) {
                    self.counters.delta_waiting_dropped += 1;
                }
            }
            Outcome::Diverged => self.diverged(*set, replica, now),
            Outcome::TooLarge => self.counters.delta_too_large += 1,
        }
    }

    /// A copy is at a new sequence number.
    pub(super) fn moved(&mut self, set: SetId, replica: &ReplicaId, change: Change, now: Instant) {
        let index = usize::from(set.0);
        match &mut self.registers[index] {
            Some(registers) => {
                let prune_at = now + self.config.prune_after;
                let sink = &mut tell(&mut self.events, set);
                registers.merge(&self.sets[index], replica, &change, &mut self.clock, prune_at, sink);
            }
            None if change == Change::default() => {}
            None => self.events.push_back(Event::Changed { set, replica: replica.clone(), change }),
        }
        let seq = self.lane(set, replica).map_or(0, |lane| lane.head().seq);
        if let Some(member) = self.members.get_mut(replica) {
            member.applied(set, seq, self.digest_round, now);
        }
        self.keep_promises(replica, set, seq, now);
        self.supersede(&replica.name.clone(), now);
    }

    pub(super) fn diverged(&mut self, set: SetId, replica: &ReplicaId, now: Instant) {
        self.counters.divergence_detected += 1;
        self.events.push_back(Event::Diverged { set, replica: replica.clone() });
        self.want(set, replica, now);
    }

    pub(super) fn handle_pull(&mut self, from: &ReplicaId, pull: Pull) -> Result<(), MessageError> {
        if pull.from.covered > pull.from.version {
            return Err(MessageError::MalformedPull(from.clone()));
        }
        let seq = match self.lane(pull.set, &pull.replica) {
            Some(lane) => lane.head().seq,
            None => return Ok(()),
        };
        let Some(slot) = self.slot(&pull.replica) else { return Ok(()) };
        let Some(link) = self.links.get_mut(from) else { return Ok(()) };
        link.suspend_push(pull.set, slot, seq);
        let lane = (pull.set, pull.replica);
        if link.asked.insert(lane.clone(), (pull.from, pull.held)).is_none() {
            self.outbox.push_back((from.clone(), Outgoing::Answer(lane.0, lane.1)));
        }
        Ok(())
    }

    pub(super) fn make_answer(
        &mut self,
        peer: &ReplicaId,
        set: SetId,
        replica: ReplicaId,
    ) -> Option<Message> {
        let (from, held) = self.links.get_mut(peer)?.asked.remove(&(set, replica.clone()))?;
        let interval = self.lane(set, &replica)?.interval(from, held, self.config.max_delta_bytes)?;
        Some(Message::Delta(Delta { set, replica, interval }))
    }

    /// Tells a lane's owner, and who passed it on, how far it has been applied.
    fn acknowledge(&mut self, set: SetId, replica: &ReplicaId, from: &ReplicaId, now: Instant) {
        // Who passed it on passes this on.
        let to_owner = match self.links.contains_key(replica) {
            true => Some(replica),
            false if self.graph.passes_on(from, replica, now) => None,
            false => self.graph.next_hop(replica, now),
        };
        let to: BTreeSet<ReplicaId> = to_owner.into_iter().chain([from]).cloned().collect();
        for peer in to {
            let Some(link) = self.links.get_mut(&peer) else { continue };
            if link.acks.insert((set, replica.clone())) {
                self.outbox.push_back((peer, Outgoing::Ack(set, replica.clone())));
            }
        }
    }

    pub(super) fn make_ack(&mut self, peer: &ReplicaId, set: SetId, replica: ReplicaId) -> Option<Message> {
        self.links.get_mut(peer)?.acks.remove(&(set, replica.clone()));
        let seq = self.lane(set, &replica)?.head().seq;
        let heads = self.heads().into_iter().map(|(set, head)| (set, head.seq)).collect();
        Some(Message::Ack(Ack { set, replica, seq, by: self.me.clone(), heads }))
    }

    pub(super) fn handle_ack(&mut self, from: &ReplicaId, ack: Ack, now: Instant) {
        if usize::from(ack.set.0) >= self.sets.len() {
            self.counters.unknown_set += 1;
            return;
        }
        if ack.by == *from {
            self.peer_applied(from, ack.set, &ack.replica, ack.seq, &ack.heads, now);
            // The peer sends its acknowledgement this way where it has no link to the owner.
            if ack.replica != self.me
                && self.links.contains_key(&ack.replica)
                && !self.graph.is_reported(from, &ack.replica, now)
            {
                self.counters.acks_relayed += 1;
                self.outbox.push_back((ack.replica.clone(), Outgoing::Message(Message::Ack(ack))));
            }
        } else if ack.replica == self.me {
            self.member_applied(&ack.by, ack.set, ack.seq, &ack.heads, now);
        }
    }

    /// A linked peer has applied a lane up to `seq`, when its own lanes were at `heads`.
    pub(super) fn peer_applied(
        &mut self,
        peer: &ReplicaId,
        set: SetId,
        replica: &ReplicaId,
        seq: u64,
        heads: &[(SetId, u64)],
        now: Instant,
    ) {
        // Of replicas that are not known here nothing is noted: a peer could name any number of them.
        let Some(lane) = self.slot(replica) else { return };
        let is_pushed = self.links.get_mut(peer).is_some_and(|link| link.has_applied(set, lane, seq));
        if *replica == self.me {
            self.member_applied(peer, set, seq, heads, now);
        }
        if is_pushed {
            self.push_if_ready(peer, set, replica, now);
        }
    }

    /// A member, linked or not, has applied this node's lane up to `seq`, when its own lanes were at `heads`. That counts when
    /// this node has these.
    fn member_applied(
        &mut self,
        replica: &ReplicaId,
        set: SetId,
        seq: u64,
        heads: &[(SetId, u64)],
        now: Instant,
    ) {
        let own = self.sets[usize::from(set.0)].head();
        if seq > own.seq {
            if !self.restart_asked {
                self.counters.divergence_detected += 1;
                self.events.push_back(Event::Diverged { set, replica: self.me.clone() });
            }
            self.ask_restart(RestartReason::IncarnationReused, self.me.incarnation);
            return;
        }
        let missing: Vec<(SetId, u64)> = heads
            .iter()
            .filter(|(set, head)| self.lane(*set, replica).is_none_or(|lane| lane.head().seq < *head))
            .filter(|(set, head)| *head > 0 && usize::from(set.0) < self.sets.len())
            .take(self.sets.len())
            .copied()
            .collect();
        let Some(member) = self.members.get_mut(replica) else { return };
        if !missing.is_empty() {
            member.promises.add(set, seq, missing);
        } else if member.acknowledged(set, seq) && self.settlement[usize::from(set.0)].concerns(seq) {
            self.settle(set, now);
        }
    }

    /// A lane of a member has come to `seq`: acknowledgements that waited for that count now.
    fn keep_promises(&mut self, replica: &ReplicaId, set: SetId, seq: u64, now: Instant) {
        let Some(member) = self.members.get_mut(replica) else { return };
        for (set, seq) in member.promises.take_kept(set, seq) {
            let Some(member) = self.members.get_mut(replica) else { return };
            if member.acknowledged(set, seq) && self.settlement[usize::from(set.0)].concerns(seq) {
                self.settle(set, now);
            }
        }
    }
}
