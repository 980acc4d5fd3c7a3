//! Another node, by name: the way to it while there is one, and what waits for it.

mod link;
mod relayed;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rumormq_gossip::{NodeName, ReplicaId};

use super::counters::ForwardCounters;
use super::forward::budget::ForwardBudget;
use super::forward::settlements::{SettledAck, Settlements};
use super::forward::stream::{Backlog, ForwardLimits, ForwardStream, Forwarding, Outgoing};
use super::forward::wire::{self, Publication, Shares};
use super::host::{Receipt, confirm_all};
use super::link::{frame, kind};
use super::relay::way::WayChooser;
use crate::message::{Application, Message, Origin, Settlement};
pub use link::{Carried, Link};
use relayed::Relay;

/// Frames that may wait for a link's writer before QoS 0 to this peer is dropped.
const QUEUE_MAX: usize = 8 << 20;
/// Frames of QoS 1 and 2 enter the queue while it is shorter than this; the others stay in the stream.
const FILL_MAX: usize = 1 << 20;

/// Another node. It outlives its links and incarnations, for streams are addressed to names.
#[derive(Debug)]
pub struct Peer {
    name: NodeName,
    /// What this peer's forwards have come to.
    pub counters: ForwardCounters,
    /// The incarnation that can be reached at the moment, 0 for none: the state's own word, to be read without its lock.
    reached: AtomicU64,
    state: Mutex<PeerState>,
}

/// What a peer's lock guards. It is held while frames are appended, never while they are written.
#[derive(Debug)]
struct PeerState {
    link: Option<Arc<Link>>,
    /// Frames for the link's writer.
    queue: Vec<u8>,
    /// Frames of other nodes for it.
    passing: Vec<u8>,
    /// Where it is not the link: the way to the peer.
    relay: Option<Relay>,
    chooser: WayChooser,
    /// When the present way was taken, or an acknowledgement came last.
    progress: Instant,
    /// When it was last told of settlements.
    told_at: Instant,
    last_token: u64,
    stream: ForwardStream,
    /// What it is to be told of messages that it keeps copies of.
    settlements: Settlements,
    /// Whether the membership counts on it.
    alive: bool,
    /// When something last came from it.
    heard: Instant,
}

/// What became of a forward of QoS 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardDrop {
    /// No link to the peer.
    NoLink,
    /// The link does not keep up.
    LinkFull,
}

impl Peer {
    /// A peer without a link.
    pub fn new(name: NodeName, limits: ForwardLimits, budget: Arc<ForwardBudget>) -> Peer {
        let (stream, now) = (ForwardStream::new(limits, budget), Instant::now());
        let state = PeerState {
            link: None,
            queue: Vec::new(),
            passing: Vec::new(),
            relay: None,
            chooser: WayChooser::default(),
            progress: now,
            told_at: now,
            last_token: 0,
            stream,
            settlements: Settlements::default(),
            alive: false,
            heard: now,
        };
        Peer {
            name,
            counters: ForwardCounters::default(),
            reached: AtomicU64::new(0),
            state: Mutex::new(state),
        }
    }

    /// Its name.
    pub fn name(&self) -> &NodeName {
        &self.name
    }

    /// The link, while one is up.
    pub fn link(&self) -> Option<Arc<Link>> {
        self.state.lock().link.clone()
    }

    /// Whether there is a way to this incarnation of it.
    pub fn has_way_to(&self, replica: &ReplicaId) -> bool {
        self.state.lock().destination() == Some(replica)
    }

    /// The protocol version that the present way to it speaks; 0 where there is none.
    pub fn protocol(&self) -> u16 {
        let state = self.state.lock();
        let link = state.relay.as_ref().map(|relay| &relay.via).or(state.link.as_ref());
        link.map_or(0, |link| link.protocol)
    }

    /// The incarnation of it to which there is a way.
    pub fn destination(&self) -> Option<ReplicaId> {
        self.state.lock().destination().cloned()
    }

    /// Whether there is a way to this incarnation of it that can be counted on, and it counts as alive.
    pub fn reaches(&self, replica: &ReplicaId) -> bool {
        self.reached.load(Ordering::Acquire) == replica.incarnation.0
    }

