//! How a session moves to the node that its client has connected to.
//!
//! The newest claim has the session. A node writes its claim to a stamped set; whoever holds the session says so to the
//! claimer before it acknowledges the claim ([`Holding`](wire::TakeoverMessage::Holding)), so that the claimer knows all
//! holders once its claim has settled. Then, with A the holder and B the new owner:
//!
//! ```text
//! A  ends the client's connection, and goes on queueing for it
//! B  Take        A  its subscriptions
//! B  subscribes, holds what arrives, waits until every reachable node has its routes
//! B  ShipAfter   A  waits for what nodes had sent before they had B's routes (FenceAfter), then sends the session's state
//! B  goes on with the state, followed by what it held and the state has not
//! B  Kept        A  deletes its copy, and passes on what comes late
//! ```
//!
//! Whatever fails leaves A's copy in place, to be offered again; where B has it already, it says Kept at once. A claimer that
//! goes on without it keeps its newer session, and later gets what was never sent of the older one.

mod arrival;
mod departure;
pub(super) mod fence;
mod refuge;
mod taken;
pub mod wire;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rumormq_gossip::{NodeName, ReplicaId, Stamp, Winner, Written};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use arrival::Arrivals;
pub use arrival::{Arrival, Superseded};
use fence::Fenced;
pub use refuge::{Refuge, refuge_of};
use taken::Taken;
use wire::{STAYS_MAX, Step, TakeoverMessage};

use super::Cluster;
use super::forward::wire::append_small;
use super::host::Host;
use super::interest::SESSIONS;
use super::link::kind;
use super::peers::Peers;

/// Messages of one handover that may wait for their task.
const INBOX_MAX: usize = 1024;
/// Bytes of a piece.
const PIECE_MAX: usize = 256 << 10;
/// Bytes of a session that moves. One that is larger than the limits of this cluster's nodes allow is not accepted.
const SESSION_MAX: usize = 256 << 20;
/// The rest of a session waits so long for what other nodes have buffered for it.
const REST_PATIENCE: Duration = Duration::from_secs(10);
/// While what is left of so many older sessions is on its way, that of others has to wait.
const RESTS_MAX: usize = 1024;
/// The first protocol version that knows [`Step::NumberedPiece`].
const NUMBERED_SINCE: u16 = 2;
/// A link whose queue is longer than this gets no further piece.
const QUEUE_MAX: usize = 1 << 20;

/// What a claim says beside its stamp; and the tombstone of one that was taken back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimValue {
    /// Sessions of older claims are over: there has been a clean start since, or the session went on elsewhere and ended.
    pub discard_below: Stamp,
    /// The client has not connected: the node takes its session from one that leaves. Since version 3.
    pub adopts: bool,
}

impl ClaimValue {
    /// What such bytes say, which an older version may have written.
    fn read(bytes: &[u8]) -> ClaimValue {
        let Ok((discard_below, rest)) = postcard::take_from_bytes(bytes) else {
            return ClaimValue::default();
        };
        ClaimValue { discard_below, adopts: postcard::from_bytes(rest).unwrap_or(false) }
    }

    /// The same as bytes. Writing to memory does not fail.
    fn write(self) -> Vec<u8> {
        postcard::to_stdvec(&self).unwrap_or_default()
    }
}

/// What a claim of this node has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Its stamp.
    pub stamp: Stamp,
    /// Another node had the session and has not handed it over.
    pub expects_rest: bool,
}

/// A claim that counts.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Whose it is.
    pub owner: ReplicaId,
    /// When it was made.
    pub stamp: Stamp,
    /// What it says.
    pub value: ClaimValue,
}

impl Claim {
    fn of(winner: &Winner) -> Claim {
        let value = ClaimValue::read(winner.entry.value().unwrap_or(winner.entry.remark()));
        Claim { owner: winner.replica.clone(), stamp: winner.entry.stamp(), value }
    }

    /// Whether it ends a session of that claim. One that is being claimed at the moment is a later one.
    fn discards(&self, own: Stamp) -> bool {
        own > Stamp::default() && own < self.value.discard_below
    }
}

