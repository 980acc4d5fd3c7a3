//! The core of a node: owns the sets, decides what to send to whom, and knows who takes part.
//!
//! It has no socket, clock, task or randomness. Its methods are of these kinds:
//!
//! - commands (`insert`, `remove`, `write`, `clear`, `retire`, `restore`, `await_settled`, `restart_lane`, `announce_left`): what
//!   the application wants;
//! - `handle_*`: what happened, with the time it happened;
//! - `poll_*`: what to do now; call them until they return `None`, after every command and `handle_*`;
//! - queries (`head`, `winner`, `members`, `converged`, ...), which change nothing.
//!
//! Spreading is in three parts: the owner of a lane pushes its changes to linked peers (`push`), whoever is behind asks
//! for what is missing (`repair`), and periodic digests tell who is behind (`digest`, and `beat` among many). Only the second part
//! repeats anything, so a lost message costs time and nothing else. What arrives is in `merge`.
//!
//! Of the rest, `members`, `departed` and `status` are about who takes part; `settlement` and `promises` about when a change has
//! reached everybody; `neighbours` about which links there are to be; `registers` about stamped sets. `slot` is what makes tables of
//! all that is kept for every link and lane.

mod beat;
mod departed;
mod digest;
mod members;
mod merge;
mod neighbours;
mod promises;
mod push;
mod registers;
mod repair;
mod settlement;
mod slot;
mod status;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::counters::Counters;
use crate::delta::{Frontier, SetId};
use crate::event::{Event, RestartReason};
use crate::head::Head;
use crate::lane::Lane;
use crate::link_graph::LinkGraph;
use crate::mesh::Mesh;
use crate::message::{Digest, Hello, Message, MessageError};
use crate::registers::{Orphans, Registers};
use crate::replica::{Incarnation, ReplicaId};
use crate::set::ReplicatedSet;
use crate::stamp::HybridClock;
use beat::Reported;
use departed::{Departed, Revoked};
use members::Member;
use push::Pushes;
pub use registers::Written;
use repair::{Repair, Waiting};
use settlement::Settlement;
use slot::{Slot, Slots, Versions};
pub use status::{LaneStatus, LinkState, MemberStatus};

/// Room for so many events is kept; what a large lane took at its arrival is given back.
const MANY_EVENTS: usize = 4096;
/// A node that looks so much later than it wanted was not given time. Timers are late by less.
const PAUSE: Duration = Duration::from_millis(200);

/// One node's replicated sets, and what it knows of the other nodes. The top of `node.rs` says how to drive it.
pub struct Node {
    config: Config,
    me: ReplicaId,
    /// Since when this incarnation exists.
    started: Instant,
    sets: Vec<ReplicatedSet>,
    /// What stamped sets have beside their lanes.
    registers: Vec<Option<Registers>>,
    clock: HybridClock,
    members: BTreeMap<ReplicaId, Member>,
    slots: Slots,
    departed: Departed,
    revoked: Revoked,
    /// What the application was asked to restart for, so that it is asked once.
    restart_asked: bool,
    links: BTreeMap<ReplicaId, Link>,
    graph: LinkGraph,
    mesh: Mesh,
    /// Others live than the mesh knows.
    mesh_stale: bool,
    /// When this node looked last at what is due, and when it wanted to look again.
    looked: (Instant, Instant),
    /// What peers were told of this node's links.
    reported: Reported,
    repairs: BTreeMap<(SetId, ReplicaId), Repair>,
    waiting: Waiting,
    settlement: Vec<Settlement>,
    outbox: VecDeque<(ReplicaId, Outgoing)>,
    events: VecDeque<Event>,
    counters: Counters,
    /// Earliest time at which collected changes may go.
    next_flush: Option<Instant>,
    next_digest: Instant,
    next_review: Instant,
    digest_round: u64,
}

/// A replicated set, as it is declared at construction; the same on all nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetSpec {
    /// What it is called.
    pub name: &'static str,
    /// How it is written and read.
    pub kind: SetKind,
}