    /// Sends a QoS 0 message, or drops it.
    pub fn forward_at_most_once(
        &self,
        publication: Publication,
        application: &Application<'_>,
        shares: Option<&Shares>,
        now: Instant,
    ) -> Result<(), ForwardDrop> {
        let mut state = self.state.lock();
        if !state.is_reachable() {
            return Err(ForwardDrop::NoLink);
        }
        let PeerState { relay, queue, .. } = &mut *state;
        let queue = relay.as_mut().map_or(queue, |relay| &mut relay.at_most_once);
        if queue.len() > QUEUE_MAX {
            return Err(ForwardDrop::LinkFull);
        }
        let place = wire::Place { sequence: 0, publication };
        if wire::append(queue, place, application, shares, now).is_err() {
            return Err(ForwardDrop::LinkFull);
        }
        self.counters.relayed.inc_by(u64::from(relay.is_some()));
        state.wake();
        self.counters.sent.inc();
        Ok(())
    }

    /// Puts a QoS 1 or 2 message into the stream. Its receipt is given back at once, in `done`, where nobody can confirm
    /// it now.
    pub fn forward(
        &self,
        publication: Publication,
        message: Arc<Message>,
        shares: Option<Box<Shares>>,
        receipt: Option<Receipt>,
        now: Instant,
        done: &mut Vec<Receipt>,
    ) {
        let mut state = self.state.lock();
        let reachable = state.is_reachable();
        let (waiting, settled) = if reachable { (receipt, None) } else { (None, receipt) };
        done.extend(settled);
        state.stream.push(publication, message, shares, waiting, now);
        // What is for a live peer slows its publishers down before it is dropped.
        self.counters.dropped_overflow.inc_by(state.stream.trim(reachable, done));
        self.fill(&mut state, now);
    }

    /// Appends frames that are for the present link alone, as answers to what came over it are. Nothing happens where the link is
    /// another one by now.
    pub fn send_on_link(&self, replica: &ReplicaId, append: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state.lock();
        if state.link.as_ref().is_none_or(|link| link.replica != *replica) {
            return;
        }
        if state.queue.len() > 2 * QUEUE_MAX {
            // The peer does not read. Whatever is lost here is asked for, or said, again.
            self.counters.dropped_link_full.inc();
            return;
        }
        append(&mut state.queue);
        state.wake_link();
    }

    /// Appends a frame of the cluster's own, by whichever way there is. Nothing happens where it leads to another incarnation.
    pub fn send(&self, replica: &ReplicaId, append: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state.lock();
        if state.destination() != Some(replica) {
            return;
        }
        match state.way_queue() {
            Some(queue) => append(queue),
            None => return self.counters.dropped_link_full.inc(),
        }
        state.wake();
    }

    /// Takes the frames that wait, for the writer of `link`, in exchange for an empty buffer. False where the link is
    /// another one by now.
    pub fn take_queue(&self, link: u64, buffer: &mut Vec<u8>, now: Instant) -> bool {
        let mut state = self.state.lock();
        if state.link.as_ref().is_none_or(|current| current.id != link) {
            return false;
        }
        self.fill(&mut state, now);
        std::mem::swap(&mut state.queue, buffer);
        if !state.passing.is_empty() {
            match buffer.is_empty() {
                true => std::mem::swap(&mut state.passing, buffer),
                false => {
                    buffer.append(&mut state.passing);
                    state.passing = Vec::new();
                }
            }
        }
        true
    }

    /// A link came up whose other end has received our stream up to `received`. It takes the place of the one before.
    pub fn handle_link_up(&self, link: Arc<Link>, received: u64, now: Instant, done: &mut Vec<Receipt>) {
        let mut state = self.state.lock();
        state.link = Some(link);
        state.queue = Vec::new();
        state.passing = Vec::new();
        state.leave_relay_for_link();
        state.chooser.handle_link_up();
        state.progress = now;
        state.stream.handle_link_up(received, now, done);
        state.alive = true;
        self.note_reached(&state);
        if let Some(link) = &state.link {
            let replica = link.replica.clone();
            state.settlements.handle_link_up(&replica);
        }
        state.heard = now;
        self.fill(&mut state, now);
    }

    /// A link is gone. True if it was the present one; then the way is to be [reviewed](Peer::review_way), and whoever waits
    /// [released](Peer::release_unreachable) if there is none.
    pub fn handle_link_down(&self, link: u64) -> bool {
        let mut state = self.state.lock();
        if state.link.as_ref().is_none_or(|current| current.id != link) {
            return false;
        }
        state.link = None;
        state.chooser.handle_link_down();
        self.note_reached(&state);
        state.queue = Vec::new();
        state.passing = Vec::new();
        true
    }

