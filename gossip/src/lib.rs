//! Replicated sets without a master: every node keeps the whole of them, and whatever the network loses, repeats or
//! reorders, nodes that can reach each other end with the same. This crate knows nothing of what the sets are for.
//!
//! # Why nodes must converge
//!
//! Of the network this assumes that what is said again and again between two nodes that can reach each other arrives at last. Not
//! that it arrives once, in order, or within any time.
//!
//! 1. **One writer a lane.** A replica (one start of one node) writes only its own [`Lane`]. Each of its writes, an add or a
//!    remove, takes the lane's next sequence number; that of an add is the *dot* of its element. So the live elements at number n
//!    depend on nothing but the replica and n: two nodes that hold a lane at n hold the same.
//! 2. **What is missing says something.** A copy at n has heard of all dots up to n and of none behind. One up to n that it does not
//!    hold was removed, so nothing has to be kept to say so. The numbers of all lanes together are a version vector, the causal
//!    context of all that the copies hold.
//! 3. **Copies only move forward, by whole steps.** A copy at `a` applies an [`Interval`] that begins at or before `a` and ends at
//!    `b > a`, and is then what the owner was at `b`. What it has in between does not matter, because the interval
//!    says exactly what is live there. Repeated or old intervals are no step and are ignored; ones that begin
//!    too late wait. Large intervals arrive in pieces and count when the last one is there.
//! 4. **Everyone finds out that he is behind.** Heads (`seq:count:hash`) travel with membership gossip, and [`Digest`]s over every
//!    link. Whoever sees a higher number than his own asks the owner, or anybody who has more, again and again until
//!    he is there. So a lost message costs time, never state; and it is enough that there is some way from node to node, over
//!    whomever it leads.
//! 5. **Mistakes show.** Each interval carries a hash of the state it leads to. Another result is not applied, raises an alarm,
//!    and is repaired by a snapshot.
//!
//! The set is the union of all lanes: an element is in it while any replica has a live dot for it. So a remove takes away what its
//! writer had added, never what somebody else adds meanwhile (an observed-remove set, in which adds win). Taking the newer copy of
//! every lane is commutative, associative and idempotent, so [`ReplicatedSet`] is a CRDT: it implements the traits of
//! [`crdts`], and holds what an Orswot would.
//!
//! # Members that come and go
//!
//! The lanes that count are those of the members. That all agree on these, too, follows from what becomes of a replica:
//!
//! 1. **A start is a replica of its own.** A lane has one state at each number only as long as its writer forgets none, so a node that
//!    starts again begins a new lane, under a higher [`Incarnation`], whose first interval holds all that it has. Others keep the
//!    lane before until they have that interval: nothing is missing in between.
//! 2. **The dead are hidden, not dropped.** Their lanes go on to be compared and repaired, from whoever has most of them, so that
//!    survivors are equal also in what the dead had said to one of them only. Whoever returns is shown again, as he is then.
//! 3. **Who leaves is dropped, and nobody brings him back.** All are told, by digests and by gossip, and remember it: the lane
//!    is not taken in again from somebody who has not heard of it yet.
//! 4. **Who was dead for too long is forgotten**, likewise. Nodes need not agree on when: it is hidden. If it returns, whoever has forgotten
//!    it says so ([`Digest::forgotten`]), and it goes on with a new lane ([`Event::RestartLane`]), which takes the place of
//!    the old one on those that had not forgotten it, too.
//!
//! # Large clusters
//!
//! Nothing of this asks for a link between any two. Links decide how soon a change arrives and how often: few nodes all link to each
//! other, many stand in a grid ([`mesh`]) in which everybody is two links from everybody. There owners push changes to their
//! peers, and of those between an owner and somebody else one passes them on, chosen by hash; acknowledgements go back the
//! same way. Digests go to one peer at a time, in turn. When who is linked to whom changes, and nobody or two take themselves for
//! the one in between, that is a lost message or a repeated one.
//!
//! # Keys that several nodes write
//!
//! In a *stamped* set ([`SetKind::Stamped`]) a key is a register: its last write wins, whoever wrote it. It is written
//! and spread like any other, each write in its writer's lane; nothing of the above changes. Then:
//!
//! 1. **Who has the same lanes reads the same.** Every entry has a [`Stamp`] above all that its writer had seen (a
//!    hybrid logical clock: wall time, unless somebody's is ahead). Of the entries of a key, in whichever lanes, the highest
//!    counts; equal stamps are told apart by their writers. That is a maximum over what the lanes hold, and depends on
//!    nothing else.
//! 2. **Clearing is writing.** A tombstone is an entry without a value. It is kept for [`Config::tombstone_ttl`], and as long as
//!    an older entry is left in any lane, be its owner dead. Who was cut off for less finds it when he returns, and what
//!    he has loses.
//! 3. **Losers go, winners stay.** A node removes its own entry when another one beats it and all its peers have the
//!    winner; nobody removes the highest entry of a key. So one is left, and no maximum has changed.
//! 4. **What a dropped replica wrote stays.** When a lane is dropped, its winners and tombstones become orphans, which go on
//!    to count, until one of the survivors writes them to its own lane with their original stamps and writers. Survivors
//!    need not agree on who does: the same entry in two lanes is the same maximum, and one of them is pruned.
//!
//! A node tells its application of every change of a winner ([`Event::Won`], [`Event::Cleared`]), and a local write answers
//! what it replaced: who follows both has the winners at every moment. An acknowledgement counts when everything has arrived that
//! its sender had written before it, in whichever set: who waits for a change to [settle](Node::await_settled) has that.
//!
//! # Code map
//!
//! Bottom up; a file uses only those above it.
//!
//! | | |
//! |---|---|
//! | `replica`, `element`, `dots`, `hash`, `head` | the words: who writes, what is written, sets of numbers, a state in short |
//! | `stamp`, `entry` | when something was written, and how elements of stamped sets say it |
//! | `delta` | [`Interval`]: what travels, and the rule by which it applies from anywhere inside |
//! | `history` | which removes are remembered, and from which numbers on others can be served |
//! | `lane` | [`Lane`]: one writer's elements; makes and applies intervals |
//! | `set` | [`ReplicatedSet`]: all lanes of one set |
//! | `registers` | the winners of a stamped set: their index, orphans, tombstones |
//! | [`mesh`] | who has a link to whom |
//! | `membership`, `link_graph`, `message`, `event`, `config`, `counters` | the vocabulary of a node |
//! | `node` | [`Node`]: what to send to whom and when, without a socket or a clock |
//!
//! Tests: `lane/tests.rs` (intervals), `registers/tests.rs` (winners), `tests/laws.rs` and `tests/orswot.rs` (the CRDT),
//! `tests/node` (scripts of single situations), `tests/simulation` (whole clusters in trouble, thousands of times).

