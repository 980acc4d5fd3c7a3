//! A peer that is reached through a third node, and what this node passes on to a peer for others.
//!
//! What is for a peer waits in a queue of its own, which the writer of the third node's link takes from: so what the one link
//! does not take holds up the other peer alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rumormq_gossip::ReplicaId;

use super::{Link, Peer, PeerState, QUEUE_MAX};
use crate::cluster::forward::wire;
use crate::cluster::host::Receipt;
use crate::cluster::link::frame::Frame;
use crate::cluster::link::kind;
use crate::cluster::relay::way::{Look, Step};
use crate::cluster::relay::wire::{self as relay_wire, AskPosition, Position, RelayHead};

/// Frames of other nodes that may wait for a link's writer; beyond that they are dropped, and sent again by their origin.
const PASSING_MAX: usize = 32 << 20;
/// Beyond this, those are dropped that are best effort anyway.
const PASSING_BEST_EFFORT_MAX: usize = 8 << 20;
/// What the queues keep when they are empty.
const CAPACITY_KEPT: usize = 256 << 10;

/// A way through a third node.
#[derive(Debug)]
pub(super) struct Relay {
    /// The link to the third node.
    pub via: Arc<Link>,
    /// The incarnation at the other end.
    pub replica: ReplicaId,
    /// Frames that wait for the link's writer.
    pub queue: Vec<u8>,
    /// Those of QoS 0.
    pub at_most_once: Vec<u8>,
    /// Where the other end is in the stream is known: forwards may go.
    pub established: bool,
    /// It works, as far as is known.
    pub promising: bool,
    /// The answers to these questions count.
    tokens: std::ops::RangeInclusive<u64>,
}

impl Relay {
    fn head(&self, best_effort: bool) -> RelayHead {
        RelayHead { other: self.replica.clone(), best_effort }
    }

    fn ask(&mut self, token: u64) {
        self.tokens = *self.tokens.start()..=token;
        wire::append_small(&mut self.queue, kind::ASK_POSITION, &AskPosition { token });
        self.via.wake.notify_one();
    }
}

impl Peer {
    /// Which incarnation of it is reached through which other peer, if it is.
    pub fn relay(&self) -> Option<(ReplicaId, ReplicaId)> {
        let state = self.state.lock();
        state.relay.as_ref().map(|relay| (relay.replica.clone(), relay.via.replica.clone()))
    }

    /// Whether there is something to be decided about the way to it.
    pub fn needs_review(&self, now: Instant) -> bool {
        let state = self.state.lock();
        match (&state.link, &state.relay) {
            (Some(link), None) => {
                let look = Look {
                    now,
                    link: Some(*link.proof.lock()),
                    waiting_since: state.waiting_since(),
                    through: &[],
                };
                look.is_doubtful()
            }
            _ => true,
        }
    }

    /// Decides how this incarnation of it is reached: over its link, or through one of those, best first. What nobody can
    /// confirm any more is in `done`.
    pub fn review_way(
        self: &Arc<Peer>,
        replica: &ReplicaId,
        through: &[Arc<Link>],
        now: Instant,
        done: &mut Vec<Receipt>,
    ) {
        let mut state = self.state.lock();
        if state.relay.as_ref().is_some_and(|relay| relay.replica != *replica) {
            state.end_relay();
        }
        let names: Vec<_> = through.iter().map(|link| link.replica.name.clone()).collect();
        let link = state.link.as_ref().filter(|link| link.replica == *replica);
        let link = link.map(|link| *link.proof.lock());
        let look = Look { now, link, waiting_since: state.waiting_since(), through: &names };
        let step = state.chooser.review(look);
        let mut carrier = None;
        match step {
            Step::Stay => {}
            Step::TakeLink => {
                state.leave_relay_for_link();
                state.rewind(now);
                tracing::info!(peer = %self.name, "the peer is reached by its link again");
            }
            Step::GiveUp => {
                state.relay = None;
                tracing::debug!(peer = %self.name, "no way any more");
            }
            Step::Ask => {
                let token = state.next_token();
                if let Some(relay) = &mut state.relay {
                    relay.ask(token);
                }
            }
            Step::TakeRelay(via) => {
                if let Some(via) = through.iter().find(|link| link.replica.name == via) {
                    carrier = Some(via.clone());
                    state.begin_relay(via, replica, now);
                    state.alive = true;
                    tracing::debug!(peer = %replica, via = %via.replica, "through a third node");
                }
            }
        }
        self.note_reached(&state);
        if !state.is_reachable() {
            state.stream.release_receipts(now, Duration::ZERO, done);
        }
        self.fill(&mut state, now);
        drop(state);
        if let Some(via) = carrier {
            via.carried.insert(self);
            via.wake.notify_one();
        }
    }

    /// The link to the third node is gone.
    pub fn handle_relay_down(&self, link: u64) {
        let mut state = self.state.lock();
        if state.relay.as_ref().is_some_and(|relay| relay.via.id == link) {
            state.end_relay();
            self.note_reached(&state);
        }
    }

    /// The other end has answered through a third node.
    pub fn handle_position(
        &self,
        from: &ReplicaId,
        position: Position,
        now: Instant,
        done: &mut Vec<Receipt>,
    ) {
        let mut state = self.state.lock();
        let Some(relay) = &mut state.relay else { return };
        let newest = *relay.tokens.end() == position.token;
        if relay.replica != *from
            || !(newest || (!relay.established && relay.tokens.contains(&position.token)))
        {
            return;
        }
        let began = !std::mem::replace(&mut relay.established, true);
        relay.promising = true;
        let via = began.then(|| relay.via.clone());
        state.chooser.handle_answer(now);
        state.progress = now;
        state.stream.handle_link_up(position.received, now, done);
        state.settlements.handle_link_up(from);
        self.note_reached(&state);
        self.fill(&mut state, now);
        if let Some(via) = via {
            tracing::info!(peer = %from, via = %via.replica, received = position.received, "the peer is reached through another node");
        }
    }