    /// Where nothing can be confirmed any more, nobody waits for it: what is in the buffer is safe here.
    pub fn release_unreachable(&self, now: Instant, done: &mut Vec<Receipt>) {
        let mut state = self.state.lock();
        if !state.is_reachable() {
            state.stream.release_receipts(now, Duration::ZERO, done);
        }
    }

    /// The membership counts on the peer, or does not any more.
    pub fn handle_liveness(&self, alive: bool, now: Instant, done: &mut Vec<Receipt>) {
        let mut state = self.state.lock();
        state.alive = alive;
        if !alive {
            state.end_relay();
        }
        self.note_reached(&state);
        if !alive {
            state.stream.release_receipts(now, Duration::ZERO, done);
        }
    }

    /// Something came from the peer: it is not silent.
    pub fn note_heard(&self, now: Instant) {
        self.state.lock().heard = now;
    }

    /// The sessions of this incarnation of the peer have everything of the stream up to `sequence`. Said over its link, or
    /// through a third node.
    pub fn handle_ack(&self, from: &ReplicaId, sequence: u64, relayed: bool, now: Instant) {
        let mut done = Vec::new();
        let mut state = self.state.lock();
        // One that comes late, of an incarnation before, says nothing of what this one has.
        if state.destination() != Some(from) {
            return;
        }
        if relayed {
            state.chooser.handle_answer(now);
        }
        let acked = state.stream.handle_ack(sequence, now, &mut done);
        if acked > 0 {
            state.progress = now;
        }
        self.fill(&mut state, now);
        drop(state);
        self.counters.acked.inc_by(acked);
        confirm_all(done, now);
    }

    /// Publishers do not wait longer than `patience` for a peer that says nothing, nor for one that is still catching up
    /// with what has waited for it: what is in the buffer is safe here. Where the buffer of a live peer is full they do wait,
    /// which is what keeps it bounded. What has waited for too long in the buffer of another leaves it.
    pub fn handle_round(&self, now: Instant, patience: Duration) {
        let mut done = Vec::new();
        let mut state = self.state.lock();
        let late = now.saturating_duration_since(state.heard) >= patience || state.stream.is_late();
        if late && !state.stream.is_full() {
            state.stream.release_receipts(now, patience, &mut done);
        }
        let reachable = state.is_reachable();
        let aged = state.stream.tidy(reachable, now, &mut done);
        let expired = state.stream.take_expired();
        drop(state);
        self.counters.dropped_age.inc_by(aged);
        self.counters.dropped_expired.inc_by(expired);
        confirm_all(done, now);
    }

    /// Whether it cannot be reached and its buffer is full.
    pub fn is_unreachable_and_full(&self) -> bool {
        let state = self.state.lock();
        !state.is_reachable() && state.stream.is_full()
    }

    /// Drops so many bytes of the oldest forwards, for all buffers together hold too much.
    pub fn give_up(&self, bytes: usize, done: &mut Vec<Receipt>) {
        let dropped = self.state.lock().stream.give_up(bytes, done);
        self.counters.dropped_total_overflow.inc_by(dropped);
    }

    /// Drops all forwards: nobody will ask for them. Returns how many.
    pub fn abandon(&self, done: &mut Vec<Receipt>) -> u64 {
        self.state.lock().stream.give_up(usize::MAX, done)
    }

    /// What became of a message that this incarnation of the peer keeps a copy of.
    pub fn settle(&self, replica: &ReplicaId, claim: u64, settlement: Settlement) {
        let mut state = self.state.lock();
        self.counters.dropped_overflow.inc_by(state.settlements.push(replica, claim, settlement));
        state.wake();
    }

    /// The peer has heard of them.
    pub fn handle_settled_ack(&self, ack: SettledAck, now: Instant) {
        let mut state = self.state.lock();
        state.settlements.handle_ack(ack);
        state.progress = now;
        self.fill(&mut state, now);
    }

    /// Others get what these claims stand for, as far as the peer has not got it yet.
    pub fn revoke(&self, is_revoked: impl Fn(u64) -> bool) {
        self.state.lock().stream.revoke(is_revoked);
    }

    /// The claims of forwards that were dropped since this was last asked.
    pub fn take_lost(&self) -> Vec<u64> {
        self.state.lock().stream.take_lost()
    }