pub mod chitchat;
mod config;
mod counters;
mod delta;
mod dots;
mod element;
mod entry;
mod event;
mod hash;
mod head;
mod history;
mod lane;
mod link_graph;
mod membership;
pub mod mesh;
mod message;
mod node;
mod registers;
mod replica;
pub mod seal;
mod set;
mod stamp;

pub use chitchat::Sizes;
pub use config::Config;
pub use counters::Counters;
pub use delta::{Delta, Frontier, Interval, SetId};
pub use dots::{DotBitmap, DotList};
pub use element::Element;
pub use entry::Entry;
pub use event::{Event, RestartReason};
pub use hash::{LaneKey, SetHash};
pub use head::{Head, InvalidHead};
pub use lane::{Change, Lane, LaneLimits, Outcome};
pub use link_graph::LinkGraph;
pub use membership::{MemberState, Observation, Status};
pub use message::{Ack, Ask, Beat, Digest, Hello, LinkReport, Message, MessageError, Pull, ReportHash};
pub use node::{LaneStatus, LinkState, MemberStatus, Node, SetKind, SetSpec, Written};
pub use registers::{Orphans, Winner};
pub use replica::{Incarnation, InvalidNodeName, NodeName, ReplicaId};
pub use set::{Diverged, Gap, ReplicatedSet};
pub use stamp::Stamp;