    /// Moves what waits into relay frames for the writer of `link`. False where that is not the way any more.
    pub(super) fn take_relayed(&self, link: u64, out: &mut Vec<u8>, now: Instant) -> bool {
        let mut state = self.state.lock();
        if state.relay.as_ref().is_none_or(|relay| relay.via.id != link) {
            return false;
        }
        self.fill(&mut state, now);
        if let Some(relay) = &mut state.relay {
            relay_wire::append_packed(out, &relay.head(false), &relay.queue);
            relay_wire::append_packed(out, &relay.head(true), &relay.at_most_once);
            empty(&mut relay.queue);
            empty(&mut relay.at_most_once);
        }
        true
    }

    /// Passes on the frames of another node, if this peer is linked as the incarnation that they are for.
    pub fn pass_on(&self, from: &ReplicaId, head: &RelayHead, frames: &[u8]) {
        let mut state = self.state.lock();
        let linked = state.link.as_ref().is_some_and(|link| link.replica == head.other && link.relays());
        if !linked {
            return self.counters.passed_no_link.inc();
        }
        let limit = if head.best_effort { PASSING_BEST_EFFORT_MAX } else { PASSING_MAX };
        let head = RelayHead { other: from.clone(), best_effort: head.best_effort };
        if state.passing.len() > limit
            || relay_wire::append(&mut state.passing, kind::RELAYED, &head, frames).is_err()
        {
            return self.counters.passed_link_full.inc();
        }
        state.wake_link();
        self.counters.passed_on.inc();
    }
}

impl PeerState {
    fn begin_relay(&mut self, via: &Arc<Link>, replica: &ReplicaId, now: Instant) {
        let token = self.next_token();
        let former = self.relay.take();
        let same = former.as_ref().filter(|former| former.via.id == via.id);
        let mut relay = Relay {
            via: via.clone(),
            replica: replica.clone(),
            queue: Vec::new(),
            at_most_once: Vec::new(),
            established: false,
            // What has not answered once is not counted on until it does.
            promising: former.is_none(),
            tokens: same.map_or(token, |same| *same.tokens.start())..=token,
        };
        if let Some(former) = former.filter(|former| former.replica == *replica) {
            carry_over(&former.queue, &mut relay.queue);
        }
        relay.ask(token);
        self.relay = Some(relay);
        self.progress = now;
    }

    pub(super) fn end_relay(&mut self) {
        self.relay = None;
        self.chooser.handle_relay_down();
    }

    /// The link is the way from now on. What no stream repeats goes over it.
    pub(super) fn leave_relay_for_link(&mut self) {
        let Some(relay) = self.relay.take() else { return };
        if self.link.as_ref().is_some_and(|link| link.replica == relay.replica) {
            carry_over(&relay.queue, &mut self.queue);
            self.wake_link();
        }
    }

    /// What was not acknowledged goes once more, by the present way.
    fn rewind(&mut self, now: Instant) {
        self.stream.rewind();
        self.settlements.rewind();
        self.progress = now;
    }

    /// Since when something was sent and nothing of it is acknowledged.
    fn waiting_since(&self) -> Option<Instant> {
        if self.relay.as_ref().is_some_and(|relay| !relay.established) {
            return None;
        }
        let told = self.settlements.is_waiting().then_some(self.told_at);
        let since = self.stream.waiting_since().into_iter().chain(told).min()?;
        Some(since.max(self.progress))
    }

    fn next_token(&mut self) -> u64 {
        self.last_token += 1;
        self.last_token
    }

    /// Where frames for the peer go, by whichever way; none where there is none, or it is full.
    pub(super) fn way_queue(&mut self) -> Option<&mut Vec<u8>> {
        match (&mut self.relay, &self.link) {
            (Some(relay), _) => Some(&mut relay.queue),
            (None, Some(_)) => Some(&mut self.queue),
            (None, None) => None,
        }
        .filter(|queue| queue.len() <= 2 * QUEUE_MAX)
    }
}

/// Appends those frames of a queue that nobody sends again.
fn carry_over(mut queue: &[u8], to: &mut Vec<u8>) {
    while let Ok(Some((frame, length))) = Frame::parse(queue) {
        let (whole, rest) = queue.split_at(length);
        if matches!(frame.kind, kind::TAKEOVER | kind::GOODBYE) {
            to.extend_from_slice(whole);
        }
        queue = rest;
    }
}

fn empty(queue: &mut Vec<u8>) {
    queue.clear();
    if queue.capacity() > CAPACITY_KEPT {
        *queue = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::link::frame;

    #[test]
    fn what_no_stream_repeats_changes_over_to_the_next_way() {
        let queue = |kinds: &[u8]| {
            let mut queue = Vec::new();
            for kind in kinds {
                frame::append(&mut queue, *kind, false, |out| out.extend_from_slice(b"body"))
                    .expect("it fits");
            }
            queue
        };
        let mut next = queue(&[kind::PING]);
        carry_over(&queue(&[kind::FORWARD, kind::TAKEOVER, kind::SETTLED, kind::TAKEOVER]), &mut next);
        assert_eq!(next, queue(&[kind::PING, kind::TAKEOVER, kind::TAKEOVER]));
    }
}