/// Sessions on their way here and from here. Its locks are held for look-ups only.
pub struct Takeovers {
    arrivals: Arrivals,
    /// By client identifier: who handles what new owners say.
    departures: Mutex<HashMap<Box<str>, mpsc::Sender<FromOwner>>>,
    /// By holder and offer: who handles what holders say.
    offers: Mutex<HashMap<(ReplicaId, u64), mpsc::Sender<Step>>>,
    fences: Mutex<HashMap<u64, oneshot::Sender<Fenced>>>,
    taken: Mutex<Taken>,
    /// Counts the questions of others that are being answered.
    answers: Arc<()>,
    /// By client identifier: how much of older sessions is being taken, or is to be.
    rests: Mutex<HashMap<Box<str>, usize>>,
    numbers: AtomicU64,
    jobs: mpsc::UnboundedSender<Job>,
    waiting_jobs: Mutex<Option<mpsc::UnboundedReceiver<Job>>>,
    timeout: Duration,
}

/// What a new owner says about a session that is here.
struct FromOwner {
    owner: ReplicaId,
    offer: u64,
    step: Step,
}

/// What the takeovers' task is to begin.
enum Job {
    Arrive(arrival::Beginning),
    Depart { id: Box<str>, messages: mpsc::Receiver<FromOwner> },
    TakeRest { id: Box<str>, holder: Holder },
}

/// Who offers a session.
#[derive(Clone, Debug)]
struct Holder {
    replica: ReplicaId,
    offer: u64,
    claim: Stamp,
}

/// What follows from others' claims once no lock is held.
#[derive(Default)]
pub(super) struct Losses {
    departures: Vec<(Box<str>, mpsc::Receiver<FromOwner>)>,
}

impl Takeovers {
    /// Nothing moves yet.
    pub fn new(timeout: Duration) -> Takeovers {
        let (jobs, waiting_jobs) = mpsc::unbounded_channel();
        Takeovers {
            arrivals: Arrivals::default(),
            departures: Mutex::default(),
            offers: Mutex::default(),
            fences: Mutex::default(),
            taken: Mutex::default(),
            answers: Arc::default(),
            rests: Mutex::default(),
            numbers: AtomicU64::new(1),
            jobs,
            waiting_jobs: Mutex::new(Some(waiting_jobs)),
            timeout,
        }
    }

    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    fn begin(&self, job: Job) {
        // Without its task the node is over.
        let _ = self.jobs.send(job);
    }

    fn begin_rest(&self, id: Box<str>, holder: Holder) {
        *self.rests.lock().entry(id.clone()).or_default() += 1;
        self.begin(Job::TakeRest { id, holder });
    }

    fn end_rest(&self, id: &str) {
        let mut rests = self.rests.lock();
        let Some(count) = rests.get_mut(id) else { return };
        *count = count.saturating_sub(1);
        if *count == 0 {
            rests.remove(id);
        }
    }

    /// Whether a session is on its way here.
    pub(super) fn is_arriving(&self, id: &str) -> bool {
        self.arrivals.is_awaited(id)
    }

    pub(super) fn awaits_rest(&self, id: &str) -> bool {
        self.rests.lock().contains_key(id)
    }

    /// Another node's claim counts now. If the session is here, the claimer is told before its claim is acknowledged.
    pub(super) fn handle_won(&self, winner: &Winner, peers: &Peers, host: &dyn Host, losses: &mut Losses) {
        let Ok(id) = std::str::from_utf8(winner.entry.key()) else { return };
        let Some(own) = host.session_claim(id).max(self.arrivals.claim(id)) else { return };
        let claim = Claim::of(winner);
        // Of two claims with one stamp, the names of their owners have decided.
        if own > claim.stamp {
            return;
        }
        tracing::debug!(client = id, ?own, claimed = ?claim.stamp, by = %claim.owner, "session claimed elsewhere");
        if own >= claim.value.discard_below {
            let offer = TakeoverMessage::Holding { id: id.into(), offer: self.number(), claim: own };
            send(peers, &claim.owner, &offer);
        }
        if let Some(messages) = self.enter_departure(id) {
            losses.departures.push((id.into(), messages));
        }
    }

