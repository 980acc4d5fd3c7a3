//! Digests: what makes up for every lost message, in the end.

use std::sync::Arc;
use std::time::Instant;

use super::{Node, Outgoing};
use crate::delta::SetId;
use crate::event::RestartReason;
use crate::message::{Digest, Hello, LinkReport, Message, MessageError};
use crate::replica::ReplicaId;

/// More of the gone than this are not worth saying at every turn.
const MAX_LEFT: usize = 256;

impl Node {
    /// The greeting for a new link.
    ///
    /// In a large cluster it names only lanes that have changed lately: who lacks others has many more peers to hear of
    /// them from, and asks one.
    pub fn hello(&self, now: Instant) -> Hello {
        let since = if self.mesh.is_full() { 0 } else { self.recent_round() };
        let left = self.departed.left().take(MAX_LEFT).collect();
        Digest { left, ..self.digest(since, self.graph.report(now)) }
    }

    /// A change is said in two rounds, so that one lost digest does not matter much.
    pub(super) fn recent_round(&self) -> u64 {
        self.digest_round.saturating_sub(1)
    }

    /// What was applied of this node's own lanes, and of those that changed in that round or later: of all, from round 0.
    pub(super) fn digest(&self, since: u64, links: Vec<LinkReport>) -> Digest {
        let heads = |replica: &ReplicaId| {
            let mut heads = Vec::with_capacity(self.sets.len());
            heads.extend(self.set_ids().filter_map(|set| Some((set, self.lane(set, replica)?.head()))));
            heads
        };
        let others = self.members.iter().filter(|(_, member)| member.changed_round() >= since);
        let replicas = std::iter::once(&self.me).chain(others.map(|(replica, _)| replica));
        Digest {
            applied: replicas.map(|replica| (replica.clone(), heads(replica))).collect(),
            links,
            left: if since == 0 { self.departed.left().take(MAX_LEFT).collect() } else { Vec::new() },
            forgotten: self.revoked.iter().cloned().collect(),
        }
    }

    pub(super) fn send_digests(&mut self, now: Instant) {
        self.digest_round += 1;
        if !self.mesh.is_full() {
            return self.send_beats(now);
        }
        let full = self.digest_round.is_multiple_of(self.config.full_digest_every.max(1));
        let since = if full { 0 } else { self.recent_round() };
        let digest = Arc::new(self.digest(since, self.graph.report(now)));
        for peer in self.links.keys() {
            self.outbox.push_back((peer.clone(), Outgoing::Message(Message::Digest(digest.clone()))));
        }
    }

    /// Tells a new peer what its greeting could not know yet: that the link is up, and whether it was forgotten.
    pub(super) fn greet(&mut self, peer: &ReplicaId, now: Instant) {
        let mut digest = self.digest(self.recent_round(), self.graph.report(now));
        if !digest.applied.iter().any(|(replica, _)| replica == peer) {
            let heads = self.set_ids().filter_map(|set| Some((set, self.lane(set, peer)?.head())));
            digest.applied.push((peer.clone(), heads.collect()));
        }
        let digest = Arc::new(digest);
        self.outbox.push_back((peer.clone(), Outgoing::Message(Message::Digest(digest))));
    }

    pub(super) fn handle_digest(
        &mut self,
        from: &ReplicaId,
        digest: &Digest,
        now: Instant,
    ) -> Result<(), MessageError> {
        self.check_digest(digest)?;
        if let Some(link) = self.links.get_mut(from) {
            link.talk.heard(self.digest_round);
        }
        self.merge_digest(from, digest, now);
        self.offer_newcomer(from, now);
        Ok(())
    }

    /// Refuses more entries than a cluster of the greatest size has.
    pub(super) fn check_digest(&self, digest: &Digest) -> Result<(), MessageError> {
        let lists = [digest.applied.len(), digest.links.len(), digest.left.len(), digest.forgotten.len()];
        let entries = lists.iter().sum::<usize>();
        if entries > 8 * self.config.max_members + MAX_LEFT {
            return Err(MessageError::OversizedDigest(entries));
        }
        Ok(())
    }

    pub(super) fn merge_digest(&mut self, from: &ReplicaId, digest: &Digest, now: Instant) {
        self.graph.handle_report(from, &digest.links, now);
        for replica in &digest.left {
            self.handle_left(replica, now);
        }
        for replica in &digest.forgotten {
            self.handle_revoked(replica);
        }
        let own = digest.applied.iter().find(|(replica, _)| replica == from);
        let own: Vec<(SetId, u64)> = own
            .map(|(_, heads)| heads.iter().map(|(set, head)| (*set, head.seq)).collect())
            .unwrap_or_default();
        for (replica, heads) in &digest.applied {
            let admitted = self.admit(replica, now);
            // One whom the peer reaches is alive from now on, not from the next review on: its lane is waited for.
            if self.members.get(replica).is_some_and(|member| member.state.is_none()) {
                self.review_member(replica, now);
            }
            for (set, head) in heads {
                if usize::from(set.0) >= self.sets.len() {
                    self.counters.unknown_set += 1;
                    continue;
                }
                if admitted && replica != &self.me {
                    self.note_head(*set, replica, *head, replica == from, now);
                }
                self.peer_applied(from, *set, replica, head.seq, &own, now);
            }
        }
        self.settle_all(now);
    }

    /// Somebody has forgotten a node up to this incarnation, and it is back with that or an earlier one.
    fn handle_revoked(&mut self, replica: &ReplicaId) {
        if !self.is_credible(replica) {
            return;
        }
        if replica.name == self.me.name {
            if replica.incarnation >= self.me.incarnation {
                self.ask_restart(RestartReason::Forgotten, replica.incarnation);
            }
        } else if self.incarnations(&replica.name).any(|(known, _)| known <= replica) {
            self.revoked.insert(replica);
        }
    }
}
