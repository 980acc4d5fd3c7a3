//! What has become of the messages of shared subscriptions that an origin keeps copies of: told until it has heard.

use std::collections::VecDeque;

use rumormq_gossip::ReplicaId;
use serde::{Deserialize, Serialize};

use crate::message::Settlement;

/// Settlements that one origin has not confirmed. Beyond that the oldest are forgotten; the origin then keeps its copy for
/// longer, and may choose another member for it when this node is gone.
const MAX: usize = 1 << 20;
/// Settlements in one frame.
const FRAME_MAX: usize = 4096;

/// What has become of claims.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// Number of the first of them, in the order of telling.
    pub first: u64,
    /// The claims.
    pub claims: Vec<(u64, Settlement)>,
}

/// Everything up to this number was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettledAck {
    /// As counted by [`Settled::first`].
    pub through: u64,
}

impl Settled {
    /// What confirms them.
    pub fn ack(&self) -> SettledAck {
        SettledAck { through: self.first.saturating_add(self.claims.len() as u64).saturating_sub(1) }
    }
}

/// The settlements of one origin's claims.
#[derive(Debug, Default)]
pub struct Settlements {
    origin: Option<ReplicaId>,
    log: VecDeque<(u64, Settlement)>,
    /// Those before the first of the log, all of which were heard.
    heard: u64,
    /// How many of the log the present link has carried.
    sent: usize,
}

impl Settlements {
    /// A claim of `origin` is settled. Returns how many are forgotten for want of room.
    pub fn push(&mut self, origin: &ReplicaId, claim: u64, settlement: Settlement) -> u64 {
        match &self.origin {
            Some(current) if current == origin => {}
            // Its copies are gone with it.
            Some(current) if current.incarnation > origin.incarnation => return 0,
            _ => *self = Settlements { origin: Some(origin.clone()), ..Settlements::default() },
        }
        self.log.push_back((claim, settlement));
        if self.log.len() <= MAX {
            return 0;
        }
        self.forget_first();
        1
    }

    /// A link to this incarnation is up: whatever it has not confirmed is told again.
    pub fn handle_link_up(&mut self, replica: &ReplicaId) {
        if self.origin.as_ref() != Some(replica) {
            *self = Settlements::default();
        }
        self.sent = 0;
    }

    /// What was told has perhaps not arrived.
    pub fn rewind(&mut self) {
        self.sent = 0;
    }

    /// Whether something was told that is not confirmed.
    pub fn is_waiting(&self) -> bool {
        self.sent > 0
    }

    /// The next frame for the present way. Where frames may be lost on it, there is one at a time: the confirmation of a later one
    /// would be taken for that of all before.
    pub fn poll_send(&mut self, is_lossy: bool) -> Option<Settled> {
        if self.sent == self.log.len() || (is_lossy && self.sent > 0) {
            return None;
        }
        let claims: Vec<_> = self.log.range(self.sent..).take(FRAME_MAX).copied().collect();
        let first = self.heard + self.sent as u64 + 1;
        self.sent += claims.len();
        Some(Settled { first, claims })
    }

    /// The origin has heard of everything up to `through`.
    pub fn handle_ack(&mut self, ack: SettledAck) {
        while self.heard < ack.through && self.sent > 0 {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        self.log.pop_front();
        self.heard += 1;
        self.sent = self.sent.saturating_sub(1);
        if self.log.is_empty() && self.log.capacity() > 1024 {
            self.log = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use rumormq_gossip::{Incarnation, NodeName};

    use super::*;

    fn replica(incarnation: u64) -> ReplicaId {
        let name = NodeName::parse("a@h").expect("a name");
        ReplicaId { name, incarnation: Incarnation(incarnation) }
    }

    #[test]
    fn what_was_not_confirmed_is_told_again_on_the_next_link() {
        let (origin, mut settlements) = (replica(1), Settlements::default());
        for claim in 1..=3 {
            settlements.push(&origin, claim, Settlement::Consumed);
        }
        let told = settlements.poll_send(false).expect("three");
        assert_eq!(
            told,
            Settled {
                first: 1,
                claims: vec![(1, Settlement::Consumed), (2, Settlement::Consumed), (3, Settlement::Consumed)]
            }
        );
        assert_eq!(settlements.poll_send(false), None);
        settlements.handle_ack(SettledAck { through: 2 });
        settlements.push(&origin, 4, Settlement::Returned);
        settlements.handle_link_up(&origin);
        assert_eq!(
            settlements.poll_send(false),
            Some(Settled { first: 3, claims: vec![(3, Settlement::Consumed), (4, Settlement::Returned)] })
        );
        settlements.handle_ack(SettledAck { through: 4 });
        settlements.handle_link_up(&origin);
        assert_eq!(settlements.poll_send(false), None);
    }

    #[test]
    fn a_new_incarnation_hears_nothing_of_the_former_ones_claims() {
        let mut settlements = Settlements::default();
        settlements.push(&replica(1), 1, Settlement::Consumed);
        settlements.handle_link_up(&replica(2));
        settlements.push(&replica(2), 7, Settlement::Returned);
        settlements.push(&replica(1), 2, Settlement::Consumed);
        assert_eq!(
            settlements.poll_send(false),
            Some(Settled { first: 1, claims: vec![(7, Settlement::Returned)] })
        );
    }

    /// A peer may say anything.
    #[test]
    fn acknowledgements_of_what_was_not_sent_settle_nothing() {
        let mut settlements = Settlements::default();
        settlements.push(&replica(1), 1, Settlement::Consumed);
        settlements.handle_ack(SettledAck { through: u64::MAX });
        assert_eq!(settlements.poll_send(false).map(|told| told.claims.len()), Some(1));
    }
}