    /// No claim counts any more. The session is over if a later one was, which may have come and gone in between.
    pub(super) fn handle_cleared(&self, latest: &Winner, host: &dyn Host, losses: &mut Losses) {
        let Ok(id) = std::str::from_utf8(latest.entry.key()) else { return };
        let over = host.session_claim(id).is_some_and(|own| Claim::of(latest).discards(own));
        if over && let Some(messages) = self.enter_departure(id) {
            losses.departures.push((id.into(), messages));
        }
    }

    /// Makes room for what new owners will say; none where a task listens already.
    fn enter_departure(&self, id: &str) -> Option<mpsc::Receiver<FromOwner>> {
        let mut departures = self.departures.lock();
        if departures.contains_key(id) {
            return None;
        }
        let (to_task, messages) = mpsc::channel(INBOX_MAX);
        departures.insert(id.into(), to_task);
        Some(messages)
    }

    pub(super) fn handle_losses(&self, losses: Losses) {
        for (id, messages) in losses.departures {
            self.begin(Job::Depart { id, messages });
        }
    }
}

/// Runs the takeovers until the node stops.
pub(super) async fn run(cluster: Arc<Cluster>) {
    let Some(mut jobs) = cluster.takeovers.waiting_jobs.lock().take() else { return };
    let (mut tasks, mut rests) = (JoinSet::new(), JoinSet::new());
    loop {
        tokio::select! {
            job = jobs.recv() => match job {
                None => return,
                Some(Job::Arrive(beginning)) => {
                    tasks.spawn(arrival::run(cluster.clone(), beginning));
                }
                Some(Job::Depart { id, messages }) => {
                    tasks.spawn(departure::run(cluster.clone(), id, messages));
                }
                Some(Job::TakeRest { id, holder }) if rests.len() < RESTS_MAX => {
                    rests.spawn(arrival::take_rest(cluster.clone(), id, holder));
                }
                Some(Job::TakeRest { id, holder }) => {
                    cluster.takeovers.end_rest(&id);
                    cluster.put_off_rest(&id, &holder);
                }
            },
            Some(_) = tasks.join_next() => {}
            Some(_) = rests.join_next() => {}
        }
    }
}

impl Cluster {
    /// Makes this node the owner of a session that it has already, or that nobody need be asked for. With `discard`
    /// sessions of this client elsewhere are over.
    pub fn claim_session(&self, id: &str, discard: bool, now: Instant) -> Claimed {
        let me = self.me();
        match self.takeovers.arrivals.take_claim(id) {
            // It is gone where another user had the session that has come.
            Some(claimed) if !discard && self.session_owner(id).is_some() => claimed,
            _ => {
                let Written { stamp, replaced, .. } = self.write_claim(id, discard, now);
                let expects_rest = !discard && replaced.is_some_and(|winner| winner.replica != me);
                Claimed { stamp, expects_rest }
            }
        }
    }

    /// A session is here with this claim, as [`Host::session_claim`] says from now on. A later one that came before is
    /// answered now: there was nothing to be had when it came.
    pub fn handle_claimed(&self, id: &str, own: Stamp) {
        if let Some(claim) = self.owner_elsewhere(id)
            && let Some(messages) = self.takeovers.enter_departure(id)
        {
            if !claim.discards(own) {
                let offer = self.takeovers.number();
                let holding = TakeoverMessage::Holding { id: id.into(), offer, claim: own };
                send(&self.peers, &claim.owner, &holding);
            }
            self.takeovers.begin(Job::Depart { id: id.into(), messages });
        }
    }

    /// The session that was claimed with `claim` is over, or somebody else's: then nothing is done. What other nodes have
    /// of earlier ones is over, too.
    pub fn retire_session(&self, id: &str, claim: Stamp, now: Instant) {
        self.retire_claim(id, claim, claim, now);
    }