/// How a set is written and read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetKind {
    /// The union of what the replicas have: [`Node::insert`], [`Node::remove`], [`Event::Changed`].
    Plain,
    /// Registers that several replicas write, of which the last write counts: [`Node::write`], [`Node::clear`],
    /// [`Node::retire`], [`Event::Won`], [`Event::Cleared`].
    Stamped(Orphans),
}

impl SetSpec {
    /// A plain set.
    pub const fn plain(name: &'static str) -> SetSpec {
        SetSpec { name, kind: SetKind::Plain }
    }

    /// A stamped set.
    pub const fn stamped(name: &'static str, orphans: Orphans) -> SetSpec {
        SetSpec { name, kind: SetKind::Stamped(orphans) }
    }
}

/// A peer that this node has a connection to.
struct Link {
    /// What the peer has applied.
    applied: Versions,
    /// Lanes that this node pushes to the peer.
    pushes: BTreeMap<Slot, Pushes>,
    /// Requests to be answered, the newest of each lane.
    asked: BTreeMap<(SetId, ReplicaId), (Frontier, u64)>,
    /// Acknowledgements to be sent.
    acks: BTreeSet<(SetId, ReplicaId)>,
    /// What is said on it in a large cluster.
    talk: beat::Talk,
    /// Whether it is of use.
    need: neighbours::Need,
}

/// A message to be made when the link takes it, from the state at that time.
enum Outgoing {
    Push(SetId, ReplicaId),
    Answer(SetId, ReplicaId),
    Ack(SetId, ReplicaId),
    Message(Message),
}

impl Node {
    /// A node without peers. `sets` declares the replicated sets; a set's index is its [`SetId`], the same on all nodes.
    ///
    /// What a restarted node had before must be inserted before the first greeting: others take the first
    /// interval of the new lane for the whole of it, and drop the old lane.
    ///
    /// # Panics
    /// With more than 256 sets, or if [`tombstone_ttl`](Config::tombstone_ttl) does not exceed
    /// [`forget_after`](Config::forget_after).
    pub fn new(config: Config, me: ReplicaId, sets: &[SetSpec], now: Instant) -> Node {
        assert!(config.outlives_absence(), "tombstone_ttl must exceed forget_after");
        let make_set = |(index, spec): (usize, &SetSpec)| {
            let id = SetId(u8::try_from(index).expect("at most 256 sets"));
            match spec.kind {
                SetKind::Plain => (ReplicatedSet::new(id, spec.name, me.clone(), config.lane), None),
                SetKind::Stamped(orphans) => {
                    let set = ReplicatedSet::unindexed(id, spec.name, me.clone(), config.lane);
                    let registers = Registers::new(&set, orphans);
                    (set, Some(registers))
                }
            }
        };
        let (sets, registers): (Vec<_>, Vec<_>) = sets.iter().enumerate().map(make_set).unzip();
        Node {
            registers,
            clock: HybridClock::default(),
            settlement: sets.iter().map(|_| Settlement::default()).collect(),
            sets,
            members: BTreeMap::new(),
            slots: Slots::default(),
            departed: Departed::new(config.max_departed),
            revoked: Revoked::default(),
            restart_asked: false,
            links: BTreeMap::new(),
            graph: Node::new_graph(&config, &me),
            mesh: Mesh::new(config.full_mesh_up_to),
            mesh_stale: false,
            looked: (now, now),
            reported: Reported::default(),
            repairs: BTreeMap::new(),
            waiting: Waiting::new(config.max_waiting_bytes),
            outbox: VecDeque::new(),
            events: VecDeque::new(),
            counters: Counters::default(),
            next_flush: None,
            next_digest: now + config.digest_interval,
            next_review: now + config.digest_interval / 2,
            digest_round: 0,
            config,
            me,
            started: now,
        }
    }

    fn new_graph(config: &Config, me: &ReplicaId) -> LinkGraph {
        LinkGraph::new(me.clone(), config.evidence_window, config.digest_interval * 3 / 2)
    }

