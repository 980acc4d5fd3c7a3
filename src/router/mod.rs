//! Who gets a publish: the trie of topic filters with this node's subscribers and the peers that asked for a filter.
//!
//! Invariants: a filter is in the trie exactly while somebody asks for it; a [`Match`] is stamped before it is made, so
//! one that [`Router::is_current`] accepts is the one that matching anew would give; no lock is held while
//! another is taken. Everything here is synchronous and knows no socket, clock or task.

mod cache;
mod filter_trie;
mod level_hash;
mod level_tree;
mod matched;
mod peer;
mod retained;
mod share;
mod stamp;
mod subscribers;
#[cfg(test)]
mod tests;

use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;

pub use cache::MatchCache;
pub use matched::{Local, Match, MatchingFilter, MatchingShare};
pub use peer::{PeerIndex, PeerSet};
pub use retained::{Place, Retained, Search};
pub use share::{Choice, Member, Members, PeerMembers, ShareGroup, Strategy, Target};

use crate::codec::packet::QoS;
use crate::topic::{ShareName, Topic, TopicFilter};
use filter_trie::{Entry, FilterTrie};
use level_hash::{LevelHasher, Prefixes};
use level_tree::NodeId;
use matched::Collector;
use stamp::Stamps;

/// A handle on a local subscriber, cheap to clone and to compare: a pointer, not a session. It is cloned, compared and hashed
/// under a shard's lock, so that these must not call the router.
pub trait Subscriber: Clone + Eq + Hash + Send + Sync {}

impl<S: Clone + Eq + Hash + Send + Sync> Subscriber for S {}

/// What a subscription asks for, as far as matching needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Subscription {
    /// Maximum QoS.
    pub qos: QoS,
    /// The subscriber's own publishes are not for it [MQTT-3.8.3-3].
    pub no_local: bool,
    /// The retain flag reaches the subscriber as it was published [MQTT-3.3.1-13].
    pub retain_as_published: bool,
    /// Sent along with every message of this subscription.
    pub identifier: Option<NonZeroU32>,
}

/// The topic trie with everyone who asked for a filter. Methods that change it block readers of one shard only, for the
/// time of the change.
pub struct Router<S> {
    hasher: LevelHasher,
    stamps: Stamps,
    /// Each filter is in the shard of its first two literal levels. Shard 0 has the filters that begin with a wildcard.
    shards: Box<[Shard<S>]>,
    /// Number of filters that begin with `$`.
    system_filters: AtomicUsize,
}

/// On cache lines of its own, for its lock word is written by readers.
#[repr(align(128))]
struct Shard<S> {
    /// Number of filters in the trie, written under its lock. Read without, it spares readers the lock of an empty shard.
    filters: AtomicUsize,
    trie: RwLock<FilterTrie<S>>,
}

/// A power of two; the shard of wildcards comes on top.
const LITERAL_SHARDS: usize = 64;

/// Filters are spread by this many literal levels: one level would leave deployments whose topics all begin alike with a
/// single lock, and each more costs every uncached match one more lock.
const SHARD_LEVELS: usize = 2;

impl<S> Default for Router<S> {
    fn default() -> Self {
        Router {
            hasher: LevelHasher::default(),
            stamps: Stamps::default(),
            shards: (0..=LITERAL_SHARDS).map(|_| Shard::default()).collect(),
            system_filters: AtomicUsize::new(0),
        }
    }
}

impl<S> Default for Shard<S> {
    fn default() -> Self {
        Shard { filters: AtomicUsize::new(0), trie: RwLock::default() }
    }
}

impl<S: Subscriber> Router<S> {
    /// An empty router.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a subscription, or replaces the one this subscriber has with an equal filter [MQTT-3.8.4-3]. Returns whether it
    /// is new. Each level that no other filter shares takes some 50 bytes: the caller limits how many a filter may have.
    pub fn subscribe(&self, filter: &TopicFilter, subscriber: S, subscription: Subscription) -> bool {
        self.change(filter, |trie, hasher| {
            let old = trie.subscribe(hasher, filter, subscriber, subscription);
            (old != Some(subscription), old.is_none())
        })
    }