    /// Takes back this node's own claim, if it still counts. Sessions claimed before `discard_below` are over.
    fn retire_claim(&self, id: &str, claim: Stamp, discard_below: Stamp, now: Instant) {
        self.with_replication(now, |replication| {
            let (key, node) = (id.as_bytes(), &mut replication.node);
            let own = node.winner(SESSIONS, key).filter(|winner| winner.entry.stamp() == claim);
            let Some(own) = own.map(|winner| Claim::of(&winner)) else { return };
            let discard_below = discard_below.max(own.value.discard_below);
            let remark = ClaimValue { discard_below, adopts: false }.write();
            node.retire_saying(SESSIONS, key, &remark, super::wall_clock_ms(), now);
        });
    }

    fn write_claim(&self, id: &str, discard: bool, now: Instant) -> Written {
        let wall_ms = super::wall_clock_ms();
        self.with_replication(now, |replication| {
            let key = id.as_bytes();
            let former = replication.node.latest(SESSIONS, key).map(|latest| Claim::of(&latest));
            let discard_below = match (discard, former) {
                // Above all that is known, and not above the claim that says so.
                (true, former) => Stamp::at_ms(wall_ms)
                    .max(former.map_or(Stamp(0), |former| Stamp(former.stamp.0.saturating_add(1)))),
                (false, former) => former.map_or(Stamp(0), |former| former.value.discard_below),
            };
            let value = ClaimValue { discard_below, adopts: false }.write();
            replication.node.write(SESSIONS, key, &value, wall_ms, now)
        })
    }

    /// Claims a session that nobody has connected to: a claim that gives way to whoever does, if anything is known of it.
    fn write_next_claim(&self, id: &str, now: Instant) -> Written {
        let wall_ms = super::wall_clock_ms();
        self.with_replication(now, |replication| {
            let (key, node) = (id.as_bytes(), &mut replication.node);
            let former = node.latest(SESSIONS, key).map(|latest| Claim::of(&latest).value);
            let value = ClaimValue { adopts: true, ..former.unwrap_or_default() }.write();
            let next = node.write_next(SESSIONS, key, &value, now);
            next.unwrap_or_else(|| node.write(SESSIONS, key, &value, wall_ms, now))
        })
    }

    /// Whose claim counts.
    fn session_owner(&self, id: &str) -> Option<Claim> {
        let replication = self.replication.lock();
        replication.node.winner(SESSIONS, id.as_bytes()).map(|winner| Claim::of(&winner))
    }

    /// The node whose claim on a session counts. Not to be asked under a client's lock.
    pub fn session_node(&self, id: &str) -> Option<NodeName> {
        self.session_owner(id).map(|claim| claim.owner.name)
    }

    /// The stamp of the end of a session that is here, but has gone on elsewhere and has ended there.
    fn end_of(&self, id: &str) -> Option<Stamp> {
        let own = self.host.session_claim(id)?;
        let latest = self.replication.lock().node.latest(SESSIONS, id.as_bytes())?;
        let is_over = latest.entry.value().is_none() && Claim::of(&latest).discards(own);
        is_over.then(|| latest.entry.stamp())
    }

