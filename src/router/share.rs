//! The group of a shared subscription: its members on this node, how many there are on others, and who is next.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::level_hash::mix;
use super::peer::PeerIndex;
use super::{Subscriber, Subscription};
use crate::codec::packet::QoS;
use crate::message::Ticket;
use crate::topic::SubscriptionFilter;

/// Who gets a message of a shared subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Any member.
    Random,
    /// Each in turn, so that all members of the cluster get equally many.
    #[default]
    RoundRobin,
    /// A member on the publisher's node while there is one, in turn; else as [`Strategy::RoundRobin`].
    LocalFirst,
    /// All messages of a publisher go to one member, while the members stay the same.
    HashClient,
    /// All messages of a topic go to one member, while the members stay the same.
    HashTopic,
    /// The member that was first gets all until it goes.
    Sticky,
}

impl Strategy {
    /// All there are.
    pub const ALL: [Strategy; 6] = [
        Strategy::Random,
        Strategy::RoundRobin,
        Strategy::LocalFirst,
        Strategy::HashClient,
        Strategy::HashTopic,
        Strategy::Sticky,
    ];

    /// What operators call it.
    pub fn name(self) -> &'static str {
        match self {
            Strategy::Random => "random",
            Strategy::RoundRobin => "round_robin",
            Strategy::LocalFirst => "local_first",
            Strategy::HashClient => "hash_client",
            Strategy::HashTopic => "hash_topic",
            Strategy::Sticky => "sticky",
        }
    }
}

/// How many members a group has on one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// With an open connection.
    pub connected: u32,
    /// Without, whose sessions keep messages: what was granted QoS 0 is not kept.
    pub offline: u32,
    /// Since when the node has had a connected one, in milliseconds of its wall clock; 0 if it has none.
    pub since_ms: u64,
}

impl Members {
    /// With and without a connection.
    pub fn total(&self) -> u32 {
        self.connected.saturating_add(self.offline)
    }
}

/// The members of a group on another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerMembers {
    /// Which replica.
    pub peer: PeerIndex,
    /// Stands for the node's name, equally on all nodes.
    pub identity: u64,
    /// How many.
    pub members: Members,
}

/// A member on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member<S> {
    /// Who.
    pub subscriber: S,
    /// What it asked for.
    pub subscription: Subscription,
    /// Tells it apart from the other members of this node.
    number: u64,
}

/// A group at one moment. Matches share it; whoever changes it makes a new one where a match has it.
#[derive(Clone, Debug)]
pub struct ShareGroup<S> {
    /// Its name and filter.
    pub share: Arc<SubscriptionFilter>,
    /// Local members with a connection, in the order in which they came.
    pub connected: Vec<Member<S>>,
    /// Local members without one.
    pub offline: Vec<Member<S>>,
    /// See [`Members::since_ms`].
    since_ms: u64,
    /// How many of those without a connection keep messages.
    durable: u32,
    /// Carried by the group's messages on this node that were published here.
    pub ticket: Arc<Ticket>,
    /// Ascending by peer.
    peers: SmallVec<[PeerMembers; 4]>,
    turns: Arc<Turns>,
}

/// Whose turn it is, for all publishers of this node.
#[derive(Debug, Default)]
struct Turns {
    nodes: AtomicU64,
    members: AtomicU64,
    /// Members that there have been.
    joined: AtomicU64,
}

/// How to choose for one message.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// By what rule.
    pub strategy: Strategy,
    /// For the rules that hash: equal for what must go to one member.
    pub key: u64,
    /// Stands for this node's name, as [`PeerMembers::identity`] does for others.
    pub me: u64,
}

/// A node with members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// This one.
    Here,
    /// Another.
    Peer(PeerIndex),
}

struct Candidate {
    target: Target,
    weight: u32,
    identity: u64,
    since_ms: u64,
}

impl Choice {
    /// The hash of what messages have in common that must go to one member, equal on all nodes.
    pub fn key_of(text: &str) -> u64 {
        // FNV-1a: the standard library's hash may be another one in another build.
        let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        scatter(text.bytes().fold(0xCBF2_9CE4_8422_2325, fold))
    }

    /// Whether the rule names one member, which gets the message even if it has to wait for it.
    pub fn is_firm(&self) -> bool {
        matches!(self.strategy, Strategy::HashClient | Strategy::HashTopic | Strategy::Sticky)
    }
}