    /// Removes a subscription. Returns whether there was one.
    pub fn unsubscribe(&self, filter: &TopicFilter, subscriber: &S) -> bool {
        self.change(filter, |trie, hasher| {
            let existed = trie.unsubscribe(hasher, filter, subscriber);
            (existed, existed)
        })
    }

    /// Notes that a peer wants what matches the filter. Returns whether that is news.
    pub fn insert_route(&self, filter: &TopicFilter, peer: PeerIndex) -> bool {
        self.change(filter, |trie, hasher| {
            let inserted = trie.insert_route(hasher, filter, peer);
            (inserted, inserted)
        })
    }

    /// Forgets that a peer wants what matches the filter. Returns whether it did.
    pub fn remove_route(&self, filter: &TopicFilter, peer: PeerIndex) -> bool {
        self.change(filter, |trie, hasher| {
            let removed = trie.remove_route(hasher, filter, peer);
            (removed, removed)
        })
    }

    /// Adds a member to the group of a shared subscription, or replaces what it asked for. Returns whether it is new.
    /// `now_ms` is the wall clock.
    pub fn join(
        &self,
        name: &ShareName,
        filter: &TopicFilter,
        subscriber: S,
        subscription: Subscription,
        connected: bool,
        now_ms: u64,
    ) -> bool {
        self.change(filter, |trie, hasher| {
            let join = |group: &mut ShareGroup<S>| group.join(subscriber, subscription, connected, now_ms);
            let old = trie.change_group(hasher, name, filter, join);
            (old != Some(subscription), old.is_none())
        })
    }

    /// Removes a member from its group. Returns whether it was there.
    pub fn leave(&self, name: &ShareName, filter: &TopicFilter, subscriber: &S) -> bool {
        self.take_from_group(name, filter, |group| group.leave(subscriber))
    }

    /// Notes that a member's connection has opened or closed. Returns whether that is news.
    pub fn set_connected(
        &self,
        name: &ShareName,
        filter: &TopicFilter,
        subscriber: &S,
        connected: bool,
        now_ms: u64,
    ) -> bool {
        self.take_from_group(name, filter, |group| group.set_connected(subscriber, connected, now_ms))
    }

    /// Notes how many members a group has on a peer. Returns whether that is news.
    pub fn set_peer_members(&self, name: &ShareName, filter: &TopicFilter, members: PeerMembers) -> bool {
        self.change(filter, |trie, hasher| {
            let altered = trie.change_group(hasher, name, filter, |group| group.set_peer(members));
            (altered, altered)
        })
    }

    /// Forgets the members of a group on a peer. Returns whether it had any.
    pub fn remove_peer_members(&self, name: &ShareName, filter: &TopicFilter, peer: PeerIndex) -> bool {
        self.take_from_group(name, filter, |group| group.remove_peer(peer))
    }

    /// The group of a shared subscription, if it has members.
    pub fn group(&self, name: &ShareName, filter: &TopicFilter) -> Option<Arc<ShareGroup<S>>> {
        let prefixes = Prefixes::of_filter(&self.hasher, filter);
        let shard = &self.shards[shard_of_filter(&prefixes)];
        shard.trie.read().group(&self.hasher, name, filter).cloned()
    }

    /// Number of groups that have members.
    pub fn group_count(&self) -> usize {
        let occupied = self.shards.iter().filter(|shard| shard.filters.load(Ordering::Relaxed) > 0);
        occupied.map(|shard| shard.trie.read().group_count()).sum()
    }

    fn take_from_group(
        &self,
        name: &ShareName,
        filter: &TopicFilter,
        take: impl FnOnce(&mut ShareGroup<S>) -> bool,
    ) -> bool {
        self.change(filter, |trie, hasher| {
            let taken = trie.take_from_group(hasher, name, filter, take);
            (taken, taken)
        })
    }

    /// Everyone who gets a publish to this topic, each once. `publisher` is the subscriber that published it, if it is one
    /// of ours: its subscriptions with No Local are left out.
    pub fn matches(&self, topic: Topic<'_>, publisher: Option<&S>) -> Match<S> {
        let prefixes = Prefixes::of_topic(&self.hasher, topic);
        let stamp = self.stamps.stamp(&prefixes);
        let mut collector = Collector::new(publisher);
        self.visit_matching(topic, &prefixes, |_, _, entry| collector.add(entry));
        collector.finish(stamp)
    }