    fn note_reached(&self, state: &PeerState) {
        let replica = state.destination().filter(|_| state.is_reachable());
        self.reached.store(replica.map_or(0, |replica| replica.incarnation.0), Ordering::Release);
    }

    /// Whether there is a way to it that can be counted on, and the membership counts on it.
    pub fn is_reachable(&self) -> bool {
        self.state.lock().is_reachable()
    }

    /// Bytes that wait to be written on the way to it.
    pub fn queue_len(&self) -> usize {
        let state = self.state.lock();
        state.relay.as_ref().map_or(state.queue.len() + state.passing.len(), |relay| relay.queue.len())
    }

    /// Forwards to it so far, those included that found no link.
    pub fn forwards(&self) -> u64 {
        self.counters.sent.get() + self.counters.dropped_no_link.get() + self.last_forward()
    }

    /// The number of the last forward in its stream.
    pub fn last_forward(&self) -> u64 {
        self.state.lock().stream.last()
    }

    /// Whether the peer has acknowledged the forward, or it was dropped.
    pub fn has_done(&self, sequence: u64) -> bool {
        self.state.lock().stream.is_done(sequence)
    }

    /// Whether everything for the peer is written and acknowledged.
    pub fn is_drained(&self) -> bool {
        let state = self.state.lock();
        let relayed = state.relay.as_ref().is_none_or(|relay| relay.queue.is_empty());
        relayed && state.queue.is_empty() && state.stream.is_empty()
    }

    /// What the peer has not acknowledged.
    pub fn backlog(&self, now: Instant) -> Backlog {
        self.state.lock().stream.backlog(now)
    }

    /// Moves forwards of the stream into the queue of the present way, as far as it should fill.
    fn fill(&self, state: &mut PeerState, now: Instant) {
        let is_relayed = state.relay.is_some();
        let queue = match (&mut state.relay, &state.link) {
            (Some(relay), _) if relay.established => &mut relay.queue,
            (None, Some(_)) => &mut state.queue,
            _ => return,
        };
        let before = queue.len();
        while queue.len() < FILL_MAX
            && let Some(settled) = state.settlements.poll_send(is_relayed)
        {
            wire::append_small(queue, kind::SETTLED, &settled);
            state.told_at = now;
        }
        while queue.len() < FILL_MAX {
            match state.stream.poll_send(now) {
                None => break,
                Some(Outgoing::Skip(to)) => {
                    wire::append_small(queue, kind::FORWARD_SKIP, &wire::ForwardSkip { to });
                }
                Some(Outgoing::Forward(forwarding)) => {
                    let Forwarding { place, message, shares, again, late } = forwarding;
                    let start = queue.len();
                    // A message within the packet limit fits a frame.
                    let _ = wire::append_message(queue, place, message, shares, now);
                    if late {
                        frame::mark_late(&mut queue[start..]);
                    }
                    self.counters.sent.inc();
                    self.counters.resent.inc_by(u64::from(again));
                    self.counters.relayed.inc_by(u64::from(is_relayed));
                }
            }
        }
        if queue.len() > before {
            state.wake();
        }
    }
}

/// One incarnation of a peer as the origin of messages that members here get.
pub struct PeerOrigin {
    /// The peer.
    pub peer: Arc<Peer>,
    /// The incarnation.
    pub replica: ReplicaId,
}

impl Origin for PeerOrigin {
    fn settle(&self, claim: u64, settlement: Settlement) {
        self.peer.settle(&self.replica, claim, settlement);
    }

    fn replica(&self) -> &ReplicaId {
        &self.replica
    }
}

impl PeerState {
    /// The incarnation that the present way leads to.
    fn destination(&self) -> Option<&ReplicaId> {
        match (&self.relay, &self.link) {
            (Some(relay), _) => Some(&relay.replica),
            (None, link) => link.as_ref().map(|link| &link.replica),
        }
    }

    fn is_reachable(&self) -> bool {
        self.alive && (self.link.is_some() || self.relay.as_ref().is_some_and(|relay| relay.promising))
    }

    /// Wakes whoever writes what is for the peer.
    fn wake(&self) {
        match &self.relay {
            Some(relay) => relay.via.wake.notify_one(),
            None => self.wake_link(),
        }
    }

    fn wake_link(&self) {
        if let Some(link) = &self.link {
            link.wake.notify_one();
        }
    }
}

const _: () = assert!(FILL_MAX < frame::MAX_BODY_LEN);