impl<S> ShareGroup<S> {
    pub(super) fn new(share: SubscriptionFilter) -> Self {
        let share = Arc::new(share);
        ShareGroup {
            ticket: Arc::new(Ticket::local(share.clone())),
            durable: 0,
            share,
            connected: Vec::new(),
            offline: Vec::new(),
            since_ms: 0,
            peers: SmallVec::new(),
            turns: Arc::default(),
        }
    }

    /// The members of this node.
    pub fn members(&self) -> Members {
        Members { connected: self.connected.len() as u32, offline: self.durable, since_ms: self.since_ms }
    }

    /// The members of other nodes.
    pub fn peers(&self) -> &[PeerMembers] {
        &self.peers
    }

    pub(super) fn is_empty(&self) -> bool {
        self.connected.is_empty() && self.offline.is_empty() && self.peers.is_empty()
    }

    /// Chooses a node by its share of the members that `count` counts, among those that `admits` lets through.
    pub fn choose_node(
        &self,
        choice: Choice,
        count: fn(&Members) -> u32,
        admits: impl Fn(Target) -> bool,
    ) -> Option<Target> {
        let here = count(&self.members());
        let here = if here > 0 && admits(Target::Here) { here } else { 0 };
        if here > 0 && (self.peers.is_empty() || choice.strategy == Strategy::LocalFirst) {
            return Some(Target::Here);
        }
        let mut candidates: SmallVec<[Candidate; 8]> = SmallVec::new();
        if here > 0 {
            let since_ms = self.since_ms;
            candidates.push(Candidate { target: Target::Here, weight: here, identity: choice.me, since_ms });
        }
        for peer in &self.peers {
            let (target, weight) = (Target::Peer(peer.peer), count(&peer.members));
            if weight > 0 && admits(target) {
                let since_ms = peer.members.since_ms;
                candidates.push(Candidate { target, weight, identity: peer.identity, since_ms });
            }
        }
        let chosen = match choice.strategy {
            _ if candidates.len() < 2 => candidates.first(),
            Strategy::RoundRobin | Strategy::LocalFirst => {
                nth(&candidates, self.turns.nodes.fetch_add(1, Ordering::Relaxed))
            }
            Strategy::Random => nth(&candidates, random(&self.turns.nodes, choice.me)),
            Strategy::HashClient | Strategy::HashTopic => {
                let score = |candidate: &Candidate| weighted_score(choice.key, candidate);
                candidates.iter().max_by(|a, b| score(a).total_cmp(&score(b)))
            }
            Strategy::Sticky => {
                candidates.iter().min_by_key(|candidate| (candidate.since_ms, candidate.identity))
            }
        };
        chosen.map(|candidate| candidate.target)
    }

    /// The position in `members`, of this group, of the one whose turn it is; any number where there is none.
    pub fn choose_member(&self, choice: Choice, members: &[Member<S>]) -> usize {
        let count = members.len().max(1) as u64;
        match choice.strategy {
            _ if count == 1 => 0,
            Strategy::RoundRobin | Strategy::LocalFirst => {
                (self.turns.members.fetch_add(1, Ordering::Relaxed) % count) as usize
            }
            Strategy::Random => (random(&self.turns.members, choice.me) % count) as usize,
            Strategy::HashClient | Strategy::HashTopic => {
                let score = |member: &Member<S>| scatter(choice.key ^ scatter(member.number));
                let scores = members.iter().map(score).enumerate();
                scores.max_by_key(|&(_, score)| score).map_or(0, |(position, _)| position)
            }
            Strategy::Sticky => 0,
        }
    }
}

impl<S: Subscriber> ShareGroup<S> {
    /// Adds a local member, or replaces what it asked for. Returns what that was.
    pub(super) fn join(
        &mut self,
        subscriber: S,
        subscription: Subscription,
        connected: bool,
        now_ms: u64,
    ) -> Option<Subscription> {
        let members = self.connected.iter_mut().chain(&mut self.offline);
        for member in members {
            if member.subscriber == subscriber {
                let old = std::mem::replace(&mut member.subscription, subscription);
                self.count_durable();
                return Some(old);
            }
        }
        let number = self.turns.joined.fetch_add(1, Ordering::Relaxed);
        self.place(Member { subscriber, subscription, number }, connected, now_ms);
        None
    }