    /// The filters that match this topic, with who asks for them, in no order.
    pub fn matching_filters(&self, topic: Topic<'_>) -> Vec<MatchingFilter> {
        let prefixes = Prefixes::of_topic(&self.hasher, topic);
        let mut matching = Vec::new();
        self.visit_matching(topic, &prefixes, |trie, node, entry| {
            if entry.has_plain() {
                matching.push(MatchingFilter::new(trie.filter(node), entry));
            }
        });
        matching
    }

    /// The shared subscriptions that match this topic, with their members, in no order.
    pub fn matching_shares(&self, topic: Topic<'_>) -> Vec<MatchingShare> {
        self.matches(topic, None).groups.iter().map(|group| MatchingShare::new(group)).collect()
    }

    /// Whether matching the same topic again would give the same. May be false for a match that is still right, never
    /// true for one that a finished change has made wrong.
    pub fn is_current(&self, matched: &Match<S>) -> bool {
        self.stamps.is_current(&matched.stamp)
    }

    /// Number of distinct filters that somebody asks for.
    pub fn filter_count(&self) -> usize {
        self.shards.iter().map(|shard| shard.filters.load(Ordering::Relaxed)).sum()
    }

    /// Whether anybody, here or elsewhere, asks for topics that begin with `$`. Costs one look at a counter.
    #[inline]
    pub fn has_system_filters(&self) -> bool {
        self.system_filters.load(Ordering::Acquire) > 0
    }

    /// Visits the trie, node and entry of every filter that matches.
    fn visit_matching(
        &self,
        topic: Topic<'_>,
        prefixes: &Prefixes,
        mut visit: impl FnMut(&FilterTrie<S>, NodeId, &Entry<S>),
    ) {
        for shard in shards_of_topic(prefixes).map(|shard| &self.shards[shard]) {
            if shard.filters.load(Ordering::Acquire) > 0 {
                let trie = shard.trie.read();
                trie.visit_matching(&self.hasher, topic, |node, entry| visit(&trie, node, entry));
            }
        }
    }

    /// Runs a change, which says whether it altered what matches and what to return. The order of what follows it is
    /// that of the proof in [`stamp`].
    fn change(
        &self,
        filter: &TopicFilter,
        change: impl FnOnce(&mut FilterTrie<S>, &LevelHasher) -> (bool, bool),
    ) -> bool {
        let prefixes = Prefixes::of_filter(&self.hasher, filter);
        let shard = &self.shards[shard_of_filter(&prefixes)];
        let mut trie = shard.trie.write();
        let before = trie.filter_count();
        let (altered, answer) = change(&mut trie, &self.hasher);
        if altered {
            shard.filters.store(trie.filter_count(), Ordering::Release);
            self.stamps.raise(&prefixes);
            if filter.as_str().starts_with('$') {
                // Wraps where it becomes less: the sum is right.
                let change = trie.filter_count().wrapping_sub(before);
                self.system_filters.fetch_add(change, Ordering::Release);
            }
        }
        answer
    }
}

fn shard_of_prefix(prefixes: &Prefixes, levels: usize) -> usize {
    if levels == 0 { 0 } else { 1 + prefixes.hashes()[levels] as usize % LITERAL_SHARDS }
}

fn shard_of_filter(prefixes: &Prefixes) -> usize {
    shard_of_prefix(prefixes, prefixes.levels().min(SHARD_LEVELS))
}

/// Every shard that can hold a filter that matches, each once: a filter's literal prefix is a prefix of the topic, too.
fn shards_of_topic(prefixes: &Prefixes) -> impl Iterator<Item = usize> {
    let shards: [usize; SHARD_LEVELS + 1] =
        std::array::from_fn(|levels| shard_of_prefix(prefixes, prefixes.levels().min(levels)));
    (0..shards.len()).filter(move |&i| !shards[..i].contains(&shards[i])).map(move |i| shards[i])
}