    // ---- Commands ----

    /// Adds an element to this node's lane of a plain set; a live one of the same key is superseded. Returns the sequence
    /// number, which is the element's dot. (0, and nothing is done, if the set is stamped.)
    ///
    /// # Panics
    /// If there is no such set.
    pub fn insert(&mut self, set: SetId, key: &[u8], value: &[u8], now: Instant) -> u64 {
        let seq = self.sets[usize::from(set.0)].insert(key, value);
        self.wrote(set, seq, now);
        seq
    }

    /// Removes an element from this node's lane. Returns the sequence number of the remove, or `None` if this node has no
    /// such element.
    ///
    /// # Panics
    /// If there is no such set.
    pub fn remove(&mut self, set: SetId, key: &[u8], now: Instant) -> Option<u64> {
        let seq = self.sets[usize::from(set.0)].remove(key)?;
        self.wrote(set, seq, now);
        Some(seq)
    }

    fn wrote(&mut self, set: SetId, seq: u64, now: Instant) {
        if !self.links.is_empty() {
            self.settlement[usize::from(set.0)].sample(seq, now);
        }
        self.offer_own(set, now);
    }

    /// Asks for an [`Event::Settled`] once every live member that can be reached has applied `seq` of this node's lane, or
    /// has missed its time.
    ///
    /// # Panics
    /// If there is no such set.
    pub fn await_settled(&mut self, set: SetId, seq: u64, now: Instant) {
        if self.settlement[usize::from(set.0)].await_settled(seq, now) {
            self.settle(set, now);
        }
    }

    /// Begins a new lane under a new incarnation, with all elements of the old one; asked for by [`Event::RestartLane`].
    /// All links are gone afterwards: close them, and greet anew under [`me`](Node::me). What was awaited counts as
    /// missed by all live members. What this node had written to stamped sets is from now on by the new incarnation, with the stamps
    /// that it had; there are no events about that.
    pub fn restart_lane(&mut self, incarnation: Incarnation, now: Instant) {
        let live: Vec<ReplicaId> = self.live_members().map(|(replica, _)| replica.clone()).collect();
        for (set, settlement) in self.settlement.iter_mut().enumerate() {
            let set = SetId(set as u8);
            for seq in std::mem::take(settlement).awaited() {
                self.events.push_back(Event::Settled { set, seq, missed: live.clone() });
            }
        }
        for peer in self.links.keys().cloned().collect::<Vec<_>>() {
            self.handle_link_down(&peer, now);
        }
        let new = ReplicaId { name: self.me.name.clone(), incarnation };
        let old = std::mem::replace(&mut self.me, new);
        for (set, registers) in self.sets.iter_mut().zip(&mut self.registers) {
            match registers {
                Some(registers) => registers.restart(set, self.me.clone()),
                None => {
                    set.restart(self.me.clone());
                }
            }
        }
        for member in self.members.values_mut() {
            member.begin_new_lane();
        }
        self.revoked.remove_name(&old.name);
        self.restart_asked = false;
        self.started = now;
        self.graph = Node::new_graph(&self.config, &self.me);
        self.reported = Reported::default();
        self.outbox.clear();
    }

    /// Tells the linked peers that this node leaves for good: they drop its lanes at once, and tell the others. What this node
    /// wrote after they have heard of it is lost, so this comes last.
    pub fn announce_left(&mut self) {
        let digest = Arc::new(Digest { left: vec![self.me.clone()], ..Digest::default() });
        for peer in self.links.keys() {
            self.outbox.push_back((peer.clone(), Outgoing::Message(Message::Digest(digest.clone()))));
        }
    }

    // ---- Input ----