    /// A message about a session, or about streams, came from a peer.
    pub(super) fn handle_takeover(self: &Arc<Self>, from: &ReplicaId, message: TakeoverMessage) {
        let takeovers = &self.takeovers;
        match message {
            TakeoverMessage::Holding { id, offer, claim } => {
                let holder = Holder { replica: from.clone(), offer, claim };
                if let Some(holder) = takeovers.arrivals.handle_holding(&id, holder) {
                    takeovers.begin_rest(id, holder);
                }
            }
            // Whoever has it offers it when the claim arrives, or has done so already.
            TakeoverMessage::Ask { id } => {
                if self.host.session_claim(&id).is_none() && takeovers.arrivals.claim(&id).is_none() {
                    send(&self.peers, from, &TakeoverMessage::Nothing { id });
                }
            }
            TakeoverMessage::Nothing { id } => takeovers.arrivals.handle_nothing(&id, from),
            TakeoverMessage::Session { id, offer, step } => match step {
                Step::Take { .. }
                | Step::Ship { .. }
                | Step::ShipAfter { .. }
                | Step::Kept
                | Step::Declined => {
                    let task = takeovers.departures.lock().get(&id).cloned();
                    let message = FromOwner { owner: from.clone(), offer, step };
                    // What a task cannot take is as lost as on a broken link.
                    if task.is_none_or(|task| task.try_send(message).is_err()) {
                        self.say(from, &id, offer, Step::Gone);
                    }
                }
                Step::Piece { .. } | Step::NumberedPiece { .. } | Step::Gone => {
                    let task = takeovers.offers.lock().get(&(from.clone(), offer)).cloned();
                    let _ = task.map(|task| task.try_send(step));
                }
            },
            TakeoverMessage::Adopt { id } => self.adopt(from, &id),
            TakeoverMessage::Delayed { due_ms, message } => self.host.delay(due_ms, message),
            TakeoverMessage::Fence { token } => self.answer_fence(from.clone(), token),
            TakeoverMessage::Fenced { token, sequence } => {
                if let Some(asker) = takeovers.fences.lock().remove(&token) {
                    let _ = asker.send(Fenced { sequence, ..Fenced::default() });
                }
            }
            TakeoverMessage::FenceAfter { token, owner, routes } => {
                self.answer_fence_after(from.clone(), token, owner, routes);
            }
            TakeoverMessage::FencedAfter { token, sequence, publishes, next_from } => {
                if let Some(asker) = takeovers.fences.lock().remove(&token) {
                    let _ = asker.send(Fenced { sequence, publishes, next_from });
                }
            }
            TakeoverMessage::AskPassedOn { mut stays } => {
                stays.truncate(STAYS_MAX);
                let is_done = |to: &_, sequence| {
                    *to == from.name || self.peers.find(to).is_none_or(|peer| peer.has_done(sequence))
                };
                let stays = self.strays.moved.passed_on(stays, is_done);
                if let Some(peer) = self.peers.find(&from.name).filter(|_| !stays.is_empty()) {
                    let sequence = peer.last_forward();
                    send(&self.peers, from, &TakeoverMessage::PassedOn { stays, sequence });
                }
            }
            TakeoverMessage::PassedOn { mut stays, sequence } => {
                stays.truncate(STAYS_MAX);
                self.handle_passed_on(from, stays, sequence);
            }
        }
    }

    /// Says something about a session.
    fn say(&self, to: &ReplicaId, id: &str, offer: u64, step: Step) {
        send(&self.peers, to, &TakeoverMessage::Session { id: id.into(), offer, step });
    }

    /// Whether there is a way to it, over a link or through a third node.
    pub(super) fn is_linked(&self, replica: &ReplicaId) -> bool {
        self.peers.find(&replica.name).is_some_and(|peer| peer.has_way_to(replica))
    }

    /// Sends bytes in pieces, no faster than the link takes them. False if it is gone.
    async fn ship(&self, to: &ReplicaId, id: &str, offer: u64, bytes: &[u8]) -> bool {
        let mut pieces = bytes.chunks(PIECE_MAX).peekable();
        for number in 0.. {
            let bytes = pieces.next().unwrap_or_default().to_vec();
            let last = pieces.peek().is_none();
            let numbered = self.peers.find(&to.name).is_some_and(|peer| peer.protocol() >= NUMBERED_SINCE);
            self.say(
                to,
                id,
                offer,
                match numbered {
                    true => Step::NumberedPiece { number, bytes, last },
                    false => Step::Piece { bytes, last },
                },
            );
            if last {
                return true;
            }
            while self.peers.find(&to.name).is_some_and(|peer| peer.queue_len() > QUEUE_MAX) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            if !self.is_linked(to) {
                break;
            }
        }
        false
    }
}

fn send(peers: &Peers, to: &ReplicaId, message: &TakeoverMessage) {
    if let Some(peer) = peers.find(&to.name) {
        peer.send(to, |out| append_small(out, kind::TAKEOVER, message));
    }
}