    pub(super) fn leave(&mut self, subscriber: &S) -> bool {
        self.take(subscriber).is_some()
    }

    /// Returns whether that is news.
    pub(super) fn set_connected(&mut self, subscriber: &S, connected: bool, now_ms: u64) -> bool {
        let already = if connected { &self.connected } else { &self.offline };
        if already.iter().any(|member| member.subscriber == *subscriber) {
            return false;
        }
        let Some(member) = self.take(subscriber) else { return false };
        self.place(member, connected, now_ms);
        true
    }

    pub(super) fn set_peer(&mut self, members: PeerMembers) -> bool {
        match self.peers.binary_search_by_key(&members.peer, |other| other.peer) {
            Ok(at) => std::mem::replace(&mut self.peers[at], members) != members,
            Err(at) => {
                self.peers.insert(at, members);
                true
            }
        }
    }

    pub(super) fn remove_peer(&mut self, peer: PeerIndex) -> bool {
        let position = self.peers.binary_search_by_key(&peer, |other| other.peer);
        position.is_ok_and(|at| self.peers.remove(at).peer == peer)
    }

    fn place(&mut self, member: Member<S>, connected: bool, now_ms: u64) {
        if connected && self.connected.is_empty() {
            self.since_ms = now_ms.max(1);
        }
        let members = if connected { &mut self.connected } else { &mut self.offline };
        members.push(member);
        self.count_durable();
    }

    fn count_durable(&mut self) {
        let keeps = |member: &&Member<S>| member.subscription.qos > QoS::AtMostOnce;
        self.durable = self.offline.iter().filter(keeps).count() as u32;
    }

    fn take(&mut self, subscriber: &S) -> Option<Member<S>> {
        let is_it = |member: &Member<S>| member.subscriber == *subscriber;
        if let Some(at) = self.offline.iter().position(is_it) {
            let member = self.offline.remove(at);
            self.count_durable();
            return Some(member);
        }
        let at = self.connected.iter().position(is_it)?;
        let member = self.connected.remove(at);
        if self.connected.is_empty() {
            self.since_ms = 0;
        }
        Some(member)
    }
}

/// The candidate that the turn `number` falls to, each having as many turns in a row as it has members.
fn nth(candidates: &[Candidate], number: u64) -> Option<&Candidate> {
    let total: u64 = candidates.iter().map(|candidate| u64::from(candidate.weight)).sum();
    let mut turn = number % total.max(1);
    candidates.iter().find(|candidate| {
        let weight = u64::from(candidate.weight);
        let found = turn < weight;
        turn = turn.saturating_sub(weight);
        found
    })
}