    /// A link to `peer` is up and both greetings have been exchanged. False if the peer is not admitted, for its greeting
    /// is too large or there are [`Config::max_members`] already: then nothing is kept of it, and the link is to be cut.
    pub fn handle_link_up(&mut self, peer: ReplicaId, hello: Hello, now: Instant) -> bool {
        if self.check_digest(&hello).is_err() {
            self.handle_link_down(&peer, now);
            self.counters.messages_invalid += 1;
            return false;
        }
        // Nobody is out of reach for the moment in which one link replaces another.
        self.cut_link(&peer, now);
        let link = Link {
            applied: Versions::new(self.sets.len(), &self.slots),
            pushes: BTreeMap::new(),
            asked: BTreeMap::new(),
            acks: BTreeSet::new(),
            talk: beat::Talk::new(self.digest_round),
            need: neighbours::Need::default(),
        };
        self.links.insert(peer.clone(), link);
        // The exchange of greetings was an answer.
        self.graph.handle_pong(&peer, now);
        // One that is gone for good, or was forgotten, must be told so, over this link.
        if !self.admit(&peer, now) && !self.departed.contains(&peer) {
            self.handle_link_down(&peer, now);
            return false;
        }
        self.review_member(&peer, now);
        self.merge_digest(&peer, &hello, now);
        self.begin_pushes(&peer, &hello, now);
        self.greet(&peer, now);
        self.note_greeting(&peer, &hello);
        true
    }

    /// The link to `peer` is gone, with everything that was on its way.
    pub fn handle_link_down(&mut self, peer: &ReplicaId, now: Instant) {
        if self.cut_link(peer, now) {
            self.review_member(peer, now);
            self.settle_all(now);
        }
    }

    /// Forgets a link, and draws no conclusions yet. False if there is none.
    fn cut_link(&mut self, peer: &ReplicaId, now: Instant) -> bool {
        if self.links.remove(peer).is_none() {
            return false;
        }
        self.outbox.retain(|(to, _)| to != peer);
        self.graph.handle_link_down(peer);
        if let Some(member) = self.members.get_mut(peer) {
            member.unlinked_at = Some(now);
        }
        for repair in self.repairs.values_mut() {
            repair.forget_asked(peer, now);
        }
        true
    }

    /// A message came over the link to `from`. An error says that the peer broke the protocol: cut the link.
    pub fn handle_message(
        &mut self,
        from: &ReplicaId,
        message: Message,
        now: Instant,
    ) -> Result<(), MessageError> {
        let handled = match message {
            _ if !self.links.contains_key(from) => Err(MessageError::NotLinked(from.clone())),
            Message::Delta(delta) => self.handle_delta(from, delta, now),
            Message::Ack(ack) => {
                self.handle_ack(from, ack, now);
                Ok(())
            }
            Message::Pull(pull) => self.handle_pull(from, pull),
            Message::Digest(digest) => self.handle_digest(from, &digest, now),
            Message::Beat(beat) => self.handle_beat(from, &beat, now),
            Message::Ask(ask) => {
                self.handle_ask(from, &ask, now);
                Ok(())
            }
        };
        self.counters.messages_invalid += u64::from(handled.is_err());
        handled
    }

    /// `peer` answered a ping over its link, `rtt` after it was sent.
    pub fn handle_pong(&mut self, peer: &ReplicaId, rtt: Duration, now: Instant) {
        if !self.links.contains_key(peer) {
            return;
        }
        self.graph.handle_pong(peer, now);
        if let Some(member) = self.members.get_mut(peer) {
            member.rtt = Some(rtt);
        }
        self.review_member(peer, now);
    }

    /// Time has passed. To be called when [`poll_timeout`](Node::poll_timeout) says so; earlier or later does no harm.
    pub fn handle_tick(&mut self, now: Instant) {
        self.note_pause(now);
        if self.next_flush.is_some_and(|at| at <= now) {
            self.flush(now);
        }
        if self.next_review <= now {
            self.next_review = now + self.config.digest_interval / 2;
            self.review(now);
            self.review_links(now);
        }
        if self.next_digest <= now {
            self.next_digest = now + self.config.digest_interval;
            self.send_digests(now);
        }
        self.upkeep(now);
        self.run_repairs(now);
        self.settle_all(now);
        self.looked = (now, self.poll_timeout().unwrap_or(now));
    }

