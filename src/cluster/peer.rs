//! Another node, by name: the way to it while there is one, and what waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rumormq_gossip::{NodeName, ReplicaId};
use tokio::sync::Notify;

use super::counters::ForwardCounters;
use super::forward::budget::ForwardBudget;
use super::forward::settlements::{SettledAck, Settlements};
use super::forward::stream::{Backlog, ForwardLimits, ForwardStream, Forwarding, Outgoing};
use super::forward::wire::{self, Publication, Shares};
use super::host::{Receipt, confirm_all};
use super::link::{frame, kind};
use crate::message::{Application, Message, Origin, Settlement};

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
    stream: ForwardStream,
    /// What it is to be told of messages that it keeps copies of.
    settlements: Settlements,
    /// Whether the membership counts on it.
    alive: bool,
    /// When something last came from it.
    heard: Instant,
}

/// A link that is up.
#[derive(Debug)]
pub struct Link {
    /// Tells the links of a peer apart.
    pub id: u64,
    /// The incarnation at its other end.
    pub replica: ReplicaId,
    /// What stands for it in the names of publishes.
    pub origin: u64,
    /// The protocol version that both ends speak on it.
    pub protocol: u16,
    /// The name of the end that dialled.
    pub dialled_by: NodeName,
    /// Wakes the writer.
    pub wake: Notify,
    /// Ends both its tasks.
    pub closed: Notify,
    /// When it came up; pings count from here.
    pub started: Instant,
    /// When the peer last answered a ping.
    pub answered: Mutex<Instant>,
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
        let stream = ForwardStream::new(limits, budget);
        let state = PeerState {
            link: None,
            queue: Vec::new(),
            stream,
            settlements: Settlements::default(),
            alive: false,
            heard: Instant::now(),
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

    /// Whether this incarnation of it is linked and counts as alive.
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
        if state.link.is_none() || !state.alive {
            return Err(ForwardDrop::NoLink);
        }
        if state.queue.len() > QUEUE_MAX {
            return Err(ForwardDrop::LinkFull);
        }
        let place = wire::Place { sequence: 0, publication };
        if wire::append(&mut state.queue, place, application, shares, now).is_err() {
            return Err(ForwardDrop::LinkFull);
        }
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
        let reachable = state.link.is_some() && state.alive;
        let (waiting, settled) = if reachable { (receipt, None) } else { (None, receipt) };
        done.extend(settled);
        state.stream.push(publication, message, shares, waiting, now);
        // What is for a live peer slows its publishers down before it is dropped.
        self.counters.dropped_overflow.inc_by(state.stream.trim(reachable, done));
        self.fill(&mut state, now);
    }

    /// Appends a frame of the cluster's own. Nothing happens where the link is another one by now.
    pub fn send(&self, replica: &ReplicaId, append: impl FnOnce(&mut Vec<u8>)) {
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
        true
    }

    /// A link came up whose other end has received our stream up to `received`. It takes the place of the one before.
    pub fn handle_link_up(&self, link: Arc<Link>, received: u64, now: Instant, done: &mut Vec<Receipt>) {
        let mut state = self.state.lock();
        state.link = Some(link);
        state.queue = Vec::new();
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

    /// A link is gone. True if it was the present one.
    pub fn handle_link_down(&self, link: u64, now: Instant, done: &mut Vec<Receipt>) -> bool {
        let mut state = self.state.lock();
        if state.link.as_ref().is_none_or(|current| current.id != link) {
            return false;
        }
        state.link = None;
        self.note_reached(&state);
        state.queue = Vec::new();
        state.stream.release_receipts(now, Duration::ZERO, done);
        true
    }

    /// The membership counts on the peer, or does not any more.
    pub fn handle_liveness(&self, alive: bool, now: Instant, done: &mut Vec<Receipt>) {
        let mut state = self.state.lock();
        state.alive = alive;
        self.note_reached(&state);
        if !alive {
            state.stream.release_receipts(now, Duration::ZERO, done);
        }
    }

    /// Something came from the peer: it is not silent.
    pub fn note_heard(&self, now: Instant) {
        self.state.lock().heard = now;
    }

    /// The peer's sessions have everything of the stream up to `sequence`.
    pub fn handle_ack(&self, sequence: u64, now: Instant) {
        let mut done = Vec::new();
        let mut state = self.state.lock();
        let acked = state.stream.handle_ack(sequence, now, &mut done);
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
        let reachable = state.link.is_some() && state.alive;
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
        (state.link.is_none() || !state.alive) && state.stream.is_full()
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
    pub fn handle_settled_ack(&self, ack: SettledAck) {
        self.state.lock().settlements.handle_ack(ack);
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
        let link = state.link.as_ref().filter(|_| state.alive);
        self.reached.store(link.map_or(0, |link| link.replica.incarnation.0), Ordering::Release);
    }

    /// Whether it is linked, and the membership counts on it.
    pub fn is_reachable(&self) -> bool {
        let state = self.state.lock();
        state.link.is_some() && state.alive
    }

    /// Bytes that wait for the link's writer.
    pub fn queue_len(&self) -> usize {
        self.state.lock().queue.len()
    }

    /// The number of the last forward in its stream.
    pub fn last_forward(&self) -> u64 {
        self.state.lock().stream.last()
    }

    /// Whether everything for the peer is written and acknowledged.
    pub fn is_drained(&self) -> bool {
        let state = self.state.lock();
        state.queue.is_empty() && state.stream.is_empty()
    }

    /// What the peer has not acknowledged.
    pub fn backlog(&self, now: Instant) -> Backlog {
        self.state.lock().stream.backlog(now)
    }

    /// Moves forwards of the stream into the queue, as far as it should fill.
    fn fill(&self, state: &mut PeerState, now: Instant) {
        if state.link.is_none() {
            return;
        }
        let before = state.queue.len();
        while state.queue.len() < FILL_MAX
            && let Some(settled) = state.settlements.poll_send()
        {
            wire::append_small(&mut state.queue, kind::SETTLED, &settled);
        }
        while state.queue.len() < FILL_MAX {
            match state.stream.poll_send(now) {
                None => break,
                Some(Outgoing::Skip(to)) => {
                    wire::append_small(&mut state.queue, kind::FORWARD_SKIP, &wire::ForwardSkip { to });
                }
                Some(Outgoing::Forward(forwarding)) => {
                    let Forwarding { place, message, shares, again, late } = forwarding;
                    let start = state.queue.len();
                    // A message within the packet limit fits a frame.
                    let _ = wire::append_message(&mut state.queue, place, message, shares, now);
                    if late {
                        frame::mark_late(&mut state.queue[start..]);
                    }
                    self.counters.sent.inc();
                    self.counters.resent.inc_by(u64::from(again));
                }
            }
        }
        if state.queue.len() > before {
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
    fn wake(&self) {
        if let Some(link) = &self.link {
            link.wake.notify_one();
        }
    }
}

const _: () = assert!(FILL_MAX < frame::MAX_BODY_LEN);
