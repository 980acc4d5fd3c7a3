//! The result of a match: each local subscriber once, and the peers.

use std::num::NonZeroU32;
use std::sync::Arc;

use smallvec::SmallVec;

use super::filter_trie::Entry;
use super::peer::PeerSet;
use super::share::{Members, PeerMembers, ShareGroup};
use super::stamp::Stamp;
use super::subscribers::SubscriberMap;
use super::{Subscriber, Subscription};
use crate::codec::packet::QoS;

/// Everyone who gets a publish to some topic.
#[derive(Clone, Debug)]
pub struct Match<S> {
    /// Local subscribers, each once, in no order.
    pub locals: Box<[Local<S>]>,
    /// The peers with at least one matching route.
    pub peers: PeerSet,
    /// The groups of matching shared subscriptions, each of which gets a copy, in no order.
    pub groups: Box<[Arc<ShareGroup<S>>]>,
    pub(super) stamp: Stamp,
}

/// A local subscriber with what its matching subscriptions ask for together: it gets one copy (3.3.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local<S> {
    /// Who.
    pub subscriber: S,
    /// The highest of its subscriptions [MQTT-3.3.4-2].
    pub qos: QoS,
    /// Whether any of its subscriptions asks for it.
    pub retain_as_published: bool,
    /// The identifiers of all its subscriptions that have one, in no order; one that several share comes
    /// several times [MQTT-3.3.4-4].
    pub identifiers: SmallVec<[NonZeroU32; 4]>,
}

/// A filter that matches some topic, and who asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatchingFilter {
    /// The filter as text.
    pub filter: String,
    /// Number of local subscribers.
    pub locals: usize,
    /// The peers with this route.
    pub peers: PeerSet,
}

/// A shared subscription that matches some topic, and where its members are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatchingShare {
    /// As a client subscribes to it.
    pub share: String,
    /// The members of this node.
    pub members: Members,
    /// Those of others.
    pub peers: Vec<PeerMembers>,
}

impl MatchingShare {
    pub(super) fn new<S>(group: &ShareGroup<S>) -> Self {
        MatchingShare {
            share: group.share.to_string(),
            members: group.members(),
            peers: group.peers().to_vec(),
        }
    }
}

impl MatchingFilter {
    pub(super) fn new<S: Subscriber>(filter: String, entry: &Entry<S>) -> Self {
        MatchingFilter {
            filter,
            locals: entry.locals.iter().len(),
            peers: entry.peers.iter().copied().collect(),
        }
    }
}

impl<S> Match<S> {
    /// Memory that this match takes, in bytes; what subscribers point to is not counted.
    pub(super) fn bytes(&self) -> usize {
        let spilled =
            |local: &Local<S>| if local.identifiers.spilled() { local.identifiers.len() * 4 } else { 0 };
        let lists = size_of_val(&*self.locals) + size_of_val(&*self.groups);
        size_of::<Self>() + lists + self.locals.iter().map(spilled).sum::<usize>()
    }
}

/// Gathers the entries that match into a [`Match`].
pub(super) struct Collector<'a, S> {
    publisher: Option<&'a S>,
    locals: SubscriberMap<S, Demand>,
    peers: PeerSet,
    groups: Vec<Arc<ShareGroup<S>>>,
}

/// What the subscriptions of one subscriber ask for together.
struct Demand {
    qos: QoS,
    retain_as_published: bool,
    identifiers: SmallVec<[NonZeroU32; 4]>,
}

impl<'a, S: Subscriber> Collector<'a, S> {
    pub(super) fn new(publisher: Option<&'a S>) -> Self {
        Collector { publisher, locals: SubscriberMap::default(), peers: PeerSet::EMPTY, groups: Vec::new() }
    }

    pub(super) fn add(&mut self, entry: &Entry<S>) {
        self.peers.extend(entry.peers.iter().copied());
        if let Some(groups) = &entry.groups {
            self.groups.extend(groups.iter().cloned());
        }
        // Within one entry subscribers are distinct, so the first need not look for its own.
        let first = self.locals.is_empty();
        for (subscriber, subscription) in entry.locals.iter() {
            if subscription.no_local && self.publisher == Some(subscriber) {
                continue;
            }
            match if first { None } else { self.locals.value_mut(subscriber) } {
                Some(demand) => demand.add(subscription),
                None => self.locals.push(subscriber.clone(), Demand::of(subscription)),
            }
        }
    }

    pub(super) fn finish(self, stamp: Stamp) -> Match<S> {
        let locals = self.locals.into_list().into_iter().map(|(subscriber, demand)| Local {
            subscriber,
            qos: demand.qos,
            retain_as_published: demand.retain_as_published,
            identifiers: demand.identifiers,
        });
        Match { locals: locals.collect(), peers: self.peers, groups: self.groups.into(), stamp }
    }
}

impl Demand {
    fn of(subscription: &Subscription) -> Self {
        Demand {
            qos: subscription.qos,
            retain_as_published: subscription.retain_as_published,
            identifiers: subscription.identifier.into_iter().collect(),
        }
    }

    fn add(&mut self, subscription: &Subscription) {
        self.qos = self.qos.max(subscription.qos);
        self.retain_as_published |= subscription.retain_as_published;
        self.identifiers.extend(subscription.identifier);
    }
}