    /// On a machine that is too busy this node may not be given time. What others have said meanwhile waits in sockets, and until
    /// it has been read nobody is dead for having been silent.
    fn note_pause(&mut self, now: Instant) {
        let (looked, due) = self.looked;
        let pause = now.saturating_duration_since(looked.max(due));
        if pause > PAUSE {
            self.graph.handle_pause(pause, now);
            self.looked = (now, now);
        }
    }

    // ---- Output ----

    /// When to call [`handle_tick`](Node::handle_tick) next, unless something else happens.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let settling = self.settlement.iter().filter_map(Settlement::next_check);
        let repairs = self.repairs.values().map(|repair| repair.due);
        let periodic = [self.next_digest, self.next_review];
        let other = self.next_flush.into_iter().chain(self.next_upkeep());
        settling.chain(repairs).chain(periodic).chain(other).min()
    }

    /// The next message for a linked peer. A link that is full may drop it: it is made up for, within
    /// [`Config::pull_timeout`] or two [`Config::digest_interval`]s.
    pub fn poll_transmit(&mut self) -> Option<(ReplicaId, Message)> {
        while let Some((peer, outgoing)) = self.outbox.pop_front() {
            let message = match outgoing {
                Outgoing::Push(set, replica) => self.make_push(&peer, set, replica),
                Outgoing::Answer(set, replica) => self.make_answer(&peer, set, replica),
                Outgoing::Ack(set, replica) => self.make_ack(&peer, set, replica),
                Outgoing::Message(message) => Some(message),
            };
            if let Some(message) = message {
                self.counters.delta_sent += u64::from(matches!(message, Message::Delta(_)));
                return Some((peer, message));
            }
        }
        None
    }

    /// The next thing the application should know.
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        if event.is_none() && self.events.capacity() > MANY_EVENTS {
            self.events = VecDeque::new();
        }
        event
    }

    /// This incarnation is of no use any more, nor is any up to `after`.
    fn ask_restart(&mut self, reason: RestartReason, after: Incarnation) {
        if !std::mem::replace(&mut self.restart_asked, true) {
            let known = self.incarnations(&self.me.name).last().map(|(newest, _)| newest.incarnation);
            let after = known.max(Some(after)).unwrap_or(after).max(self.me.incarnation);
            self.events.push_back(Event::RestartLane { reason, after });
        }
    }

    fn lane(&self, set: SetId, replica: &ReplicaId) -> Option<&Lane> {
        self.sets.get(usize::from(set.0))?.lane(replica)
    }

    /// Of a member, and of this node itself.
    fn slot(&self, replica: &ReplicaId) -> Option<Slot> {
        if *replica == self.me { Some(Slot::OWN) } else { Some(self.members.get(replica)?.slot) }
    }

    fn set_ids(&self) -> impl Iterator<Item = SetId> + use<> {
        (0..self.sets.len()).map(|index| SetId(index as u8))
    }

    // ---- Queries ----

    /// This incarnation of this node.
    pub fn me(&self) -> &ReplicaId {
        &self.me
    }

    /// The live dot of `key` in this node's lane.
    ///
    /// # Panics
    /// If there is no such set.
    pub fn dot(&self, set: SetId, key: &[u8]) -> Option<u64> {
        self.sets[usize::from(set.0)].dot(key)
    }

    /// The head of this node's lane.
    ///
    /// # Panics
    /// If there is no such set.
    pub fn head(&self, set: SetId) -> Head {
        self.sets[usize::from(set.0)].head()
    }

    /// The heads of this node's lanes in all sets.
    pub fn heads(&self) -> Vec<(SetId, Head)> {
        self.set_ids().map(|set| (set, self.head(set))).collect()
    }

    /// Who can reach whom.
    pub fn link_graph(&self) -> &LinkGraph {
        &self.graph
    }

    /// What was counted since the start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}