/// Weighted rendezvous hashing (Thaler and Ravishankar 1998, with the weights of Schindelhauer and Schomaker 2005).
fn weighted_score(key: u64, candidate: &Candidate) -> f64 {
    let hash = scatter(key ^ candidate.identity);
    // In (0, 1), with the 53 bits that fit.
    let uniform = ((hash >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    -f64::from(candidate.weight) / uniform.ln()
}

/// The next number of a sequence that looks random; `seed` keeps nodes from drawing alike.
fn random(counter: &AtomicU64, seed: u64) -> u64 {
    scatter(counter.fetch_add(1, Ordering::Relaxed).wrapping_add(seed))
}

/// Spreads numbers that may be close to each other.
fn scatter(number: u64) -> u64 {
    let number = mix(number ^ 0x9E37_79B9_7F4A_7C15, 0xBF58_476D_1CE4_E5B9);
    mix(number ^ 0x94D0_49BB_1331_11EB, 0xD6E8_FEB8_6659_FD93)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const ME: u64 = 77;

    fn group(here: u32, peers: &[(usize, u32)]) -> ShareGroup<u32> {
        let mut group = ShareGroup::new(SubscriptionFilter::parse("$share/g/t").expect("a filter"));
        let subscription = Subscription {
            qos: QoS::AtLeastOnce,
            no_local: false,
            retain_as_published: false,
            identifier: None,
        };
        (0..here).for_each(|subscriber| {
            group.join(subscriber, subscription, true, 1000);
        });
        for &(peer, connected) in peers {
            group.set_peer(peer_members(peer, connected, 1000 + peer as u64));
        }
        group
    }

    fn peer_members(peer: usize, connected: u32, since_ms: u64) -> PeerMembers {
        let members = Members { connected, offline: 0, since_ms };
        let index = PeerIndex::new(peer).expect("below the limit");
        PeerMembers { peer: index, identity: 1000 + peer as u64, members }
    }

    fn choose(
        group: &ShareGroup<u32>,
        strategy: Strategy,
        key: u64,
        except: Option<Target>,
    ) -> Option<Target> {
        let choice = Choice { strategy, key, me: ME };
        group.choose_node(choice, |members| members.connected, |target| Some(target) != except)
    }

    fn peer(index: usize) -> Target {
        Target::Peer(PeerIndex::new(index).expect("below the limit"))
    }

    #[test]
    fn nodes_get_their_members_share() {
        let group = group(2, &[(3, 1), (5, 3), (6, 0)]);
        let mut counts = BTreeMap::new();
        for _ in 0..600 {
            let target = choose(&group, Strategy::RoundRobin, 0, None).expect("there are members");
            *counts.entry(format!("{target:?}")).or_insert(0) += 1;
        }
        assert_eq!(counts.into_values().collect::<Vec<_>>(), [200, 100, 300], "exactly");
        for strategy in [Strategy::Random, Strategy::HashTopic] {
            let here = |key| choose(&group, strategy, scatter(key), None) == Some(Target::Here);
            let count = (0..6000).filter(|&key| here(key)).count();
            assert!((1800..2200).contains(&count), "{strategy:?}: {count} of 2000");
        }
    }

    #[test]
    fn who_is_excluded_gets_nothing() {
        let group = group(1, &[(3, 1)]);
        for strategy in Strategy::ALL {
            for _ in 0..10 {
                assert_eq!(choose(&group, strategy, 0, Some(Target::Here)), Some(peer(3)));
                assert_eq!(choose(&group, strategy, 0, Some(peer(3))), Some(Target::Here));
            }
        }
        assert_eq!(choose(&self::group(0, &[(3, 0)]), Strategy::RoundRobin, 0, None), None);
    }

    /// A key changes its node only if that node goes.
    #[test]
    fn a_hash_moves_only_what_it_must() {
        let mut group = group(1, &[(1, 1), (2, 1), (3, 1)]);
        let before: Vec<_> =
            (0..1000).map(|key| choose(&group, Strategy::HashTopic, scatter(key), None)).collect();
        group.remove_peer(PeerIndex::new(2).expect("below the limit"));
        for (key, before) in (0..1000).zip(before) {
            let after = choose(&group, Strategy::HashTopic, scatter(key), None);
            assert!(after == before || before == Some(peer(2)));
        }
    }

    /// Wherever it is published: the indices of peers differ between nodes, their identities do not.
    #[test]
    fn sticky_is_whoever_was_there_first() {
        let group = group(1, &[(1, 2), (2, 1)]);
        assert_eq!(choose(&group, Strategy::Sticky, 0, None), Some(Target::Here));
        assert_eq!(choose(&group, Strategy::Sticky, 0, Some(Target::Here)), Some(peer(1)));
        let mut later = self::group(1, &[]);
        later.set_peer(peer_members(9, 1, 999));
        assert_eq!(choose(&later, Strategy::Sticky, 0, None), Some(peer(9)));
    }

    #[test]
    fn members_without_a_connection_count_where_they_keep_messages() {
        let mut group = group(2, &[]);
        assert_eq!(group.members(), Members { connected: 2, offline: 0, since_ms: 1000 });
        assert!(group.set_connected(&0, false, 2000) && !group.set_connected(&0, false, 2000));
        assert_eq!(group.members(), Members { connected: 1, offline: 1, since_ms: 1000 });
        let at_most_once = Subscription {
            qos: QoS::AtMostOnce,
            no_local: false,
            retain_as_published: false,
            identifier: None,
        };
        group.join(0, at_most_once, true, 3000);
        assert_eq!(group.members(), Members { connected: 1, offline: 0, since_ms: 1000 });
        assert!(group.leave(&1) && !group.leave(&1));
        assert_eq!(group.members(), Members::default());
        assert!(!group.is_empty());
        assert!(group.set_connected(&0, true, 4000));
        assert_eq!(group.members(), Members { connected: 1, offline: 0, since_ms: 4000 });
    }
}
